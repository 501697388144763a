"""Runs a script in a process without what Windows lacks: modules, functions, flags, signals, and freedoms with files.

    python -m tests.platforms.windows SCRIPT ARGUMENTS...

Other libraries are imported first: their authors test them on Windows, and here they need what is hidden afterwards.
`msvcrt` is a stand-in on locks that belong to an open file, as those of Windows do. `GAMEBALL_LOCKS=none` takes it away
too.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import importlib
import os
import runpy
import shutil
import signal
import socket
import struct
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from typing import Any

MODULES = frozenset("fcntl grp posix pty pwd resource syslog termios tty".split())  # noqa: SIM905 a list of words

FUNCTIONS = """
    chown chroot ctermid fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgroups
    getloadavg getpgid getpgrp getpriority getsid getuid initgroups killpg lchown lockf major makedev minor mkfifo mknod
    nice openpty pathconf pidfd_open posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev
    readv register_at_fork sched_getaffinity sched_yield sendfile setegid seteuid setgid setgroups setpgid setpriority
    setsid setuid statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 waitid writev
    O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_LARGEFILE O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH
    O_RSYNC O_SYNC O_TMPFILE WNOHANG
""".split()  # noqa: SIM905 a list of words

SIGNALS = frozenset("SIGABRT SIGFPE SIGILL SIGINT SIGSEGV SIGTERM".split())  # noqa: SIM905 a list of words

SIGNAL_FUNCTIONS = """
    alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait
    sigwaitinfo
""".split()  # noqa: SIM905 a list of words

SOCKETS = "CMSG_LEN CMSG_SPACE MSG_DONTWAIT MSG_NOSIGNAL SO_REUSEPORT TCP_KEEPALIVE TCP_USER_TIMEOUT".split()  # noqa: SIM905

LIBRARIES = """
    aiohttp anyio._backends._asyncio anyio._backends._trio asyncio attrs click click.shell_completion ctypes fastapi
    httpcore httpx httpx._transports.default logging msgspec multiprocessing opentelemetry.metrics opentelemetry.trace
    platform pytest rich.console rich.live rich.progress_bar rich.table select sqlite3 starlette.applications
    starlette.responses starlette.routing subprocess tempfile tenacity trio uuid uvicorn
    uvicorn.lifespan.off uvicorn.protocols.http.h11_impl
""".split()  # noqa: SIM905 a list of words


class _Hidden(MetaPathFinder):
    """Finds none of the modules that Windows lacks."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _not_implemented(*_: object) -> None:
    raise NotImplementedError


class ProactorLike(asyncio.SelectorEventLoop):
    """A loop that can do no more than the one that is usual on Windows."""

    add_signal_handler = remove_signal_handler = add_reader = add_writer = _not_implemented  # type: ignore[assignment]


def hide(*, name: str, with_locks: bool) -> None:
    """Hide from this process what Windows lacks.

    Args:
        name: what the system is called from now on, as in `sys.platform`.
        with_locks: whether there is `msvcrt`.
    """
    for library in LIBRARIES:
        importlib.import_module(library)
    warnings.filterwarnings("error", category=EncodingWarning, module="gameball_async")
    asyncio.events.new_event_loop = asyncio.new_event_loop = ProactorLike
    _hold_open_files()
    if with_locks:
        sys.modules["msvcrt"] = _msvcrt()
    for module in MODULES:
        sys.modules.pop(module, None)
    sys.meta_path.insert(0, _Hidden())
    free_bytes = os.statvfs
    shutil.disk_usage = lambda path: _usage(free_bytes(path))
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    _delete(os, FUNCTIONS)
    _delete(socket, SOCKETS)
    signals = [name for name in dir(signal) if name.startswith("SIG") and not name.startswith("SIG_")]
    _delete(signal, [*SIGNAL_FUNCTIONS, *(name for name in signals if name not in SIGNALS)])
    sys.platform = name


def _delete(module: types.ModuleType, names: Sequence[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _usage(disk: os.statvfs_result) -> Any:
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return types.SimpleNamespace(total=total, used=total - free, free=free)


def _msvcrt() -> Any:
    """Locks of bytes: of an open file and not of a process, and by no means waited for."""
    module: Any = types.ModuleType("msvcrt")
    module.LK_UNLCK, module.LK_LOCK, module.LK_NBLCK = range(3)
    control, unlock, write = fcntl.fcntl, fcntl.F_UNLCK, fcntl.F_WRLCK
    set_lock = 37  # F_OFD_SETLK, which `fcntl` does not name everywhere

    def locking(descriptor: int, mode: int, size: int) -> None:
        kind = unlock if mode == module.LK_UNLCK else write
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            control(descriptor, set_lock, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, size, 0))
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    module.locking = locking
    return module


def _hold_open_files() -> None:
    """Refuse to rename and to delete what is open, to rename over what is there, and to open a folder."""
    rename, real_open = os.rename, os.open

    def rename_to_new(source: Any, target: Any, **options: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "Cannot create a file that exists", str(target))
        rename(source, target, **options)

    def open_file(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if os.path.isdir(path):  # noqa: PTH112 in place of what pathlib itself calls
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, flags, mode, dir_fd=dir_fd)

    os.unlink, os.remove = _unless_open(os.unlink), _unless_open(os.remove)
    os.replace, os.rename = _unless_open(os.replace), _unless_open(rename_to_new)
    os.open = open_file


def _unless_open(real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if os.path.lexists(path) and _is_open(os.lstat(path)):
                raise PermissionError(errno.EACCES, "The process cannot access the file", str(path))
        return real(*paths, **options)

    return call


def _is_open(there: os.stat_result) -> bool:
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 likewise
        with suppress(OSError):
            if os.path.samestat(there, os.fstat(int(number))):
                return True
    return False


if __name__ == "__main__":
    hide(name=os.environ["GAMEBALL_PLATFORM"], with_locks=os.environ.get("GAMEBALL_LOCKS") != "none")
    script, *sys.argv = sys.argv[1:]
    sys.argv.insert(0, script)
    runpy.run_path(script, run_name="__main__")
