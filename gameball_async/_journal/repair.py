"""Repair a damaged segment: copy every readable event to a new file of the same name.

A crash at any moment loses nothing: the new file is complete before the damaged one is set aside, and the next process
that finds it finishes the repair.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import attrs

from .._core.events import Event
from .._log import counted
from .._platform import open_private, sync_folder
from ..errors import OutcomeUnknown
from . import schema
from .dead_letters import DeadLetters
from .folder import LOCK, REPAIRED, RESERVE, SQLITE_SUFFIXES, create_database, free_name
from .orphan import Orphan
from .records import DeadLetterEntry, SealRecord, StoredEvent
from .schema import row_of
from .segment_file import SegmentFile
from .sqlite_image import DatabaseImage, kind_of, wal_of
from .state import MARK, SegmentState

_UNFINISHED = ".salvaging"
_GROUP = 1000  # events copied in one transaction
_MAX_MARK_SIZE = 1024  # bytes; also for locks, which are smaller

_NOWHERE = "unknown:"
"""The destination of a segment that does not record its account: no account matches it."""


@attrs.frozen
class RepairResult:
    """The result of a repair.

    Attributes:
        events: how many events were saved, to be sent as usual.
        doubtful: how many may have been sent already, and are dead letters now.
        affected: how many events were not saved, including the doubtful ones, according to its state and commit mark.
        is_count_known: whether `affected` is an upper limit.
    """

    events: int
    doubtful: int
    affected: int
    is_count_known: bool

    @property
    def text(self) -> str:
        """The result as a sentence."""
        saved = f"{counted(self.events, 'event', 'were')} saved"
        if not self.is_count_known:
            if self.doubtful:
                saved = f"{saved}, {counted(self.doubtful, 'event')} may have been sent and are among the dead letters"
            return f"{saved}, and it is unknown how many are lost"
        if not self.affected:
            return f"{saved}, none is lost"
        lost = f"up to {self.affected} {'is' if self.affected == 1 else 'are'} lost or may have been sent"
        doubtful = f", and {counted(self.doubtful, 'event')} that may have been sent went to the dead letters"
        return f"{saved}, {lost}" + (doubtful if self.doubtful else "")


def repair(
    path: Path,
    orphan: Orphan,
    reason: str,
    dead_letters: DeadLetters,
    now: float,
    *,
    min_next_seq: int = 1,
) -> RepairResult:
    """Replace a damaged file by one with its readable events; its lock must be held, and it must not be open.

    Args:
        path: the database.
        orphan: the result of examining it.
        reason: what is damaged.
        dead_letters: where events go that may have been sent already.
        now: the time in seconds since the epoch.
        min_next_seq: the smallest seq that the new file may use next.

    Raises:
        OSError: if the new file cannot be written; the damaged one stays in place.
        sqlite3.Error: if the new file cannot be written.
    """
    unfinished = path.with_suffix(_UNFINISHED)
    _remove(unfinished)
    result = _copy(orphan, unfinished, dead_letters, now, min_next_seq)
    write_note(path, reason, f"{result.text}. The saved events are sent as usual")
    unfinished.rename(path.with_suffix(REPAIRED))
    sync_folder(path.parent)
    finish_repair(path)
    return result


def copy_open_file(source: SegmentFile, to: Path, without: Collection[int]) -> tuple[int, int]:
    """Copy what an open file still contains, even if it was removed; returns how many events were copied and read.

    Args:
        source: the file.
        to: the path of the new one.
        without: the seqs of events that are not copied.
    """
    unfinished = to.with_suffix(_UNFINISHED)  # a crash leaves no second file with the same events
    try:
        counts = _copy_events(source, unfinished, without)
    except BaseException:
        _remove(unfinished)
        raise
    unfinished.rename(to)
    sync_folder(to.parent)
    return counts


def _copy_events(source: SegmentFile, to: Path, without: Collection[int]) -> tuple[int, int]:
    state = source.state
    create_database(to, state._replace(events=0, commits=state.commits + 1, is_open=False))
    with closing(SegmentFile(to)) as file:
        known: set[int] = set()
        for group in _groups(source.readable()):
            new = [row for row in group if row.seq not in known]
            known.update(row.seq for row in new)
            _store(file, [row for row in new if row.seq not in without])
        file.begin()
        file.seal(source.batches())
        file.commit()
        return file.events, len(known)


def finish_repair(path: Path) -> None:
    """Replace the damaged file by its repaired copy, if one exists."""
    _remove(path.with_suffix(_UNFINISHED))
    repaired = path.with_suffix(REPAIRED)
    if not repaired.exists():
        return
    set_aside(path)
    repaired.rename(path)
    sync_folder(path.parent)


def set_aside(path: Path) -> None:
    """Rename the files at a path, so that no client uses them."""
    with suppress(FileNotFoundError):
        path.rename(free_name(path, ".damaged"))
    set_foreign_files_aside(path)
    for suffix in SQLITE_SUFFIXES:  # SQLite would apply them to the new file
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(free_name(path, f".damaged{suffix}"))


def set_foreign_files_aside(path: Path) -> None:
    """Rename other files that have the names of a commit mark, a reserve or a lock: they may contain events.

    Args:
        path: the database; its lock is held.
    """
    for suffix in (MARK, RESERVE):
        other = path.with_suffix(suffix)
        if kind_of(other) is not None or (suffix == MARK and _size_of(other) > _MAX_MARK_SIZE):
            other.rename(free_name(path, f".damaged{suffix}"))
    lock = path.with_suffix(LOCK)
    if _size_of(lock) > _MAX_MARK_SIZE:
        copy = open_private(free_name(path, f".damaged{LOCK}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with lock.open("rb") as source, os.fdopen(copy, "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        os.truncate(lock, 0)  # a renamed lock would no longer keep other processes away


def _size_of(path: Path) -> int:
    return path.lstat().st_size if path.is_file() else 0


def _remove(path: Path) -> None:
    """Remove an unfinished copy; its source still exists."""
    for name in (path, wal_of(path)):
        name.unlink(missing_ok=True)


def write_note(path: Path, reason: str, consequence: str) -> None:
    """Write a text file beside a damaged file that says what happened. Best effort: the log says it too."""
    name = path.with_name(path.name + ".damaged.txt")
    with suppress(OSError):
        descriptor = open_private(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(
                f"{path.name} is damaged: {reason}\n"
                f"{consequence}.\n"
                "The damaged file is kept for inspection: delete it when it is no longer needed.\n"
            )


# ---------------------------------------------------------------- copying


def _copy(orphan: Orphan, to: Path, dead_letters: DeadLetters, now: float, min_next_seq: int) -> RepairResult:
    newest = orphan.newest
    state = newest or SegmentState(uuid.uuid4().hex, destination=_NOWHERE)
    next_seq = max(state.next_seq, min_next_seq)
    create_database(to, state._replace(next_seq=next_seq, events=0, commits=state.commits + 1, is_open=False))
    with closing(orphan.image()) as image, closing(SegmentFile(to)) as file:
        known: set[int] = set()
        for group in _groups(_rows(image, orphan, known, are_doubtful=False)):
            _store(file, group)
        _copy_sealed(image, file)
        saved, doubtful = file.events, 0
        for group in _groups(_rows(image, orphan, known, are_doubtful=True)):
            entries = [DeadLetterEntry(row.seq, _event(row), _MAYBE_SENT) for row in group]
            dead_letters.add(file.file_id, entries, now=now)
            doubtful += len(group)
    is_count_known = newest is not None and not orphan.is_mark_lost and not (orphan.is_cut and orphan.state is newest)
    return RepairResult(saved, doubtful, 0 if newest is None else max(0, newest.events - saved), is_count_known)


def _store(file: SegmentFile, rows: list[StoredEvent]) -> None:
    if rows:
        file.begin()
        file.append(sorted(rows, key=lambda row: row.seq))
        file.commit()


_MAYBE_SENT = OutcomeUnknown(
    "the journal's file was damaged, and this event may have been sent before; replay it if Gameball does not have it."
)


def _event(row: StoredEvent) -> Event:
    return Event(row.player_unique_id, row.name, row.mobile, row.email, row.encoded)


def _groups(rows: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    iterator = iter(rows)
    while group := list(islice(iterator, _GROUP)):
        yield group


def _rows(image: DatabaseImage, orphan: Orphan, known: set[int], *, are_doubtful: bool) -> Iterator[StoredEvent]:
    """Yield each intact event once; those that may have been deleted since are the doubtful ones."""
    for frame, is_newest, seq, values in image.rows():
        is_doubtful = frame < orphan.certain_from or (not is_newest and orphan.has_doubtful_pages)
        if is_doubtful is are_doubtful and len(values) == _COLUMNS and seq not in known:
            row = row_of((seq, *values[1:]))
            if row is not None:
                known.add(seq)
                yield row


_COLUMNS, _SEALED_COLUMNS = 9, 3


def _copy_sealed(image: DatabaseImage, file: SegmentFile) -> None:
    """Copy the sealed batches; incomplete ones are dropped when the file is opened."""
    newest: dict[int, tuple[int, SealRecord]] = {}  # an older version of a damaged page may know no job yet
    for frame, _, first, values in image.rows():
        sealed = schema.sealed_of(first, *values[1:]) if len(values) == _SEALED_COLUMNS else None
        if sealed is not None and (first not in newest or frame > newest[first][0]):
            newest[first] = frame, sealed
    file.begin()
    file.seal([sealed for _, sealed in newest.values()])
    file.commit()
