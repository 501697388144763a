"""What the lives share: a process, visitors who send it requests, and the comparison of its book with the sandbox."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import httpx

from gameball_async.sandbox import Sandbox

TESTS = Path(__file__).parent.parent
KEY = "life-key-0123456789"
SOAK = float(os.environ.get("GAMEBALL_SOAK", "0"))
"""By how much the long variants are longer than the short ones; 0, the default, runs the short ones."""

_ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)")

# not counted: the listening socket that uvicorn's parent process leaves to the interpreter, and a hint
_WARNING = re.compile(rb"ResourceWarning: (?!unclosed <socket\.socket [^>]*laddr=\('127\.0\.0\.1', \d+\)>|Enable)")


class Process:
    """A program of `apps`, or a server that serves one; what it prints is read as it comes."""

    started: ClassVar[list[Process]] = []

    def __init__(self, *command: object, sandbox: Sandbox, book: Path, **environment: object) -> None:
        settings = {"GAMEBALL_API_KEY": KEY, "GAMEBALL_BASE_URL": sandbox.url, "BOOK": book, "PYTHONPATH": TESTS}
        settings["HOME"] = book.parent  # where gunicorn puts its control socket
        settings |= {"PYTHONWARNINGS": "always::ResourceWarning"} | environment
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-X", "faulthandler", *map(str, command)],
            cwd=book.parent,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {name: str(value) for name, value in settings.items()},
        )
        self.started.append(self)
        self.output = b""
        self._is_silent = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while data := os.read(stream.fileno(), 65536):
                with self._news:
                    self.output += data
                    self._news.notify_all()
        with self._news:
            self._is_silent = True
            self._news.notify_all()

    def wait_for(self, text: bytes, *, times: int = 1) -> None:
        """Block until this was printed so many times."""
        with self._news:
            self._news.wait_for(lambda: self.output.count(text) >= times or self._is_silent, 100)
        assert self.output.count(text) >= times, self.text

    @property
    def url(self) -> str:
        """Where it serves, as soon as it has said so."""
        with self._news:
            self._news.wait_for(lambda: _ADDRESS.search(self.output) or self._is_silent, 100)
        found = _ADDRESS.search(self.output)
        assert found, self.text
        return str(found[0], "ascii")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, as an orchestrator does."""
        self._process.send_signal(number)

    def ctrl_c(self) -> None:
        """Send SIGINT to it and its children, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self, *, timeout: float = 100, traceback: bool = False, warning: bool = False) -> int:
        """Wait for its end; returns the exit code, negative if it was a signal's.

        Args:
            timeout: seconds.
            traceback: whether it may print one: some servers do when they are interrupted.
            warning: whether a ResourceWarning is expected.
        """
        code = self._process.wait(timeout)
        self._reader.join()
        assert traceback or b"Traceback" not in self.output, self.text
        assert warning == bool(_WARNING.search(self.output)), self.text
        for words in (b"Fatal Python error", b"was never retrieved", b"was destroyed but it is pending", KEY.encode()):
            assert words not in self.output, self.text
        return code

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)


class Visitors:
    """Several visitors, who each send one request after another for players of their own until they are turned away.

    Args:
        url: where the service is, and the path of its handler.
        visitors: how many there are.
        requests: how many each sends at most.
        name: what their players' ids begin with.
    """

    def __init__(self, url: str, *, visitors: int = 6, requests: int = 2000, name: str = "player") -> None:
        self._url = url
        self._name = name
        self._requests = requests
        self.answered: dict[str, list[int]] = defaultdict(list)
        """The events that the service said it had tracked, by player."""
        self._threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(visitors)]
        for thread in self._threads:
            thread.start()

    def _visit(self, visitor: int) -> None:
        with httpx.Client(trust_env=False, verify=False, timeout=100) as http:
            for number in range(self._requests):
                player = f"{self._name}{visitor}-{number % 3}"
                try:
                    answer = http.post(f"{self._url}/{player}/{number}")
                except httpx.TransportError:
                    return
                if not answer.is_success:
                    return
                self.answered[player].append(number)

    def leave(self) -> None:
        """Wait until the last one has left."""
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


@attrs.frozen
class Figures:
    """A life in numbers."""

    accepted: int
    held: int
    reported: int
    repeated: int
    ambiguous: int


Source = tuple[int, str]
"""A process and a player: an order is promised among the events of both."""


class Comparison:
    """The book of a life beside what the sandbox holds.

    Args:
        book: the file that the processes wrote.
        sandbox: where they sent to.
        without: players whose events must not arrive, because the test says so.
    """

    def __init__(self, book: Path, sandbox: Sandbox, *, without: str = "") -> None:
        lines = [json.loads(line) for line in book.read_text().splitlines()]
        self.accepted = _numbers(line for line in lines if line["kind"] == "accepted" and line["player"] != without)
        reported = [line for line in lines if line["kind"] == "reported"]
        self.reported = _numbers(reported)
        self.uncertain = _numbers(line for line in reported if line["may_have_arrived"])
        self.closes: list[dict[str, Any]] = [line for line in lines if line["kind"] == "closed"]
        self.held = _numbers(
            {"player": player, **event.metadata} for player, events in sandbox.holdings().items() for event in events
        )
        self._sandbox = sandbox

    def check(self, *, processes: int = 1, concurrent: bool = False) -> Figures:
        """Assert that everything accepted is held or reported, in order; returns the numbers.

        Args:
            processes: how many have closed their clients.
            concurrent: whether requests of two processes for one player may have met.
        """
        assert set(self.held) | set(self.reported) <= set(self.accepted)
        for source, numbers in self.accepted.items():
            self._check_source(source, numbers)
        self._check_closes(processes)
        kinds = {violation.kind for violation in self._sandbox.violations}
        assert kinds <= ({"concurrent"} if concurrent else set())
        return self._figures()

    def _check_source(self, source: Source, accepted: list[int]) -> None:
        held, reported = list(dict.fromkeys(self.held.get(source, []))), self.reported.get(source, [])
        assert held == [number for number in accepted if number in set(held)]
        assert reported == [number for number in accepted if number in set(reported)]
        assert set(held) | set(reported) == set(accepted)
        assert set(held) & set(reported) <= set(self.uncertain.get(source, []))

    def _check_closes(self, processes: int) -> None:
        assert len({line["process"] for line in self.closes}) == processes
        assert all(line["accepted"] == line["settled"] for line in self.closes)
        assert sum(line["accepted"] for line in self.closes) == _count(self.accepted)
        # what arrived twice was a whole request, repeated because its answer was lost
        bodies = [request.digest for request in self._sandbox.requests if request.applied]
        assert len(bodies) - len(set(bodies)) <= self._ambiguous

    def check_answered(self, visitors: Visitors) -> None:
        """Assert that whatever a visitor was told to be tracked is in the book."""
        noted = {(player, number) for (_, player), numbers in self.accepted.items() for number in numbers}
        assert noted >= {(player, number) for player, numbers in visitors.answered.items() for number in numbers}

    @property
    def _ambiguous(self) -> int:
        return sum(line["ambiguous"] for line in self.closes)

    def _figures(self) -> Figures:
        distinct = sum(len(set(numbers)) for numbers in self.held.values())
        return Figures(
            accepted=_count(self.accepted),
            held=distinct,
            reported=_count(self.reported),
            repeated=_count(self.held) - distinct,
            ambiguous=self._ambiguous,
        )


def _numbers(lines: Any) -> Mapping[Source, list[int]]:
    numbers: dict[Source, list[int]] = defaultdict(list)
    for line in lines:
        numbers[line["process"], line["player"]].append(line["number"])
    return dict(numbers)


def _count(numbers: Mapping[Source, list[int]]) -> int:
    return sum(map(len, numbers.values()))
