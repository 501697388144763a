"""Check a journal's folder: file system, permissions, locks, free space and content."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..._log import counted
from ..._platform import hold_lock, release_lock
from ...errors import JournalError
from .._journal_commands import Status
from .._terminal import argument, byte_size, printable
from ._findings import fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._findings import Finding


_MOUNTS = Path("/proc/self/mountinfo")  # Linux only; see proc_pid_mountinfo(5)

_NETWORKS = frozenset(
    """
    9p afs beegfs ceph cifs coda davfs fuse.ceph fuse.davfs2 fuse.gcsfuse fuse.glusterfs fuse.rclone fuse.s3fs
    fuse.sshfs glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs prl_fs smb3 smbfs vboxsf virtiofs vmhgfs
    fuse.vmhgfs-fuse
    """.split()  # noqa: SIM905 a list of words
)
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_OF_A_CONTAINER = frozenset({"overlay", "aufs"})


def kind_of(folder: Path, mounts: str | None = None) -> str | None:
    """Return the type of a folder's file system, such as `ext4`; None if the system does not report it."""
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    path = folder.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        point, kind = _read(line)
        # of two at the same mount point the later one is visible
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kind
    return None if found is None else found[1]


def _read(line: str) -> tuple[Path, str]:
    """Return the mount point and the type of a file system."""
    before, _, after = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
    return Path(point), after.split(" ")[0]


def problem_with(kind: str) -> str | None:
    """Return why a type of file system is unsuitable, as a phrase after its name, or None."""
    if kind in _NETWORKS:
        return "a network's or a host's: locks and syncing are unreliable on it"
    if kind in _IN_MEMORY:
        return "in memory: its content does not survive a loss of power or a reboot"
    if kind in _OF_A_CONTAINER:
        return "a container's own: its content goes with the container"
    return None


_MIB = 1024 * 1024

LEAST_ROOM = _MIB
"""Bytes. With less, a journal treats the disk as full, and events are refused."""

ENOUGH_ROOM = 256 * _MIB
"""Bytes: an outage of a day, after which events are given up by default, at ten events a second of 300 bytes each."""


def findings(folder: Path, share: float) -> Iterator[Finding]:
    """Check a journal's folder, which may be missing; `share` is each client's share of the rate limit."""
    try:
        yield from _findings(folder, share)
    except OSError as error:
        yield fail(
            "journal_folder",
            f"{printable(folder)} cannot be read ({error.strerror})",
            "Choose a folder that this account can enter.",
        )


def _findings(folder: Path, share: float) -> Iterator[Finding]:
    if not folder.exists():
        yield _missing(folder)
        yield from _disk(_nearest(folder))
    elif not folder.is_dir():
        yield fail("journal_folder", f"{printable(folder)} is not a folder", "Give the path of a folder.")
    else:
        yield from _writing(folder)
        yield _permissions(folder)
        yield from _disk(folder)
        yield _contents(folder, share)


def _missing(folder: Path) -> Finding:
    parent = _nearest(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ok("journal_folder", f"{printable(folder)} does not exist yet; a client creates it")
    return fail(
        "journal_folder",
        f"{printable(folder)} does not exist, and cannot be created in {printable(parent)}",
        "Create it for the account that runs the client, or choose another folder.",
    )


def _nearest(folder: Path) -> Path:
    """Return the nearest existing parent of a missing folder."""
    return next(path for path in folder.absolute().parents if path.exists())


def _writing(folder: Path) -> list[Finding]:
    """Write and lock a temporary file; the journal's files are not touched."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-", suffix=".tmp") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        written = fail(
            "journal_folder",
            f"{printable(folder)} cannot be written ({error.strerror})",
            "Make it writable for the account that runs the client, with free space, or choose another folder.",
        )
        return [written, skip("journal_locks", "nothing can be written")]
    return [ok("journal_folder", f"{printable(folder)} can be written"), _locks(folder)]


def _locks(folder: Path) -> Finding:
    check = "journal_locks"
    remedy = "Choose a folder on a disk of this machine."
    path = folder / f"doctor-{os.getpid()}-lock.tmp"
    held: list[int | None] = []
    try:
        held += [hold_lock(path)]
        held += [hold_lock(path)]
    except OSError as error:
        return fail(check, f"files cannot be locked there ({error.strerror})", remedy)
    finally:
        for descriptor in held:
            if descriptor is not None:
                release_lock(descriptor)
        path.unlink(missing_ok=True)
    if held[1] is None:
        return ok(check, "a locked file stays locked")
    return fail(check, "a locked file can be locked again: two clients would take the same events", remedy)


def _permissions(folder: Path) -> Finding:
    check = "journal_permissions"
    if not hasattr(os, "geteuid"):
        return skip(check, "this system has no POSIX permissions")
    there = folder.stat()
    if there.st_uid != os.geteuid():
        return warn(
            check,
            f"the folder belongs to account {there.st_uid}, and this is account {os.geteuid()}",
            "Run the doctor as the account that runs the client, or give the folder to that account.",
        )
    if there.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warn(
            check,
            f"others can enter the folder (mode {stat.S_IMODE(there.st_mode):o}); its files are for their owner only",
            f"chmod 700 {argument(printable(folder))}",
        )
    return ok(check, "for its owner only")


def _disk(folder: Path) -> Iterator[Finding]:
    kind = kind_of(folder)
    if kind is None:
        yield skip("journal_disk", "this system does not report the file system")
    elif (problem := problem_with(kind)) is None:
        yield ok("journal_disk", f"the file system is {kind}")
    else:
        yield warn(
            "journal_disk", f"the file system is {kind}, {problem}", "Choose a folder on a disk of this machine."
        )
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    words = f"{byte_size(free)} free"
    remedy = f"Free some space: {byte_size(ENOUGH_ROOM)} are enough for a day of ten events a second."
    if free < LEAST_ROOM:
        return fail("journal_room", f"{words}: a journal accepts no more events", remedy)
    return warn("journal_room", words, remedy) if free < ENOUGH_ROOM else ok("journal_room", words)


def _contents(folder: Path, share: float) -> Finding:
    check = "journal_contents"
    try:
        status = Status.of(folder)
    except JournalError as error:
        return fail(check, str(error), "Run the doctor as the account that runs the client.")
    clients = sum(file.is_in_use for file in status.files)
    letters = "dead letters unknown" if status.dead_letters is None else counted(status.dead_letters, "dead letter")
    words = f"{counted(clients, 'client')} at work, {counted(status.pending, 'event')} left by others, {letters}"
    if problem := next((file.problem for file in status.files if file.problem), status.problem):
        return warn(
            check, f"{words}; {printable(problem)}", f"gameball-async journal status {argument(printable(folder))}"
        )
    if clients * share > 1:
        return warn(
            check,
            f"{words}; with a share of {share:g} each, they exceed the rate limit together",
            f"Give each of them RateLimit(share=1/{clients}); here, give their share as --share.",
        )
    if status.dead_letters:
        return warn(check, words, f"gameball-async dead-letters list {argument(printable(folder))}")
    return ok(check, words)
