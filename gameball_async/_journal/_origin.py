"""One file in use: its transactions, and what happens when one of them fails.

After a failure the connection is not trusted again. What was asked waits in order, but for appends, which are refused;
the file is opened anew until that works, looked through, and gets what waited.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from ..errors import JournalError
from . import _schema
from ._dead_letters import DeadLetters
from ._file import JournalFile
from ._folder import Folder, broken
from ._operations import Append, Bury, Completion, Forget, Operation, Read, refusals
from ._room import Note, Room
from ._rows import Loaded, Row, Source
from ._salvage import finish, salvage

RETRY_AFTER = 1.0
"""Seconds between two tries to open a file again."""


class Origin:
    """One file, whose lock this process holds.

    Args:
        folder: where it is.
        stem: its name without the suffix.
        descriptor: holds its lock.
        max_bytes: bytes of events, at most; None for an adopted file, which gets no more.
        room: what is done when the disk is full.
        notes: where log lines go.

    Attributes:
        number: its number within this process.
        stem: see above.
        descriptor: see above.
        file: the open file; None while it fails.
        failure: why it fails.
        retry_at: when it is opened again, or what waits is tried again, in seconds of the monotonic clock.
    """

    def __init__(
        self, folder: Folder, stem: str, descriptor: int, max_bytes: int | None, room: Room, notes: list[Note]
    ) -> None:
        self.number = -1
        self.stem = stem
        self.descriptor = descriptor
        self.file: JournalFile | None = None
        self.failure: JournalError | None = None
        self.retry_at = 0.0
        self._path = folder.journal(stem)
        self._max_bytes = max_bytes
        self._room = room
        self._notes = notes
        self._is_told = False  # whether the failure was logged
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
        self.heed_room()
        return self.file

    def heed_room(self) -> None:
        """Let what lies beside the file be as large as the room allows."""
        if self.file is not None:
            self.file.limit_wal(self._room.wal_pages)

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
        refused: list[Completion] = []
        if self._room.shortage is not None:
            refused = self._refuse([operation for operation in operations if isinstance(operation, (Append, Bury))])
            self.retry_at = now  # letters wait for no more than the end of the others' transaction
            operations = [operation for operation in operations if not isinstance(operation, (Append, Bury))]
        try:
            return refused + self._transact(self.file, operations, dead_letters)
        except Exception as error:  # noqa: BLE001 whatever it is, nothing of the transaction may count
            self._break(error, now)
            self._doubtful += [
                row.seq for operation in operations if isinstance(operation, Append) for row in operation.rows
            ]
            if self._room.shortage is None:
                self._is_told = True
                self._note(logging.ERROR, "%s", self.failure)
            return refused + self._refuse(operations)

    def _transact(
        self, file: JournalFile, operations: Sequence[Operation], dead_letters: DeadLetters
    ) -> list[Completion]:
        completed: list[Completion] = []
        rows: list[Row] = []
        file.begin()
        for operation in operations:
            if isinstance(operation, Append):
                rows += operation.rows
                completed.append(operation)
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
        return refusals([operation for operation in operations if isinstance(operation, Append)], self._reason())

    def _reason(self) -> JournalError:
        """Why no events are taken."""
        reason = self._room.shortage or self.failure
        assert reason is not None, "it is asked for while there is one"  # noqa: S101 an invariant
        return reason

    def _break(self, error: Exception, now: float) -> None:
        # the reserve goes first: with its room the close can move the `-wal` into the file, and free that as well
        is_roomier = self._room.is_missing(error) and self._room.run_short(now)
        self.close()
        self.failure = broken(self._path, error)
        self.retry_at = now if is_roomier else now + RETRY_AFTER

    @property
    def is_behind(self) -> bool:
        """Whether it is to be opened again, or something waits in it."""
        return self.file is None or bool(self._waiting)

    def retry(self, dead_letters: DeadLetters, now: float) -> list[Completion]:
        """Open the file again, look through it, and apply what waited; see `run`."""
        completed: list[Completion] = []
        self.retry_at = now + RETRY_AFTER
        try:
            file = self._reopen() if self.file is None else self.file
            self._catch_up(file, dead_letters, completed)
        except Exception as error:  # noqa: BLE001 it is tried again
            self._break(error, now)
            return completed
        self.failure = None
        if self._is_told and self._room.shortage is None:
            self._note(logging.WARNING, "the journal %s works again", self._path)
        self._is_told = False
        return completed

    def _catch_up(self, file: JournalFile, dead_letters: DeadLetters, completed: list[Completion]) -> None:
        """Apply what waited: on a full disk one after another, since less room is needed for less."""
        if self._room.shortage is None:
            completed += self._transact(file, self._waiting, dead_letters)
            self._waiting = []
            return
        postponed: list[Operation] = []
        try:
            while self._waiting:
                operation = self._waiting[0]
                if not isinstance(operation, Bury):
                    completed += self._transact(file, [operation], dead_letters)
                elif not postponed and self._is_buried(file, operation, dead_letters):
                    seqs = [letter.seq for letter in operation.letters]
                    self._transact(file, [Forget(operation.origin, seqs)], dead_letters)
                else:
                    postponed.append(operation)
                self._waiting.pop(0)
        finally:
            self._waiting = postponed + self._waiting

    def _is_buried(self, file: JournalFile, burial: Bury, dead_letters: DeadLetters) -> bool:
        """Bury letters, unless the disk is too full: nobody else touches these events, so their burial can wait."""
        if not self._room.has_room_for(burial.letters):
            return False
        try:
            dead_letters.add(file.file_id, burial.letters)
        except (sqlite3.Error, OSError) as error:
            if not self._room.is_missing_for_letters(error):
                raise
            return False
        return True

    def shrink(self, now: float) -> None:
        """Give the disk back what was freed within the file, if that is nearly all of it."""
        assert self.file is not None, "only an open file is looked at"  # noqa: S101 an invariant
        try:
            self.file.shrink(self._room.bytes_to_rewrite)
        except Exception as error:  # noqa: BLE001 as of any other change
            self._break(error, now)

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
