"""Which files a client takes when it starts: one of its own, and those whose owner is gone."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from uuid import uuid4

from .._platform import hold_lock, locked_folder, release_lock
from . import schema
from .dead_letters import DeadLetters
from .disk_reserve import DiskReserve, Note
from .folder import JOURNAL, RESERVE, Folder, is_gone, remove_reserve, take_lock
from .forks import ForkGuard
from .orphan import beside, file_id_of
from .segment import Segment
from .state import SegmentState, destination_of, is_destination_of

ADOPT_MOST = 100
"""Files that are adopted at one start: each costs five descriptors, of which many systems allow 1,024."""

_PATIENCE = 0.1  # seconds that a start waits in all for those who look at files without an owner
_BETWEEN_TRIES = 0.002


_REPLACED = (
    "another file has taken the place of the journal's file %s: of its events up to %d %s lost or may have been sent; "
    "if you have a copy of it, put it into the folder"
)


class _Becomes(Enum):
    """What is done with a file that was left."""

    ADOPTED = auto()
    EMPTY = auto()
    FOREIGN = auto()


class SegmentSet:
    """The files of one client, oldest first, its own last.

    Args:
        folder: where they are.
        account: whose events they hold, see `Access.account`.
        adopts_any: whether those of other accounts are taken too, and sent to this one.
        fork_guard: is told of the locks, so that a forked child lets go of them.
        dead_letters: where events go that cannot be sent.
        notes: where log lines go.

    Attributes:
        segments: the files by their number.
        own: the file that events are appended to, once it is taken.
        disk_reserve: the room that is kept on the disk for all of them.
    """

    def __init__(
        self,
        folder: Folder,
        account: bytes,
        fork_guard: ForkGuard,
        dead_letters: DeadLetters,
        notes: list[Note],
        *,
        adopts_any: bool,
    ) -> None:
        self.segments: dict[int, Segment] = {}
        self.own: Segment | None = None
        self._folder = folder
        self._account = account
        self._adopts_any = adopts_any
        self._fork_guard = fork_guard
        self._dead_letters = dead_letters
        self._notes = notes
        self._marks: dict[str, SegmentState] = {}
        self._seen: dict[str, str] = {}  # the files that were looked into, by their name for ever
        self._replaced: dict[str, tuple[str, int]] = {}  # those that others have taken the place of, and their events
        self.disk_reserve = DiskReserve(notes)

    def take(self, max_bytes: int) -> Segment:
        """Take everything.

        Args:
            max_bytes: bytes of the own file's events, at most.

        Returns:
            The own file.

        Raises:
            OSError: if the own file cannot be made or locked; nothing is held then.
            sqlite3.Error: likewise.
        """
        self._folder.make()
        self._free_reserves()
        own, earlier = self._make_own(max_bytes)
        adopted: list[Segment] = []
        try:
            self._adopt_all(earlier, adopted)
        except BaseException:
            for segment in adopted:
                self._release(segment)
            self._remove(own)
            raise
        adopted.sort(key=lambda segment: segment.order)  # by what they say themselves: names can be changed
        for number, segment in enumerate([*adopted, own]):
            segment.number = number
            self.segments[number] = segment
        self.own = own
        self.disk_reserve.take(self._folder.reserve(own.stem))
        self.follow_reserve()
        return own

    def _free_reserves(self) -> None:
        """Give the disk back what was reserved by owners that are gone."""
        for path in self._folder.path.glob("*" + RESERVE):
            with suppress(OSError):  # it is tried again when its file is removed
                descriptor = hold_lock(self._folder.lock(path.stem))
                if descriptor is None:
                    continue
                try:
                    remove_reserve(path)
                finally:
                    release_lock(descriptor)

    def follow_reserve(self) -> None:
        """Let what lies beside the files be as large as the room allows."""
        for segment in self.segments.values():
            segment.follow_reserve()

    def _make_own(self, max_bytes: int) -> tuple[Segment, list[str]]:
        """Make the own file behind all others; returns these as well."""
        with locked_folder(self._folder.path):
            earlier, position = self._folder.stems(), self._folder.next_position()
            stem = self._folder.new_stem(position)
            descriptor = take_lock(self._folder.lock(stem))
        if descriptor is None:  # pragma: no cover whoever looks for strays may hold it for an instant; a new name helps
            return self._make_own(max_bytes)
        own = self._new_origin(stem, descriptor, max_bytes)
        try:
            own.make(SegmentState(uuid4().hex, position=position, destination=destination_of(self._account)))
        except BaseException:
            self._remove(own)
            raise
        return own, earlier

    def _new_origin(self, stem: str, descriptor: int, max_bytes: int | None = None) -> Segment:
        self._fork_guard.descriptors.add(descriptor)
        return Segment(
            self._folder,
            stem,
            descriptor,
            max_bytes,
            self._fork_guard,
            self.disk_reserve,
            self._dead_letters,
            self._notes,
        )

    def _adopt_all(self, stems: list[str], adopted: list[Segment]) -> None:
        """Take the files that lie there; one that cannot be taken harms none of the others."""
        self._marks = self._folder.marks()
        self._seen, self._replaced = {}, {}
        foreign: list[str] = []
        deadline = time.monotonic() + _PATIENCE
        for place, stem in enumerate(stems):
            if len(adopted) == ADOPT_MOST:
                self._note("more files of the journal wait for the next start: up to %d", len(stems) - place)
                break
            try:
                segment = self._adopt(stem, deadline, foreign)
            except Exception as error:  # noqa: BLE001 whatever a file contains, the client starts
                self._note("the journal's file %s is left alone: %s", stem + JOURNAL, schema.reason_of(error))
            else:
                adopted += [segment] if segment is not None else []
        self._report_replaced()
        if foreign:
            self._note(
                "files of the journal that hold events of another account and are left alone: %d, among them %s: start "
                "a client with that account's key and address to send them; if the key was replaced and the account is "
                'the same, start one with Journal(..., adopt="any")',
                len(foreign),
                foreign[0] + JOURNAL,
            )

    def _adopt(self, stem: str, deadline: float, foreign: list[str]) -> Segment | None:
        """Take a file, if its owner is gone and something lies in it."""
        lock = self._folder.lock(stem)
        descriptor = take_lock(lock)
        while descriptor is None and is_gone(lock) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_TRIES)  # somebody looks at it: that takes milliseconds
            descriptor = take_lock(lock)
        if descriptor is None:
            return None
        segment = self._new_origin(stem, descriptor)
        try:
            becomes = self._open(segment)
        except schema.NewerSchemaError as error:
            self._release(segment)
            self._note(
                "the journal's file %s was written by a later version of gameball_async (%s) and is left alone: "
                "upgrade to send its events",
                stem + JOURNAL,
                error,
            )
            return None
        except BaseException as error:
            if not isinstance(error, Exception) or not schema.is_unreadable(error):
                self._release(segment)
                raise
            self._set_aside(segment, schema.reason_of(error), is_copy=isinstance(error, schema.CopyError))
            return None
        if becomes is _Becomes.FOREIGN:
            self._release(segment)
            foreign.append(stem)
        elif becomes is _Becomes.EMPTY:
            self._remove(segment)
        return segment if becomes is _Becomes.ADOPTED else None

    def _open(self, segment: Segment) -> _Becomes:
        """Open a file that was left, if there is something in it for this account."""
        orphan = segment.examine(self._marks)
        if orphan.is_blank:
            return _Becomes.EMPTY
        if orphan.file_id is not None:
            self._check_identity(segment.stem, orphan.file_id)
        elif self._is_elsewhere(segment.stem):
            return _Becomes.EMPTY
        if orphan.truth is not None and not self._is_for_us(orphan.truth):
            return _Becomes.FOREIGN
        file = segment.adopt(orphan)
        if _is_known_to_be_empty(segment) and not segment.lost:
            return _Becomes.EMPTY
        if not self._is_for_us(file.state):  # it was damaged, and does not say whose it is
            return _Becomes.FOREIGN
        if not file.state.destination or not is_destination_of(self._account, file.state.destination):
            file.assign(destination_of(self._account))
        return _Becomes.ADOPTED

    def _check_identity(self, stem: str, file_id: str) -> None:
        """Check that a file is not a copy of another one, whose events would be sent twice.

        Raises:
            CopyError: if it is one.
        """
        mark = self._folder.mark_of(stem)
        original = self._seen.get(file_id)
        if original is None and (mark is None or mark.file_id != file_id):
            other = self._folder.stem_of(file_id)
            is_there = other is not None and _file_id_of(self._folder.journal(other)) == file_id
            original = other if is_there else None
        if original is not None and original != stem:
            raise schema.CopyError(f"it is a copy of {original}{JOURNAL}")
        self._seen[file_id] = stem
        if mark is not None and mark.file_id != file_id:
            self._replaced[mark.file_id] = (stem, mark.events)

    def _is_elsewhere(self, stem: str) -> bool:
        """Whether there is nothing but a mark, and the file that it belongs to has another name now."""
        path, mark = self._folder.journal(stem), self._folder.mark_of(stem)
        if mark is None or any(os.path.lexists(file) for file in (path, beside(path))):
            return False
        others = (self._folder.journal(other) for other in self._folder.stems() if other != stem)
        return any(_file_id_of(other) == mark.file_id for other in others)

    def _report_replaced(self) -> None:
        """Report the events of files that others have taken the place of, unless they were found elsewhere."""
        for file_id, (stem, events) in self._replaced.items():
            if events and file_id not in self._seen:
                self._notes.append((logging.ERROR, _REPLACED, (stem + JOURNAL, events, "is" if events == 1 else "are")))

    def _is_for_us(self, state: SegmentState) -> bool:
        return self._adopts_any or is_destination_of(self._account, state.destination)

    # ---------------------------------------------------------------- letting go

    def discard(self, number: int) -> None:
        """Remove an adopted file without events; one that holds events stays."""
        segment = self.segments.get(number)
        if segment is None or segment is self.own:
            return
        if segment.file is not None and segment.file.are_events_missing:
            del self.segments[number]
            self._set_aside(segment, "events are missing in it")
            return
        if not _is_known_to_be_empty(segment):
            self._note("the journal's file %s may still hold events and is kept", segment.stem + JOURNAL)
            return
        del self.segments[number]
        self._remove(segment)

    def let_go(self) -> None:
        """Close everything, remove what holds no events, release the locks."""
        self.disk_reserve.leave()
        for segment in self.segments.values():
            if _is_known_to_be_empty(segment):
                self._remove(segment)
            else:
                self._release(segment)
        self.segments.clear()
        self.own = None

    def release(self) -> None:
        """Close everything, give up the reserve and the locks, but change no file: something went wrong."""
        for segment in self.segments.values():
            self._release(segment)
        self.segments.clear()
        self.own = None
        self.disk_reserve.leave()

    def _remove(self, segment: Segment) -> None:
        """Remove a file that holds no events."""
        lock = None
        try:
            if segment.is_in_place:
                segment.close()
                self._folder.remove(segment.stem)
                lock = self._folder.lock(segment.stem)
        except OSError as error:
            self._note("the journal's file %s cannot be removed: %s", segment.stem + JOURNAL, schema.reason_of(error))
        self._release(segment, lock)

    def _set_aside(self, segment: Segment, reason: str, *, is_copy: bool = False) -> None:
        """Rename a file that nobody can use, with the reason beside it."""
        segment.close()
        lock, loss = None, ""
        try:
            loss = segment.set_aside(reason, is_copy=is_copy)
            lock = self._folder.lock(segment.stem)
        except OSError as error:
            reason = f"{reason}; it cannot be renamed: {schema.reason_of(error)}"
        self._notes.append(
            (
                logging.ERROR,
                "the journal's file %s is damaged (%s): %sit is kept with .damaged at its end, and a note beside it",
                (segment.stem + JOURNAL, reason, loss and f"{loss}; "),
            )
        )
        self._release(segment, lock)

    def _release(self, segment: Segment, remove: Path | None = None) -> None:
        segment.close()
        self._fork_guard.descriptors.discard(segment.descriptor)
        release_lock(segment.descriptor, remove)

    def _note(self, message: str, *arguments: object) -> None:
        self._notes.append((logging.WARNING, message, arguments))


def _is_known_to_be_empty(segment: Segment) -> bool:
    with suppress(sqlite3.Error):
        return segment.file is not None and segment.file.is_empty
    return False


def _file_id_of(path: Path) -> str | None:
    with suppress(OSError):
        return file_id_of(path)
    return None
