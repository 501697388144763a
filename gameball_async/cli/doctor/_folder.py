"""Whether a journal can live in its folder: owner, permissions, writing, locks, the kind of disk and its room."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gameball_async._platform import hold_lock, release_lock
from gameball_async.errors import JournalError

from .._journal_words import Status
from .._words import argument, bytes_in_words, counted, printable
from ._disk import kind_of, trouble_with
from ._findings import fail, ok, skip, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._findings import Finding

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
