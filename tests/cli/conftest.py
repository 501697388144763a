"""What the tests of the commands share: a sandbox without limits, and the command in process or as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from gameball_async.cli._main import app
from gameball_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

KEY = "test-key-0123456789"
FAST = ("--per-second", "100000", "--per-30-seconds", "1000000")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, limits=None) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", KEY)
    for name in ("GAMEBALL_SECRET_KEY", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while Process.started:
        Process.started.pop().kill()


@pytest.fixture
def send(sandbox: Sandbox) -> Callable[..., Result]:
    """Run `send` in this process, to the sandbox of the test."""

    def run(*args: object) -> Result:
        return invoke("send", *args, "--base-url", sandbox.url, *FAST)

    return run


def invoke(*args: object) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert KEY not in result.output
    return result


def found(pattern: bytes, text: bytes) -> str:
    """Return what the pattern's group matches."""
    match = re.search(pattern, text)
    assert match is not None, text
    return str(match[1], "utf-8")


class Process:
    """The command as a process of its own, whose standard error is read line by line."""

    started: ClassVar[list[Process]] = []

    def __init__(self, *args: object, stdin: int = subprocess.DEVNULL, environment: Mapping[str, str] = {}) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "gameball_async.cli", *map(str, args)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        self.started.append(self)
        self.stdin = self._process.stdin
        self.pid = self._process.pid
        self.err = b""
        self.out = b""
        self._streams = 2
        self._news = threading.Condition()
        self._threads = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in ("out", "err")]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str) -> None:
        stream = self._process.stdout if name == "out" else self._process.stderr
        assert stream is not None
        while data := stream.read1():  # type: ignore[attr-defined]
            with self._news:
                setattr(self, name, getattr(self, name) + data)
                self._news.notify_all()
        stream.close()
        with self._news:
            self._streams -= 1
            self._news.notify_all()

    def wait_for(self, text: bytes, timeout: float = 100) -> None:
        """Block until this was printed."""

        def is_over() -> bool:
            return text in self.err or text in self.out or not self._streams

        with self._news:
            self._news.wait_for(is_over, timeout)
        assert text in self.err or text in self.out, (self.err.decode(), self.out.decode())

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send a signal, Ctrl-C by default."""
        self._process.send_signal(number)

    def end(self, timeout: float = 100) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(timeout)
        for thread in self._threads:
            thread.join()
        assert b"Traceback" not in self.err, self.err.decode()
        assert b"Fatal" not in self.err, self.err.decode()
        assert KEY.encode() not in self.err + self.out
        return code

    def kill(self) -> None:
        """End it, whatever it does, and free what it holds."""
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        if self.stdin is not None:
            self.stdin.close()


def written(path: Path, events: Sequence[Mapping[str, Any]]) -> Path:
    """Write events as NDJSON."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def events_of(players: int, each: int) -> list[dict[str, Any]]:
    """Return events of several players in turns; a player's events all have the same name, so none merge."""
    return [
        {"player": f"player{player}", "event": "visit", "metadata": {"n": number}}
        for number in range(each)
        for player in range(players)
    ]


def numbers(sandbox: Sandbox) -> dict[str, list[Any]]:
    """Return the metadata `n` of the events held, per player."""
    return {player: [event.metadata["n"] for event in events] for player, events in sandbox.holdings().items()}


def rejected(path: Path) -> list[dict[str, Any]]:
    """Read a rejects file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
