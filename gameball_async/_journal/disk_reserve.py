"""Room on the disk: a reserve that is given up when the disk is full, so that what is stored can still be sent.

To seal a batch and to remove a delivered one needs some room too. While the reserve is given up no events are taken;
they are taken again when there is room for a reserve once more, and for as much beside it. A quota that is used up is a
full disk.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._platform import open_private
from ..errors import JournalError
from .folder import JOURNAL, remove_reserve
from .records import DeadLetterEntry

_resource: Any
try:
    import resource as _resource
except ImportError:  # Windows has no such limits
    _resource = None

Note = tuple[int, str, tuple[object, ...]]
"""A log line: it is written outside of the guard, where a handler may fork or take its time."""

MIB = 1024 * 1024

SIZES = (8 * MIB, 2 * MIB, MIB // 2)
"""Bytes of a reserve; the first that is at most half of what is free.

When the disk is full, up to 1,000 pages (4 MiB) may lie in the `-wal` that are yet to be moved into the database, which
is what frees them: the first size has room for that, and as much again for what is sealed and removed then. Where it is
smaller, so is the `-wal`.
"""

LOOK_AFTER = 1.0
"""Seconds between two looks whether there is room again."""

_BYTES_PER_WAL_PAGE = 8 * 1024
"""Bytes of the reserve for each page of the `-wal`: twice the page."""

_USUAL_WAL = 1000  # pages, SQLite's own default
_SHORT_WAL = 16  # pages: while the disk is full, what was given up has to last

_PROBE = MIB  # with less than that a disk is full: a group of events may need as much
_LEFT_BY_LETTERS = MIB // 4  # what is sealed and removed goes on needing some
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = (*_FULL, errno.EFBIG)  # a reserve may be too large for a limit that events are not
_MAY_BE_NO_ROOM = (
    sqlite3.SQLITE_FULL,  # or the file has reached its limit
    sqlite3.SQLITE_IOERR,  # what SQLite makes of a quota that is used up, or of a sync that finds no room
    sqlite3.SQLITE_CANTOPEN,
)


class DiskReserve:
    """The room that one client keeps for its files, and whether the disk is full.

    Args:
        notes: where log lines go.

    Attributes:
        shortage: why no events are taken, while the disk is full.
        look_at: when it is looked for room again, in seconds of the monotonic clock.
    """

    def __init__(self, notes: list[Note]) -> None:
        self.shortage: JournalError | None = None
        self.look_at = 0.0
        self._notes = notes
        self._path = Path()
        self._size = 0
        self._least = SIZES[-1]  # what is taken again at least

    def take(self, path: Path) -> None:
        """Take a reserve, if there is enough room; it is no matter if there is not.

        Args:
            path: where it is to lie.
        """
        self._path = path
        self._take()

    def move(self, path: Path) -> None:
        """Take the reserve elsewhere."""
        if self._size:
            self.give_up()
            self.take(path)
        self._path = path

    @property
    def wal_pages(self) -> int:
        """Pages that a `-wal` may have before it is moved into its database."""
        return _SHORT_WAL if self.shortage is not None else self._size // _BYTES_PER_WAL_PAGE or _USUAL_WAL

    @property
    def bytes_to_rewrite(self) -> int:
        """Bytes that a file may still have in use to be written anew, without what was freed in it."""
        return self._least // 4

    # ---------------------------------------------------------------- a full disk

    def is_missing(self, error: Exception) -> bool:
        """Whether this error comes of a full disk; to be asked before anything is closed, which may free some."""
        if isinstance(error, OSError):
            return error.errno in _NO_ROOM
        return _code(error) in _MAY_BE_NO_ROOM and not self._holds(self._size, beside=_PROBE)

    def is_missing_for_letters(self, error: Exception) -> bool:
        """The same for the dead letters while the disk is full: what a burial had taken is free again when it fails."""
        return _code(error) in _MAY_BE_NO_ROOM or self.is_missing(error)

    def has_room_for(self, letters: Iterable[DeadLetterEntry]) -> bool:
        """Whether letters can be buried while the disk is full, with some room left for what is sent.

        A burial is not tried without it: where a change is written beside what it changes, one that fails may not even
        find the room to be undone, and keeps what it has taken.
        """
        size = sum(len(letter.event._encoded) for letter in letters)  # noqa: SLF001 Event shows it to no one outside
        return self._holds(self._size, beside=size + _LEFT_BY_LETTERS)

    def run_short(self, now: float) -> bool:
        """The disk is full: give up the reserve.

        Returns:
            Whether there was one, so that what has just failed may work.
        """
        if self.shortage is None:
            self._least = self._size or SIZES[-1]
            self.shortage = JournalError(
                f"the journal {self._path.with_suffix(JOURNAL)} cannot take events, its disk is full (or a quota, or "
                f"the limit of a file's size): free room on its disk, {2 * self._least / MIB:g} MiB at least; what is "
                "stored is kept, and the client looks again every second."
            )
            self.look_at = now + LOOK_AFTER
            self._notes.append((logging.ERROR, "%s", (self.shortage,)))
        was_held = bool(self._size)
        self.give_up()
        return was_held

    def give_up(self) -> None:
        """Give the reserve back to the disk."""
        self._size = 0
        with suppress(OSError):
            remove_reserve(self._path)

    def leave(self) -> None:
        """The client closes: leave nothing behind."""
        self.give_up()
        self.shortage = None
        self._least = SIZES[-1]

    def recover(self, now: float) -> None:
        """Take the reserve again, if there is room; then events are taken again."""
        self.look_at = now + LOOK_AFTER
        if self._take():
            self.shortage = None
            self._notes.append((logging.WARNING, "the journal %s works again", (self._path.with_suffix(JOURNAL),)))

    # ---------------------------------------------------------------- the reserve

    def _take(self) -> bool:
        """Take the largest reserve that there is room for; says whether there is room for any."""
        is_room = False
        for size in SIZES:
            if size >= self._least and not self._size:
                is_room |= self._holds(size, beside=size)  # else the next events would give it up at once
        return is_room

    def _holds(self, size: int, *, beside: int) -> bool:
        """Hold so many bytes, provided that there are some more beside them; says whether there are.

        Where nothing can be reserved, what the file system tells of its room has to do.
        """
        if self._bytes_to_limit() < beside:
            return False
        try:
            self._allocate(size, beside)
        except OSError as error:
            return error.errno not in _FULL
        return True

    def _bytes_to_limit(self) -> float:
        """Bytes that the larger of the journal's files may still grow by, where files have a limit (`ulimit -f`)."""
        if _resource is None:
            return math.inf
        limit = _resource.getrlimit(_resource.RLIMIT_FSIZE)[0]
        if limit == _resource.RLIM_INFINITY:
            return math.inf
        journal = self._path.with_suffix(JOURNAL)
        sizes = [0]
        for path in (journal, journal.with_name(journal.name + "-wal")):
            with suppress(OSError):
                sizes.append(path.stat().st_size)
        return float(limit - max(sizes))

    def _allocate(self, size: int, beside: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if free < size + beside - self._size:  # not to take the last from other programs
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not hasattr(os, "posix_fallocate"):
            raise OSError(errno.ENOTSUP, "no reserve can be allocated here")
        descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, size, beside)  # quotas too
            if size > self._size:
                os.posix_fallocate(descriptor, 0, size)  # by itself: of what was allocated at once, btrfs frees no part
            self._size = size
        finally:
            with suppress(OSError):  # where a change is written beside what it changes, even this needs room
                os.ftruncate(descriptor, self._size)
            os.close(descriptor)  # else the room would stay taken after the file is gone
            if not self._size:
                self.give_up()


def _code(error: Exception) -> int:
    # the low byte is the kind of error, the others tell more of it
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
