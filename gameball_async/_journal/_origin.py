"""One file in use: its transactions, and what happens when one of them fails.

After a failure the connection is not trusted again. What was asked waits in order, but for appends, which are refused;
the file is opened anew until that works, looked through, and gets what waited.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from ..errors import JournalError
from . import _schema
from ._dead_letters import DeadLetters
from ._file import JournalFile
from ._folder import Folder, broken
from ._operations import STORED, Append, Completion, Operation, Read, refusals
from ._rows import Loaded, Row, Source
from ._salvage import finish, salvage

Note = tuple[int, str, tuple[object, ...]]
"""A log line: it is written outside of the guard, where a handler may fork or take its time."""

RETRY_AFTER = 1.0
"""Seconds between two tries to open a file again."""


class Origin:
    """One file, whose lock this process holds.

    Args:
        folder: where it is.
        stem: its name without the suffix.
        descriptor: holds its lock.
        max_bytes: bytes of events, at most; None for an adopted file, which gets no more.
        notes: where log lines go.

    Attributes:
        number: its number within this process.
        stem: see above.
        descriptor: see above.
        file: the open file; None while it fails.
        failure: why it fails.
        retry_at: when it is opened again, in seconds of the monotonic clock.
    """

    def __init__(self, folder: Folder, stem: str, descriptor: int, max_bytes: int | None, notes: list[Note]) -> None:
        self.number = -1
        self.stem = stem
        self.descriptor = descriptor
        self.file: JournalFile | None = None
        self.failure: JournalError | None = None
        self.retry_at = 0.0
        self._path = folder.journal(stem)
        self._max_bytes = max_bytes
        self._notes = notes
        self._next_seq, self._events = 1, 0  # as of the last commit
        self._lost = 0  # events that were in it and could not be saved, until a read tells of them
        self._waiting: list[Operation] = []
        self._doubtful: list[int] = []  # refused, but who knows what is on the disk

    def open(self) -> JournalFile:
        """Open the file, or what can be saved of it.

        Raises:
            sqlite3.Error: if it cannot be opened.
            OSError: likewise.
            NewerSchemaError: if a later version wrote it.
            BlankError: if its owner ended before anything was in it.
        """
        finish(self._path)
        try:
            self.file = JournalFile(self._path, self._max_bytes)
        except Exception as error:
            if not _schema.is_damage(error):
                raise
            self._salvage(error)
            self.file = JournalFile(self._path, self._max_bytes)
        return self.file

    def _salvage(self, error: Exception) -> None:
        saved = salvage(self._path, _schema.reason_of(error), least_next_seq=self._next_seq)
        self._lost += max(0, self._events - saved)
        self._note(
            logging.ERROR,
            "the journal's file %s is damaged (%s): %d events were saved; it is kept with .damaged at its end, "
            "and a note beside it",
            self._path.name,
            _schema.reason_of(error),
            saved,
        )

    def source(self, file: JournalFile) -> Source:
        """What lies in it, for the event loop."""
        return Source(self.number, file.events, file.next_seq, file.sealed)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            self._next_seq, self._events = self.file.committed
            file, self.file = self.file, None
            with suppress(Exception):  # what matters was committed; the rest is done when it is opened again
                file.close()

    # ---------------------------------------------------------------- transactions

    def run(self, operations: Sequence[Operation], dead_letters: DeadLetters, now: float) -> list[Completion]:
        """Apply operations in one transaction; what waited goes before them.

        Args:
            operations: in the order of the calls.
            dead_letters: where damaged and refused events go.
            now: seconds of the monotonic clock.

        Returns:
            What is completed, and only durably so.
        """
        if self.file is None:
            return self._refuse(operations)
        try:
            return self._transact(self.file, operations, dead_letters)
        except Exception as error:  # noqa: BLE001 whatever it is, nothing of the transaction may count
            self._break(error, now)
            self._doubtful += [
                row.seq for operation in operations if isinstance(operation, Append) for row in operation.rows
            ]
            self._note(logging.ERROR, "%s", self.failure)
            return self._refuse(operations)

    def _transact(
        self, file: JournalFile, operations: Sequence[Operation], dead_letters: DeadLetters
    ) -> list[Completion]:
        completed: list[Completion] = []
        rows: list[Row] = []
        file.begin()
        for operation in operations:
            if isinstance(operation, Append):
                rows += operation.rows
                completed.append((operation.done, STORED))
                continue
            if rows:
                file.append(rows)
                rows = []
            if isinstance(operation, Read):
                completed.append((operation.done, (self._read(file, operation, dead_letters),)))
            elif (completion := operation.apply(file, dead_letters)) is not None:
                completed.append(completion)
        if rows:
            file.append(rows)
        file.commit()
        return completed

    def _read(self, file: JournalFile, wanted: Read, dead_letters: DeadLetters) -> Loaded:
        """Read events; set damaged ones aside."""
        reading = file.read(wanted.after, wanted.most_events, wanted.most_bytes)
        for seq, raw in reading.damaged:
            dead_letters.add_damaged(file.file_id, seq, raw, "its checksum is wrong")
        if reading.damaged:
            file.delete([seq for seq, _ in reading.damaged])
            self._note(
                logging.ERROR,
                "%d events in the journal's file %s are damaged and will not be sent: they were set aside, "
                "look at them with gameball-async dead-letters list",
                len(reading.damaged),
                self._path.name,
            )
        lost, self._lost = self._lost, 0
        return Loaded(reading.rows, len(reading.damaged) + lost, reading.is_last)

    def _refuse(self, operations: Sequence[Operation]) -> list[Completion]:
        """Fail the appends; keep everything else."""
        self._waiting += [operation for operation in operations if not isinstance(operation, Append)]
        return [(operation.done, (self.failure,)) for operation in operations if isinstance(operation, Append)]

    def _break(self, error: Exception, now: float) -> None:
        self.close()
        self.failure = broken(self._path, error)
        self.retry_at = now + RETRY_AFTER

    def retry(self, dead_letters: DeadLetters, now: float) -> list[Completion]:
        """Open the file again, look through it, and apply what waited; see `run`."""
        try:
            file = self._reopen()
            completed = self._transact(file, self._waiting, dead_letters)
        except Exception as error:  # noqa: BLE001 it is tried again
            self._break(error, now)
            return []
        self._waiting, self.failure = [], None
        self._note(logging.WARNING, "the journal %s works again", self._path)
        return completed

    def _reopen(self) -> JournalFile:
        file = self.open()
        try:
            file.check()
        except Exception as error:
            self.close()
            if not _schema.is_damage(error):
                raise
            self._salvage(error)
            file = self.open()
        file.begin()
        file.delete(self._doubtful)
        file.commit()
        self._doubtful = []
        return file

    def waiting(self) -> int:
        """How many operations wait."""
        return len(self._waiting)

    def abandon(self, failure: JournalError) -> list[Completion]:
        """Give up on what waits."""
        refused = refusals(self._waiting, failure)
        self._waiting = []
        return refused

    def _note(self, level: int, message: str, *arguments: object) -> None:
        self._notes.append((level, message, arguments))
