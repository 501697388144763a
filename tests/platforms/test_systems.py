"""The same scripts on this system, whichever it is, and on Linux without what Windows lacks and allows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).with_name("scripts")
ROOT = SCRIPTS.parents[2]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=["this system", "like Windows", "like Windows, by its name too"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a script is started with. Code may look for what a system lacks, or ask for its name."""
    environment = {**os.environ, "PYTHONWARNDEFAULTENCODING": "1"}
    if request.param == "this system":
        return environment
    if sys.platform != "linux":
        pytest.skip("hides what Linux has, and looks into its /proc")
    name = "linux" if request.param == "like Windows" else "win32"
    return {**environment, "GAMEBALL_PLATFORM": name, "PYTHONIOENCODING": "cp1252"}


def command(environment: dict[str, str], script: str, *arguments: str | Path) -> list[str]:
    hidden = ["-m", "tests.platforms.windows"] if "GAMEBALL_PLATFORM" in environment else []
    return [sys.executable, *hidden, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]


def run(environment: dict[str, str], script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(environment, script, *arguments),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=100,
    )


def output_of(environment: dict[str, str], script: str, *arguments: str | Path) -> str:
    done = run(environment, script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_can_be_imported(environment: dict[str, str]) -> None:
    assert output_of(environment, "imports").endswith("modules and _gameball_async_pytest\n")


def test_client_sandbox_and_recorder_work_on_both_kinds_of_loop(environment: dict[str, str]) -> None:
    assert output_of(environment, "quick_start") == "delivered\n"


def test_a_journal_is_resumed_and_the_command_line_works_on_it(environment: dict[str, str], tmp_path: Path) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "files"
    folder.mkdir()
    assert output_of(environment, "journal", journal) == "done\n"
    assert output_of(environment, "command_line", folder, journal) == "done\n"


def test_without_any_locks_a_journal_is_an_error_and_files_are_sent(
    environment: dict[str, str], tmp_path: Path
) -> None:
    if "GAMEBALL_PLATFORM" not in environment:
        pytest.skip("this system has locks")
    environment["GAMEBALL_LOCKS"] = "none"
    done = run(environment, "journal", tmp_path / "journal")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "without locks" in done.stdout
    (tmp_path / "files").mkdir()
    assert output_of(environment, "command_line", tmp_path / "files") == "done\n"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a single process there")
def test_the_sandbox_serves_until_it_is_interrupted(environment: dict[str, str]) -> None:
    started = command(environment, "command_line", "--serve")
    with subprocess.Popen(started, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"The sandbox listens at http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"Stopped." in process.stdout.read()
    assert process.returncode == 0
