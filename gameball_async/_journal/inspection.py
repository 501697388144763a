"""A look into a journal from outside: what lies in it and whose it is. It changes nothing that is somebody's."""

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
from .folder import SALVAGED, Folder, owner
from .forks import ForkGuard
from .orphan import Orphan, beside, examine

_MOST_COUNTED = 50_000  # events whose players are counted: some 20 ms under the lock
_MOST_COPIED = 64 * 1024 * 1024  # bytes of a file that is copied into memory for that

_EVENTS_PAGE = 2  # the root of the first table
_ACCEPTED_AT = 6

_SET_ASIDE = re.compile(r"(?P<name>.+)\.damaged(\.\d+)?")
_KEEPSAKE = "it is damaged and was set aside: look at it if you like, and delete it."


@attrs.frozen(kw_only=True)
class JournalFile:
    """One file of a journal, as `inspect_journal` found it.

    Attributes:
        path: where it is.
        size_bytes: bytes on the disk, those of SQLite's `-wal` beside it included.
        reserve_bytes: bytes that its owner keeps free on the disk beside that, to go on when it is full; 0 if none are
            kept, or while the disk is full.
        is_in_use: whether a process owns it; then its contents cannot be looked at.
        owner_pid: that process; None if there is none, or its number cannot be read.
        pending: events without an outcome; None if that is not known.
        players: whose events these are, counted; None if that is not known, or if there are more than 50,000 events
            or more than 64 MiB.
        oldest: when the oldest of them was accepted, in UTC; None if there is none or it is not known.
        problem: what is wrong with it and what to do; None if nothing is.
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
    """Look into a journal, also while clients use it.

    A file that nobody owns is locked while it is looked at: for milliseconds, however large it is, because the number
    of events is written in it and players are counted in small files only. A client that starts at that very moment
    passes this one file over, as it does with files in use, and the next client that starts sends it.

    Args:
        folder: the journal's folder.

    Returns:
        The files, oldest first, then those that were damaged and set aside.

    Raises:
        JournalError: if the folder is missing or cannot be read.
    """
    journal = Folder(folder)
    try:
        found = [_look_at(journal, stem) for stem in journal.stems()]
        return [file for file in found if file is not None] + list(_set_aside(journal))
    except FileNotFoundError:
        raise JournalError(
            f"there is no journal {journal.path}: check the path; a client makes the folder when it starts."
        ) from None
    except OSError as error:
        raise JournalError(
            f"the journal {journal.path} cannot be read ({error.strerror}): give a folder that you may read."
        ) from error


def _look_at(journal: Folder, stem: str) -> JournalFile | None:
    """Look at one file; None if it is gone, or not there yet."""
    path = journal.journal(stem)
    if not any(os.path.lexists(file) for file in (path, beside(path), path.with_suffix(SALVAGED))):
        return None
    shown = JournalFile(path=path, size_bytes=_size(path), reserve_bytes=_bytes_of(journal.reserve(stem)))
    if not journal.lock(stem).exists():  # nobody owns it, and a look makes no lock
        return _look_into(journal, stem, shown)
    with ForkGuard():  # a child that is forked now would keep the lock
        try:
            # without a number in it: a client that starts meanwhile sees that the owner is gone, and waits
            descriptor = take_lock(journal.lock(stem), keep_mode=True)
        except OSError as error:
            return attrs.evolve(
                shown, problem=f"its lock cannot be tried ({error.strerror}): look as the user whose client wrote it."
            )
        if descriptor is None:
            return attrs.evolve(shown, is_in_use=True, owner_pid=owner(journal.lock(stem)))
        unneeded = None
        try:
            file = _look_into(journal, stem, shown)
            if file is None:  # its owner has just removed it, and its lock; ours was made by trying it
                unneeded = journal.lock(stem)
            return file
        finally:
            release_lock(descriptor, unneeded)


def _look_into(journal: Folder, stem: str, shown: JournalFile) -> JournalFile | None:
    """Look into a file that nobody owns, without changing anything in the folder; None if it is gone."""
    if os.path.lexists(shown.path.with_suffix(SALVAGED)):
        return attrs.evolve(shown, problem="it is damaged: the next client that starts ends its rescue.")
    if not os.path.lexists(shown.path) and not beside(shown.path).exists():
        return None
    try:
        orphan = examine(shown.path, journal.marks(), journal.mark_of(stem))
        return _with_contents(shown, orphan)
    except schema.NewerSchemaError as error:
        return attrs.evolve(
            shown, problem=f"a later version of gameball_async wrote it ({error}): install that, it is left alone here."
        )
    except Exception as error:  # noqa: BLE001 whatever a file contains, the others are shown
        return attrs.evolve(shown, problem=_trouble(error))


def _with_contents(shown: JournalFile, orphan: Orphan) -> JournalFile:
    """Add what is in a file.

    Raises:
        Exception: of many types, if it is damaged.
    """
    if orphan.is_blank:
        return attrs.evolve(shown, pending=0, players=0)
    if orphan.reason is not None or orphan.state is None:
        return attrs.evolve(shown, problem=_trouble(schema.DamagedError(orphan.reason or "")))
    pending = orphan.state.events
    with closing(orphan.image()) as image:
        first = image.first_row(_EVENTS_PAGE)
        oldest = None if first is None else datetime.fromtimestamp(first[_ACCEPTED_AT], UTC)
        players = None
        if pending <= _MOST_COUNTED and image.size <= _MOST_COPIED:
            players = _players(image.content())
    return attrs.evolve(shown, pending=pending, players=players, oldest=oldest)


def _players(content: bytes) -> int:
    """Count the players in a copy of a file."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.text_factory = bytes
        copy.deserialize(content)
        return int(copy.execute("SELECT count(DISTINCT player) FROM events").fetchone()[0])


def _trouble(error: Exception) -> str:
    reason = schema.reason_of(error)
    if schema.is_unreadable(error):
        return f"it is damaged ({reason}): the next client that starts saves what can be read."
    return f"it cannot be read ({reason}): look after its disk and its permissions."


def _size(path: Path) -> int:
    return _bytes_of(path) + _bytes_of(path.with_name(f"{path.name}-wal"))


def _bytes_of(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _set_aside(journal: Folder) -> Iterator[JournalFile]:
    """The files that were damaged, with the reason that was written beside them."""
    for path in sorted(journal.path.iterdir()):
        if match := _SET_ASIDE.fullmatch(path.name):
            note = journal.path / f"{match['name']}.damaged.txt"
            yield JournalFile(path=path, size_bytes=_size(path), problem=_noted(note) or _KEEPSAKE)


def _noted(note: Path) -> str | None:
    """What a note says beside a damaged file; None if there is none."""
    try:
        reason = note.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return None
    return f"{reason}; see {note.name}"
