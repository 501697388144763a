"""One SQLite file of events: append, seal, forget, read. Whoever calls decides about transactions and failures."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import attrs

from .._platform import CAN_MOVE_OPEN_FILES
from . import schema
from .records import StoredEvent
from .schema import readable, records, row_of
from .state import CommitMark, SegmentState, text_of

HEADROOM = 4 * 1024 * 1024
"""Bytes beyond the limit: for the appends that were on their way, and once more for what deletes and seals need."""


@attrs.frozen
class ReadResult:
    """Events that were read, and those that were found damaged instead.

    Attributes:
        rows: events in order of their seq.
        damaged: the seq of what is no event any more, and what of it could be read.
        is_last: whether nothing lies behind them.
    """

    rows: list[StoredEvent]
    damaged: list[tuple[int, bytes]]
    is_last: bool


@attrs.define
class _FileIdentity:
    """A file that is open: its path, its device and inode, and its bytes after the last commit."""

    path: str
    device: int
    inode: int
    size: int

    @classmethod
    def of(cls, path: str) -> _FileIdentity:
        """What is at a path."""
        status = _status(path)
        return cls(path, status.st_dev, status.st_ino, status.st_size)


class SegmentFile:
    """An open file; its path exists, and its lock is held.

    Args:
        path: where it is.
        max_bytes: bytes of events, at most; None for a file that gets no more events.
        mark: where each commit is recorded beside the file.
        position: its place among the files of its folder, if an earlier version wrote it.

    Attributes:
        path: where it is.
        next_seq: one more than the greatest seq that ever was in it.
        events: how many events lie in it.
        sealed: the batches that it was opened with.
        damaged_batches: how many sealed batches could not be read.
        used_bytes: bytes in use as of the last commit, without the pages that were freed.

    Raises:
        sqlite3.Error: if it cannot be opened.
        DamagedError: if it is no journal.
        NewerSchemaError: if a later version wrote it.
        BlankError: if nothing is in it.
    """

    def __init__(
        self, path: Path, max_bytes: int | None = None, *, mark: CommitMark | None = None, position: int = 0
    ) -> None:
        self.path = path
        self._mark = mark
        self._db = schema.connect(path)
        self._members_of: dict[int, list[int]] = {}
        self._held: set[int] = set()
        self._places: list[_FileIdentity] = []
        self._wal: int | None = None  # to look at its size, in a tenth of the time of a path
        try:
            self._whole = state = schema.bring_up_to_date(self._db, position)
            self._fixed, self._commits, self._is_open = state.fixed, state.commits, state.is_open
            self.next_seq, self.events = self._stored = state.next_seq, state.events
            page_size = schema.pragma(self._db, "page_size")
            self._page_size = page_size
            self._most_pages = None if max_bytes is None else (max_bytes + HEADROOM) // page_size
            self._more_pages: int | None = None
            self.damaged_batches = 0
            self.sealed = self._load_sealed()
            self.used_bytes = self._measure()
            self._changes = self._db.total_changes
        except BaseException:
            self._db.close()
            raise

    def _allow(self, more: int) -> None:
        """Let the file grow to its limit and some pages more."""
        if self._most_pages is not None and more != self._more_pages:
            self._more_pages = more
            self._db.execute(f"PRAGMA max_page_count={self._most_pages + more}")

    def _measure(self) -> int:
        pages = schema.pragma(self._db, "page_count") - schema.pragma(self._db, "freelist_count")
        return pages * self._page_size

    @property
    def state(self) -> SegmentState:
        """Its state as of the last commit."""
        next_seq, events = self._stored
        return self._whole._replace(next_seq=next_seq, events=events, commits=self._commits, is_open=self._is_open)

    @property
    def file_id(self) -> str:
        """Its name for ever."""
        return self._whole.file_id

    @property
    def is_empty(self) -> bool:
        """Whether no event lies in it, by its state and by its table: damage can hide events from either."""
        return not self.events and self._db.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None

    @property
    def are_events_missing(self) -> bool:
        """Whether its state counts events and none is in its table."""
        with suppress(sqlite3.Error):
            return self.events > 0 and self._db.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None
        return False

    def check(self) -> None:
        """Look through the whole file for damage.

        Raises:
            DamagedError: with the first finding.
        """
        finding: bytes = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != b"ok":
            raise schema.DamagedError(finding.decode(errors="replace").splitlines()[-1])
        if self._db.execute("SELECT count(*) FROM events").fetchone() != (self.events,):
            raise schema.DamagedError("events are missing")

    def limit_wal(self, pages: int) -> None:
        """Move the `-wal` into the database as soon as it has so many pages, and let it get no larger for long."""
        self._db.execute(f"PRAGMA wal_autocheckpoint={pages}")
        self._db.execute(f"PRAGMA journal_size_limit={pages * self._page_size}")

    def shrink(self, most_used: int) -> None:
        """Give the disk back what was freed within the file, if no more than `most_used` bytes are still in use."""
        freed = schema.pragma(self._db, "freelist_count") * self._page_size
        if self.used_bytes <= most_used < freed:
            self._db.execute("PRAGMA temp_store=MEMORY")  # the disk of the temporary files may be the full one
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._places = []  # both are shorter now
            self._note_places()

    def close(self, *, is_done: bool = False) -> None:
        """Close it; what was not committed is undone.

        Args:
            is_done: whether to record that it was closed cleanly.
        """
        if is_done and self._is_open:
            with suppress(sqlite3.Error):  # on a full disk: it passes for a file whose process died
                self._db.execute("BEGIN")
                self._commit(is_open=False)
        if self._wal is not None:
            os.close(self._wal)  # no locks of SQLite's are on it
            self._wal = None
        self._db.close()

    # ---------------------------------------------------------------- transactions

    def record_use(self) -> None:
        """Record in the database itself, and not in its `-wal` alone, that a process has it open.

        So a file tells by itself, whatever becomes of the `-wal`, that there should be one.
        """
        if not self._is_open:
            self._db.execute("BEGIN")
            self._commit(is_open=True)
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._note_places()

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            MisplacedError: if the `-wal` is shorter than it was; after the commit it would only have a hole.
        """
        if self._wal is not None and os.lseek(self._wal, 0, os.SEEK_END) < self._places[-1].size:
            raise schema.MisplacedError(f"{self.path.name}-wal was truncated")
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """Make everything since `begin` durable.

        Raises:
            MisplacedError: if the files at its path are others.
        """
        if self._db.total_changes != self._changes or self.next_seq != self._stored[0]:
            self._commit(is_open=self._is_open)
        else:
            self._db.execute("COMMIT")
        self._note_places()

    def _commit(self, *, is_open: bool) -> None:
        next_seq, events, commits = self.next_seq, self.events, self._commits + 1
        text = text_of(next_seq, events, commits, is_open, self._fixed)
        self._db.execute(
            "UPDATE state SET next_seq = ?, events = ?, commits = ?, is_open = ?, checksum = ?",
            (next_seq, events, commits, is_open, crc32(text)),
        )
        used_bytes = self._measure()
        self._db.execute("COMMIT")
        self._stored, self._commits, self._is_open = (next_seq, events), commits, is_open
        self.used_bytes, self._changes = used_bytes, self._db.total_changes
        if self._mark is not None:
            self._mark.write(text)

    def assign(self, destination: str) -> None:
        """Record where its events go."""
        self._db.execute("BEGIN")
        self._db.execute("UPDATE state SET destination = ?", (destination,))
        self._whole = self._whole._replace(destination=destination)
        self._fixed = self._whole.fixed
        self._commit(is_open=self._is_open)

    # ---------------------------------------------------------------- moving on

    def readable(self) -> Iterator[StoredEvent]:
        """Every event that can be read, whatever has become of the file meanwhile."""
        return readable(self._db)

    def batches(self) -> list[tuple[list[int], str | None, str | None]]:
        """The sealed batches that can be read: the seqs, the mobile number and the e-mail address of each."""
        with suppress(sqlite3.DatabaseError):
            found = self._db.execute("SELECT * FROM sealed").fetchall()
            return [batch for columns in found if (batch := schema.sealed_of(*columns)) is not None]
        return []

    def clear(self) -> None:
        """Remove everything from it, as far as that can be: its events are in another file now."""
        with suppress(sqlite3.Error):
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM sealed")
            self._db.execute("DELETE FROM events")
            self.events = 0
            self._commit(is_open=False)

    # ---------------------------------------------------------------- its place

    def check_places(self) -> None:
        """Check that the open files are the ones at their path, and no shorter than they were after the last commit.

        Raises:
            MisplacedError: otherwise.
        """
        for place in self._places:
            if _status(place.path).st_size < place.size:
                raise schema.MisplacedError(f"{Path(place.path).name} was truncated")
        self._note_places()

    def _note_places(self) -> None:
        """Note the sizes after a commit; after the first one also what is at the path.

        Raises:
            MisplacedError: if the files at its path are others, or the database is shorter.
        """
        if not self._places:
            self._places = [_FileIdentity.of(str(self.path)), _FileIdentity.of(f"{self.path}-wal")]
            if self._wal is None and CAN_MOVE_OPEN_FILES:
                self._wal = os.open(self._places[-1].path, os.O_RDONLY)
            return
        for place in self._places:
            status = _status(place.path)
            size = status.st_size
            if status.st_ino != place.inode or status.st_dev != place.device:
                raise schema.MisplacedError(f"{Path(place.path).name} was replaced")
            if size < place.size and place is self._places[0]:  # SQLite itself truncates the `-wal` now and then
                raise schema.MisplacedError(f"{self.path.name} was truncated")
            place.size = size

    # ---------------------------------------------------------------- changes

    def append(self, rows: Sequence[StoredEvent]) -> None:
        """Add events."""
        self._allow(0)
        self._db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*row, schema.checksum_of_row(row)) for row in rows],
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
            "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?)", (first, text, schema.checksum_of_batch(first, text))
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

    def read(self, after: int, most_events: int, most_bytes: int) -> ReadResult:
        """Read events that are in no sealed batch; see `JournalWriter.read`."""
        rows: list[StoredEvent] = []
        damaged: list[tuple[int, bytes]] = []
        size, last = 0, after
        with closing(records(self._db, "seq > ? ORDER BY seq", after)) as found:
            for record in found:
                if record[0] <= last:  # a damaged tree can lead to a place where we were already
                    raise schema.DamagedError("its events are out of order")
                last = record[0]
                if last in self._held:
                    continue
                row = row_of(record)
                if row is None:
                    damaged.append((record[0], repr(record).encode()))
                    continue
                size += row.size
                is_full = bool(rows) and (len(rows) >= most_events or size > most_bytes)
                if is_full and (row.together is None or row.together != rows[-1].together):
                    return ReadResult(rows, damaged, is_last=False)
                rows.append(row)
        return ReadResult(rows, damaged, is_last=True)

    def _load_sealed(self) -> list[list[StoredEvent]]:
        """The sealed batches; one that is damaged is one no more, and its events are ordinary ones again."""
        batches: list[list[StoredEvent]] = []
        for first, text, checksum in self._db.execute("SELECT * FROM sealed ORDER BY first").fetchall():
            batch = self._batch_of(first, text, checksum)
            if batch:
                batches.append(batch)
                self._hold(first, [row.seq for row in batch])
            else:
                self.damaged_batches += 1
                self._db.execute("DELETE FROM sealed WHERE first = ?", (first,))
        return batches

    def _batch_of(self, first: int, text: object, checksum: object) -> list[StoredEvent] | None:
        sealed = schema.sealed_of(first, text, checksum)
        if sealed is None:
            return None
        members, mobile, email = sealed
        rows = [row_of(record) for seq in members for record in records(self._db, "seq = ?", seq)]
        whole = [row for row in rows if row is not None and row.seq not in self._held]
        if len(whole) < len(members):
            return None
        # a part of a split batch may have its contact from an event of another part
        return [row._replace(mobile=mobile, email=email) for row in whole]


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 half the time of Path.stat, and called four times for each group
    except (FileNotFoundError, NotADirectoryError):
        raise schema.MisplacedError(f"{Path(path).name} was removed or moved") from None
