"""The journal's folder: what the files in it are called, who owns them, and how they come and go.

A file belongs to whoever has an exclusive lock on the `.lock` file beside it. The lock is never on the database itself:
closing any other descriptor of that would drop SQLite's own locks.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from .._config import PathLike
from .._platform import hold_lock, is_process_gone, open_private, release_lock, sync_folder
from ..errors import JournalError
from . import schema
from .sqlite_image import kind_of, open_regular
from .state import MARK, SegmentState, read_mark

JOURNAL, LOCK = ".journal", ".lock"
RESERVE = ".reserve"  # room that its owner gives up when the disk is full
SALVAGED = ".salvaged"  # the rows that were saved from a damaged file, all of them
_BESIDE = ("-wal", "-journal")
"""What SQLite may leave beside a database; the second only if its process ended while the tables were made."""

_OWN = (JOURNAL, JOURNAL + "-wal", LOCK, SALVAGED, MARK)

_POSITION = re.compile(r"(\d{1,18})-")

_MOST_OF_A_LOCK = 100  # bytes

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Folder:
    """The folder of a journal.

    Args:
        path: where it is; nothing is read or made before `make`.
    """

    def __init__(self, path: str | PathLike) -> None:
        self.path = Path(path).absolute()

    def make(self) -> None:
        """Make the folder if it is missing, for its owner alone.

        Raises:
            OSError: if it cannot be made.
        """
        if self.path.is_dir():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was faster; if it is no folder, the next step says so
            self.path.mkdir(mode=0o700)
        sync_folder(self.path.parent)

    def stems(self) -> list[str]:
        """The files that lie in it, by what comes before their suffix, oldest first."""
        return sorted({path.stem for path in self.path.iterdir() if path.suffix in _OWN}, key=order_of)

    def journal(self, stem: str) -> Path:
        """The path of a file."""
        return self.path / (stem + JOURNAL)

    def lock(self, stem: str) -> Path:
        """The path of a file's lock."""
        return self.path / (stem + LOCK)

    def reserve(self, stem: str) -> Path:
        """The path of what its owner keeps free on the disk."""
        return self.path / (stem + RESERVE)

    def mark(self, stem: str) -> Path:
        """The path of a file's mark."""
        return self.path / (stem + MARK)

    def mark_of(self, stem: str) -> SegmentState | None:
        """What a file's mark says, even if it has got the name of another file; None if there is none."""
        paths = (self.path / (stem + suffix) for suffix in (MARK, LOCK, RESERVE, JOURNAL, JOURNAL + "-wal"))
        return next((mark for path in paths if (mark := read_mark(path)) is not None), None)

    def marks(self) -> dict[str, SegmentState]:
        """The marks in it, by the name of their file."""
        found = (read_mark(path) for path in self.path.glob("*" + MARK))
        return {mark.file_id: mark for mark in found if mark is not None}

    def stem_of(self, file_id: str) -> str | None:
        """The file whose mark has this name for ever; None if there is none."""
        marks = ((path.stem, read_mark(path)) for path in self.path.glob("*" + MARK))
        return next((stem for stem, mark in marks if mark is not None and mark.file_id == file_id), None)

    def next_position(self) -> int:
        """A position behind those of all files in it; the folder must be locked."""
        positions = [position_of(path.name) for path in self.path.iterdir()]
        positions += [mark.position for mark in self.marks().values()]
        return max(positions, default=0) + 1

    def new_stem(self, position: int) -> str:
        """A name for a file at this position."""
        return f"{position:015d}-{os.getpid()}-{secrets.token_hex(4)}"

    def remove(self, stem: str) -> None:
        """Remove a file whose lock is held; the lock is removed when it is released.

        Raises:
            OSError: if something cannot be removed.
        """
        path = self.journal(stem)
        path.unlink(missing_ok=True)
        for suffix in _BESIDE:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if kind_of(self.mark(stem)) is None:
            self.mark(stem).unlink(missing_ok=True)
        remove_reserve(self.reserve(stem))


def remove_reserve(path: Path) -> None:
    """Remove a reserve, unless something else has got its name: a reserve holds nothing but zeros.

    Raises:
        OSError: if that fails.
    """
    with suppress(FileNotFoundError):
        with os.fdopen(open_regular(path), "rb") as file:
            while chunk := file.read(2**20):
                if chunk.strip(b"\0"):
                    return
        path.unlink()


def position_of(name: str) -> int:
    """The position that a file's name begins with; 0 if it begins otherwise."""
    found = _POSITION.match(name)
    return int(found[1]) if found else 0


def order_of(stem: str) -> tuple[int, str]:
    """What files are sorted by, oldest first."""
    return position_of(stem), stem


def make_private(path: Path) -> None:
    """Make an empty file that its owner alone can read, whatever the umask; SQLite gives those beside it the same mode.

    Raises:
        OSError: if it cannot be made, or is there already.
    """
    os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))


def make_database(path: Path, state: SegmentState) -> None:
    """Make a file without events; when this returns it survives a loss of power.

    Raises:
        OSError: if it cannot be made.
        sqlite3.Error: likewise.
    """
    make_private(path)
    with closing(schema.connect(path)) as connection:
        schema.create(connection, state)
    sync_folder(path.parent)


def take_lock(path: Path) -> int | None:
    """Take a lock, and leave the number of this process in it for whoever wants to know; see `hold_lock`."""
    descriptor = hold_lock(path)
    if descriptor is None:
        return None
    try:
        if os.fstat(descriptor).st_size <= _MOST_OF_A_LOCK:  # else it is another file that has got its name
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid()}\n".encode())
    except BaseException:
        release_lock(descriptor)
        raise
    return descriptor


def owner(path: Path) -> int | None:
    """The number in a lock; None if it cannot be read."""
    with suppress(OSError, ValueError):
        return int(path.read_bytes())
    return None


def is_gone(path: Path) -> bool:
    """Whether no process of this machine has the number in a lock; in another container one may have it."""
    return is_process_gone(owner(path) or 0)  # 0 is our own group, which is there


def unusable(folder: Path, error: Exception) -> JournalError:
    """What to tell the user when a journal cannot be opened."""
    if isinstance(error, OSError) and error.errno in _NO_LOCKS:
        return JournalError(
            f"the journal {folder} lies on a file system without locks: choose a folder on a disk of this machine."
        )
    return JournalError(
        f"the journal {folder} cannot be opened ({schema.reason_of(error)}): "
        "choose a folder that this process can make and write files in, on a disk with room."
    )


def broken(path: Path, error: Exception) -> JournalError:
    """What to tell the user when a journal that was open cannot be written or read."""
    reason = schema.reason_of(error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        remedy = "free room on its disk, or raise Journal(max_bytes=...)"
    else:
        remedy = "look after its disk and its permissions"
    return JournalError(f"the journal {path} cannot be used ({reason}): {remedy}; the client tries again every second.")
