"""What is in the files that a process has left, found out before SQLite may open and change them.

The file's state counts its commits. So of two states the newer one is known, and a file whose own state is older than
what its `-wal` or its mark has seen was damaged: SQLite would go on from the older one and drop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import attrs

from . import schema
from .sqlite_image import MAGIC, DatabaseImage, Values, Wal, kind_of, read_wal
from .state import MARK, VERSION, SegmentState, state_of

_STATE_PAGE = 4  # the root of the third table
_NONE_CERTAIN = 2**31
_APPLICATION_ID = schema.APPLICATION_ID.to_bytes(4, "big")

_States = list[tuple[int, SegmentState]]
"""The states in a `-wal`, with the index of their frame."""


@attrs.frozen(kw_only=True)
class Orphan:
    """The files at one path: a database and its `-wal`.

    Attributes:
        main: the database, or the file that was found to be it; None if there is none that belongs to the `-wal`.
        wal: the frames of its `-wal`.
        frames: how many of them are applied: those that were committed.
        file_id: its name for ever, as it tells itself; None if it does not.
        state: what SQLite would read; None if that is damaged.
        truth: the newest state that is known; None if there is none.
        reason: what is damaged; None if SQLite may open the files.
        certain_from: the frame from which on a version of a page has no events that were removed since; -1 is the
            database itself.
        has_doubtful_pages: whether the older versions of damaged pages may have such events.
        is_blank: whether nothing is in it.
        is_cut: whether its process died, and the `-wal` is gone that it must have had.
        is_mark_lost: whether its process died, and the mark is missing or damaged, which would show what is missing.
    """

    main: Path | None
    wal: Wal
    frames: int
    file_id: str | None
    state: SegmentState | None
    truth: SegmentState | None
    reason: str | None
    certain_from: int
    has_doubtful_pages: bool
    is_blank: bool
    is_cut: bool
    is_mark_lost: bool

    def image(self) -> DatabaseImage:
        """Its pages; to be closed."""
        return DatabaseImage(self.main, self.wal, self.frames)


def beside(path: Path) -> Path:
    """The `-wal` of a database."""
    return path.with_name(path.name + "-wal")


def examine(path: Path, marks: Mapping[str, SegmentState], own_mark: SegmentState | None) -> Orphan:
    """Look at the files at a path; nothing is changed.

    Args:
        path: of the database; its lock is held, and no process has it open.
        marks: those of the folder, by the name of their file.
        own_mark: the one beside this file.

    Raises:
        OSError: if they cannot be read.
        NewerSchemaError: if a later version wrote them.
    """
    files = _OrphanFiles.at(path, own_mark)
    wal, known = files.wal, files.of_main or _newest(files.of_wal)
    mark = own_mark if known is None else marks.get(known.file_id)
    with closing(DatabaseImage(files.main, wal, wal.readable)) as image:
        state, first_page = _state_in(image), image.page(1)
    _check_version(first_page, state or known)
    synced = _newest(files.of_wal, wal.synced)
    had_mark = known is not None and bool(known.destination) and (known.is_open or bool(wal.frames))
    is_mark_lost = had_mark and mark is None
    is_more_synced = is_mark_lost or (mark is not None and (synced is None or mark.commits > synced.commits))
    frames = wal.committed if is_more_synced else wal.synced
    in_wal = _newest(files.of_wal, frames)
    truth = max((one for one in (state, files.of_main, in_wal, mark) if one is not None), key=_commits, default=None)
    is_wal_gone = not beside(path).exists()
    is_cut = state is not None and state.is_open and not wal.frames and (mark is None or is_wal_gone)
    reason = files.reason(state, truth, first_page, is_wal_gone=is_wal_gone)
    certain_from, has_doubtful_pages = _doubt(files, frames)
    if reason is None and is_cut and mark is None:
        reason, certain_from = "its -wal is missing", _NONE_CERTAIN
    if reason is None and is_mark_lost and len(wal.frames) > wal.readable:
        reason = "its -wal and its mark are damaged"
    if reason is not None and is_mark_lost:  # the end of the -wal may be missing, and with it removals
        certain_from = _NONE_CERTAIN
    with closing(DatabaseImage(files.main, wal, frames)) as image:
        if truth is not None and _is_doubtful(_state_in(image), truth, wal):
            certain_from = _NONE_CERTAIN
    is_unused = state is None and not frames and (files.is_blank or _is_unused(first_page))
    is_removed = files.is_blank and truth is not None and not truth.events and in_wal in (None, truth)
    return Orphan(
        main=files.main,
        wal=wal,
        frames=frames,
        file_id=None if known is None else known.file_id,
        state=state,
        truth=truth,
        reason=reason,
        certain_from=certain_from,
        has_doubtful_pages=has_doubtful_pages,
        is_blank=(is_unused and (truth is None or not truth.commits)) or is_removed,
        is_cut=is_cut,
        is_mark_lost=is_mark_lost,
    )


def file_id_of(path: Path) -> str | None:
    """The name for ever of the file at a path; None if it cannot be read.

    Raises:
        OSError: if the files cannot be read.
    """
    files = _OrphanFiles.at(path, None)
    state = files.of_main or _newest(files.of_wal)
    return None if state is None else state.file_id


@attrs.frozen(kw_only=True)
class _OrphanFiles:
    """What belongs together.

    Attributes:
        main: see `Orphan`.
        wal: likewise.
        of_main: the state in the database alone.
        of_wal: the states in the `-wal`.
        mismatch: why SQLite must not put the two together; None if it may.
        is_blank: whether nothing is in the database.
        is_database: whether it begins as a database does.
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
        """Find them."""
        main: Path | None
        main, wal, mismatch = _sources(path)
        with closing(DatabaseImage(main, Wal(), 0)) as image:
            of_main, is_blank, is_database = _state_in(image), image.is_blank, image.is_database
        of_wal = _states(wal)
        newest = _newest(of_wal)
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
        self, state: SegmentState | None, truth: SegmentState | None, first_page: bytes, *, is_wal_gone: bool
    ) -> str | None:
        """What is damaged; None if nothing is that can be seen from here."""
        if self.mismatch is not None:
            return self.mismatch
        if state is None or (self.wal.frames and not self.is_database):
            if self.is_blank:
                return "its database is missing or empty"
            return "its state is missing or damaged" if self.is_database else "file is not a database"
        if first_page[68:72] != _APPLICATION_ID:
            return "it is not a journal"
        if truth is not None and state.commits < truth.commits:
            return "its -wal is missing" if is_wal_gone else "its -wal is damaged"
        return None


def _sources(path: Path) -> tuple[Path, Wal, str | None]:
    """The database and its `-wal`, also if they have got the names of other files that belong to it; and if so."""
    names = [path, beside(path), *(path.with_suffix(suffix) for suffix in (MARK, ".reserve", ".lock"))]
    main = next((name for name in names if kind_of(name) == "database"), path)
    wal = next((name for name in names if kind_of(name) == "wal"), beside(path))
    mismatch = None if (main, wal) == (path, beside(path)) else "its files have got each other's names"
    return main, Wal() if kind_of(wal) == "database" else read_wal(wal), mismatch


def _is_unused(first_page: bytes) -> bool:
    """Whether a database has no tables, and was never ours."""
    return first_page.startswith(MAGIC) and not any(first_page[68:72]) and not any(first_page[103:105])


def _check_version(first_page: bytes, state: SegmentState | None) -> None:
    """Raise if a later version wrote a file.

    A state of this version says that the number of the version is damaged.
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


def _newest(states: _States, frames: int = 2**31) -> SegmentState | None:
    """The newest of the states in the first frames."""
    return max((state for index, state in states if index < frames), key=_commits, default=None)


def _commits(state: SegmentState) -> int:
    return state.commits


# ---------------------------------------------------------------- doubt


def _removed(before: SegmentState, after: SegmentState) -> int:
    """How many events were removed between two states, at most."""
    return before.events + max(0, after.next_seq - before.next_seq) - after.events


def _is_doubtful(found: SegmentState | None, truth: SegmentState, wal: Wal) -> bool:
    """Whether the whole file is of a time after which events were removed."""
    if found is None:
        return truth.is_open and not wal.frames
    return found.commits < truth.commits and _removed(found, truth) > 0


def _doubt(files: _OrphanFiles, frames: int) -> tuple[int, bool]:
    """See `Orphan.certain_from` and `Orphan.has_doubtful_pages`."""
    certain_from, has_doubtful_pages = -1, False
    if files.of_main is not None and files.of_wal:
        first = files.of_wal[0][1]
        if first.commits > files.of_main.commits + 1 and _removed(files.of_main, first):
            certain_from = 0
    for frame in files.wal.frames[:frames]:
        if frame.is_whole:
            continue
        begin = max((other.index + 1 for other in files.wal.frames[: frame.index] if other.size), default=0)
        before = _newest(files.of_wal, begin) or files.of_main
        after = next((state for index, state in files.of_wal if index >= begin), None)
        if before is None or after is None or _removed(before, after):
            has_doubtful_pages = True
            if not frame.page:
                certain_from = frame.index
    return certain_from, has_doubtful_pages
