"""One open SQLite file of events: append, seal, ack, read. Callers manage transactions and handle failures."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import attrs

from .._core.receipts import JobId
from .._platform import CAN_MOVE_OPEN_FILES
from . import schema
from .records import SealRecord, StoredEvent
from .schema import readable, records, row_of
from .sqlite_image import wal_of
from .state import CommitMark, SegmentState, text_of

HEADROOM = 4 * 1024 * 1024
"""Bytes beyond the limit: for appends that were already queued, and as much again for deletes and seals."""


@attrs.frozen
class ReadResult:
    """Events that were read.

    Attributes:
        rows: intact events in order of their seq.
        damaged: the seq and the readable content of damaged events.
        is_last: whether the segment has no later events.
    """

    rows: list[StoredEvent]
    damaged: list[tuple[int, bytes]]
    is_last: bool


@attrs.define
class _FileIdentity:
    """Identify an open file by its path, its device and inode, and its size after the last commit."""

    path: str
    device: int
    inode: int
    size: int

    @classmethod
    def of(cls, path: str) -> _FileIdentity:
        """Identify the file at a path."""
        status = _status(path)
        return cls(path, status.st_dev, status.st_ino, status.st_size)


class SegmentFile:
    """An open file; it exists, and its lock is held.

    Args:
        path: its path.
        max_bytes: the size limit; None for a segment without appends.
        mark: records each commit beside the file.
        position: its position in the folder, for files of an earlier version.

    Attributes:
        path: its path.
        next_seq: the seq of the next event.
        events: the number of its events.
        sealed: the sealed batches found when it was opened.
        jobs: the jobs of those that were accepted, by the seq of their first event.
        damaged_batches: how many sealed batches were damaged.
        used_bytes: bytes in use as of the last commit, without freed pages.

    Raises:
        sqlite3.Error: if it cannot be opened.
        DamagedError: if it is not a journal.
        NewerSchemaError: if a later version wrote it.
        BlankError: if it has no tables.
    """

    def __init__(
        self, path: Path, max_bytes: int | None = None, *, mark: CommitMark | None = None, position: int = 0
    ) -> None:
        self.path = path
        self._mark = mark
        self._db = schema.connect(path)
        self._members_of: dict[int, list[int]] = {}
        self._sealed_seqs: set[int] = set()
        self._identities: list[_FileIdentity] = []
        self._wal_limit = sys.maxsize
        self._wal: int | None = None  # a descriptor reads the size in a tenth of the time that a path takes
        try:
            self._opened_state = state = schema.upgrade(self._db, position)
            self._fixed, self._commits, self._is_open = state.fixed, state.commits, state.is_open
            self.next_seq, self.events = self._stored = state.next_seq, state.events
            self._page_size = schema.pragma(self._db, "page_size")
            self._max_pages = None if max_bytes is None else (max_bytes + HEADROOM) // self._page_size
            self._extra_pages: int | None = None
            self.damaged_batches = 0
            self.jobs: dict[int, JobId] = {}
            self.sealed = self._load_sealed()
            self.used_bytes = self._measure()
            self._changes = self._db.total_changes
        except BaseException:
            self._db.close()
            raise

    def _allow(self, extra: int) -> None:
        """Set the size limit to `max_bytes` plus some pages."""
        if self._max_pages is not None and extra != self._extra_pages:
            self._extra_pages = extra
            self._db.execute(f"PRAGMA max_page_count={self._max_pages + extra}")

    def _measure(self) -> int:
        pages = schema.pragma(self._db, "page_count") - schema.pragma(self._db, "freelist_count")
        return pages * self._page_size

    @property
    def state(self) -> SegmentState:
        """The state as of the last commit."""
        next_seq, events = self._stored
        return self._opened_state._replace(
            next_seq=next_seq, events=events, commits=self._commits, is_open=self._is_open
        )

    @property
    def file_id(self) -> str:
        """The permanent id of the file."""
        return self._opened_state.file_id

    @property
    def is_empty(self) -> bool:
        """Whether state and table both say that it has no events: damage can hide events from either."""
        return not self.events and not self._has_rows()

    @property
    def are_events_missing(self) -> bool:
        """Whether the state counts events but the table has none."""
        with suppress(sqlite3.Error):
            return self.events > 0 and not self._has_rows()
        return False

    def _has_rows(self) -> bool:
        return self._db.execute("SELECT 1 FROM events LIMIT 1").fetchone() is not None

    def check(self) -> None:
        """Check the whole file for damage.

        Raises:
            DamagedError: with the first finding.
        """
        finding: bytes = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != b"ok":
            raise schema.DamagedError(finding.decode(errors="replace").splitlines()[-1])
        if self._db.execute("SELECT count(*) FROM events").fetchone() != (self.events,):
            raise schema.DamagedError("events are missing")

    def limit_wal(self, pages: int) -> None:
        """Checkpoint the `-wal` when it has this many pages, and truncate it to that size."""
        self._wal_limit = pages * self._page_size
        self._db.execute(f"PRAGMA wal_autocheckpoint={pages}")
        self._db.execute(f"PRAGMA journal_size_limit={self._wal_limit}")

    def shrink(self, max_used: int) -> None:
        """Return freed pages to the disk, if at most `max_used` bytes are in use and most of the file is free."""
        freed = schema.pragma(self._db, "freelist_count") * self._page_size
        if self.used_bytes <= max_used < freed:
            self._db.execute("PRAGMA temp_store=MEMORY")  # the disk of the temporary files may be the full one
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._identities = []  # both files are smaller now
            self._update_identities()

    def close(self, *, is_clean: bool = False) -> None:
        """Close it and roll back uncommitted changes; a clean close is recorded in the file."""
        if is_clean and self._is_open:
            with suppress(sqlite3.Error):  # full disk: the next start treats it as a file of a dead process
                self._db.execute("BEGIN")
                self._commit(is_open=False)
        if self._wal is not None:
            os.close(self._wal)  # SQLite has no locks on it
            self._wal = None
        self._db.close()

    # ---------------------------------------------------------------- transactions

    def record_use(self) -> None:
        """Record in the database itself, not only in its `-wal`, that a process has it open.

        This shows later that a `-wal` must exist.
        """
        if not self._is_open:
            self._db.execute("BEGIN")
            self._commit(is_open=True)
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._update_identities()

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            MisplacedError: if the `-wal` is shorter than before; a commit would leave a hole in it.
        """
        if self._wal is not None and os.lseek(self._wal, 0, os.SEEK_END) < self._identities[-1].size:
            raise schema.MisplacedError(f"{self.path.name}-wal was truncated")
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """Make all changes since `begin` durable.

        Raises:
            MisplacedError: if other files are at its path.
        """
        if self._db.total_changes != self._changes or self.next_seq != self._stored[0]:
            self._commit(is_open=self._is_open)
        else:
            self._db.execute("COMMIT")
        self._update_identities()

    def _commit(self, *, is_open: bool) -> None:
        next_seq, events, commits = self.next_seq, self.events, self._commits + 1
        text = text_of(next_seq, events, commits, is_open, self._fixed)
        self._db.execute(
            "UPDATE state SET next_seq = ?, events = ?, commits = ?, is_open = ?, checksum = ?",
            (next_seq, events, commits, is_open, checksum := crc32(text)),
        )
        used_bytes = self._measure()
        self._db.execute("COMMIT")
        self._stored, self._commits, self._is_open = (next_seq, events), commits, is_open
        self.used_bytes, self._changes = used_bytes, self._db.total_changes
        if self._mark is not None:
            self._mark.write(text, checksum)

    def assign(self, destination: str) -> None:
        """Record the account of its events."""
        self._db.execute("BEGIN")
        self._db.execute("UPDATE state SET destination = ?", (destination,))
        self._opened_state = self._opened_state._replace(destination=destination)
        self._fixed = self._opened_state.fixed
        self._commit(is_open=self._is_open)

    # ---------------------------------------------------------------- repair

    def readable(self) -> Iterator[StoredEvent]:
        """Yield every readable event, even if the file was removed or damaged."""
        return readable(self._db)

    def batches(self) -> list[SealRecord]:
        """Return the readable sealed batches."""
        with suppress(sqlite3.DatabaseError):
            found = self._db.execute("SELECT * FROM sealed").fetchall()
            return [batch for columns in found if (batch := schema.sealed_of(*columns)) is not None]
        return []

    def clear(self) -> None:
        """Delete everything, after its events were copied to another file. Best effort."""
        with suppress(sqlite3.Error):
            self._db.execute("BEGIN")
            self._db.execute("DELETE FROM sealed")
            self._db.execute("DELETE FROM events")
            self.events = 0
            self._commit(is_open=False)

    # ---------------------------------------------------------------- identity of the files

    def check_path(self, *, has_failed: bool = False) -> None:
        """Check that the open files are those at its path, and not shorter than after the last commit.

        Args:
            has_failed: whether a transaction has failed since: SQLite may have begun it by truncating the `-wal`.

        Raises:
            MisplacedError: otherwise.
        """
        for identity in self._identities:
            is_wal = identity is self._identities[-1]
            least = min(identity.size, self._wal_limit) if has_failed and is_wal else identity.size
            if _status(identity.path).st_size < least:
                raise schema.MisplacedError(f"{Path(identity.path).name} was truncated")
        self._update_identities()

    def _update_identities(self) -> None:
        """Record the sizes after a commit; the first time, record the files' identities.

        Raises:
            MisplacedError: if other files are at its path, or the database is shorter.
        """
        if not self._identities:
            self._identities = [_FileIdentity.of(str(self.path)), _FileIdentity.of(str(wal_of(self.path)))]
            if self._wal is None and CAN_MOVE_OPEN_FILES:
                self._wal = os.open(self._identities[-1].path, os.O_RDONLY)
            return
        for identity in self._identities:
            status = _status(identity.path)
            if status.st_ino != identity.inode or status.st_dev != identity.device:
                raise schema.MisplacedError(f"{Path(identity.path).name} was replaced")
            if (size := status.st_size) != identity.size:
                if size < identity.size and identity is self._identities[0]:  # SQLite itself may truncate the `-wal`
                    raise schema.MisplacedError(f"{self.path.name} was truncated")
                identity.size = size

    # ---------------------------------------------------------------- changes

    def append(self, rows: Sequence[StoredEvent]) -> None:
        """Insert events."""
        self._allow(0)
        self._db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*row, schema.checksum_of_row(row)) for row in rows],
        )
        self.events += len(rows)
        self.next_seq = max(self.next_seq, rows[-1].seq + 1)

    def delete(self, seqs: Iterable[int]) -> None:
        """Delete events; unknown seqs are ignored."""
        self._allow(HEADROOM // self._page_size)
        self.events -= self._db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in seqs]).rowcount

    def seal(self, batches: Sequence[SealRecord]) -> None:
        """Record batches that are about to be sent, or the job that they belong to."""
        self._allow(HEADROOM // self._page_size)
        self._db.executemany(
            "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?)", [schema.columns_of_seal(batch) for batch in batches]
        )
        for batch in batches:
            self._release(batch.members[0])
            self._hold(batch.members[0], list(batch.members))

    def unseal(self, first: int) -> None:
        """Delete the sealed batch that starts with this event, but not its events."""
        if first in self._members_of:
            self._db.execute("DELETE FROM sealed WHERE first = ?", (first,))
            self._release(first)

    def ack(self, members: Sequence[int]) -> None:
        """Delete events that have their outcome, and the sealed batch that starts with the first of them."""
        self.delete(members)
        self.unseal(members[0])

    def _hold(self, first: int, members: list[int]) -> None:
        self._members_of[first] = members
        self._sealed_seqs.update(members)

    def _release(self, first: int) -> None:
        self._sealed_seqs.difference_update(self._members_of.pop(first, ()))

    # ---------------------------------------------------------------- reading

    def read(self, after: int, most_events: int, most_bytes: int) -> ReadResult:
        """Read events that are in no sealed batch; see `JournalWriter.read`."""
        rows: list[StoredEvent] = []
        damaged: list[tuple[int, bytes]] = []
        size, last = 0, after
        with closing(records(self._db, "seq > ? ORDER BY seq", after)) as found:
            for record in found:
                if record[0] <= last:  # a damaged tree can lead back to pages already read
                    raise schema.DamagedError("its events are out of order")
                last = record[0]
                if last in self._sealed_seqs:
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
        """Load the sealed batches; the events of a damaged one become ordinary events again.

        The damaged row stays: if its page is another table's, deleting it would destroy an event.
        """
        batches: list[list[StoredEvent]] = []
        for first, text, checksum in self._db.execute("SELECT * FROM sealed ORDER BY first").fetchall():
            sealed = schema.sealed_of(first, text, checksum)
            batch = None if sealed is None else self._batch_of(sealed)
            if sealed is not None and batch:
                batches.append(batch)
                self._hold(first, [row.seq for row in batch])
                if sealed.job is not None:
                    self.jobs[first] = sealed.job
            else:
                self.damaged_batches += 1
        return batches

    def _batch_of(self, sealed: SealRecord) -> list[StoredEvent] | None:
        members = sealed.members
        rows = [row_of(record) for seq in members for record in records(self._db, "seq = ?", seq)]
        intact = [row for row in rows if row is not None and row.seq not in self._sealed_seqs]
        if len(intact) < len(members):
            return None
        # part of a split batch: its contact may come from an event of another part
        return [row._replace(mobile=sealed.mobile, email=sealed.email) for row in intact]


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 half the time of Path.stat, and called four times per commit
    except (FileNotFoundError, NotADirectoryError):
        raise schema.MisplacedError(f"{Path(path).name} was removed or moved") from None
