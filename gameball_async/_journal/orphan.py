"""Examine the files of an orphaned segment before SQLite opens and changes them.

The state of a segment counts its commits, which shows the newer of two states. A database whose state is older than
the one in its `-wal` or its commit mark is damaged: SQLite would continue from the older state and drop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import attrs

from . import schema
from .sqlite_image import MAGIC, DatabaseImage, Values, Wal, kind_of, read_wal, wal_of
from .state import MARK, VERSION, SegmentState, state_of

_STATE_PAGE = 4  # the root of the third table
_NONE_CERTAIN = 2**31
_APPLICATION_ID = schema.APPLICATION_ID.to_bytes(4, "big")

_States = list[tuple[int, SegmentState]]
"""The states in a `-wal`, with the index of their frame."""


@attrs.frozen(kw_only=True)
class Orphan:
    """An orphaned segment: a database and its `-wal`.

    Attributes:
        main: the database, even if it was renamed; None if no database belongs to the `-wal`.
        wal: the frames of its `-wal`.
        frames: how many of them were committed, and are applied.
        file_id: its permanent id; None if it is unreadable.
        state: the state that SQLite would read; None if it is damaged.
        newest: the newest known state; None if no state is known.
        reason: what is damaged; None if SQLite may open the files.
        certain_from: the first frame whose pages contain no events that were deleted later; -1 is the database.
        has_doubtful_pages: whether older versions of damaged pages may contain such events.
        is_blank: whether it is empty.
        is_cut: whether its process died, and the `-wal` that must exist is missing.
        is_mark_lost: whether its process died, and the commit mark that would show losses is missing or damaged.
    """

    main: Path | None
    wal: Wal
    frames: int
    file_id: str | None
    state: SegmentState | None
    newest: SegmentState | None
    reason: str | None
    certain_from: int
    has_doubtful_pages: bool
    is_blank: bool
    is_cut: bool
    is_mark_lost: bool

    def image(self) -> DatabaseImage:
        """Return its pages; the caller closes the image."""
        return DatabaseImage(self.main, self.wal, self.frames)


def examine(path: Path, marks: Mapping[str, SegmentState], own_mark: SegmentState | None) -> Orphan:
    """Examine the files at a path without changing them.

    Args:
        path: the database; its lock is held, and no process has it open.
        marks: the commit marks in the folder, by file id.
        own_mark: the commit mark beside this file.

    Raises:
        OSError: if they cannot be read.
        NewerSchemaError: if a later version wrote them.
    """
    files = _OrphanFiles.at(path, own_mark)
    wal, known = files.wal, files.of_main or _newest_of(files.of_wal)
    mark = own_mark if known is None else marks.get(known.file_id)
    with closing(DatabaseImage(files.main, wal, wal.readable)) as image:
        state, first_page = _state_in(image), image.page(1)
    _check_version(first_page, state or known)
    synced = _newest_of(files.of_wal, wal.synced)
    is_new = bool(files.of_wal) and not any(state.commits for _, state in files.of_wal)  # died before its first event
    had_mark = known is not None and bool(known.destination) and (known.is_open or (bool(wal.frames) and not is_new))
    is_mark_lost = had_mark and mark is None
    is_more_synced = is_mark_lost or (mark is not None and (synced is None or mark.commits > synced.commits))
    frames = wal.committed if is_more_synced else wal.synced
    in_wal = _newest_of(files.of_wal, frames)
    newest = max((one for one in (state, files.of_main, in_wal, mark) if one is not None), key=_commits, default=None)
    is_wal_gone = not wal_of(path).exists()
    is_cut = state is not None and state.is_open and not wal.frames and (mark is None or is_wal_gone)
    reason = files.reason(state, newest, first_page, is_wal_gone=is_wal_gone)
    certain_from, has_doubtful_pages = _doubt(files, frames)
    if reason is None and is_cut and mark is None:
        reason, certain_from = "its -wal is missing", _NONE_CERTAIN
    if reason is None and is_mark_lost and len(wal.frames) > wal.readable:
        reason = "its -wal and its mark are damaged"
    if reason is not None and is_mark_lost:  # the end of the -wal may be missing, and with it removals
        certain_from = _NONE_CERTAIN
    with closing(DatabaseImage(files.main, wal, frames)) as image:
        if newest is not None and _is_doubtful(_state_in(image), newest, wal):
            certain_from = _NONE_CERTAIN
    is_unused = state is None and not frames and (files.is_blank or _is_unused(first_page))
    is_removed = files.is_blank and newest is not None and not newest.events and in_wal in (None, newest)
    return Orphan(
        main=files.main,
        wal=wal,
        frames=frames,
        file_id=None if known is None else known.file_id,
        state=state,
        newest=newest,
        reason=reason,
        certain_from=certain_from,
        has_doubtful_pages=has_doubtful_pages,
        is_blank=(is_unused and (newest is None or not newest.commits)) or is_removed,
        is_cut=is_cut,
        is_mark_lost=is_mark_lost,
    )


def file_id_of(path: Path) -> str | None:
    """Return the permanent id of the segment at a path; None if it is unreadable."""
    try:
        files = _OrphanFiles.at(path, None)
    except OSError:
        return None
    state = files.of_main or _newest_of(files.of_wal)
    return None if state is None else state.file_id


@attrs.frozen(kw_only=True)
class _OrphanFiles:
    """The files that belong together.

    Attributes:
        main: see `Orphan`.
        wal: see `Orphan`.
        of_main: the state in the database without its `-wal`.
        of_wal: the states in the `-wal`.
        mismatch: why SQLite must not combine the two; None if it may.
        is_blank: whether the database is missing or empty.
        is_database: whether the database has a valid header.
    """

    main: Path | None
    wal: Wal
    of_main: SegmentState | None
    of_wal: _States
    mismatch: str | None
    is_blank: bool
    is_database: bool

    @classmethod
    def at(cls, path: Path, own_mark: SegmentState | None) -> _OrphanFiles:
        """Find the files."""
        main: Path | None
        main, wal, mismatch = _sources(path)
        with closing(DatabaseImage(main, Wal(), 0)) as image:
            of_main, is_blank, is_database = _state_in(image), image.is_blank, image.is_database
        of_wal = _states(wal)
        newest = _newest_of(of_wal)
        if of_main is not None and newest is not None:
            if of_main.file_id != newest.file_id and own_mark is not None and own_mark.file_id == newest.file_id:
                mismatch, main, of_main = "its database belongs to another file", None, None
            elif of_main.file_id != newest.file_id:
                mismatch, wal, of_wal = "its -wal belongs to another file", Wal(), []
            elif newest.commits < of_main.commits:
                mismatch, wal, of_wal = "its -wal is older than its database", Wal(), []
            elif of_wal[0][1].commits > of_main.commits + 1:
                mismatch = "its database is older than its -wal"
        return cls(
            main=main,
            wal=wal,
            of_main=of_main,
            of_wal=of_wal,
            mismatch=mismatch,
            is_blank=is_blank,
            is_database=is_database,
        )

    def reason(
        self, state: SegmentState | None, newest: SegmentState | None, first_page: bytes, *, is_wal_gone: bool
    ) -> str | None:
        """Return what is damaged, without looking into the tables."""
        if self.mismatch is not None:
            return self.mismatch
        if state is None or (self.wal.frames and not self.is_database):
            if self.is_blank:
                return "its database is missing or empty"
            return "its state is missing or damaged" if self.is_database else "file is not a database"
        if first_page[68:72] != _APPLICATION_ID:
            return "it is not a journal"
        if newest is not None and state.commits < newest.commits:
            return "its -wal is missing" if is_wal_gone else "its -wal is damaged"
        return None


def _sources(path: Path) -> tuple[Path, Wal, str | None]:
    """Find the database and its `-wal`, even if they were renamed to each other or to other files of the segment."""
    names = [path, wal_of(path), *(path.with_suffix(suffix) for suffix in (MARK, ".reserve", ".lock"))]
    main = next((name for name in names if kind_of(name) == "database"), path)
    wal = next((name for name in names if kind_of(name) == "wal"), wal_of(path))
    mismatch = None if (main, wal) == (path, wal_of(path)) else "its files were renamed to each other"
    return main, Wal() if kind_of(wal) == "database" else read_wal(wal), mismatch


def _is_unused(first_page: bytes) -> bool:
    """Return whether a database has no tables and no application id."""
    return first_page.startswith(MAGIC) and not any(first_page[68:72]) and not any(first_page[103:105])


def _check_version(first_page: bytes, state: SegmentState | None) -> None:
    """Raise NewerSchemaError if a later version wrote the file.

    If it has a state of this version, its version number is damaged instead.
    """
    version = int.from_bytes(first_page[60:64], "big")
    if state is None and version > VERSION and first_page[68:72] == _APPLICATION_ID:
        raise schema.NewerSchemaError(f"schema {version}")


# ---------------------------------------------------------------- states


def _state_in(image: DatabaseImage) -> SegmentState | None:
    return max(_states_of(image.rows_of(image.page(_STATE_PAGE))), key=_commits, default=None)


def _states_of(rows: Iterable[tuple[int, Values]]) -> list[SegmentState]:
    return [state for row, values in rows if row == 1 and (state := state_of(values[1:])) is not None]


def _states(wal: Wal) -> _States:
    with closing(DatabaseImage(None, wal, 0)) as image:
        return [(frame.index, state) for frame in wal.frames for state in _states_of(image.rows_of(frame.data))]


def _newest_of(states: _States, frames: int = 2**31) -> SegmentState | None:
    """Return the newest of the states in the first frames."""
    return max((state for index, state in states if index < frames), key=_commits, default=None)


def _commits(state: SegmentState) -> int:
    return state.commits


# ---------------------------------------------------------------- doubt


def _deleted(before: SegmentState, after: SegmentState) -> int:
    """Return how many events were deleted between two states, at most."""
    return before.events + max(0, after.next_seq - before.next_seq) - after.events


def _is_doubtful(found: SegmentState | None, newest: SegmentState, wal: Wal) -> bool:
    """Return whether events were deleted after the state that was found."""
    if found is None:
        return newest.is_open and not wal.frames
    return found.commits < newest.commits and _deleted(found, newest) > 0


def _doubt(files: _OrphanFiles, frames: int) -> tuple[int, bool]:
    """Return `Orphan.certain_from` and `Orphan.has_doubtful_pages`."""
    certain_from, has_doubtful_pages = -1, False
    if files.of_main is not None and files.of_wal:
        first = files.of_wal[0][1]
        if first.commits > files.of_main.commits + 1 and _deleted(files.of_main, first):
            certain_from = 0
    for frame in files.wal.frames[:frames]:
        if frame.is_whole:
            continue
        begin = max((other.index + 1 for other in files.wal.frames[: frame.index] if other.size), default=0)
        before = _newest_of(files.of_wal, begin) or files.of_main
        after = next((state for index, state in files.of_wal if index >= begin), None)
        if before is None or after is None or _deleted(before, after):
            has_doubtful_pages = True
            if not frame.page:
                certain_from = frame.index
    return certain_from, has_doubtful_pages
