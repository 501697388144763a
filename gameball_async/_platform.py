"""Operating system differences: file locks, private files and durable folders.

Features are detected, not system names: Windows lacks `fcntl`, `fchmod` and opening folders.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_fcntl: Any
_msvcrt: Any
try:
    import fcntl as _fcntl
except ImportError:
    _fcntl = None
try:
    import msvcrt as _msvcrt
except ImportError:
    _msvcrt = None

HAS_LOCKS = _fcntl is not None or _msvcrt is not None

CAN_MOVE_OPEN_FILES = _fcntl is not None
"""Whether an open file can be renamed, replaced and deleted; not on Windows."""

O_BINARY: int = getattr(os, "O_BINARY", 0)
"""Flag for `os.open`: without it, Windows converts line endings in `os.write`."""

_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)

_LOCKED_BYTE = 1 << 30
"""Windows locks bytes, which other processes then cannot read: this byte is far beyond the end of the file."""

_BETWEEN_TRIES = 0.01  # seconds between two attempts to lock a folder, on systems that cannot wait for a lock


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner can read, with any umask. On Windows its folder's permissions apply.

    Args:
        path: the file; symbolic links are refused if the system supports that.
        flags: as for `os.open`.

    Raises:
        OSError: if it cannot be opened.
    """
    descriptor = os.open(path, flags | O_BINARY | _NO_LINK, 0o600)
    if hasattr(os, "fchmod"):
        try:
            os.fchmod(descriptor, 0o600)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def hold_lock(path: Path, *, keep_mode: bool = False) -> int | None:
    """Lock a file for this process; a missing file is created.

    Args:
        path: the file.
        keep_mode: keep the permissions of an existing file.

    Returns:
        The descriptor that holds the lock, for `release_lock`; None if another process holds it.

    Raises:
        OSError: if the file cannot be opened or locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | O_BINARY | _NO_LINK, 0o600)
        try:
            _try_lock(descriptor)
            if not CAN_MOVE_OPEN_FILES or _is_at(path, descriptor):
                if hasattr(os, "fchmod") and not keep_mode:
                    os.fchmod(descriptor, 0o600)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it while we opened it: another file may exist now


def release_lock(descriptor: int, remove: Path | None = None) -> None:
    """Release a lock.

    Args:
        descriptor: what `hold_lock` returned.
        remove: the path of the file, to delete it too. It may stay if another process has opened it.
    """
    if CAN_MOVE_OPEN_FILES:
        _remove(remove)  # while it is locked, so that no other process locks it in between
        os.close(descriptor)
        return
    with suppress(OSError):  # closing the file releases the lock too, but with a delay
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        _msvcrt.locking(descriptor, _msvcrt.LK_UNLCK, 1)
    os.close(descriptor)
    _remove(remove)


@contextmanager
def locked_folder(path: Path) -> Generator[None]:
    """Wait for the lock of a folder and hold it; Windows locks the file `folder.lock` in it instead.

    Raises:
        OSError: if it cannot be locked.
    """
    if _fcntl is not None and hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
        return
    while (held := hold_lock(path / "folder.lock")) is None:
        time.sleep(_BETWEEN_TRIES)
    try:
        yield
    finally:
        release_lock(held)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; NTFS cannot sync folders, but journals their names.

    Raises:
        OSError: if that fails.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_process_gone(pid: int) -> bool:
    """Return whether no process of this machine has this id; False if unknown.

    On Windows it is unknown: `os.kill(pid, 0)` would send a Ctrl-C.
    """
    if not CAN_MOVE_OPEN_FILES:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or not a process id
        return False
    return False


def _try_lock(descriptor: int) -> None:
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        return
    if _msvcrt is None:
        raise OSError(errno.ENOTSUP, "this system has no file locks")
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError(errno.EWOULDBLOCK, "the file is locked") from error


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path | None) -> None:
    if path is not None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
