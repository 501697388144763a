"""What the files of a journal must contain: a record of every transaction that reached the disk, written from outside.

It follows the SQL statements of the journal, and is compared with the real files whenever a life begins.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from gameball_async import DeadLetter, DeadLetters, inspect_journal
from gameball_async._core.receipts import JobId
from gameball_async._journal import StoredEvent

JOURNAL = ".journal"
DEAD_LETTERS = "dead-letters"


@attrs.define(eq=False)
class Sealed:
    """A batch that is about to be sent.

    Attributes:
        members: the seqs of its events.
        mobile: its mobile number.
        email: its e-mail address.
        job: the job that it was accepted as part of.
        body: the bytes of the first request with it, which only the oracle knows.
    """

    members: tuple[int, ...]
    mobile: str | None
    email: str | None
    job: JobId | None = None
    body: bytes | None = None


@attrs.define(eq=False, kw_only=True)
class File:
    """One segment, as it is on the disk.

    Attributes:
        number: its place in the order of age.
        stem: its name without suffix.
        file_id: its permanent id.
        rows: its events by their seq, in order.
        sealed: the sealed batches, by their first member.
        next_seq: one more than the greatest seq that it ever had.
        acknowledged: every seq whose commit succeeded.
        was_forced: whether its last owner ended without a full close, or outcomes did not reach the disk.
    """

    number: int
    stem: str
    file_id: str = ""
    rows: dict[int, StoredEvent] = attrs.Factory(dict[int, StoredEvent])
    sealed: dict[int, Sealed] = attrs.Factory(dict[int, Sealed])
    next_seq: int = 1
    acknowledged: set[int] = attrs.Factory(set[int])
    was_forced: bool = False

    @property
    def jobs(self) -> dict[int, JobId]:
        """The jobs of the sealed batches that have one, by their first member."""
        return {first: batch.job for first, batch in self.sealed.items() if batch.job is not None}

    def batches(self) -> list[list[StoredEvent]]:
        """The events of the sealed batches, by their first member."""
        return [
            [self.rows[seq]._replace(mobile=batch.mobile, email=batch.email) for seq in batch.members]
            for _, batch in sorted(self.sealed.items())
        ]


@attrs.frozen
class Change:
    """One SQL statement of a transaction, and its parameters.

    Attributes:
        kind: what it does.
        rows: its parameters, one tuple for each run.
    """

    kind: str
    rows: list[tuple[Any, ...]]


_KINDS = {
    "INSERT INTO events": "append",
    "DELETE FROM events": "delete",
    "INSERT OR REPLACE INTO sealed": "seal",
    "DELETE FROM sealed": "unseal",
    "INSERT INTO state": "create",
    "INSERT INTO letters": "dead_letter",
}
"""What the statements do that matter here, by their beginning."""


def kind_of(statement: str) -> str | None:
    """What a statement does; None if it changes nothing that is recorded."""
    if statement[0] not in "DI":
        return None
    return next((kind for beginning, kind in _KINDS.items() if statement.startswith(beginning)), None)


class Folder:
    """The folder of a journal.

    Args:
        path: where it is.
        fail: takes what is wrong.

    Attributes:
        files: the segments, oldest first; a removed one is none of them.
        letters: the keys of the dead letters: file and seq.
        on_deleted: called with the key of an event that was durable, and is deleted.
        doubtful: those whose process ended before it had removed the event from its segment: it lives on.
    """

    def __init__(self, path: Path, fail: Callable[[str], None]) -> None:
        self.path = path
        self.files: list[File] = []
        self.letters: set[tuple[int, int]] = set()
        self.doubtful: set[tuple[int, int]] = set()
        self._unfinished: set[tuple[int, int]] = set()
        self.on_deleted: Callable[[int, int], None] = lambda _file, _seq: None
        self._numbers = 0
        self._of_stem: dict[str, File] = {}
        self._of_id: dict[str, File] = {}
        self._fail = fail

    def file(self, stem: str) -> File:
        """The segment with this name; a new one is added."""
        if stem not in self._of_stem:
            self._numbers += 1
            self._of_stem[stem] = file = File(number=self._numbers, stem=stem)
            self.files.append(file)
        return self._of_stem[stem]

    @property
    def events(self) -> int:
        """How many events are in it."""
        return sum(len(file.rows) for file in self.files)

    # ---------------------------------------------------------------- changes

    def committed(self, stem: str, changes: Iterable[Change], *, is_acknowledged: bool) -> None:
        """Record a transaction that reached the disk, whether the journal knows or not."""
        for change in changes:
            if change.kind == "dead_letter":
                self._bury(change.rows)
            else:
                self._apply(self.file(stem), change, is_acknowledged=is_acknowledged)

    def _apply(self, file: File, change: Change, *, is_acknowledged: bool) -> None:
        match change.kind:
            case "append":
                self._append(file, [StoredEvent(*row[:8]) for row in change.rows])
                if is_acknowledged:
                    file.acknowledged.update(row[0] for row in change.rows)
            case "delete":
                for (seq,) in change.rows:
                    if file.rows.pop(seq, None) is not None and seq in file.acknowledged:
                        self.on_deleted(file.number, seq)
                    self._unfinished.discard((file.number, seq))
            case "seal":
                for first, text, _ in change.rows:
                    members, *others = json.loads(text)
                    file.sealed[first] = Sealed(tuple(members), *others)
            case "unseal":
                for (first,) in change.rows:
                    file.sealed.pop(first, None)
            case _:
                file.file_id = change.rows[0][0]
                self._of_id[file.file_id] = file

    def _append(self, file: File, rows: Iterable[StoredEvent]) -> None:
        for row in rows:
            if row.seq < file.next_seq:
                self._fail(f"event {row.seq} is appended to a file that has had {file.next_seq}")
            file.rows[row.seq] = row
            file.next_seq = row.seq + 1

    def _bury(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for file_id, seq, *_ in rows:
            key = (self._of_id[file_id].number, seq)
            self.letters.add(key)
            self._unfinished.add(key)

    def removed(self, stem: str) -> None:
        """Record that a segment is removed; it must not have events."""
        file = self.file(stem)
        if file.rows:
            self._fail(f"file {file.number} is removed with the events {list(file.rows)}")
        self.files.remove(file)

    # ---------------------------------------------------------------- comparing

    def check(self) -> None:
        """Compare with the real files when no process uses them: read by SQLite alone, and inspected."""
        self.doubtful |= self._unfinished
        self._unfinished.clear()
        names = {path.stem for path in self.path.glob("*" + JOURNAL)} if self.path.is_dir() else set[str]()
        for file in [file for file in self.files if file.stem not in names]:
            self.removed(file.stem)
        for file in self.files:
            found = _content_of(self.path / (file.stem + JOURNAL))
            if found != (truth := (list(file.rows.values()), _batches_of(file))):
                self._fail(f"file {file.number} contains {found}, and should contain {truth}")
        self._check_inspection()

    def _check_inspection(self) -> None:
        inspected = {found.path.stem: found for found in inspect_journal(self.path)} if self.path.is_dir() else {}
        for file in self.files:
            rows, found = list(file.rows.values()), inspected.get(file.stem)
            told = None if found is None else (found.problem, found.is_in_use, found.pending, found.players)
            if told != (None, False, len(rows), len({row.player_unique_id for row in rows})):
                self._fail(f"the inspection says {found} of file {file.number}, which has {len(rows)} events")
            elif found is not None and rows and found.oldest != datetime.fromtimestamp(rows[0].accepted_at, UTC):
                self._fail(f"the inspection says that the oldest event of file {file.number} is of {found.oldest}")

    def strangers(self) -> list[str]:
        """Names of what lies in the folder beside the segments and the dead letters."""
        if not self.path.is_dir():
            return []
        stems = {file.stem for file in self.files} | {DEAD_LETTERS}
        return sorted(path.name for path in self.path.iterdir() if path.name.partition(".")[0] not in stems)

    def dead_letters(self) -> dict[tuple[int, int], DeadLetter]:
        """The dead letters as users read them, by file and seq."""
        path = self.path / (DEAD_LETTERS + ".db")
        if not path.exists():
            return {}
        with closing(sqlite3.connect(path)) as database:
            # a process may have died, or its disk failed, before it created the table
            is_created = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'letters'").fetchone() is not None
            keys = database.execute("SELECT file_id, seq FROM letters ORDER BY id").fetchall() if is_created else []
        found = {
            (self._of_id[file_id].number, seq): letter
            for (file_id, seq), letter in zip(keys, DeadLetters(self.path), strict=True)
        }
        if found.keys() != self.letters:
            self._fail(f"the dead letters are {sorted(found)}, and should be {sorted(self.letters)}")
        return found


_Batch = tuple[tuple[int, ...], str | None, str | None, JobId | None]
_Batches = list[_Batch]


def _batches_of(file: File) -> _Batches:
    return [(batch.members, batch.mobile, batch.email, batch.job) for _, batch in sorted(file.sealed.items())]


def _content_of(path: Path) -> tuple[list[StoredEvent], _Batches]:
    """Read a copy of a segment: opening the file itself would change it."""
    copy = path.parent.with_name("copy")
    copy.mkdir()
    try:
        for suffix in ("", "-wal", "-journal"):
            if (source := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(source, copy / source.name)
        with closing(sqlite3.connect(copy / path.name)) as database:
            return list(_rows(database)), list(_sealed(database))
    finally:
        shutil.rmtree(copy)


def _rows(database: sqlite3.Connection) -> Iterator[StoredEvent]:
    if _has_tables(database):
        for columns in database.execute("SELECT * FROM events ORDER BY seq"):
            yield StoredEvent(*columns[:8])


def _sealed(database: sqlite3.Connection) -> Iterator[_Batch]:
    if _has_tables(database):
        for (text,) in database.execute("SELECT batch FROM sealed ORDER BY first"):
            members, mobile, email, *job = json.loads(text)
            yield tuple(members), mobile, email, job[0] if job else None


def _has_tables(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None
