"""The segments of one client: create the active one, recover orphaned ones at startup, close or remove all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from uuid import uuid4

from .._log import counted
from .._platform import hold_lock, locked_folder, release_lock
from . import schema
from .folder import JOURNAL, RESERVE, is_owner_gone, remove_reserve, take_lock
from .orphan import file_id_of
from .segment import Segment, SegmentContext
from .sqlite_image import wal_of
from .state import SegmentState, destination_of, is_destination_of

MAX_RECOVERED = 100
"""Segments recovered at one start: each needs five descriptors, and many systems allow 1,024."""

_PATIENCE = 0.1  # seconds that a start waits in total for processes that inspect orphaned segments
_BETWEEN_TRIES = 0.002

_REPLACED = (
    "another file has replaced the journal's file %s: of its events up to %d %s lost or may have been sent; if you "
    "have a copy of it, put it into the folder"
)


class _Recovery(Enum):
    """What to do with an orphaned segment."""

    KEEP = auto()
    REMOVE = auto()
    LEAVE = auto()  # it belongs to another account


class SegmentSet:
    """The segments of one client, oldest first, the active one last.

    Args:
        context: what the segments share.
        account: the account of the events, see `Endpoint.account`.
        adopts_any: whether to recover segments of other accounts too, and send their events to this one.
        sleep: waits some seconds while another process inspects an orphaned segment.

    Attributes:
        by_number: the segments by their number.
        active: the segment that gets new events.
    """

    def __init__(
        self, context: SegmentContext, account: bytes, *, adopts_any: bool, sleep: Callable[[float], object]
    ) -> None:
        self.by_number: dict[int, Segment] = {}
        self.active: Segment | None = None
        self._context = context
        self._folder = context.folder
        self._log = context.log
        self._account = account
        self._adopts_any = adopts_any
        self._sleep = sleep
        self._patience = 0.0
        self._marks: dict[str, SegmentState] = {}
        self._seen: dict[str, str] = {}  # the stems of examined segments, by file id
        self._replaced: dict[str, tuple[str, int]] = {}  # the stems and events of replaced segments, by file id
        self._foreign: list[str] = []  # the stems of segments of other accounts

    def open(self, max_bytes: int) -> None:
        """Create the active segment, and recover orphaned ones.

        Args:
            max_bytes: the size limit of the active segment.

        Raises:
            OSError: if the active segment cannot be created or locked; nothing is locked then.
            sqlite3.Error: if the active segment cannot be created; nothing is locked then.
        """
        self._folder.create()
        self._free_reserves()
        active, earlier = self._create_active(max_bytes)
        recovered: list[Segment] = []
        try:
            self._recover_all(earlier, recovered)
        except BaseException:
            for segment in recovered:
                self._release(segment)
            self._remove(active)
            raise
        recovered.sort(key=lambda segment: segment.order)  # by stored position: files may have been renamed
        for number, segment in enumerate([*recovered, active]):
            segment.number = number
            self.by_number[number] = segment
        self.active = active
        self._context.disk_reserve.take(self._folder.reserve(active.stem))
        self.limit_wal()

    def _free_reserves(self) -> None:
        """Remove the disk reserves of dead processes."""
        for path in self._folder.path.glob("*" + RESERVE):
            with suppress(OSError):  # removed later with its segment
                descriptor = hold_lock(self._folder.lock(path.stem))
                if descriptor is None:
                    continue
                try:
                    remove_reserve(path)
                finally:
                    release_lock(descriptor)

    def limit_wal(self) -> None:
        """Let each `-wal` grow to the size that the disk reserve covers."""
        for segment in self.by_number.values():
            segment.limit_wal()

    def _create_active(self, max_bytes: int) -> tuple[Segment, list[str]]:
        """Create the active segment after all others; returns the stems of those too."""
        with locked_folder(self._folder.path):
            earlier, position = self._folder.stems(), self._folder.next_position()
            stem = self._folder.new_stem(position)
            descriptor = take_lock(self._folder.lock(stem))
        if descriptor is None:  # pragma: no cover another process tried to recover it: a new name helps
            return self._create_active(max_bytes)
        active = self._new_segment(stem, descriptor, max_bytes)
        try:
            active.create(SegmentState(uuid4().hex, position=position, destination=destination_of(self._account)))
        except BaseException:
            self._remove(active)
            raise
        return active, earlier

    def _new_segment(self, stem: str, descriptor: int, max_bytes: int | None = None) -> Segment:
        self._context.fork_guard.descriptors.add(descriptor)
        return Segment(self._context, stem, descriptor, max_bytes)

    # ---------------------------------------------------------------- recovery

    def _recover_all(self, stems: list[str], recovered: list[Segment]) -> None:
        """Recover orphaned segments; a failure of one does not affect the others."""
        self._marks = self._folder.marks()
        self._seen, self._replaced, self._foreign = {}, {}, []
        self._patience = _PATIENCE
        for index, stem in enumerate(stems):
            if len(recovered) == MAX_RECOVERED:
                self._log.warning("more files of the journal wait for the next start: up to %d", len(stems) - index)
                break
            try:
                segment = self._recover(stem)
            except Exception as error:  # noqa: BLE001 the client starts with any content of a file
                self._log.warning("skipped the journal's file %s: %s", stem + JOURNAL, schema.reason_of(error))
            else:
                recovered += [segment] if segment is not None else []
        for file_id, (stem, events) in self._replaced.items():
            if events and file_id not in self._seen:
                self._log.error(_REPLACED, stem + JOURNAL, events, "is" if events == 1 else "are")
        if self._foreign:
            self._log.warning(
                "skipped %s of the journal with events of another account, among them %s: start a client with "
                "that account's key and address to send them; if the key was replaced and the account is the same, "
                'start one with Journal(..., adopt="any")',
                counted(len(self._foreign), "file"),
                self._foreign[0] + JOURNAL,
            )

    def _recover(self, stem: str) -> Segment | None:
        """Lock and open a segment, if it is orphaned and has events."""
        lock = self._folder.lock(stem)
        descriptor = take_lock(lock)
        while descriptor is None and is_owner_gone(lock) and self._patience > 0:
            self._sleep(_BETWEEN_TRIES)  # another process inspects it, which takes milliseconds
            self._patience -= _BETWEEN_TRIES
            descriptor = take_lock(lock)
        if descriptor is None:
            return None
        segment = self._new_segment(stem, descriptor)
        try:
            recovery = self._open(segment)
        except schema.NewerSchemaError as error:
            self._release(segment)
            self._log.warning(
                "skipped the journal's file %s, which was written by a later version of gameball_async (%s): upgrade "
                "to send its events",
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
        if recovery is _Recovery.KEEP:
            return segment
        if recovery is _Recovery.REMOVE:
            self._remove(segment)
        else:
            self._release(segment)
            self._foreign.append(stem)
        return None

    def _open(self, segment: Segment) -> _Recovery:
        """Open an orphaned segment, if it has events of this account."""
        orphan = segment.examine(self._marks)
        if orphan.is_blank:
            return _Recovery.REMOVE
        if orphan.file_id is not None:
            self._check_identity(segment.stem, orphan.file_id)
        elif self._is_renamed(segment.stem):
            return _Recovery.REMOVE
        if orphan.newest is not None and not self._is_ours(orphan.newest):
            return _Recovery.LEAVE
        file = segment.recover(orphan)
        if _is_known_to_be_empty(segment) and not segment.lost:
            return _Recovery.REMOVE
        if not self._is_ours(file.state):  # damaged, and its account is unknown
            return _Recovery.LEAVE
        if not file.state.destination or not is_destination_of(self._account, file.state.destination):
            file.assign(destination_of(self._account))
        return _Recovery.KEEP

    def _check_identity(self, stem: str, file_id: str) -> None:
        """Check that a segment is not a copy of another one, whose events would be sent twice.

        Raises:
            CopyError: if it is one.
        """
        mark = self._folder.mark_of(stem)
        original = self._seen.get(file_id)
        if original is None and (mark is None or mark.file_id != file_id):
            other = self._folder.stem_of(file_id)
            exists = other is not None and file_id_of(self._folder.journal(other)) == file_id
            original = other if exists else None
        if original is not None and original != stem:
            raise schema.CopyError(f"it is a copy of {original}{JOURNAL}")
        self._seen[file_id] = stem
        if mark is not None and mark.file_id != file_id:
            self._replaced[mark.file_id] = (stem, mark.events)

    def _is_renamed(self, stem: str) -> bool:
        """Return whether only a commit mark has this stem, and its segment has another name now."""
        path, mark = self._folder.journal(stem), self._folder.mark_of(stem)
        if mark is None or any(os.path.lexists(file) for file in (path, wal_of(path))):
            return False
        others = (self._folder.journal(other) for other in self._folder.stems() if other != stem)
        return any(file_id_of(other) == mark.file_id for other in others)

    def _is_ours(self, state: SegmentState) -> bool:
        return self._adopts_any or is_destination_of(self._account, state.destination)

    # ---------------------------------------------------------------- close

    def discard(self, number: int) -> None:
        """Remove a recovered segment without events; one that has events is kept."""
        segment = self.by_number.get(number)
        if segment is None or segment is self.active:
            return
        if segment.file is not None and segment.file.are_events_missing:
            del self.by_number[number]
            self._set_aside(segment, "events are missing in it")
        elif _is_known_to_be_empty(segment):
            del self.by_number[number]
            self._remove(segment)
        else:
            self._log.warning("the journal's file %s may still contain events and is kept", segment.stem + JOURNAL)

    def close(self) -> None:
        """Close all segments, remove those without events, and release the locks."""
        self._context.disk_reserve.close()
        for segment in self.by_number.values():
            if _is_known_to_be_empty(segment):
                self._remove(segment)
            else:
                self._release(segment)
        self.by_number.clear()
        self.active = None

    def release(self) -> None:
        """Close all segments, and release the reserve and the locks, without removing files: for use after a bug."""
        for segment in self.by_number.values():
            self._release(segment)
        self.by_number.clear()
        self.active = None
        self._context.disk_reserve.close()

    def _remove(self, segment: Segment) -> None:
        """Remove a segment without events."""
        lock = None
        try:
            if segment.is_in_place:
                segment.close()
                self._folder.remove(segment.stem)
                lock = self._folder.lock(segment.stem)
        except OSError as error:
            self._log.warning(
                "the journal's file %s cannot be removed: %s", segment.stem + JOURNAL, schema.reason_of(error)
            )
        self._release(segment, lock)

    def _set_aside(self, segment: Segment, reason: str, *, is_copy: bool = False) -> None:
        """Rename an unusable segment, and write the reason beside it."""
        segment.close()
        lock, loss = None, ""
        try:
            loss = segment.set_aside(reason, is_copy=is_copy)
            lock = self._folder.lock(segment.stem)
        except OSError as error:
            reason = f"{reason}; it cannot be renamed: {schema.reason_of(error)}"
        self._log.error(
            "the journal's file %s is damaged (%s): %sit is kept with .damaged at its end, and a note beside it",
            segment.stem + JOURNAL,
            reason,
            loss and f"{loss}; ",
        )
        self._release(segment, lock)

    def _release(self, segment: Segment, remove: Path | None = None) -> None:
        segment.close()
        self._context.fork_guard.descriptors.discard(segment.descriptor)
        release_lock(segment.descriptor, remove)


def _is_known_to_be_empty(segment: Segment) -> bool:
    with suppress(sqlite3.Error):
        return segment.file is not None and segment.file.is_empty
    return False
