"""One segment in use: its transactions, and what happens when one of them fails.

After a failure the connection is not trusted again. Appends are refused, and other commands are queued in order; the
file is reopened until that works, checked for damage, and then gets the queued commands.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import attrs

from .._log import counted
from .._platform import release_lock, sync_folder
from ..errors import JournalError
from . import schema
from .commands import Ack, AddDeadLetters, Append, Change, Completion, Read, Seal, SegmentCommand, Unseal, refuse
from .dead_letters import DeadLetters
from .disk_reserve import DiskReserve
from .folder import Folder, cannot_use, create_database, position_of, take_lock
from .forks import DeferredLog, ForkGuard
from .orphan import Orphan, examine
from .records import Loaded, SegmentInfo, StoredEvent
from .repair import copy_open_file, finish_repair, repair, set_aside, set_foreign_files_aside, write_note
from .segment_file import SegmentFile
from .state import CommitMark, SegmentState

_CHECKED_SIZE = 64 * 1024 * 1024
"""Bytes up to which a recovered segment is checked at once, which takes 0.1 s."""

RETRY_AFTER = 1.0
"""Seconds between two attempts to reopen a file."""

_LOST = "%s could not be written to the journal's file %s: its events may be sent again at the next start"


@attrs.frozen
class SegmentContext:
    """What the segments of one client share; `clock` returns the seconds since the epoch."""

    folder: Folder
    fork_guard: ForkGuard
    dead_letters: DeadLetters
    log: DeferredLog
    disk_reserve: DiskReserve
    clock: Callable[[], float]


class Segment:
    """One segment whose lock this process holds.

    Args:
        context: what it shares with the other segments.
        stem, descriptor: see below.
        max_bytes: the size limit; None for a recovered segment, which gets no appends.

    Attributes:
        number: its number in this process.
        stem: its name without suffix.
        descriptor: holds its lock.
        file: the open file; None while it fails.
        failure: why it fails.
        retry_at: when to reopen it or to retry its queued commands, in seconds of the monotonic clock.
        lost: events that a repair could not save, until a read reports them.
    """

    def __init__(self, context: SegmentContext, stem: str, descriptor: int, max_bytes: int | None = None) -> None:
        self.number = -1
        self.stem = stem
        self.descriptor = descriptor
        self.file: SegmentFile | None = None
        self.failure: JournalError | None = None
        self.retry_at = 0.0
        self.lost = 0
        self._folder = context.folder
        self._fork_guard = context.fork_guard
        self._disk_reserve = context.disk_reserve
        self._dead_letters = context.dead_letters
        self._log = context.log
        self._clock = context.clock
        self._path = context.folder.journal(stem)
        self._mark: CommitMark | None = None
        self._max_bytes = max_bytes
        self._is_failure_logged = False
        self._next_seq = 1  # as of the last commit
        self._missing = 0  # events that repairs could not save
        self._damage: str | None = None  # found while the file was in use
        self._misplaced: SegmentFile | None = None  # still open, but no longer at its path
        self._misplacement = ""  # what happened to it
        self._pending: list[SegmentCommand] = []
        self._uncertain: list[int] = []  # seqs of refused appends that may have reached the disk

    # ---------------------------------------------------------------- open and close

    def create(self, state: SegmentState) -> None:
        """Create the file and open it."""
        create_database(self._path, state)
        self._open_file().record_use()

    def examine(self, marks: Mapping[str, SegmentState]) -> Orphan:
        """Finish an interrupted repair, and examine the file; see `orphan.examine`."""
        finish_repair(self._path)
        own = self._folder.mark_of(self.stem)
        return examine(self._path, marks if own is None else {**marks, own.file_id: own}, own)

    def recover(self, orphan: Orphan) -> SegmentFile:
        """Open an orphaned segment, repaired if it is damaged.

        A small one is checked at once; damage in a large one is found when it is read.

        Raises:
            sqlite3.Error: if it cannot be opened.
            OSError: if it cannot be opened.
            NewerSchemaError: if a later version wrote it.
            BlankError: if it has no tables.
        """
        file = self._open(orphan)
        if file.used_bytes <= _CHECKED_SIZE and (reason := self._find_damage(file)) is not None:
            file = self._repair_open(reason)
        self.lost, self._missing = self._missing, 0
        if orphan.is_cut and orphan.reason is None:
            self._log.warning(
                "the -wal of the journal's file %s is missing, although its process died while it was open; according "
                "to its commit mark, nothing is lost",
                self._path.name,
            )
        elif orphan.is_mark_lost and orphan.reason is None:
            self._log.error(
                "the commit mark of the journal's file %s is missing or damaged, and its process died while it was "
                "open: its events are sent; if the end of its -wal is missing too, it is unknown how many are lost, "
                "and some may be sent twice",
                self._path.name,
            )
        return file

    def _open(self, orphan: Orphan) -> SegmentFile:
        """Open the file, repaired if it is damaged."""
        if orphan.is_blank:
            raise schema.BlankError
        if orphan.reason is not None:
            self._repair(orphan, orphan.reason)
        try:
            return self._open_file()
        except Exception as error:
            if not schema.is_unreadable(error):
                raise
            self._repair(orphan, schema.reason_of(error))
            return self._open_file()

    def _open_file(self) -> SegmentFile:
        mark = None
        with suppress(OSError):
            set_foreign_files_aside(self._path)
            mark = CommitMark(self._folder.mark(self.stem))
        try:
            file = SegmentFile(self._path, self._max_bytes, mark=mark, position=position_of(self.stem))
        except BaseException:
            if mark is not None:
                mark.close(sync=False)
            raise
        if mark is not None:
            mark.write(file.state.text, file.state.checksum)
            if mark.is_new:
                mark.sync()
                with suppress(OSError):  # without a commit mark less damage is found
                    sync_folder(self._path.parent)
        self.file, self._mark = file, mark
        self.limit_wal()
        if file.damaged_batches:
            self._log.error(
                "%s damaged in the journal's file %s: their events may be sent twice",
                counted(file.damaged_batches, "sealed request", "are"),
                self._path.name,
            )
        return file

    def limit_wal(self) -> None:
        """Let the `-wal` grow to the size that the disk reserve covers."""
        if self.file is not None:
            self.file.limit_wal(self._disk_reserve.wal_pages)

    @property
    def order(self) -> tuple[int, str]:
        """The key that sorts open segments, oldest first."""
        return (0 if self.file is None else self.file.state.position, self.stem)

    @property
    def is_in_place(self) -> bool:
        """Whether no other file than the open one is known to be at its path."""
        return self._misplaced is None and self._find_misplacement() is None

    def info(self, file: SegmentFile) -> SegmentInfo:
        """Describe its content for the event loop."""
        return SegmentInfo(self.number, file.events + self.lost, file.next_seq, file.sealed, file.jobs)

    def set_aside(self, reason: str, *, is_copy: bool = False) -> str:
        """Rename the closed, unusable file, write the reason beside it, and return what happens to its events."""
        mark = self._folder.mark_of(self.stem)
        loss = "its events are lost or may have been sent" + (f", {mark.events} at most" if mark else "")
        if is_copy and mark is None:
            loss = "its events are sent from that file"
        write_note(self._path, reason, loss.capitalize())
        set_aside(self._path)
        self._folder.mark(self.stem).unlink(missing_ok=True)
        return loss

    def close(self, *, is_clean: bool = True) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            self._next_seq = self.file.state.next_seq
            file, self.file = self.file, None
            with suppress(Exception):  # all that matters is committed; reopening the file does the rest
                file.close(is_clean=is_clean)
        if self._mark is not None:
            self._mark.close(sync=is_clean)
            self._mark = None

    # ---------------------------------------------------------------- transactions

    def commit(self, commands: Sequence[SegmentCommand], now: float) -> list[Completion]:
        """Run commands in one transaction, and return the completions of what is durable."""
        if self.file is None:
            return self._postpone(commands)
        refused: list[Completion] = []
        if self._disk_reserve.shortage is not None:
            growing = (Append, AddDeadLetters)
            refused = self._postpone([command for command in commands if isinstance(command, growing)])
            self.retry_at = now  # dead letters wait only until the other commands are committed
            commands = [command for command in commands if not isinstance(command, growing)]
        try:
            return refused + self._transact(self.file, commands)
        except Exception as error:  # noqa: BLE001 after any exception, nothing in the transaction counts
            self._fail(error, now)
            self._uncertain += [row.seq for command in commands if isinstance(command, Append) for row in command.rows]
            if self._disk_reserve.shortage is None and self._misplaced is None:
                self._is_failure_logged = True
                self._log.error("%s", self.failure)
            return refused + self._postpone(commands)

    def _transact(self, file: SegmentFile, commands: Sequence[SegmentCommand]) -> list[Completion]:
        """Apply commands in one transaction."""
        completions: list[Completion] = []
        rows: list[StoredEvent] = []
        if not all(isinstance(command, Read) for command in commands):
            file.record_use()
        file.begin()
        for command in commands:
            if isinstance(command, Append):
                rows += command.rows
                completions.append(command)
                continue
            if rows:
                file.append(rows)
                rows = []
            completions += self._apply(file, command)
        if rows:
            file.append(rows)
        file.commit()
        return completions

    def _apply(self, file: SegmentFile, command: Change | Read) -> tuple[Completion, ...]:
        """Apply one command other than Append, whose rows are inserted together."""
        match command:
            case Seal(_, batches, done):
                file.seal(batches)
                return ((done, ()),)
            case Read(_, after, most_events, most_bytes, done):
                return ((done, (self._read(file, after, most_events, most_bytes),)),)
            case Unseal(_, first):
                file.unseal(first)
            case Ack(_, members):
                file.ack(members)
            case AddDeadLetters(_, entries):
                self._dead_letters.add(file.file_id, entries, now=self._clock())
                file.ack([entry.seq for entry in entries])
        return ()

    def _read(self, file: SegmentFile, after: int, most_events: int, most_bytes: int) -> Loaded:
        """Read events; move damaged ones to the dead letters."""
        result = file.read(after, most_events, most_bytes)
        for seq, raw in result.damaged:
            self._dead_letters.add_damaged(file.file_id, seq, raw, "its checksum is wrong", now=self._clock())
        if result.damaged:
            file.delete([seq for seq, _ in result.damaged])
            self._log.error(
                "%s damaged and will not be sent (the journal's file %s): the readable data is in the dead letters, "
                "list them with gameball-async dead-letters list",
                counted(len(result.damaged), "event", "are"),
                self._path.name,
            )
        lost, self.lost = self.lost, 0
        return Loaded(result.rows, len(result.damaged) + lost, result.is_last)

    def _postpone(self, commands: Sequence[SegmentCommand]) -> list[Completion]:
        """Refuse appends; queue the other commands."""
        self._pending += [command for command in commands if not isinstance(command, Append)]
        error = self._disk_reserve.shortage or self.failure
        assert error is not None, "called only while one of them is set"  # noqa: S101 an invariant
        return refuse([command for command in commands if isinstance(command, Append)], error)

    def refuse_pending(self, error: JournalError) -> list[Completion]:
        """Give up the queued commands."""
        pending, self._pending = self._pending, []
        if pending:
            self._log.error(_LOST, counted(len(pending), "outcome"), self.stem)
        return refuse(pending, error)

    def shrink(self, now: float) -> None:
        """Return freed pages of the open file to the disk; see `SegmentFile.shrink`."""
        if self.file is not None:
            try:
                self.file.shrink(self._disk_reserve.bytes_to_rewrite)
            except Exception as error:  # noqa: BLE001 handled like any failed change
                self._fail(error, now)

    # ---------------------------------------------------------------- failures

    def check_path(self, now: float) -> None:
        """Check that the open file is at its path; otherwise it fails, and the next retry moves it."""
        if self.file is not None:
            try:
                self.file.check_path()
            except Exception as error:  # noqa: BLE001 handled like any failure
                self._fail(error, now)

    def _fail(self, error: Exception, now: float) -> None:
        # free the reserve first: then the close has room to checkpoint the `-wal`, which frees that too
        has_freed = self._disk_reserve.is_missing(error) and self._disk_reserve.run_short(now)
        error = self._find_misplacement() or error
        self.failure = cannot_use(self._path, error)
        if isinstance(error, schema.MisplacedError):
            # keep it open: its events are readable only here, and closing it may delete the files now at its path
            self._misplaced, self.file, self._misplacement = self.file, None, str(error)
            self.retry_at = now
            return
        if schema.is_damage(error):
            self._damage = schema.reason_of(error)
        self.close(is_clean=False)
        self.retry_at = now if has_freed else now + RETRY_AFTER

    def _find_misplacement(self) -> schema.MisplacedError | None:
        with suppress(OSError):
            try:
                if self.file is not None:
                    self.file.check_path(has_failed=True)
            except schema.MisplacedError as error:
                return error
        return None

    @property
    def needs_retry(self) -> bool:
        """Whether it must be reopened, or has queued commands."""
        return self.file is None or bool(self._pending)

    def retry(self, now: float) -> list[Completion]:
        """Reopen the file, check it for damage, and run the queued commands; see `commit`."""
        completions: list[Completion] = []
        self.retry_at = now + RETRY_AFTER
        try:
            file = self._reopen() if self.file is None else self.file
            self._catch_up(file, completions)
        except Exception as error:  # noqa: BLE001 retried later
            self._fail(error, now)
            return completions
        self.failure = None
        if self._is_failure_logged and self._disk_reserve.shortage is None:
            self._log.warning("the journal %s works again", self._path)
        self._is_failure_logged = False
        return completions

    def _catch_up(self, file: SegmentFile, completions: list[Completion]) -> None:
        """Run the queued commands; on a full disk one by one, because smaller transactions need less space."""
        if self._disk_reserve.shortage is None:
            completions += self._transact(file, self._pending)
            self._pending = []
            return
        postponed: list[SegmentCommand] = []
        try:
            while self._pending:
                command = self._pending[0]
                if not isinstance(command, AddDeadLetters):
                    completions += self._transact(file, [command])
                elif not postponed and self._has_added(file, command):
                    self._transact(file, [Ack(command.segment, [entry.seq for entry in command.entries])])
                else:
                    postponed.append(command)
                self._pending.pop(0)
        finally:
            self._pending = postponed + self._pending

    def _has_added(self, file: SegmentFile, command: AddDeadLetters) -> bool:
        """Add dead letters unless the disk is too full: no other command uses these events, so this can wait."""
        if not self._disk_reserve.has_room_for(command.entries):
            return False
        try:
            self._dead_letters.add(file.file_id, command.entries, now=self._clock())
        except (sqlite3.Error, OSError) as error:
            if not self._disk_reserve.is_missing_for_dead_letters(error):
                raise
            return False
        return True

    def _reopen(self) -> SegmentFile:
        file = self._open_again() if self._misplaced is None else self._move(self._misplaced)
        file.begin()
        file.delete(self._uncertain)
        file.commit()
        self._uncertain = []
        return file

    def _open_again(self) -> SegmentFile:
        """Reopen the file, and repair it if it is damaged."""
        orphan = self.examine({})
        if not self._path.exists():  # it may come back; otherwise the next start reports what it contained
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path.name)
        file = self._open(orphan)
        reason, self._damage = self._damage, None
        if reason is None and (reason := self._find_damage(file)) is None:
            return file
        return self._repair_open(reason)

    # ---------------------------------------------------------------- repair

    def _find_damage(self, file: SegmentFile) -> str | None:
        """Check an open file; returns what is damaged."""
        try:
            file.check()
        except Exception as error:
            if not schema.is_damage(error):
                self.close(is_clean=False)
                raise
            return schema.reason_of(error)
        return None

    def _repair(self, orphan: Orphan, reason: str) -> None:
        result = repair(self._path, orphan, reason, self._dead_letters, self._clock(), min_next_seq=self._next_seq)
        self._missing += result.affected
        self._log.error(
            "the journal's file %s is damaged (%s): %s; it is kept with .damaged at its end, and a note beside it",
            self._path.name,
            reason,
            result.text,
        )

    def _repair_open(self, reason: str) -> SegmentFile:
        """Replace an open file by a repaired one."""
        self.close(is_clean=False)
        self._repair(self.examine({}), reason)
        return self._open_file()

    def _move(self, misplaced: SegmentFile) -> SegmentFile:
        """Copy everything that the open file still contains to a new segment, and continue there."""
        self._folder.create()
        stem = self._folder.new_stem(misplaced.state.position)
        descriptor = take_lock(self._folder.lock(stem))
        if descriptor is None:  # pragma: no cover another process recovers orphaned segments: retried later
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        path, old_path, events = self._folder.journal(stem), self._path, misplaced.state.events
        try:
            saved, found = copy_open_file(misplaced, path, set(self._uncertain))
            set_aside(old_path)  # closing the open file would delete the `-wal` at that path, even another file's
        except BaseException:
            self._folder.remove(stem)
            release_lock(descriptor, self._folder.lock(stem))
            raise
        self._rename(stem, descriptor)
        self._misplaced = None
        misplaced.clear()
        with suppress(Exception):
            misplaced.close()
        file = self._open_file()
        file.record_use()
        missing = events - found
        self._log.error(
            "%s while the journal had it open: %s saved to %s%s; do not let other programs change the journal's folder",
            self._misplacement,
            counted(saved, "event", "were"),
            path.name,
            f", {missing} could not be saved, and are lost unless they are in memory" if missing > 0 else "",
        )
        return file

    def _rename(self, stem: str, descriptor: int) -> None:
        """Take a new name and its lock; release and remove the files of the old name."""
        self.close(is_clean=False)
        old_stem, self.stem = self.stem, stem
        self._path = self._folder.journal(stem)
        self._fork_guard.descriptors.add(descriptor)
        self._fork_guard.descriptors.discard(self.descriptor)
        release_lock(self.descriptor)
        self.descriptor = descriptor
        for path in (self._folder.mark(old_stem), self._folder.lock(old_stem)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if self._max_bytes is not None:
            self._disk_reserve.move(self._folder.reserve(stem))
