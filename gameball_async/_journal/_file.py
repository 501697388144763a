"""One SQLite file of events: append, seal, forget, read. Whoever calls decides about transactions and failures."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from . import _schema
from ._rows import Row

HEADROOM = 4 * 1024 * 1024
"""Bytes beyond the limit: for the appends that were on their way, and once more for what deletes and seals need."""

_COLUMNS = "seq, player, name, encoded, mobile, email, accepted_at, together, checksum"

Record = tuple[Any, ...]
"""An event's columns as they lie in the file, right or not."""


@attrs.frozen
class Reading:
    """Events that were read, and those that were found damaged instead.

    Attributes:
        rows: events in order of their seq.
        damaged: the seq of what is no event any more, and what of it could be read.
        is_last: whether nothing lies behind them.
    """

    rows: list[Row]
    damaged: list[tuple[int, bytes]]
    is_last: bool


class JournalFile:
    """An open file; its path exists, and its lock is held.

    Args:
        path: where it is.
        max_bytes: bytes of events, at most; None for a file that gets no more events.

    Attributes:
        path: where it is.
        file_id: its name for ever.
        next_seq: one more than the greatest seq that ever was in it.
        events: how many events lie in it.
        sealed: the batches that it was opened with.
        used_bytes: bytes in use as of the last commit, without the pages that were freed.

    Raises:
        sqlite3.Error: if it cannot be opened.
        DamagedError: if it is no journal.
        NewerSchemaError: if a later version wrote it.
        BlankError: if nothing is in it.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self._db = _schema.connect(path)
        self._members_of: dict[int, list[int]] = {}
        self._held: set[int] = set()
        try:
            _schema.bring_up_to_date(self._db)
            self.file_id, self.next_seq, self.events = self._stored = _state(self._db)
            page_size = _schema.pragma(self._db, "page_size")
            self._page_size = page_size
            self._most_pages = None if max_bytes is None else (max_bytes + HEADROOM) // page_size
            self._more_pages: int | None = None
            self.sealed = self._load_sealed()
            self.used_bytes = self._measure()
        except BaseException:
            self._db.close()
            raise

    def _allow(self, more: int) -> None:
        """Let the file grow to its limit and some pages more."""
        if self._most_pages is not None and more != self._more_pages:
            self._more_pages = more
            self._db.execute(f"PRAGMA max_page_count={self._most_pages + more}")

    def _measure(self) -> int:
        pages = _schema.pragma(self._db, "page_count") - _schema.pragma(self._db, "freelist_count")
        return pages * self._page_size

    @property
    def committed(self) -> tuple[int, int]:
        """The next seq and how many events lie in it, as of the last commit."""
        return self._stored[1:]

    @property
    def is_empty(self) -> bool:
        """Whether no event lies in it, looked up in the file itself."""
        return self._db.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None

    def check(self) -> None:
        """Look through the whole file for damage.

        Raises:
            DamagedError: with the first finding.
        """
        finding: bytes = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != b"ok":
            raise _schema.DamagedError(finding.decode(errors="replace"))

    def limit_wal(self, pages: int) -> None:
        """Move the `-wal` into the database as soon as it has so many pages, and let it get no larger for long."""
        self._db.execute(f"PRAGMA wal_autocheckpoint={pages}")
        self._db.execute(f"PRAGMA journal_size_limit={pages * self._page_size}")

    def shrink(self, most_used: int) -> None:
        """Give the disk back what was freed within the file, if no more than `most_used` bytes are still in use."""
        freed = _schema.pragma(self._db, "freelist_count") * self._page_size
        if self.used_bytes <= most_used < freed:
            self._db.execute("PRAGMA temp_store=MEMORY")  # the disk of the temporary files may be the full one
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close it; what was not committed is undone."""
        self._db.close()

    # ---------------------------------------------------------------- transactions

    def begin(self) -> None:
        """Begin a transaction."""
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """Make everything since `begin` durable."""
        state = (self.file_id, self.next_seq, self.events)
        if state != self._stored:
            self._db.execute("UPDATE state SET next_seq = ?, events = ?", (self.next_seq, self.events))
        used_bytes = self._measure()
        self._db.execute("COMMIT")
        self._stored, self.used_bytes = state, used_bytes

    # ---------------------------------------------------------------- changes

    def append(self, rows: Sequence[Row]) -> None:
        """Add events."""
        self._allow(0)
        self._db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*row, _schema.checksum_of_row(row)) for row in rows],
        )
        self.events += len(rows)
        self.next_seq = max(self.next_seq, rows[-1].seq + 1)

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove events; those that are not there are no matter."""
        self._allow(HEADROOM // self._page_size)
        self.events -= self._db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in seqs]).rowcount

    def seal(self, members: Sequence[int], mobile: str | None, email: str | None) -> None:
        """Note that these events, with this contact, are a batch which is about to be sent."""
        self._allow(HEADROOM // self._page_size)
        first, text = members[0], json.dumps([list(members), mobile, email])
        self._db.execute(
            "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?)", (first, text, _schema.checksum_of_batch(first, text))
        )
        self._release(first)
        self._hold(first, list(members))

    def unseal(self, first: int) -> None:
        """Forget the batch that begins with this event, but not its events."""
        if first in self._members_of:
            self._db.execute("DELETE FROM sealed WHERE first = ?", (first,))
            self._release(first)

    def forget(self, members: Sequence[int]) -> None:
        """Remove events that have their outcome, and the batch that begins with the first of them."""
        self.delete(members)
        self.unseal(members[0])

    def _hold(self, first: int, members: list[int]) -> None:
        self._members_of[first] = members
        self._held.update(members)

    def _release(self, first: int) -> None:
        self._held.difference_update(self._members_of.pop(first, ()))

    # ---------------------------------------------------------------- reading

    def read(self, after: int, most_events: int, most_bytes: int) -> Reading:
        """Read events that are in no sealed batch; see `JournalWriter.read`."""
        rows: list[Row] = []
        damaged: list[tuple[int, bytes]] = []
        size = 0
        with closing(records(self._db, "seq > ? ORDER BY seq", after)) as found:
            for record in found:
                if record[0] in self._held:
                    continue
                row = row_of(record)
                if row is None:
                    damaged.append((record[0], repr(record).encode()))
                    continue
                size += len(row.encoded)
                is_full = bool(rows) and (len(rows) >= most_events or size > most_bytes)
                if is_full and (row.together is None or row.together != rows[-1].together):
                    return Reading(rows, damaged, is_last=False)
                rows.append(row)
        return Reading(rows, damaged, is_last=True)

    def _load_sealed(self) -> list[list[Row]]:
        """The sealed batches; one that is damaged is one no more, and its events are ordinary ones again."""
        batches: list[list[Row]] = []
        for first, text, checksum in self._db.execute("SELECT * FROM sealed ORDER BY first").fetchall():
            batch = self._batch_of(first, text, checksum)
            if batch:
                batches.append(batch)
                self._hold(first, [row.seq for row in batch])
            else:
                self._db.execute("DELETE FROM sealed WHERE first = ?", (first,))
        return batches

    def _batch_of(self, first: int, text: bytes, checksum: int) -> list[Row] | None:
        sealed = sealed_of(first, text, checksum)
        if sealed is None:
            return None
        members, mobile, email = sealed
        rows = [row_of(record) for seq in members for record in records(self._db, "seq = ?", seq)]
        whole = [row for row in rows if row is not None and row.seq not in self._held]
        if len(whole) < len(members):
            return None
        # a part of a split batch may have its contact from an event of another part
        return [row._replace(mobile=mobile, email=email) for row in whole]


def records(db: sqlite3.Connection, condition: str, *parameters: int) -> Generator[Record, None, None]:
    """The events of a file as they lie there; the statement is ended with the iteration."""
    cursor = db.execute(f"SELECT {_COLUMNS} FROM events WHERE {condition}", parameters)  # noqa: S608 no value is in it
    try:
        yield from cursor
    finally:
        cursor.close()


def row_of(record: Record) -> Row | None:
    """The event that a record holds; None if its checksum is wrong."""
    seq, player, name, encoded, mobile, email, accepted_at, together, checksum = record
    try:
        mobile = None if mobile is None else mobile.decode()
        email = None if email is None else email.decode()
        row = Row(seq, player.decode(), name.decode(), encoded, mobile, email, accepted_at, together)
        return row if _schema.checksum_of_row(row) == checksum else None
    except (
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
    ):  # damage can give a column another type, or break its UTF-8
        return None


def sealed_of(first: int, text: bytes, checksum: int) -> tuple[list[int], str | None, str | None] | None:
    """The seqs of a sealed batch, its mobile number and its e-mail address; None if its checksum is wrong."""
    decoded = text.decode(errors="replace")
    if _schema.checksum_of_batch(first, decoded) != checksum:
        return None
    members, mobile, email = json.loads(decoded)
    return members, mobile, email


def _state(db: sqlite3.Connection) -> tuple[str, int, int]:
    found = db.execute("SELECT file_id, next_seq, events FROM state").fetchone()
    if found is None:
        raise _schema.DamagedError("its state is missing")
    file_id, next_seq, events = found
    return file_id.decode(errors="replace"), next_seq, events
