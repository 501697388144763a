"""The journal's folder: the names of its files, the locks of segments, and creating and removing segments.

The process that holds an exclusive lock on the `.lock` file owns the segment beside it. The lock is never on the
database itself: closing any other descriptor of the database would drop SQLite's own locks.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from .._config import PathLike
from .._platform import hold_lock, is_process_gone, open_private, release_lock, sync_folder
from ..errors import JournalError
from . import schema
from .sqlite_image import kind_of, open_regular
from .state import MARK, SegmentState, read_mark

JOURNAL, LOCK = ".journal", ".lock"
RESERVE = ".reserve"  # disk space that the owner frees when the disk is full
REPAIRED = ".salvaged"  # a complete repaired copy of a damaged segment
SQLITE_SUFFIXES = ("-wal", "-journal")
"""Files that SQLite may leave beside a database; the second only if its process died while it created the tables."""

_OWN = (JOURNAL, JOURNAL + "-wal", LOCK, REPAIRED, MARK)

_POSITION = re.compile(r"(\d{1,18})-")

_MAX_LOCK_SIZE = 100  # bytes

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Folder:
    """The folder of a journal; nothing is read or created before it is used."""

    def __init__(self, path: str | PathLike) -> None:
        self.path = Path(path).absolute()

    def create(self) -> None:
        """Create a missing folder, accessible only to its owner."""
        if self.path.is_dir():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # created by another process, or not a folder: then the next step fails
            self.path.mkdir(mode=0o700)
        sync_folder(self.path.parent)

    def stems(self) -> list[str]:
        """Return the segments' names without suffix, oldest first."""
        stems = {path.stem for path in self.path.iterdir() if path.suffix in _OWN}
        return sorted(stems, key=lambda stem: (position_of(stem), stem))

    def journal(self, stem: str) -> Path:
        """Return the path of a segment's database."""
        return self.path / (stem + JOURNAL)

    def lock(self, stem: str) -> Path:
        """Return the path of a segment's lock."""
        return self.path / (stem + LOCK)

    def reserve(self, stem: str) -> Path:
        """Return the path of a segment's disk reserve."""
        return self.path / (stem + RESERVE)

    def mark(self, stem: str) -> Path:
        """Return the path of a segment's commit mark."""
        return self.path / (stem + MARK)

    def mark_of(self, stem: str) -> SegmentState | None:
        """Read a segment's commit mark, even if it was renamed to another of the segment's files."""
        paths = (self.path / (stem + suffix) for suffix in (MARK, LOCK, RESERVE, JOURNAL, JOURNAL + "-wal"))
        return next((mark for path in paths if (mark := read_mark(path)) is not None), None)

    def marks(self) -> dict[str, SegmentState]:
        """Read all commit marks, by file id."""
        return {mark.file_id: mark for _, mark in self._marks()}

    def stem_of(self, file_id: str) -> str | None:
        """Return the stem of the segment whose commit mark has this file id."""
        return next((stem for stem, mark in self._marks() if mark.file_id == file_id), None)

    def _marks(self) -> Iterator[tuple[str, SegmentState]]:
        for path in self.path.glob("*" + MARK):
            if (mark := read_mark(path)) is not None:
                yield path.stem, mark

    def next_position(self) -> int:
        """Return a position after those of all segments; the folder must be locked."""
        positions = [position_of(path.name) for path in self.path.iterdir()]
        positions += [mark.position for _, mark in self._marks()]
        return max(positions, default=0) + 1

    def new_stem(self, position: int) -> str:
        """Return a new name for a segment at this position."""
        return f"{position:015d}-{os.getpid()}-{secrets.token_hex(4)}"

    def remove(self, stem: str) -> None:
        """Remove a segment except its lock, which must be held."""
        path = self.journal(stem)
        for suffix in ("", *SQLITE_SUFFIXES):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if kind_of(self.mark(stem)) is None:
            self.mark(stem).unlink(missing_ok=True)
        remove_reserve(self.reserve(stem))


def remove_reserve(path: Path) -> None:
    """Remove a disk reserve, unless the file has other content than zeros: another file was renamed to it."""
    with suppress(FileNotFoundError):
        with os.fdopen(open_regular(path), "rb") as file:
            while chunk := file.read(2**20):
                if chunk.strip(b"\0"):
                    return
        path.unlink()


def position_of(name: str) -> int:
    """Return the position at the start of a file's name, or 0."""
    found = _POSITION.match(name)
    return int(found[1]) if found else 0


def free_name(path: Path, suffix: str) -> Path:
    """Return an unused name to set a file aside: `path` plus the suffix, and a number if needed."""
    candidate, number = path.with_name(path.name + suffix), 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}{suffix}.{number}")
    return candidate


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read; SQLite gives the files beside it the same mode."""
    os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))


def create_database(path: Path, state: SegmentState) -> None:
    """Create a segment's database without events, durably."""
    create_private(path)
    with closing(schema.connect(path)) as connection:
        schema.create(connection, state)
    sync_folder(path.parent)


def take_lock(path: Path) -> int | None:
    """Take a lock and write this process's id into it; None if another process holds it. See `hold_lock`."""
    descriptor = hold_lock(path)
    if descriptor is None:
        return None
    try:
        if os.fstat(descriptor).st_size <= _MAX_LOCK_SIZE:  # else another file was renamed to it
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()}\n".encode())
    except BaseException:
        release_lock(descriptor)
        raise
    return descriptor


def owner(path: Path) -> int | None:
    """Return the process id in a lock; None if it is unreadable."""
    with suppress(OSError, ValueError):
        return int(path.read_bytes())
    return None


def is_owner_gone(path: Path) -> bool:
    """Return whether no process of this machine has the id in a lock; a process in another container may have it."""
    return is_process_gone(owner(path) or 0)  # 0 is our own process group, which exists


def cannot_open(folder: Path, error: Exception) -> JournalError:
    """Return the error for a journal that cannot be opened."""
    if isinstance(error, OSError) and error.errno in _NO_LOCKS:
        return JournalError(
            f"the journal {folder} is on a file system without locks: choose a folder on a disk of this machine."
        )
    return JournalError(
        f"the journal {folder} cannot be opened ({schema.reason_of(error)}): "
        "choose a folder in which this process can create and write files, on a disk with free space."
    )


def cannot_use(path: Path, error: Exception) -> JournalError:
    """Return the error for an open segment that can no longer be written or read."""
    if schema.error_code(error) == sqlite3.SQLITE_FULL:
        remedy = "free space on its disk, or raise Journal(max_bytes=...)"
    else:
        remedy = "check its disk and its permissions"
    return JournalError(
        f"the journal {path} cannot be used ({schema.reason_of(error)}): {remedy}; the client retries every second."
    )
