"""A journal driven without an event loop: what the loop's thread would do is done in the test."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gameball_async._config import Journal
from gameball_async._core.events import Event
from gameball_async._core.receipts import JobId
from gameball_async._journal import Append, DeadLetterEntry, JournalWriter, Loaded, SegmentInfo, StoredEvent
from gameball_async._journal.records import SealRecord
from gameball_async.errors import JournalError, Rejected

LETTER = DeadLetterEntry(1, Event("player-1", "review", None, None, b'"review":{}'), Rejected("no", status=400))

CONTACT = ("+10005550100", None)
"""The mobile number and the e-mail address of every event here."""

_PATIENCE = 30.0  # seconds; far more than anything takes


class Asked(Append):
    """An append that hands on what it is told."""

    def __init__(self, rows: Sequence[StoredEvent], done: Callable[[JournalError | None], object]) -> None:
        self.rows = rows
        self._done = done

    def complete(self, error: JournalError | None) -> None:
        self._done(error)


class Desk:
    """A writer, and calls that wait for what they asked."""

    def __init__(self, folder: Path, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.writer = JournalWriter(Journal(str(folder), max_bytes=max_bytes))
        self.notified: queue.Queue[None] = queue.Queue()
        self.sources: list[SegmentInfo] = []

    def wait(self, start: Callable[[Callable[..., None]], object]) -> Any:
        """Call something with a `done`, and dispatch until it is called."""
        results: list[Any] = []
        start(lambda *values: results.append(values[0] if values else None))
        self.dispatch_until(lambda: bool(results))
        return results[0]

    def dispatch_until(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self.notified.get(timeout=_PATIENCE)
            self.writer.dispatch()

    def notify(self) -> None:
        self.notified.put(None)

    def open(self) -> list[SegmentInfo]:
        result = self.try_open()
        assert isinstance(result, list), result
        self.sources = result
        return result

    def try_open(self) -> list[SegmentInfo] | JournalError:
        result: list[SegmentInfo] | JournalError = self.wait(lambda done: self.writer.open(self.notify, done))
        return result

    @property
    def own(self) -> int:
        return self.sources[-1].segment

    def append(self, *rows: StoredEvent) -> list[JournalError | None]:
        """Append all of them at once, and wait for all."""
        results: list[JournalError | None] = []
        for row in rows:
            self.writer.append(Asked([row], results.append))
        self.dispatch_until(lambda: len(results) == len(rows))
        return results

    def seal(self, members: Sequence[int], segment: int | None = None, job: JobId | None = None) -> None:
        number = self.own if segment is None else segment
        self.wait(lambda done: self.writer.seal(number, [SealRecord(members, *CONTACT, job)], done))

    def read(
        self, after: int = 0, most_events: int = 1000, most_bytes: int = 1 << 20, segment: int | None = None
    ) -> Loaded:
        number = self.own if segment is None else segment
        result = self.wait(lambda done: self.writer.read(number, after, most_events, most_bytes, done))
        assert isinstance(result, Loaded), result
        return result

    def seqs(self, segment: int | None = None) -> list[int]:
        return [row.seq for row in self.read(segment=segment).rows]

    def close(self) -> None:
        self.wait(self.writer.close)


@contextmanager
def opened(folder: Path, max_bytes: int = 64 * 1024 * 1024) -> Generator[Desk]:
    desk = Desk(folder, max_bytes)
    desk.open()
    try:
        yield desk
    finally:
        desk.close()


def row(seq: int, *, together: int | None = None, size: int = 0, player: str = "player-1") -> StoredEvent:
    encoded = b'"review":{"note":"%s"}' % (b"x" * size)
    return StoredEvent(seq, player, "review", encoded, *CONTACT, 1_700_000_000.25 + seq, together)


def rows(first: int, last: int, size: int = 0) -> list[StoredEvent]:
    return [row(seq, size=size) for seq in range(first, last + 1)]


def written(folder: Path, events: Sequence[StoredEvent], *batches: Sequence[int]) -> Path:
    """A file with events whose owner has closed it; returns its path."""
    with opened(folder) as desk:
        assert set(desk.append(*events)) == {None}
        for batch in batches:
            desk.seal(batch)
    return newest(folder)


def newest(folder: Path) -> Path:
    return max(folder.glob("*.journal"))


def names(folder: Path) -> list[str]:
    """What lies in a folder, without the dead letters."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("dead-letters"))


def python(script: str, *arguments: object, under: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
    """A second process that runs a script."""
    return subprocess.Popen(
        [*under, sys.executable, "-X", "dev", "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def result_of(process: subprocess.Popen[str]) -> Any:
    """What a script printed last, as JSON."""
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])
