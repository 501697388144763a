"""What someone at a terminal sees and answers: the question before anything is sent, and words that stay whole."""

from __future__ import annotations

import io
import itertools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, ClassVar, TextIO

import pytest

from gameball_async.cli._options import ClientOptions
from gameball_async.cli._send import SendOptions, count
from gameball_async.cli._terminal import is_confirmed
from gameball_async.sandbox import Fault, Sandbox

from .conftest import FAST, KEY, events_of, invoke, numbers, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if sys.platform != "win32":
    import fcntl
    import termios

_IN_A_SESSION = "import os, sys; os.login_tty(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


class Session:
    """The command in a terminal of its own, which types and hangs up; its standard streams are the terminal."""

    started: ClassVar[list[Session]] = []

    def __init__(self, *args: object, columns: int = 80, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        words = [sys.executable, "-m", "gameball_async.cli", *map(str, args)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_SESSION, str(slave), *words],
            pass_fds=[slave],
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(slave)
        self.started.append(self)
        self.text = b""
        self._is_open = True
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux's way of saying that the last one has closed it
                data = b""
            with self._news:
                self.text += data
                self._is_open = bool(data)
                self._news.notify_all()
            if not data:
                return

    def wait_for(self, text: bytes) -> None:
        with self._news:
            self._news.wait_for(lambda: text in self.text or not self._is_open, 50)
        assert text in self.text, self.text

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def interrupt(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        code = self._process.wait(50)
        self._thread.join(50)
        assert KEY.encode() not in self.text
        assert b"Traceback" not in self.text, self.text
        return code

    def hang_up(self) -> int:
        """Close the terminal, as closing its window does, and wait for the end."""
        self._process.send_signal(signal.SIGSTOP)  # so that its thread here cannot be in the midst of a read
        os.close(self._master)
        self._process.send_signal(signal.SIGCONT)
        return self._process.wait(50)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(autouse=True)
def _no_session_outlives_its_test() -> Iterator[None]:
    yield
    while Session.started:
        Session.started.pop().close()


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rows = [
        *({"player": f"p{number}", "event": "purchase"} for number in range(3)),
        {"player": "p1", "event": "return"},
        {"player": "p1"},
    ]
    return written(tmp_path / "events.ndjson", rows)


# ------------------------------------------------------------------ the question


def test_at_a_terminal_the_events_and_the_destination_are_shown_and_nothing_is_sent_before_a_yes(
    events: Path, sandbox: Sandbox
) -> None:
    session = Session("send", events, "--base-url", sandbox.url, *FAST)
    session.wait_for(b"[y/N]")
    assert sandbox.stats().arrived == 0
    text = session.text.decode()
    assert f"events.ndjson to {sandbox.url}:" in text
    assert re.search(r'\b3  "purchase"', text)
    assert re.search(r'\b1  "return"', text)
    assert re.search(r"\b1  cannot be sent", text)
    assert "Send 4 events?" in text
    assert "to Gameball" not in text
    session.type(b"y\n")
    assert session.end() == 1  # one row is not valid
    assert sandbox.stats().events == 4
    assert b"to Gameball" not in session.text


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"\x04"], ids=["no", "nothing", "end of file"])
def test_without_a_yes_nothing_is_sent_and_nothing_is_left_behind(
    events: Path, sandbox: Sandbox, tmp_path: Path, answer: bytes
) -> None:
    session = Session("send", events, "--base-url", sandbox.url, *FAST)
    session.wait_for(b"[y/N]")
    session.type(answer)
    assert session.end() == 1
    assert b"Nothing was sent." in session.text
    assert b"Aborted" not in session.text
    assert sandbox.stats().arrived == 0
    assert [file.name for file in tmp_path.iterdir()] == ["events.ndjson"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_question_is_an_interruption(
    events: Path, sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    session = Session("send", events, "--base-url", sandbox.url, *FAST)
    session.wait_for(b"[y/N]")
    session.interrupt(number)
    assert session.end() == 130
    assert sandbox.stats().arrived == 0
    assert [file.name for file in tmp_path.iterdir()] == ["events.ndjson"]


def test_a_signal_just_before_the_answer_is_read_is_handled_within_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python runs a handler only between calls, so that no call may wait for the answer without an end."""
    master, slave = pty.openpty()
    waits: list[float] = []
    unpatched = select.select

    def recorded(read: list[TextIO], write: list[TextIO], other: list[TextIO], seconds: float) -> object:
        waits.append(seconds)
        if len(waits) == 3:
            os.write(master, b"yes\n")
        return unpatched(read, write, other, seconds)

    with os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(select, "select", recorded)
        assert is_confirmed("Send 4 events?", sys.stdout)
    os.close(master)
    assert len(waits) >= 3
    assert all(0 < seconds <= 1 for seconds in waits)
    assert capsys.readouterr().out == "Send 4 events? [y/N]: "


@pytest.mark.parametrize(
    "stdin",
    [None, io.StringIO(""), io.StringIO("yes, all"), io.StringIO("n\n")],
    ids=["closed", "empty", "more", "no"],
)
def test_only_a_yes_confirms(stdin: TextIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert not is_confirmed("Send 4 events?", sys.stdout)


@pytest.mark.parametrize("option", ["--yes", "--sandbox", "--dry-run"])
def test_what_was_agreed_to_or_sends_nothing_to_anybody_is_not_asked_for(
    events: Path, sandbox: Sandbox, option: str
) -> None:
    session = Session("send", events, option, "--base-url", sandbox.url, *FAST)
    assert session.end() == 1
    assert b"[y/N]" not in session.text
    assert sandbox.stats().events == (4 if option == "--yes" else 0)


def test_a_run_that_is_gone_on_with_shows_what_is_left(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=1, each=3))
    sandbox.script(Fault.status(503, start=0.0))
    first = Session("send", path, "--yes", "--base-url", sandbox.url, *FAST, "--drain", "0")
    sandbox.wait_for(lambda tally: tally.arrived >= 1, timeout=50)
    first.type(b"\x03")  # Ctrl-C
    assert first.end() == 130
    sandbox.script()
    second = Session("send", path, "--resume", "--base-url", sandbox.url, *FAST)
    second.wait_for(b"Send 3 events? [y/N]")
    second.type(b"y\n")
    assert second.end() == 0
    assert numbers(sandbox) == {"player0": [0, 1, 2]}


def test_what_comes_through_a_pipe_is_not_read_for_the_question(sandbox: Sandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    session = Session("send", tmp_path / "pipe", "--base-url", sandbox.url, *FAST)
    session.wait_for(b"cannot be counted")
    session.type(b"y\n")
    with (tmp_path / "pipe").open("w") as pipe:
        pipe.write('{"player": "p", "event": "e", "metadata": {"n": 1}}\n')
    assert session.end() == 0
    assert numbers(sandbox) == {"p": [1]}


def test_a_terminal_that_is_closed_stops_a_run_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=5, each=60))
    session = Session("send", path, "--yes", "--base-url", sandbox.url, "--per-second", "20")
    sandbox.wait_for(lambda tally: tally.applied >= 5, timeout=50)
    assert session.hang_up() == 130
    assert sandbox.stats().arrived == sandbox.stats().applied < 300
    assert invoke("send", path, "--resume", "--base-url", sandbox.url, *FAST).exit_code == 0
    assert numbers(sandbox) == {f"player{player}": list(range(60)) for player in range(5)}


def test_what_is_odd_is_shown_before_the_question(sandbox: Sandbox, tmp_path: Path) -> None:
    path = written(tmp_path / "events", [{"player": player, "event": "visit"} for player in ("17850", "17850 ")])
    session = Session("send", path, "--base-url", sandbox.url)
    session.wait_for(b"[y/N]")
    text = " ".join(session.text.decode().split())
    assert "line 2: 1 row with unusual spaces or invisible characters in the player's id" in text
    session.type(b"n\n")
    session.end()
    assert sandbox.stats().arrived == 0


def test_a_file_that_takes_too_long_to_count_is_estimated(tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=10, each=1000))
    tenths = itertools.count()
    options = SendOptions(paths=(str(path),))
    preview = count(options, [], lambda: next(tenths) / 10)
    assert not preview.is_complete
    assert 0 < preview.events.total() < 10_000
    assert preview.rows == pytest.approx(10_000, rel=0.2)
    assert "of about " in preview.question()


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        (None, "Gameball (api.gameball.co)"),
        ("https://api.gameball.co", "Gameball (api.gameball.co)"),
        ("https://API.Gameball.co.", "Gameball (API.Gameball.co.)"),
        ("https://staging.gameball.co/v", "Gameball (staging.gameball.co)"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("https://gameball.example/", "https://gameball.example"),
        ("https://notgameball.co", "https://notgameball.co"),
        ("https://api.gameball.co.example.org", "https://api.gameball.co.example.org"),
        ("https://api.gameball.co@example.org/x", "https://example.org/x"),
    ],
)
def test_the_destination_is_gameball_only_if_the_host_is_gameball_s(base_url: str | None, words: str) -> None:
    assert ClientOptions(address={} if base_url is None else {"base_url": base_url}).destination == words


# ------------------------------------------------------------------ words


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07")


def shown(text: bytes, columns: int) -> list[str]:
    """Return the lines on the screen, cut where a terminal of this width would cut them."""
    lines = ESCAPES.sub("", text.decode()).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line[at : at + columns] for line in lines for at in range(0, max(1, len(line)), columns)]


@pytest.mark.parametrize(
    "command",
    [
        ["send", "events.ndjson", "--yes"],
        ["send", "events.ndjson", "--dry-run"],
        ["send", "events.ndjson", "--resume"],
        ["doctor"],
        ["send", "--help"],
        ["send", "--evnet"],
    ],
    ids=" ".join,
)
def test_no_word_is_broken_at_the_edge_of_a_terminal(events: Path, sandbox: Sandbox, command: list[str]) -> None:
    with events.open("a") as file:
        file.write('{"player": "p1", "event": "e", "metadata": {"a": [[1]]}}\n')
    wide = Session(*command, "--base-url", sandbox.url, columns=1000, NO_COLOR="1")
    wide.end()
    words = set(ESCAPES.sub(" ", wide.text.decode()).split())
    for columns in (40, 60, 80, 200):
        narrow = Session(*command, "--base-url", sandbox.url, columns=columns, NO_COLOR="1")
        narrow.end()
        text, _, _ = narrow.text.partition(b"Examples:")  # commands to copy are kept in one piece
        told = [word for line in shown(text, columns) for word in line.split() if word.isalpha()]
        assert [word for word in told if word not in words] == [], columns
