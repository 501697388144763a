"""Of which kind the file system under a folder is, and what speaks against keeping a journal on it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..._platform import hold_lock, release_lock
from ...errors import JournalError
from .._journal_commands import Status
from .._terminal import argument, bytes_in_words, counted, printable
from ._findings import fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._findings import Finding


_MOUNTS = Path("/proc/self/mountinfo")  # Linux alone has it; see proc_pid_mountinfo(5)

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
    """Return the kind of the file system that a folder lies on, such as `ext4`; None if the system does not tell.

    Args:
        folder: one that is there.
        mounts: what the system says of its file systems; by default it is asked.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text("utf-8", "surrogateescape")
        except OSError:
            return None
    path = folder.resolve()
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        point, kind = _read(line)
        # of two at the same place the later one lies above
        if path.is_relative_to(point) and (found is None or len(point.parts) >= found[0]):
            found = len(point.parts), kind
    return None if found is None else found[1]


def _read(line: str) -> tuple[Path, str]:
    """Where a file system is mounted, and its kind."""
    before, _, after = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split(" ")[4])
    return Path(point), after.split(" ")[0]


def trouble_with(kind: str) -> str | None:
    """Return what speaks against a kind of file system, to stand behind its name; None if nothing does."""
    if kind in _NETWORKS:
        return "a network's or a host's: those promise too little about locks and syncing"
    if kind in _IN_MEMORY:
        return "in memory: what lies there does not survive a loss of power or a reboot"
    if kind in _OF_A_CONTAINER:
        return "a container's own: what lies there goes with the container"
    return None


_MIB = 1024 * 1024

LEAST_ROOM = _MIB
"""Bytes. With less, a journal takes a disk for full, and events are refused."""

ENOUGH_ROOM = 256 * _MIB
"""Bytes: an outage of a day, after which events are given up by default, at ten events a second of 300 bytes each."""


def findings(folder: Path, share: float) -> Iterator[Finding]:
    """Look at a journal's folder.

    Args:
        folder: its path; it may be missing.
        share: what each client of it may use of the rate limit.
    """
    try:
        yield from _findings(folder, share)
    except OSError as error:
        yield fail(
            "journal_folder",
            f"{_named(folder)} cannot be looked at ({error.strerror})",
            "Choose a folder that this account can enter.",
        )


def _findings(folder: Path, share: float) -> Iterator[Finding]:
    if not folder.exists():
        yield _missing(folder)
        yield from _disk(_nearest(folder))
    elif not folder.is_dir():
        yield fail("journal_folder", f"{_named(folder)} is no folder", "Give the path of a folder.")
    else:
        yield from _writing(folder)
        yield _permissions(folder)
        yield from _disk(folder)
        yield _contents(folder, share)


# ---------------------------------------------------------------- there, writable, lockable


def _missing(folder: Path) -> Finding:
    parent = _nearest(folder)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ok("journal_folder", f"{_named(folder)} is not there yet; a client makes it")
    return fail(
        "journal_folder",
        f"{_named(folder)} is not there, and cannot be made in {_named(parent)}",
        "Make it for the account that runs the client, or choose another folder.",
    )


def _nearest(folder: Path) -> Path:
    """The folder that is there, or is in the way, on the way to one that is not."""
    return next(path for path in folder.absolute().parents if path.exists())


def _writing(folder: Path) -> list[Finding]:
    """Write a file of the doctor's own, which goes again, and lock it; the journal's are not touched."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-", suffix=".tmp") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        written = fail(
            "journal_folder",
            f"{_named(folder)} cannot be written ({error.strerror})",
            "Make it writable for the account that runs the client, on a disk with room, or choose another folder.",
        )
        return [written, skip("journal_locks", "nothing can be written")]
    return [ok("journal_folder", f"{_named(folder)} can be written"), _locks(folder)]


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
            f"others may enter the folder (mode {stat.S_IMODE(there.st_mode):o}); its files are for their owner alone",
            f"chmod 700 {_argument(folder)}",
        )
    return ok(check, "for its owner alone")


# ---------------------------------------------------------------- disk and contents


def _disk(folder: Path) -> Iterator[Finding]:
    kind = kind_of(folder)
    if kind is None:
        yield skip("journal_disk", "this system does not tell the kind of file system")
    elif (trouble := trouble_with(kind)) is None:
        yield ok("journal_disk", f"the file system is {kind}")
    else:
        yield warn(
            "journal_disk", f"the file system is {kind}, {trouble}", "Choose a folder on a disk of this machine."
        )
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    words = f"{bytes_in_words(free)} free"
    remedy = f"Free room: {bytes_in_words(ENOUGH_ROOM)} hold a day of ten events a second."
    if free < LEAST_ROOM:
        return fail("journal_room", f"{words}: a journal takes nothing more", remedy)
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
    if problem := next((file.problem for file in status.files if file.problem), status.trouble):
        return warn(check, f"{words}; {printable(problem)}", f"gameball-async journal status {_argument(folder)}")
    if clients * share > 1:
        return warn(
            check,
            f"{words}; with a share of {share:g} each, they exceed the rate limit together",
            f"Give each of them RateLimit(share=1/{clients}); here, --share tells what they have.",
        )
    if status.dead_letters:
        return warn(check, words, f"gameball-async dead-letters list {_argument(folder)}")
    return ok(check, words)


def _argument(folder: Path) -> str:
    return argument(printable(str(folder)))


def _named(folder: Path) -> str:
    return printable(str(folder))
