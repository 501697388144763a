"""What is saved from a damaged file: every event that can still be read goes to a fresh file of the same name.

A crash at any moment loses nothing: the fresh file is complete before the damaged one is set aside, and who finds it
finishes the exchange.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

from .._platform import sync_folder
from . import _schema
from ._file import JournalFile, records, row_of, sealed_of
from ._folder import SALVAGED, make_database, make_private
from ._rows import Row

_UNFINISHED = ".salvaging"
_GROUP = 1000  # events that are copied in one transaction
_SINGLE_STEPS = 1000  # seqs that are tried one by one behind damage, before the steps grow
_GREATEST = 2**63 - 1


def salvage(path: Path, reason: str, *, least_next_seq: int = 1) -> int:
    """Exchange a damaged file for one with the events that can be read; its lock must be held.

    Args:
        path: where it is; it is not open.
        reason: what is wrong with it.
        least_next_seq: the seq from which on the new file may go, at least.

    Returns:
        How many events were saved.

    Raises:
        OSError: if the new file cannot be written; the damaged one stays where it is.
        sqlite3.Error: likewise.
    """
    unfinished = path.with_suffix(_UNFINISHED)
    _remove(unfinished)
    saved = _copy(path, unfinished, least_next_seq)
    _tell(path, reason, saved)
    unfinished.rename(path.with_suffix(SALVAGED))
    sync_folder(path.parent)
    finish(path)
    return saved


def finish(path: Path) -> None:
    """Set the damaged file aside and let the fresh one take its place, if there is one.

    Raises:
        OSError: if a file cannot be renamed.
    """
    _remove(path.with_suffix(_UNFINISHED))
    fresh = path.with_suffix(SALVAGED)
    if not fresh.exists():
        return
    with suppress(FileNotFoundError):
        path.rename(_free(path, ".damaged"))
    with suppress(FileNotFoundError):  # it must not meet the fresh file: SQLite would write it into that
        _beside(path).rename(_free(path, ".damaged-wal"))
    fresh.rename(path)
    sync_folder(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _free(path: Path, suffix: str) -> Path:
    """A name for what is set aside that nothing has yet."""
    candidate, number = path.with_name(path.name + suffix), 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}{suffix}.{number}")
    return candidate


def _remove(path: Path) -> None:
    for name in (path, _beside(path)):
        name.unlink(missing_ok=True)


def _tell(path: Path, reason: str, saved: int) -> None:
    """Write beside the damaged file what happened to it."""
    note = path.with_name(path.name + ".damaged.txt")
    with suppress(FileExistsError):
        make_private(note)
    with note.open("a", encoding="utf-8") as file:
        file.write(
            f"{path.name} is damaged: {reason}\n"
            f"{saved} events could be read and were saved; they are sent as usual.\n"
            "The damaged file is kept for you to look at: delete it when you are done.\n"
        )
        file.flush()
        os.fsync(file.fileno())


# ---------------------------------------------------------------- copying


def _copy(path: Path, to: Path, least_next_seq: int) -> int:
    try:
        source = _schema.connect(path)
    except sqlite3.DatabaseError as error:
        if not _schema.is_damage(error):
            raise
        source = _schema.connect_to_nothing()
    with closing(source):
        file_id, next_seq = _identity(source)
        make_database(to, file_id=file_id, next_seq=max(next_seq, least_next_seq))
        with closing(JournalFile(to)) as file:
            group: list[Row] = []
            for row in _readable(source):
                group.append(row)
                if len(group) == _GROUP:
                    _store(file, group)
                    group = []
            _store(file, group)
            _seal(source, file)
            return file.events


def _store(file: JournalFile, rows: list[Row]) -> None:
    file.begin()
    if rows:
        file.append(sorted(rows, key=lambda row: row.seq))
    file.commit()


def _seal(source: sqlite3.Connection, file: JournalFile) -> None:
    """Copy the sealed batches; one that is not whole is dropped when the file is opened."""
    file.begin()
    with suppress(sqlite3.DatabaseError):
        for first, text, checksum in source.execute("SELECT * FROM sealed").fetchall():
            if sealed := sealed_of(first, text, checksum):
                file.seal(*sealed)
    file.commit()


def _identity(source: sqlite3.Connection) -> tuple[str | None, int]:
    """The name of the file, so that its dead letters are known again, and its next seq; as far as they can be read."""
    with suppress(sqlite3.DatabaseError, AttributeError, UnicodeDecodeError):
        for file_id, next_seq in source.execute("SELECT file_id, next_seq FROM state"):
            return file_id.decode(), next_seq
    return None, 1


def _readable(source: sqlite3.Connection) -> Iterator[Row]:
    """Every event that is whole: what lies before the damage, what lies behind it, then what lies between."""
    low = yield from _run(source, 0, _GREATEST)
    if low is None:
        return
    high = yield from _run(source, low, _GREATEST, backwards=True)
    at, step, failures = low, 1, 0
    while high is not None and at <= high:
        reached = yield from _run(source, at, high)
        if reached is None:
            return
        failures = 0 if reached > at else failures + 1
        step = 1 if failures <= _SINGLE_STEPS else step * 2
        at = reached + step
        if step > 1:  # what the step jumped over and lies behind the damage
            yield from _run(source, reached + 1, min(at - 1, high), backwards=True)


def _run(
    source: sqlite3.Connection, low: int, high: int, *, backwards: bool = False
) -> Generator[Row, None, int | None]:
    """The events from one seq to another, up to the first damage.

    Returns:
        The first seq in its direction that could not be read; None if there was no damage.
    """
    order, step, at = ("DESC", -1, high) if backwards else ("ASC", 1, low)
    try:
        with closing(records(source, f"seq BETWEEN ? AND ? ORDER BY seq {order}", low, high)) as found:
            for record in found:
                if (record[0] - at) * step < 0 or not low <= record[0] <= high:
                    return at  # a damaged tree can lead to a place where we were already
                at = record[0] + step
                row = row_of(record)
                if row is not None:
                    yield row
    except sqlite3.DatabaseError as error:
        if not _schema.is_damage(error):
            raise
        return at
    return None
