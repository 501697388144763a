"""One file in use: its transactions, and what happens when one of them fails.

After a failure the connection is not trusted again. What was asked waits in order, but for appends, which are refused;
the file is opened anew until that works, looked through, and gets what waited.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress

from .._log import counted
from .._platform import release_lock, sync_folder
from ..errors import JournalError
from . import schema
from .commands import Ack, AddDeadLetters, Append, Completion, Operation, Read, refusals
from .dead_letters import DeadLetters
from .disk_reserve import DiskReserve, Note
from .folder import Folder, broken, make_database, position_of, take_lock
from .forks import ForkGuard
from .orphan import Orphan, examine
from .records import Loaded, SegmentInfo, StoredEvent
from .repair import copy, finish, note, repair, set_aside, set_strangers_aside
from .segment_file import SegmentFile
from .state import CommitMark, SegmentState

_SMALL = 64 * 1024 * 1024
"""Bytes of a file that is looked through when it is adopted, which takes 0.1 s."""

RETRY_AFTER = 1.0
"""Seconds between two tries to open a file again."""


class Segment:
    """One file, whose lock this process holds.

    Args:
        folder: where it is.
        stem: its name without the suffix.
        descriptor: holds its lock.
        max_bytes: bytes of events, at most; None for an adopted file, which gets no more.
        fork_guard: is told of its locks.
        disk_reserve: what is done when the disk is full.
        dead_letters: where events go that will not be sent.
        notes: where log lines go.

    Attributes:
        number: its number within this process.
        stem: see above.
        descriptor: see above.
        file: the open file; None while it fails.
        failure: why it fails.
        retry_at: when it is opened again, or what waits is tried again, in seconds of the monotonic clock.
        lost: events that were in it when it was adopted and could not be saved, until a read tells of them.
    """

    def __init__(
        self,
        folder: Folder,
        stem: str,
        descriptor: int,
        max_bytes: int | None,
        fork_guard: ForkGuard,
        disk_reserve: DiskReserve,
        dead_letters: DeadLetters,
        notes: list[Note],
    ) -> None:
        self.number = -1
        self.stem = stem
        self.descriptor = descriptor
        self.file: SegmentFile | None = None
        self.failure: JournalError | None = None
        self.retry_at = 0.0
        self.lost = 0
        self._folder = folder
        self._path = folder.journal(stem)
        self._mark: CommitMark | None = None
        self._max_bytes = max_bytes
        self._fork_guard = fork_guard
        self._disk_reserve = disk_reserve
        self._dead_letters = dead_letters
        self._notes = notes
        self._is_told = False  # whether the failure was logged
        self._next_seq = 1  # as of the last commit
        self._missing = 0  # events that no rescue could save
        self._damage: str | None = None  # found while the file was in use
        self._stranded: SegmentFile | None = None  # still open, but not at its path any more
        self._misplacement = ""  # what has become of it
        self._waiting: list[Operation] = []
        self._doubtful: list[int] = []  # refused, but who knows what is on the disk

    def make(self, state: SegmentState) -> None:
        """Make the file, and open it.

        Raises:
            OSError: if it cannot be made.
            sqlite3.Error: likewise.
        """
        make_database(self._path, state)
        self.file = self._opened()
        self.file.record_use()
        self.follow_reserve()

    def examine(self, marks: Mapping[str, SegmentState]) -> Orphan:
        """Look at the file, or at what a rescue has left of it; see `examine`.

        Args:
            marks: those of the folder.
        """
        finish(self._path)
        own = self._folder.mark_of(self.stem)
        return examine(self._path, {**marks, own.file_id: own} if own is not None else marks, own)

    def open(self, orphan: Orphan | None = None) -> SegmentFile:
        """Open the file, or what can be saved of it.

        Args:
            orphan: what was found in it; looked up if it is not given.

        Raises:
            sqlite3.Error: if it cannot be opened.
            OSError: likewise.
            NewerSchemaError: if a later version wrote it.
            BlankError: if its owner ended before anything was in it.
        """
        if orphan is None:
            orphan = self.examine({})
            if not self._path.exists():  # it may come back; if not, the next start reports what it had
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path.name)
        if orphan.is_blank:
            raise schema.BlankError
        if orphan.reason is not None:
            self._salvage(orphan, orphan.reason)
        try:
            self.file = self._opened()
        except Exception as error:
            if not schema.is_unreadable(error):
                raise
            self._salvage(orphan, schema.reason_of(error))
            self.file = self._opened()
        self.follow_reserve()
        return self.file

    def adopt(self, orphan: Orphan) -> SegmentFile:
        """Open a file that another process has left, or what can be saved of it; see `open`.

        A small one is looked through at once; in a large one damage is found when it is read.

        Args:
            orphan: what was found in it.
        """
        file = self.open(orphan)
        if file.used_bytes <= _SMALL and (reason := self._found_damage(file)) is not None:
            file = self._repair(reason)
        self.lost, self._missing = self._missing, 0
        if orphan.is_cut and orphan.reason is None:
            self._note(
                logging.WARNING,
                "the -wal of the journal's file %s is missing, although its process died while it was open; as far as "
                "its mark tells, no event was in it",
                self._path.name,
            )
        elif orphan.is_mark_lost and orphan.reason is None:
            self._note(
                logging.ERROR,
                "the mark of the journal's file %s is missing or damaged, and its process died while it was open: its "
                "events are sent; if the end of its -wal is missing too, it is unknown how many are lost, and some may "
                "be sent twice",
                self._path.name,
            )
        return file

    def _opened(self) -> SegmentFile:
        mark = None
        with suppress(OSError):
            set_strangers_aside(self._path)
            mark = CommitMark(self._folder.mark(self.stem))
        try:
            file = SegmentFile(self._path, self._max_bytes, mark=mark, position=position_of(self.stem))
        except BaseException:
            if mark is not None:
                mark.close(sync=False)
            raise
        if mark is not None:
            mark.write(file.state.text)
            if mark.is_new:
                mark.sync()
                with suppress(OSError):  # without a mark less damage is found, that is all
                    sync_folder(self._path.parent)
        self._mark = mark
        if file.damaged_batches:
            self._note(
                logging.ERROR,
                "%s damaged in the journal's file %s: their events may be sent twice",
                counted(file.damaged_batches, "sealed request", "are"),
                self._path.name,
            )
        return file

    def follow_reserve(self) -> None:
        """Let what lies beside the file be as large as the room allows."""
        if self.file is not None:
            self.file.limit_wal(self._disk_reserve.wal_pages)

    def _salvage(self, orphan: Orphan, reason: str) -> None:
        saved = repair(self._path, orphan, reason, self._dead_letters, least_next_seq=self._next_seq)
        self._missing += saved.affected
        self._note(
            logging.ERROR,
            "the journal's file %s is damaged (%s): %s; it is kept with .damaged at its end, and a note beside it",
            self._path.name,
            reason,
            saved.text,
        )

    @property
    def order(self) -> tuple[int, str]:
        """What open files are sorted by, oldest first."""
        return (0 if self.file is None else self.file.state.position, self.stem)

    @property
    def is_in_place(self) -> bool:
        """Whether what is at its path is the open file, or may be."""
        return self._stranded is None and self._place_error() is None

    def set_aside(self, reason: str, *, is_copy: bool = False) -> str:
        """Rename the closed file, with the reason beside it.

        Args:
            reason: why nobody can use it.
            is_copy: whether all that is in it is in another file, too.

        Returns:
            What has become of its events.

        Raises:
            OSError: if that fails.
        """
        mark = self._folder.mark_of(self.stem)
        loss = "its events are lost or may have been sent" + (f", {mark.events} at most" if mark else "")
        if is_copy and mark is None:
            loss = "its events are sent from that file"
        note(self._path, reason, loss.capitalize())
        set_aside(self._path)
        self._folder.mark(self.stem).unlink(missing_ok=True)
        return loss

    def source(self, file: SegmentFile) -> SegmentInfo:
        """What lies in it, for the event loop."""
        return SegmentInfo(self.number, file.events + self.lost, file.next_seq, file.sealed)

    def close(self) -> None:
        """Close the file for good, if it is open."""
        self._close(is_done=True)

    def _close(self, *, is_done: bool = False) -> None:
        if self.file is not None:
            self._next_seq = self.file.state.next_seq
            file, self.file = self.file, None
            with suppress(Exception):  # what matters was committed; the rest is done when it is opened again
                file.close(is_done=is_done)
        if self._mark is not None:
            self._mark.close(sync=is_done)
            self._mark = None

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
        if self._disk_reserve.shortage is not None:
            refused = self._refuse(
                [operation for operation in operations if isinstance(operation, (Append, AddDeadLetters))]
            )
            self.retry_at = now  # letters wait for no more than the end of the others' transaction
            operations = [operation for operation in operations if not isinstance(operation, (Append, AddDeadLetters))]
        try:
            return refused + self._transact(self.file, operations, dead_letters)
        except Exception as error:  # noqa: BLE001 whatever it is, nothing of the transaction may count
            self._break(error, now)
            self._doubtful += [
                row.seq for operation in operations if isinstance(operation, Append) for row in operation.rows
            ]
            if self._disk_reserve.shortage is None and self._stranded is None:
                self._is_told = True
                self._note(logging.ERROR, "%s", self.failure)
            return refused + self._refuse(operations)

    def _transact(
        self, file: SegmentFile, operations: Sequence[Operation], dead_letters: DeadLetters
    ) -> list[Completion]:
        completed: list[Completion] = []
        rows: list[StoredEvent] = []
        if not all(isinstance(operation, Read) for operation in operations):
            file.record_use()
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

    def _read(self, file: SegmentFile, wanted: Read, dead_letters: DeadLetters) -> Loaded:
        """Read events; set damaged ones aside."""
        reading = file.read(wanted.after, wanted.most_events, wanted.most_bytes)
        for seq, raw in reading.damaged:
            dead_letters.add_damaged(file.file_id, seq, raw, "its checksum is wrong")
        if reading.damaged:
            file.delete([seq for seq, _ in reading.damaged])
            self._note(
                logging.ERROR,
                "%s damaged and will not be sent (the journal's file %s): what could be read was set aside, "
                "look at it with gameball-async dead-letters list",
                counted(len(reading.damaged), "event", "are"),
                self._path.name,
            )
        lost, self.lost = self.lost, 0
        return Loaded(reading.rows, len(reading.damaged) + lost, reading.is_last)

    def _refuse(self, operations: Sequence[Operation]) -> list[Completion]:
        """Fail the appends; keep everything else."""
        self._waiting += [operation for operation in operations if not isinstance(operation, Append)]
        return refusals([operation for operation in operations if isinstance(operation, Append)], self._reason())

    def _reason(self) -> JournalError:
        """Why no events are taken."""
        reason = self._disk_reserve.shortage or self.failure
        assert reason is not None, "it is asked for while there is one"  # noqa: S101 an invariant
        return reason

    def check_place(self, now: float) -> None:
        """Check that the open file is the one at its path; if not, it fails until it is moved."""
        if self.file is not None:
            try:
                self.file.check_places()
            except Exception as error:  # noqa: BLE001 as of any other failure
                self._break(error, now)

    def _break(self, error: Exception, now: float) -> None:
        # the reserve goes first: with its room the close can move the `-wal` into the file, and free that as well
        is_roomier = self._disk_reserve.is_missing(error) and self._disk_reserve.run_short(now)
        error = self._place_error() or error
        self.failure = broken(self._path, error)
        if isinstance(error, schema.MisplacedError):
            # it stays open: what is in it can be read from here alone, and a close may remove what is at its path now
            self._stranded, self.file, self._misplacement = self.file, None, str(error)
            self.retry_at = now
            return
        if schema.is_damage(error):
            self._damage = schema.reason_of(error)
        self._close()
        self.retry_at = now if is_roomier else now + RETRY_AFTER

    def _place_error(self) -> schema.MisplacedError | None:
        with suppress(OSError):
            try:
                if self.file is not None:
                    self.file.check_places()
            except schema.MisplacedError as error:
                return error
        return None

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
        if self._is_told and self._disk_reserve.shortage is None:
            self._note(logging.WARNING, "the journal %s works again", self._path)
        self._is_told = False
        return completed

    def _catch_up(self, file: SegmentFile, dead_letters: DeadLetters, completed: list[Completion]) -> None:
        """Apply what waited: on a full disk one after another, since less room is needed for less."""
        if self._disk_reserve.shortage is None:
            completed += self._transact(file, self._waiting, dead_letters)
            self._waiting = []
            return
        postponed: list[Operation] = []
        try:
            while self._waiting:
                operation = self._waiting[0]
                if not isinstance(operation, AddDeadLetters):
                    completed += self._transact(file, [operation], dead_letters)
                elif not postponed and self._is_dead_lettered(file, operation, dead_letters):
                    seqs = [letter.seq for letter in operation.letters]
                    self._transact(file, [Ack(operation.segment, seqs)], dead_letters)
                else:
                    postponed.append(operation)
                self._waiting.pop(0)
        finally:
            self._waiting = postponed + self._waiting

    def _is_dead_lettered(self, file: SegmentFile, burial: AddDeadLetters, dead_letters: DeadLetters) -> bool:
        """Bury letters, unless the disk is too full: nobody else touches these events, so their burial can wait."""
        if not self._disk_reserve.has_room_for(burial.letters):
            return False
        try:
            dead_letters.add(file.file_id, burial.letters)
        except (sqlite3.Error, OSError) as error:
            if not self._disk_reserve.is_missing_for_letters(error):
                raise
            return False
        return True

    def shrink(self, now: float) -> None:
        """Give the disk back what was freed within the file, if that is nearly all of it."""
        assert self.file is not None, "only an open file is looked at"  # noqa: S101 an invariant
        try:
            self.file.shrink(self._disk_reserve.bytes_to_rewrite)
        except Exception as error:  # noqa: BLE001 as of any other change
            self._break(error, now)

    def _reopen(self) -> SegmentFile:
        file = self._again() if self._stranded is None else self._move(self._stranded)
        file.begin()
        file.delete(self._doubtful)
        file.commit()
        self._doubtful = []
        return file

    def _again(self) -> SegmentFile:
        """Open the file again, and look through it."""
        file = self.open()
        reason, self._damage = self._damage, None
        if reason is None and (reason := self._found_damage(file)) is None:
            return file
        return self._repair(reason)

    def _found_damage(self, file: SegmentFile) -> str | None:
        """Look through an open file; returns what is damaged, if it is."""
        try:
            file.check()
        except Exception as error:
            if not schema.is_damage(error):
                self._close()
                raise
            return schema.reason_of(error)
        return None

    def _repair(self, reason: str) -> SegmentFile:
        """Exchange an open file for one with what can be read of it."""
        self._close()
        self._salvage(self.examine({}), reason)
        self.file = self._opened()
        self.follow_reserve()
        return self.file

    def _move(self, stranded: SegmentFile) -> SegmentFile:
        """Go on in a new file with everything that the open one still holds."""
        self._folder.make()
        stem = self._folder.new_stem(stranded.state.position)
        descriptor = take_lock(self._folder.lock(stem))
        if descriptor is None:  # pragma: no cover another process looks for strays: it is tried again
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        path, former, events = self._folder.journal(stem), self._path, stranded.state.events
        try:
            saved, found = copy(stranded, path, set(self._doubtful))
            set_aside(former)  # a close removes the `-wal` at that path, whosever it is
        except BaseException:
            self._folder.remove(stem)
            release_lock(descriptor, self._folder.lock(stem))
            raise
        self._take_name(stem, descriptor)
        self._stranded = None
        stranded.clear()
        with suppress(Exception):
            stranded.close()
        self.file = file = self._opened()
        file.record_use()
        self.follow_reserve()
        missing = events - found
        self._note(
            logging.ERROR,
            "%s while the journal had it open: %s saved to %s%s; keep what did that away from the journal's folder",
            self._misplacement,
            counted(saved, "event", "were"),
            path.name,
            f", {missing} could not be saved, and are lost unless they are in memory" if missing > 0 else "",
        )
        return file

    def _take_name(self, stem: str, descriptor: int) -> None:
        """Let go of the old name, and of what is beside it."""
        self._close()
        former, self.stem = self.stem, stem
        self._path = self._folder.journal(stem)
        self._fork_guard.descriptors.add(descriptor)
        self._fork_guard.descriptors.discard(self.descriptor)
        release_lock(self.descriptor)
        self.descriptor = descriptor
        for path in (self._folder.mark(former), self._folder.lock(former)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if self._max_bytes is not None:
            self._disk_reserve.move(self._folder.reserve(stem))

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
