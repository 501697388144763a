"""The completion scripts, in the real shells, at a terminal, where somebody presses the tabulator."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import invoke

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

PROGRAM = Path(sys.executable).with_name("gameball-async")
READY = b"ready> "


class Shell:
    """A shell at a terminal: what is typed, and what it has shown."""

    def __init__(self, command: Sequence[str], home: Path) -> None:
        self._master, slave = pty.openpty()
        self._shown = b""
        self._news = threading.Condition()
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "HOME": str(home), "PATH": path, "TERM": "dumb", "PS1": READY.decode()},
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                with self._news:
                    self._shown += data
                    self._news.notify_all()
        except OSError:
            pass  # Linux's way of saying that the last one has closed it

    def type(self, keys: str) -> None:
        """Type, after the shell has shown all that was waited for."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: bytes) -> None:
        """Block until this was shown, and forget what came before."""
        with self._news:
            assert self._news.wait_for(lambda: text in self._shown, timeout=100), self._shown.decode()
            self._shown = self._shown.partition(text)[2]

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        os.close(self._master)


@contextmanager
def shell(name: str, home: Path) -> Generator[Shell]:
    command = {
        "bash": ["bash", "--norc", "--noprofile", "-i"],
        "zsh": ["zsh", "-f", "-i"],
        "fish": ["fish", "--no-config", "--interactive"],
    }[name]
    running = Shell(command, home)
    try:
        yield running
    finally:
        running.end()


needs = {
    name: pytest.mark.skipif(shutil.which(name) is None or not PROGRAM.exists(), reason=f"needs {name}")
    for name in ("bash", "zsh")
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in needs.items()])
def test_a_shell_completes_commands_and_options(name: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(invoke("completion", name).stdout)
    with shell(name, tmp_path) as terminal:
        terminal.wait_for(READY)
        terminal.type("autoload -U compinit && compinit -u -D\r" if name == "zsh" else "\r")
        terminal.wait_for(READY)
        terminal.type(f". '{tmp_path / 'script'}'\r")
        terminal.wait_for(READY)
        terminal.type("gameball-async journal sta\t--he\t\r")
        terminal.wait_for(b"Usage: gameball-async journal status")


@pytest.mark.skipif(shutil.which("fish") is None or not PROGRAM.exists(), reason="needs fish")
def test_fish_completes_commands(tmp_path: Path) -> None:
    """Without a terminal: it has a command that tells what it would complete."""
    (tmp_path / "script").write_text(invoke("completion", "fish").stdout)
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    told = subprocess.run(
        ["fish", "--no-config", "-c", f"source {tmp_path}/script; complete -C 'gameball-async journal sta'"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.partition("\t")[0].strip() == "status"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_last_line_says_how_to_install_the_script_and_is_a_comment(name: str, tmp_path: Path) -> None:
    script = invoke("completion", name).stdout
    last = script.splitlines()[-1]
    assert last.startswith("# To install it: ")
    assert f"gameball-async completion {name} > " in last
    if name == "bash" and PROGRAM.exists():
        (tmp_path / ".config").mkdir()
        subprocess.run(
            ["bash", "--norc", "-c", last.removeprefix("# To install it: ")],
            env={**os.environ, "HOME": str(tmp_path), "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"},
            check=True,
        )
        assert (tmp_path / ".bashrc").read_text() == ". ~/.gameball-async.bash\n"
        assert (tmp_path / ".gameball-async.bash").read_text() == script


def test_another_shell_is_a_wrong_usage() -> None:
    assert invoke("completion", "powershell").exit_code == 2
