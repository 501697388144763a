"""Disk reserve: space that is freed when the disk is full, so that stored events can still be sent.

Sealing a batch and deleting a delivered one need disk space too. While the reserve is freed, appends are refused; they
are accepted again once the disk has space for a new reserve and as much beside it. An exhausted quota counts as a full
disk.
"""

from __future__ import annotations

import errno
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
from .forks import DeferredLog
from .records import DeadLetterEntry
from .schema import error_code
from .sqlite_image import wal_of

_resource: Any
try:
    import resource as _resource
except ImportError:  # Windows has no such limits
    _resource = None

MIB = 1024 * 1024

SIZES = (8 * MIB, 2 * MIB, MIB // 2)
"""Sizes of a reserve in bytes; the first one that is at most half of the free space is used.

When the disk is full, the `-wal` may have up to 1,000 pages (4 MiB), which are freed only by copying them into the
database: the first size covers that, and as much again for seals and deletes. With a smaller reserve, the `-wal` is
limited to fit.
"""

CHECK_AFTER = 1.0
"""Seconds between two checks of a full disk."""

_BYTES_PER_WAL_PAGE = 8 * 1024
"""Bytes of the reserve per page of the `-wal`: two pages."""

_USUAL_WAL = 1000  # pages, SQLite's own default
_SHORT_WAL = 16  # pages: while the disk is full, the freed space has to last

_MIN_FREE = MIB  # bytes below which a disk is full: a group of events may need as much
_LEFT_BY_DEAD_LETTERS = MIB // 4  # bytes that seals and deletes still need
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = (*_FULL, errno.EFBIG)  # not in _FULL: a reserve may exceed a file size limit that events do not
_MAY_BE_NO_ROOM = (
    sqlite3.SQLITE_FULL,  # or the file has reached its size limit
    sqlite3.SQLITE_IOERR,  # an exhausted quota, or a sync without space
    sqlite3.SQLITE_CANTOPEN,
)


class DiskReserve:
    """The disk space that one client keeps for its segments, and whether the disk is full.

    Attributes:
        shortage: why appends are refused, while the disk is full.
        check_at: when to check for free space again, in seconds of the monotonic clock.
    """

    def __init__(self, log: DeferredLog) -> None:
        self.shortage: JournalError | None = None
        self.check_at = 0.0
        self._log = log
        self._path = Path()
        self._size = 0
        self._min_size = SIZES[-1]  # of the next reserve

    def take(self, path: Path) -> None:
        """Allocate a reserve at this path. Best effort."""
        self._path = path
        self._take()

    def move(self, path: Path) -> None:
        """Allocate the reserve at another path."""
        if self._size:
            self.free()
            self.take(path)
        self._path = path

    @property
    def wal_pages(self) -> int:
        """Pages that a `-wal` may have before a checkpoint."""
        return _SHORT_WAL if self.shortage is not None else self._size // _BYTES_PER_WAL_PAGE or _USUAL_WAL

    @property
    def bytes_to_rewrite(self) -> int:
        """Bytes in use up to which a file is rewritten to return its freed pages to the disk."""
        return self._min_size // 4

    # ---------------------------------------------------------------- a full disk

    def is_missing(self, error: Exception) -> bool:
        """Return whether a full disk caused this error; call it before closing a file, which may free space."""
        if isinstance(error, OSError):
            return error.errno in _NO_ROOM
        return error_code(error) in _MAY_BE_NO_ROOM and not self._allocate(self._size, extra=_MIN_FREE)

    def is_missing_for_dead_letters(self, error: Exception) -> bool:
        """Return the same for adding dead letters while the disk is full: on failure, the space is free again."""
        return error_code(error) in _MAY_BE_NO_ROOM or self.is_missing(error)

    def has_room_for(self, entries: Iterable[DeadLetterEntry]) -> bool:
        """Return whether dead letters can be added while the disk is full, with space left for seals and deletes.

        Without it, adding is not even tried: on copy-on-write file systems a failed transaction may have no space to
        roll back, and keeps what it has allocated.
        """
        size = sum(len(entry.event._encoded) for entry in entries)  # noqa: SLF001 private only for users
        return self._allocate(self._size, extra=size + _LEFT_BY_DEAD_LETTERS)

    def run_short(self, now: float) -> bool:
        """Free the reserve because the disk is full.

        Returns:
            Whether that freed space, so that retrying may work.
        """
        if self.shortage is None:
            self._min_size = self._size or SIZES[-1]
            self.shortage = JournalError(
                f"the journal {self._path.with_suffix(JOURNAL)} cannot store events, its disk is full (or a quota, or "
                f"the file size limit): free at least {2 * self._min_size / MIB:g} MiB on its disk; stored events are "
                "kept, and the client checks again every second."
            )
            self.check_at = now + CHECK_AFTER
            self._log.error("%s", self.shortage)
        was_allocated = bool(self._size)
        self.free()
        return was_allocated

    def free(self) -> None:
        """Free the reserve."""
        self._size = 0
        with suppress(OSError):
            remove_reserve(self._path)

    def close(self) -> None:
        """Free the reserve when the client closes."""
        self.free()
        self.shortage = None
        self._min_size = SIZES[-1]

    def recover(self, now: float) -> None:
        """Allocate the reserve again, and accept appends again, if the disk has space."""
        self.check_at = now + CHECK_AFTER
        if self._take():
            self.shortage = None
            self._log.warning("the journal %s works again", self._path.with_suffix(JOURNAL))

    # ---------------------------------------------------------------- the reserve

    def _take(self) -> bool:
        """Allocate the largest reserve that fits; returns whether the disk has space for one."""
        has_room = False
        for size in SIZES:
            if size >= self._min_size and not self._size:
                has_room |= self._allocate(size, extra=size)  # without extra, the next events would free it at once
        return has_room

    def _allocate(self, size: int, *, extra: int) -> bool:
        """Allocate a reserve of this size, if the disk has some extra space; returns whether it has.

        File systems that cannot allocate only report their free space.
        """
        if self._bytes_to_limit() < extra:
            return False
        try:
            self._write(size, extra)
        except OSError as error:
            return error.errno not in _FULL
        return True

    def _bytes_to_limit(self) -> float:
        """Return the bytes until the larger file of the segment reaches the file size limit (`ulimit -f`)."""
        if _resource is None:
            return math.inf
        limit = _resource.getrlimit(_resource.RLIMIT_FSIZE)[0]
        if limit == _resource.RLIM_INFINITY:
            return math.inf
        journal = self._path.with_suffix(JOURNAL)
        sizes = [0]
        for path in (journal, wal_of(journal)):
            with suppress(OSError):
                sizes.append(path.stat().st_size)
        return float(limit - max(sizes))

    def _write(self, size: int, extra: int) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if free < size + extra - self._size:  # leave space for other programs
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not hasattr(os, "posix_fallocate"):
            raise OSError(errno.ENOTSUP, "no reserve can be allocated here")
        descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, size, extra)  # checks quotas too
            if size > self._size:
                os.posix_fallocate(descriptor, 0, size)  # separately: btrfs cannot free a part of one allocation
            self._size = size
        finally:
            with suppress(OSError):  # on copy-on-write file systems even this needs space
                os.ftruncate(descriptor, self._size)
            os.close(descriptor)  # an open descriptor would keep the space allocated
            if not self._size:
                self.free()
