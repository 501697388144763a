"""Windows, as far as it can be tested without one: nothing is used that it lacks, nothing is done that it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

SCRIPTS = Path(__file__).with_name("scripts")
ROOT = SCRIPTS.parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="hides what Linux has, and looks into its /proc"),
    pytest.mark.timeout(120),
]

EVENTS = '{"player_unique_id": "player123", "event": "place_order", "metadata": {"total_amount": 100}}\n'


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=["linux", "win32"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The system is recognised by what it lacks; code that asks for its name gets either answer."""
    return {
        **os.environ,
        "GAMEBALL_PLATFORM": request.param,
        "GAMEBALL_API_KEY": "my-api-key",
        "PYTHONIOENCODING": "cp1252",
        "PYTHONWARNDEFAULTENCODING": "1",
    }


def command(script: str, *arguments: str | Path) -> list[str]:
    module = [sys.executable, "-m", "tests.platforms.windows", str(SCRIPTS / f"{script}.py")]
    return [*module, *map(str, arguments)]


def run(environment: dict[str, str], script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, *arguments),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="cp1252",
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


def test_a_journal_is_locked_resumed_and_removed(environment: dict[str, str], tmp_path: Path) -> None:
    assert output_of(environment, "journal", tmp_path / "journal") == "1 ['dead-letters.db', 'folder.lock']\n"


def test_damaged_files_of_a_journal_are_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    assert output_of(environment, "damage", tmp_path / "journal") == "1 1\n"


def test_a_journal_without_any_locks_is_a_journal_error(environment: dict[str, str], tmp_path: Path) -> None:
    done = run({**environment, "GAMEBALL_LOCKS": "none"}, "journal", tmp_path / "journal")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "without locks" in done.stdout


@pytest.mark.parametrize("locks", ["msvcrt", "none"])
def test_a_file_is_sent_and_leaves_nothing_behind(environment: dict[str, str], locks: str, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text(EVENTS, encoding="utf-8")
    done = run(
        {**environment, "GAMEBALL_LOCKS": locks}, "command_line", "send", tmp_path / "events.ndjson", "--sandbox"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["events.ndjson"]


def test_rejected_rows_are_kept_byte_by_byte(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text(EVENTS + "no JSON\nnor this\n", encoding="utf-8")
    done = run(environment, "command_line", "send", tmp_path / "events.ndjson", "--sandbox")
    assert done.returncode == 1, done.stdout + done.stderr
    rejects = (tmp_path / "events.ndjson.rejects.ndjson").read_bytes()
    assert rejects.count(b"\n") == 2
    assert b"\r" not in rejects


def test_the_doctor_finds_a_journal_usable(environment: dict[str, str], sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    out = output_of(environment, "command_line", "doctor", "--base-url", sandbox.url, "--journal", tmp_path / "journal")
    assert "a locked file stays locked" in out
    assert list((tmp_path / "journal").iterdir()) == []


def test_journals_and_dead_letters_are_shown_and_sent_again(
    environment: dict[str, str], sandbox: Sandbox, tmp_path: Path
) -> None:
    output_of(environment, "journal", tmp_path)
    assert "Dead letters: 1." in output_of(environment, "command_line", "journal", "status", tmp_path)
    assert "review" in output_of(environment, "command_line", "dead-letters", "list", tmp_path)
    exported = tmp_path / "exported.ndjson"
    output_of(environment, "command_line", "dead-letters", "export", tmp_path, exported)
    assert exported.read_bytes().count(b"\n") == 1
    output_of(environment, "command_line", "dead-letters", "replay", tmp_path, "--all", "--base-url", sandbox.url)
    assert [event.name for event in sandbox.holdings()["player456"]] == ["review"]


def test_the_sandbox_serves_until_it_is_interrupted(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        command("command_line", "sandbox", "--port", "0"), cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"The sandbox listens at http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"Stopped." in process.stdout.read()
    assert process.returncode == 0
