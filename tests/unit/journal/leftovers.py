"""Folders as they are after kill -9, and damage to the files in them."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import attrs

from gameball_async import DeadLetters
from gameball_async._core.receipts import JobId

from .helpers import Desk, opened, row, rows

PAGE = 4096
HEADER, FRAME = 32, 24 + PAGE
"""Bytes of the header of a `-wal`, and of each of its frames."""


@attrs.frozen
class Left:
    """What a process has left that was killed.

    Attributes:
        folder: its journal.
        alive: the seqs of the events that were acknowledged and not removed.
    """

    folder: Path
    alive: frozenset[int]

    @property
    def main(self) -> Path:
        """The database."""
        [stem] = {path.name.partition(".")[0] for path in self.folder.iterdir() if path.name.startswith("0")}
        return self.folder / f"{stem}.journal"

    @property
    def wal(self) -> Path:
        """The `-wal`."""
        return self.main.with_name(self.main.name + "-wal")

    @property
    def mark(self) -> Path:
        """The mark."""
        return self.main.with_suffix(".mark")


def killed(folder: Path, groups: int = 20, *, size: int = 500, removes: bool = False) -> Left:
    """What is left by a process that stored events in groups of ten, and maybe removed every third."""
    live = folder.with_name(folder.name + "-live")
    alive: set[int] = set()
    with opened(live) as desk:
        for first in range(1, 10 * groups + 1, 10):
            assert set(desk.append(*rows(first, first + 9, size=size))) == {None}
            alive |= set(range(first, first + 10))
            if removes:
                gone = [seq for seq in range(first, first + 10) if seq % 3 == 0]
                desk.writer.ack(desk.own, gone)
                desk.read(most_events=1)
                alive -= set(gone)
        shutil.copytree(live, folder)  # what kill -9 leaves: everything that was written, nothing that was not
    shutil.rmtree(live)
    return Left(folder, frozenset(alive))


@attrs.frozen
class Found:
    """What the next client makes of a folder.

    Attributes:
        arrived: the seqs that it would send.
        lost: how many events it reports as lost.
        jobs: the jobs that it would follow, by the seq of the first event.
    """

    arrived: list[int]
    lost: int
    jobs: dict[int, JobId]

    def check(self, left: Left) -> None:
        """Assert that nothing is missing without a report, sent twice, or sent although it was removed."""
        assert len(self.arrived) == len(set(self.arrived))
        assert set(self.arrived) <= left.alive
        assert self.lost >= len(left.alive) - len(self.arrived)


def start(folder: Path) -> Found:
    """Start a client, take everything that it finds, and close it."""
    arrived: list[int] = []
    jobs: dict[int, JobId] = {}
    lost = 0
    with opened(folder) as desk:
        for source in desk.sources[:-1]:
            seqs = [event.seq for batch in source.sealed for event in batch]
            jobs |= source.jobs
            missing = source.events - len(seqs)
            for event_seqs, unreadable in _read(desk, source.segment):
                seqs += event_seqs
                missing -= len(event_seqs) + unreadable
                lost += unreadable
            lost += missing
            arrived += seqs
            desk.writer.ack(source.segment, seqs or [0])
            desk.writer.discard(source.segment)
        assert desk.append(row(1)) == [None]
        desk.writer.ack(desk.own, [1])
    return Found(arrived, lost, jobs)


def _read(desk: Desk, segment: int) -> Iterator[tuple[list[int], int]]:
    after, is_last = 0, False
    while not is_last:
        loaded = desk.read(after=after, segment=segment, most_events=5000)
        after = max((event.seq for event in loaded.rows), default=after)
        is_last = loaded.is_last
        yield [event.seq for event in loaded.rows], loaded.unreadable


def letters(folder: Path) -> list[str]:
    """The kinds of the dead letters."""
    return [str(letter.kind) for letter in DeadLetters(folder)]


# ---------------------------------------------------------------- damage


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Change one bit of a file; a negative place counts from its end."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def zero(path: Path, at: int, length: int) -> None:
    """Fill a part of a file with zeros."""
    content = bytearray(path.read_bytes())
    content[at : at + length] = bytes(length)
    path.write_bytes(content)


def frames(wal: Path) -> list[tuple[int, int]]:
    """The page and the size after a commit of each frame of a `-wal`, old ones included."""
    content = wal.read_bytes()
    return [struct.unpack_from(">2I", content, at) for at in range(HEADER, len(content), FRAME)]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
