"""What is saved from a damaged file: every event that can still be read goes to a fresh file of the same name.

A crash at any moment loses nothing: the fresh file is complete before the damaged one is set aside, and who finds it
finishes the exchange.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import attrs

from .._core.events import Event
from .._log import counted
from .._platform import open_private, sync_folder
from ..errors import OutcomeUnknown
from . import schema
from .dead_letters import DeadLetters
from .folder import LOCK, RESERVE, SALVAGED, make_database
from .orphan import Orphan, beside
from .records import DeadLetterEntry, StoredEvent
from .schema import row_of
from .segment_file import SegmentFile
from .sqlite_image import DatabaseImage, kind_of
from .state import MARK, SegmentState

_UNFINISHED = ".salvaging"
_GROUP = 1000  # events that are copied in one transaction

_NOWHERE = "unknown:"
"""The destination of a file that does not say where its events go: no account's."""


@attrs.frozen
class Saved:
    """What became of a damaged file.

    Attributes:
        events: how many events were saved, to be sent as usual.
        doubtful: how many may have been sent already, and are among the dead letters now.
        affected: how many of its events were not saved, those included, as far as its state or its mark tells.
        is_count_known: whether no more than those can be missing.
    """

    events: int
    doubtful: int
    affected: int
    is_count_known: bool

    @property
    def text(self) -> str:
        """It in words."""
        saved = f"{counted(self.events, 'event', 'were')} saved"
        if not self.is_count_known:
            if self.doubtful:
                saved = f"{saved}, {counted(self.doubtful, 'event')} may have been sent and are among the dead letters"
            return f"{saved}, and it is unknown how many are lost"
        if not self.affected:
            return f"{saved}, none is lost"
        lost = f"up to {self.affected} {'is' if self.affected == 1 else 'are'} lost or may have been sent"
        doubtful = f", and what may have been sent is among the dead letters ({counted(self.doubtful, 'event')})"
        return f"{saved}, {lost}" + (doubtful if self.doubtful else "")


def repair(path: Path, orphan: Orphan, reason: str, dead_letters: DeadLetters, *, least_next_seq: int = 1) -> Saved:
    """Exchange a damaged file for one with the events that can be read; its lock must be held.

    Args:
        path: where it is; it is not open.
        orphan: what is there.
        reason: what is wrong with it.
        dead_letters: where events go that may have been sent already.
        least_next_seq: the seq from which on the new file may go, at least.

    Returns:
        What was saved, and what was not.

    Raises:
        OSError: if the new file cannot be written; the damaged one stays where it is.
        sqlite3.Error: likewise.
    """
    unfinished = path.with_suffix(_UNFINISHED)
    _remove(unfinished)
    saved = _copy(orphan, unfinished, dead_letters, least_next_seq)
    note(path, reason, f"{saved.text}. What was saved is sent as usual")
    unfinished.rename(path.with_suffix(SALVAGED))
    sync_folder(path.parent)
    finish(path)
    return saved


def copy(stranded: SegmentFile, to: Path, without: Collection[int]) -> tuple[int, int]:
    """Copy what an open file still holds, whatever has become of it on the disk.

    Args:
        stranded: the file.
        to: the path of the new one.
        without: the seqs of events that are not copied.

    Returns:
        How many events were copied, and how many were read.

    Raises:
        OSError: if the new file cannot be written.
        sqlite3.Error: likewise.
    """
    unfinished = to.with_suffix(_UNFINISHED)  # a crash leaves no second file with the same events
    try:
        counts = _copy_open(stranded, unfinished, without)
    except BaseException:
        _remove(unfinished)
        raise
    unfinished.rename(to)
    sync_folder(to.parent)
    return counts


def _copy_open(stranded: SegmentFile, to: Path, without: Collection[int]) -> tuple[int, int]:
    state = stranded.state
    make_database(to, state._replace(events=0, commits=state.commits + 1, is_open=False))
    with closing(SegmentFile(to)) as file:
        known: set[int] = set()
        for group in _groups(stranded.readable()):
            fresh = [row for row in group if row.seq not in known]
            known.update(row.seq for row in fresh)
            _store(file, [row for row in fresh if row.seq not in without])
        file.begin()
        for batch in stranded.batches():
            file.seal(*batch)
        file.commit()
        return file.events, len(known)


def finish(path: Path) -> None:
    """Set the damaged file aside and let the fresh one take its place, if there is one.

    Raises:
        OSError: if a file cannot be renamed.
    """
    _remove(path.with_suffix(_UNFINISHED))
    fresh = path.with_suffix(SALVAGED)
    if not fresh.exists():
        return
    set_aside(path)
    fresh.rename(path)
    sync_folder(path.parent)


def set_aside(path: Path) -> None:
    """Rename whatever is at a path, so that no client uses it.

    Raises:
        OSError: if a file cannot be renamed.
    """
    with suppress(FileNotFoundError):
        path.rename(_free(path, ".damaged"))
    set_strangers_aside(path)
    for suffix in ("-wal", "-journal"):  # they must not meet the fresh file: SQLite would write them into that
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(_free(path, f".damaged{suffix}"))


def set_strangers_aside(path: Path) -> None:
    """Rename files of other kinds that have got the names of a mark, a reserve or a lock: they may hold events.

    Args:
        path: of the database; its lock is held.

    Raises:
        OSError: if a file cannot be renamed.
    """
    for suffix in (MARK, RESERVE):
        other = path.with_suffix(suffix)
        if kind_of(other) is not None or (suffix == MARK and _size_of(other) > _MOST_OF_A_MARK):
            other.rename(_free(path, f".damaged{suffix}"))
    lock = path.with_suffix(LOCK)
    if _size_of(lock) > _MOST_OF_A_MARK:
        copy_of_it = open_private(_free(path, f".damaged{LOCK}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with lock.open("rb") as source, os.fdopen(copy_of_it, "wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        os.truncate(lock, 0)  # renamed, it would no longer keep others away


_MOST_OF_A_MARK = 1024  # bytes; a lock has less


def _size_of(path: Path) -> int:
    return path.lstat().st_size if path.is_file() else 0


def _free(path: Path, suffix: str) -> Path:
    """A name for what is set aside that nothing has yet."""
    candidate, number = path.with_name(path.name + suffix), 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}{suffix}.{number}")
    return candidate


def _remove(path: Path) -> None:
    """Remove an unfinished copy: what it was copied from is still there."""
    for name in (path, beside(path)):
        name.unlink(missing_ok=True)


def note(path: Path, reason: str, consequence: str) -> None:
    """Write beside the damaged file what happened to it.

    Raises:
        OSError: if that fails.
    """
    name = path.with_name(path.name + ".damaged.txt")
    descriptor = open_private(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(
            f"{path.name} is damaged: {reason}\n"
            f"{consequence}.\n"
            "The damaged file is kept for you to look at: delete it when you are done.\n"
        )
        file.flush()
        os.fsync(file.fileno())


# ---------------------------------------------------------------- copying


def _copy(orphan: Orphan, to: Path, dead_letters: DeadLetters, least_next_seq: int) -> Saved:
    truth = orphan.truth
    state = truth or SegmentState(uuid.uuid4().hex, destination=_NOWHERE)
    next_seq = max(state.next_seq, least_next_seq)
    make_database(to, state._replace(next_seq=next_seq, events=0, commits=state.commits + 1, is_open=False))
    with closing(orphan.image()) as image, closing(SegmentFile(to)) as file:
        known: set[int] = set()
        for group in _groups(_rows(image, orphan, known, are_doubtful=False)):
            _store(file, group)
        _seal(image, file)
        saved, doubtful = file.events, 0
        for group in _groups(_rows(image, orphan, known, are_doubtful=True)):
            dead_letters.add(file.file_id, [DeadLetterEntry(row.seq, _event(row), _DOUBT) for row in group])
            doubtful += len(group)
    is_count_known = truth is not None and not orphan.is_mark_lost
    if orphan.is_cut and orphan.state is truth:
        is_count_known = False
    return Saved(saved, doubtful, 0 if truth is None else max(0, truth.events - saved), is_count_known)


def _store(file: SegmentFile, rows: list[StoredEvent]) -> None:
    if rows:
        file.begin()
        file.append(sorted(rows, key=lambda row: row.seq))
        file.commit()


_DOUBT = OutcomeUnknown(
    "the journal's file was damaged, and this event may have been sent before; replay it if Gameball does not have it."
)


def _event(row: StoredEvent) -> Event:
    return Event(row.player_unique_id, row.name, row.mobile, row.email, row.encoded)


def _groups(rows: Iterable[StoredEvent]) -> Iterator[list[StoredEvent]]:
    group: list[StoredEvent] = []
    for row in rows:
        group.append(row)
        if len(group) == _GROUP:
            yield group
            group = []
    if group:
        yield group


def _rows(image: DatabaseImage, orphan: Orphan, known: set[int], *, are_doubtful: bool) -> Iterator[StoredEvent]:
    """The events that are whole, each once; those that may have been removed from the file are the doubtful ones."""
    for index, is_newest, seq, values in image.rows():
        is_doubtful = index < orphan.certain_from or (not is_newest and orphan.has_doubtful_pages)
        if is_doubtful is are_doubtful and len(values) == _COLUMNS and seq not in known:
            row = row_of((seq, *values[1:]))
            if row is not None:
                known.add(seq)
                yield row


_COLUMNS, _SEALED_COLUMNS = 9, 3


def _seal(image: DatabaseImage, file: SegmentFile) -> None:
    """Copy the sealed batches; one that is not whole is dropped when the file is opened."""
    file.begin()
    for _, _, first, values in image.rows():
        if len(values) == _SEALED_COLUMNS and (sealed := schema.sealed_of(first, *values[1:])):
            file.seal(*sealed)
    file.commit()
