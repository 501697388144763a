"""Promises about processes: signals, kill -9, pipes, terminals; each waited for by what it prints or sends."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox import Fault, Sandbox

from .conftest import FAST, KEY, Process, events_of, found, invoke, numbers, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


SLOW = ("--per-second", "40", "--per-30-seconds", "100000")


# ------------------------------------------------------------------ stopping and going on


STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_after_a_signal_resume_sends_the_rest_exactly_once(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    path = written(tmp_path / "events", events_of(players=10, each=30))
    process = Process("send", path, "--base-url", sandbox.url, *SLOW, "--drain", "30")
    sandbox.wait_for(lambda tally: tally.applied >= 20, timeout=100)
    process.interrupt(number)
    assert process.end() == 130
    assert b"Stopping: " in process.err
    assert b"To continue, run the same command with --resume." in process.out
    assert sandbox.stats().events < 300
    resumed = send(path, "--resume")
    assert resumed.exit_code == 0
    assert "had an outcome before" in resumed.stderr
    assert numbers(sandbox) == {f"player{player}": list(range(30)) for player in range(10)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_after_a_signal_nothing_new_is_sent_and_what_is_in_flight_is_finished(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    sandbox.script(Fault.latency(0.5))
    path = written(tmp_path / "events", events_of(players=100, each=3))
    process = Process("send", path, "--base-url", sandbox.url, *FAST, "--drain", "30")
    sandbox.wait_for(lambda tally: tally.applied >= 20, timeout=100)
    process.interrupt(number)
    process.wait_for(b"Nothing new is sent")
    arrived = len(sandbox.requests) + sandbox.stats().in_flight  # a request that has left is not yet counted,
    assert process.end() == 130
    assert sandbox.stats().arrived <= arrived + 10  # and there are ten at most
    assert sandbox.stats().events == sandbox.stats().arrived < 300
    assert b"Interrupted." in process.out
    assert b"not answered" not in process.out
    sandbox.script()
    assert send(path, "--resume").exit_code == 0
    assert numbers(sandbox) == {f"player{player}": list(range(3)) for player in range(100)}


def test_after_a_signal_a_failed_request_is_not_repeated_until_resume(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.latency(0.5), Fault.status(503))
    path = written(tmp_path / "events", events_of(players=1, each=2))
    process = Process("send", path, "--base-url", sandbox.url, *FAST)
    sandbox.wait_for(lambda tally: tally.in_flight == 1, timeout=100)
    process.interrupt()
    assert process.end() == 130
    assert len(sandbox.requests) == 1
    sandbox.script()
    assert send(path, "--resume").exit_code == 0
    assert numbers(sandbox) == {"player0": [0, 1]}


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_when_everything_is_in_flight_stops_nothing(sandbox: Sandbox, tmp_path: Path, number: int) -> None:
    sandbox.script(Fault.latency(1))
    path = written(tmp_path / "events", events_of(players=3, each=1))
    process = Process("send", path, "--base-url", sandbox.url, *FAST)
    sandbox.wait_for(lambda tally: tally.in_flight == 3, timeout=100)
    process.interrupt(number)
    assert process.end() == 0
    assert b"before the end" not in process.out
    assert b"--resume" not in process.out
    assert numbers(sandbox) == {f"player{player}": [0] for player in range(3)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events"]


def test_nohup_keeps_a_run_from_a_hangup(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.latency(0.5))
    path = written(tmp_path / "events", events_of(players=1, each=2))
    words = [sys.executable, "-m", "gameball_async.cli", "send", str(path), "--base-url", sandbox.url, *FAST]
    with subprocess.Popen(["nohup", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        sandbox.wait_for(lambda tally: tally.in_flight == 1, timeout=100)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    assert numbers(sandbox) == {"player0": [0, 1]}


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_dry_run_is_interrupted_with_the_same_exit_code(tmp_path: Path, number: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = Process("send", tmp_path / "pipe", "--dry-run")
    with (tmp_path / "pipe").open("wb"):  # opens when the process reads from it
        process.interrupt(number)
        assert process.end() == 130


def test_a_second_ctrl_c_stops_at_once_and_says_what_may_have_arrived(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.hang())
    path = written(tmp_path / "events", events_of(players=2, each=2))
    process = Process("send", path, "--base-url", sandbox.url, *FAST, "--drain", "600")
    sandbox.wait_for(lambda tally: tally.in_flight == 2, timeout=100)
    process.interrupt()
    process.wait_for(b"Stopping: 4 events have no outcome yet")
    process.interrupt()
    assert process.end() == 130
    assert b"2 events had been sent and not answered: Gameball may have counted them" in process.out
    sandbox.script()
    resumed = Process("send", path, "--base-url", sandbox.url, *FAST, "--resume")
    assert resumed.end() == 0
    assert b"2 events may have arrived before" in resumed.err
    assert numbers(sandbox) == {"player0": [0, 1], "player1": [0, 1]}


def test_after_kill_9_resume_loses_nothing_keeps_the_order_and_repeats_at_most_a_moment(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = written(tmp_path / "events", events_of(players=7, each=40))
    process = Process("send", path, "--base-url", sandbox.url, *SLOW)
    sandbox.wait_for(lambda tally: tally.applied >= 100, timeout=60)  # two and a half seconds, so two notes
    process.interrupt(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    sandbox.wait_for(lambda tally: tally.in_flight == 0)
    applied = sandbox.stats().events
    resumed = Process("send", path, "--base-url", sandbox.url, *FAST, "--resume")
    assert resumed.end() == 0
    assert b"The run before was killed." in resumed.err
    before = int(found(rb"Resuming: (\d+) rows had an outcome before", resumed.err))
    held = numbers(sandbox)
    repeated = sum(map(len, held.values())) - 280
    assert before > 0
    assert repeated == applied - before  # what had arrived since the last note
    for sequence in held.values():
        again = next((at for at in range(1, len(sequence)) if sequence[at] <= sequence[at - 1]), len(sequence))
        first, second = sequence[:again], sequence[again:]
        assert first == list(range(len(first)))
        assert second == list(range(second[0], 40)) if second else len(first) == 40
        assert not second or second[0] <= len(first)


def test_a_second_run_does_not_go_on_while_the_first_is_at_work(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.hang())
    path = written(tmp_path / "events", events_of(players=1, each=1))
    first = Process("send", path, "--base-url", sandbox.url)
    sandbox.wait_for(lambda tally: tally.in_flight == 1, timeout=100)
    second = Process("send", path, "--base-url", sandbox.url, "--resume")
    assert second.end() == 2
    assert b"another run is using" in second.err
    first.interrupt(signal.SIGKILL)
    first.end()


def test_a_server_that_is_down_is_told_tried_again_and_left_by_ctrl_c(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    path = written(tmp_path / "events", events_of(players=1, each=1))
    process = Process("send", path, "--base-url", f"http://127.0.0.1:{port}", "--drain", "0")
    process.wait_for(b"Gameball has accepted nothing for")
    process.interrupt()
    assert process.end() == 130
    assert b"--resume" in process.out
    with Sandbox(port=port) as sandbox:
        assert Process("send", path, "--base-url", sandbox.url, "--resume").end() == 0
        assert numbers(sandbox) == {"player0": [0]}


# ------------------------------------------------------------------ pipes


def test_what_comes_through_a_pipe_is_sent_before_the_pipe_ends(sandbox: Sandbox) -> None:
    process = Process("send", "-", "--base-url", sandbox.url, stdin=subprocess.PIPE)
    assert process.stdin is not None
    for number in range(3):
        process.stdin.write(json.dumps({"player": "p", "event": "e", "metadata": {"n": number}}).encode() + b"\n")
        process.stdin.flush()
        sandbox.wait_for(lambda tally, number=number: tally.applied == number + 1, timeout=100)  # type: ignore[misc]
    process.stdin.close()
    assert process.end() == 0
    assert numbers(sandbox) == {"p": [0, 1, 2]}


def test_ctrl_c_ends_a_run_that_waits_for_its_pipe(sandbox: Sandbox) -> None:
    process = Process("send", "-", "--base-url", sandbox.url, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b'{"player": "p", "event": "e"}\n')
    process.stdin.flush()
    sandbox.wait_for(lambda tally: tally.applied == 1, timeout=100)
    process.interrupt()
    assert process.end() == 130
    assert b"Lines with an outcome: 1 to 1." in process.out


def test_a_pipe_can_be_gone_on_with_if_its_progress_was_noted(sandbox: Sandbox, tmp_path: Path) -> None:
    text = written(tmp_path / "events", events_of(players=1, each=3)).read_bytes()
    first = Process("send", "-", "--base-url", sandbox.url, "--progress", "noted", stdin=subprocess.PIPE)
    assert first.stdin is not None
    first.stdin.write(text.splitlines(keepends=True)[0])
    first.stdin.flush()
    sandbox.wait_for(lambda tally: tally.applied == 1, timeout=100)
    first.interrupt()
    assert first.end() == 130
    second = Process("send", "-", "--base-url", sandbox.url, "--progress", "noted", "--resume", stdin=subprocess.PIPE)
    assert second.stdin is not None
    second.stdin.write(text)
    second.stdin.close()
    assert second.end() == 0
    assert numbers(sandbox) == {"player0": [0, 1, 2]}


# ------------------------------------------------------------------ terminals


class Terminal:
    """A pseudo-terminal, and what was written to it."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        self.text = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self.text += data
        except OSError:
            pass  # Linux's way of saying that the last one has closed it

    def close(self) -> bytes:
        os.close(self.slave)
        self._thread.join(10)
        os.close(self._master)
        return self.text


def on_a_terminal(*args: object, **environment: str) -> bytes:
    terminal = Terminal()
    done = subprocess.run(
        [sys.executable, "-m", "gameball_async.cli", *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=terminal.slave,
        stderr=terminal.slave,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        check=False,
        timeout=60,
    )
    text = terminal.close()
    assert done.returncode == 0, text
    assert KEY.encode() not in text
    return text


COLOUR = re.compile(rb"\x1b\[[0-9;]*(3[0-9]|4[0-9]|38;5;[0-9]+)(;[0-9]+)*m")


def test_on_a_terminal_there_is_a_bar_and_a_table(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=10, each=5))
    text = on_a_terminal("send", path, "--base-url", sandbox.url, *FAST)
    assert b"\x1b[?25l" in text  # the cursor is hidden while the bar moves,
    assert b"\x1b[?25h" in text  # and shown again
    assert "━" in text.decode()
    assert b"50 events delivered, 50 requests" in text
    assert "╭" in text.decode()
    assert COLOUR.search(text)


def test_no_color_is_respected(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=10, each=5))
    text = on_a_terminal("send", path, "--base-url", sandbox.url, *FAST, NO_COLOR="1")
    assert b"50 events delivered" in text
    assert not COLOUR.search(text)


def test_the_doctor_s_verdicts_are_coloured_on_a_terminal_alone(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal = on_a_terminal("doctor", "--base-url", sandbox.url)
    assert COLOUR.search(on_terminal)
    assert b"All that was checked is well." in on_terminal
    assert not COLOUR.search(on_a_terminal("doctor", "--base-url", sandbox.url, NO_COLOR="1"))
    assert not COLOUR.search(invoke("doctor", "--base-url", sandbox.url).stdout_bytes)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert COLOUR.search(invoke("doctor", "--base-url", sandbox.url).stdout_bytes)


@pytest.mark.parametrize("name", ["a\x1b]0;owned\x07.ndjson", "[bold]é.ndjson"])
def test_the_name_of_a_file_does_not_steer_the_terminal(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, events_of(players=1, each=1))
    text = on_a_terminal("send", path, "--base-url", sandbox.url, *FAST).decode()
    assert "\x1b]0;" not in text
    assert "\\x1b]0;owned\\x07" in text or "[bold]é" in text


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1", "TERM": "xterm"}])
def test_without_a_terminal_there_are_plain_lines(
    sandbox: Sandbox, tmp_path: Path, environment: dict[str, str]
) -> None:
    path = written(tmp_path / "events", [*events_of(players=1, each=1), {"player": "p"}])
    process = Process("send", path, "--base-url", sandbox.url, *FAST, environment=environment)
    assert process.end() == 1
    text = (process.out + process.err).decode()
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.isascii()
    assert "accepted by Gameball" in text


# ------------------------------------------------------------------ memory


def peak_memory(*args: object) -> int:
    """Run a command and return its peak memory in bytes."""
    process = subprocess.Popen([sys.executable, "-m", "gameball_async.cli", *map(str, args)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = json.dumps({"player": "p", "event": "e", "metadata": {"text": "x" * 2_000}}) + "\n"
    (tmp_path / "small").write_text(line * 200)
    (tmp_path / "large").write_text(line * 20_000)
    small, large = (peak_memory("send", tmp_path / name, "--dry-run") for name in ("small", "large"))
    assert large - small < 8 * 1024 * 1024  # the large file has 41 MB


# ------------------------------------------------------------------ an output that nobody can read


def entered(redirection: str, *args: object, buffered: bool) -> subprocess.CompletedProcess[bytes]:
    """Run the command with its output redirected by a shell."""
    words = [sys.executable, "-m", "gameball_async.cli", *map(str, args)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    line = f"{shlex.join(words)} {redirection}"
    return subprocess.run(["sh", "-c", line], capture_output=True, env=environment, check=False, timeout=100)


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", [["--help"], ["journal", "status", "."]], ids=" ".join)
def test_an_output_on_a_full_disk_is_told_in_one_line(command: list[str], *, buffered: bool) -> None:
    done = entered(">/dev/full", *command, buffered=buffered)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == ["Error: the output cannot be written: No space left on device"]


@pytest.mark.parametrize("redirection", [">/dev/full", "2>/dev/full", ">&- 2>&-"])
def test_whether_its_words_can_be_read_or_not_a_run_does_what_it_was_asked_to(
    redirection: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = written(tmp_path / "events", events_of(players=3, each=2))
    done = entered(redirection, "send", path, "--base-url", sandbox.url, *FAST, buffered=True)
    assert done.returncode == (1 if redirection == ">/dev/full" else 0)
    assert b"Traceback" not in done.stderr
    assert numbers(sandbox) == {f"player{player}": [0, 1] for player in range(3)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events"]


def test_a_reader_that_leaves_ends_the_words_without_one_more(tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=1, each=1))
    done = entered("| true", "send", path, "--dry-run", buffered=True)
    assert done.stderr == b""
