"""Inspect a journal from outside: its segments, their events and their owners, without changing them."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs

from .._platform import hold_lock as take_lock
from .._platform import release_lock
from ..errors import JournalError
from . import schema
from .folder import REPAIRED, Folder, owner
from .forks import ForkGuard
from .orphan import Orphan, examine
from .sqlite_image import wal_of

_MAX_COUNTED = 50_000  # events whose players are counted: about 20 ms under the lock
_MAX_COPIED = 64 * 1024 * 1024  # bytes of a file that is copied into memory for that

_EVENTS_PAGE = 2  # the root of the first table
_ACCEPTED_AT = 6

_SET_ASIDE = re.compile(r"(?P<name>.+)\.damaged(\.\d+)?")
_WITHOUT_NOTE = "it is damaged and was set aside: delete it when you no longer need it."


@attrs.frozen(kw_only=True)
class JournalFile:
    """One file of a journal, as returned by `inspect_journal`.

    Attributes:
        path: its path.
        size_bytes: bytes on disk, including SQLite's `-wal` beside it.
        reserve_bytes: bytes of the disk reserve beside it; 0 without a reserve, or while the disk is full.
        is_in_use: whether a process owns it; then its contents are unknown.
        owner_pid: the id of that process; None without an owner, or if it is unreadable.
        pending: the number of events without an outcome; None if unknown.
        players: the number of players of these events; None if unknown, or with more than 50,000 events or 64 MiB.
        oldest: when the oldest of them was accepted, in UTC; None without events, or if unknown.
        problem: what is wrong with it and how to fix it; None if it is fine.
    """

    path: Path
    size_bytes: int
    reserve_bytes: int = 0
    is_in_use: bool = False
    owner_pid: int | None = None
    pending: int | None = None
    players: int | None = None
    oldest: datetime | None = None
    problem: str | None = None


def inspect_journal(folder: str | os.PathLike[str]) -> list[JournalFile]:
    """Inspect a journal, even while clients use it.

    An orphaned file is locked while it is inspected: for milliseconds, even if it is large, because the file stores the
    number of its events, and players are counted only in small files. A client that starts at that moment may skip the
    file; then the next client that starts sends its events.

    Args:
        folder: the journal's folder.

    Returns:
        The files, oldest first, then damaged files that were set aside.

    Raises:
        JournalError: if the folder is missing or cannot be read.
    """
    journal = Folder(folder)
    try:
        found = [_inspect(journal, stem) for stem in journal.stems()]
        return [file for file in found if file is not None] + list(_set_aside(journal))
    except FileNotFoundError:
        raise JournalError(
            f"there is no journal {journal.path}: check the path; a client creates the folder when it starts."
        ) from None
    except OSError as error:
        raise JournalError(
            f"the journal {journal.path} cannot be read ({error.strerror}): check the folder's permissions."
        ) from error


def _inspect(journal: Folder, stem: str) -> JournalFile | None:
    """Inspect one file; None if it is gone, or not created yet."""
    path = journal.journal(stem)
    if not any(os.path.lexists(file) for file in (path, wal_of(path), path.with_suffix(REPAIRED))):
        return None
    file = JournalFile(path=path, size_bytes=_size(path), reserve_bytes=_bytes_of(journal.reserve(stem)))
    if not journal.lock(stem).exists():  # it has no owner, and an inspection creates no lock
        return _with_contents(journal, stem, file)
    with ForkGuard():  # a child forked now would keep the lock
        try:
            # without writing our process id: a client that starts now sees that the owner is gone, and waits
            descriptor = take_lock(journal.lock(stem), keep_mode=True)
        except OSError as error:
            return attrs.evolve(
                file,
                problem=f"its lock cannot be taken ({error.strerror}): run this as the user of its client.",
            )
        if descriptor is None:
            return attrs.evolve(file, is_in_use=True, owner_pid=owner(journal.lock(stem)))
        unneeded = None
        try:
            found = _with_contents(journal, stem, file)
            if found is None:  # its owner has just removed it and its lock; `take_lock` created this one
                unneeded = journal.lock(stem)
            return found
        finally:
            release_lock(descriptor, unneeded)


def _with_contents(journal: Folder, stem: str, file: JournalFile) -> JournalFile | None:
    """Add the contents of an orphaned file, without changing the folder; None if the file is gone."""
    if os.path.lexists(file.path.with_suffix(REPAIRED)):
        return attrs.evolve(file, problem="it is damaged: the next client that starts finishes its repair.")
    if not os.path.lexists(file.path) and not wal_of(file.path).exists():
        return None
    try:
        return _with_events(file, examine(file.path, journal.marks(), journal.mark_of(stem)))
    except schema.NewerSchemaError as error:
        return attrs.evolve(file, problem=f"a later version of gameball_async wrote it ({error}): install that.")
    except Exception as error:  # noqa: BLE001 any content of one file must not hide the others
        return attrs.evolve(file, problem=_problem(error))


def _with_events(file: JournalFile, orphan: Orphan) -> JournalFile:
    """Add the number of events and players.

    Raises:
        Exception: of many types, if the file is damaged.
    """
    if orphan.is_blank:
        return attrs.evolve(file, pending=0, players=0)
    if orphan.reason is not None or orphan.state is None:
        return attrs.evolve(file, problem=_problem(schema.DamagedError(orphan.reason or "")))
    pending = orphan.state.events
    with closing(orphan.image()) as image:
        first = image.first_row(_EVENTS_PAGE)
        oldest = None if first is None else datetime.fromtimestamp(first[_ACCEPTED_AT], UTC)
        players = None
        if pending <= _MAX_COUNTED and image.size <= _MAX_COPIED:
            players = _players(image.content())
    return attrs.evolve(file, pending=pending, players=players, oldest=oldest)


def _players(content: bytes) -> int:
    """Count the players in a copy of a database."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.text_factory = bytes
        copy.deserialize(content)
        return int(copy.execute("SELECT count(DISTINCT player) FROM events").fetchone()[0])


def _problem(error: Exception) -> str:
    reason = schema.reason_of(error)
    if schema.is_unreadable(error):
        return f"it is damaged ({reason}): the next client that starts saves its readable events."
    return f"it cannot be read ({reason}): check its disk and its permissions."


def _size(path: Path) -> int:
    return _bytes_of(path) + _bytes_of(wal_of(path))


def _bytes_of(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _set_aside(journal: Folder) -> Iterator[JournalFile]:
    """Yield the damaged files that were set aside, with the reason written beside them."""
    for path in sorted(journal.path.iterdir()):
        if match := _SET_ASIDE.fullmatch(path.name):
            note = journal.path / f"{match['name']}.damaged.txt"
            yield JournalFile(path=path, size_bytes=_size(path), problem=_read_note(note) or _WITHOUT_NOTE)


def _read_note(note: Path) -> str | None:
    """Return the reason in the note beside a damaged file, if it has one."""
    try:
        reason = note.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return None
    return f"{reason}; see {note.name}"
