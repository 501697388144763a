"""What a journal file records about itself, and the copy of it beside the file that shows when the file falls behind.

The copy, the mark, is written after each commit and before the commit is acknowledged. It is synced only when it is
made: after a loss of power it may be older than the file, but it is there, and it is never ahead of what is durable. A
file whose own state is older than its mark has lost commits, whatever happened to it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple
from zlib import crc32

from .._platform import open_private

VERSION = 2
"""Version of the format; part of each state's checksum, so that a damaged version number is told from a later one."""

MARK = ".mark"

_MARK_SIZE = 4096  # far more than a mark has


class SegmentState(NamedTuple):
    """The one row of a file's table `state`.

    Attributes:
        file_id: the file's name for ever.
        next_seq: one more than the greatest seq that ever was in it.
        events: how many events are in it.
        commits: how many transactions have changed it.
        position: its place among the files of the folder: greater than those of all earlier files.
        destination: where its events go, see `destination_of`; empty if an earlier version wrote it.
        is_open: whether a process has it open, or ended without closing it.
    """

    file_id: str
    next_seq: int = 1
    events: int = 0
    commits: int = 0
    position: int = 0
    destination: str = ""
    is_open: bool = False

    @property
    def values(self) -> tuple[object, ...]:
        """The columns of its row, without the id."""
        return (*self[:-1], int(self.is_open), self.checksum)

    @property
    def checksum(self) -> int:
        """The checksum of everything in it."""
        return crc32(self.text)

    @property
    def text(self) -> bytes:
        """Everything but the checksum."""
        return text_of(self.next_seq, self.events, self.commits, self.is_open, self.fixed)

    @property
    def fixed(self) -> bytes:
        """What of its text never changes while a file is in use."""
        return f"{self.file_id} {self.position} {self.destination} {VERSION}".encode()


def text_of(next_seq: int, events: int, commits: int, is_open: bool, fixed: bytes) -> bytes:  # noqa: FBT001 a column
    """The text of a state, made of its parts: this runs for each commit."""
    return b"%d %d %d %d %b" % (next_seq, events, commits, is_open, fixed)


def state_of(columns: tuple[object, ...]) -> SegmentState | None:
    """The state that a row holds, without its id; None if it is damaged.

    Version 1 of the format has neither a checksum nor more than the first three columns.
    """
    text = [column.decode("ascii", "replace") if isinstance(column, bytes) else column for column in columns]
    match text:
        case [str(file_id), int(next_seq), int(events)]:
            is_whole = bool(file_id) and next_seq > 0 and events >= 0
            return SegmentState(file_id, next_seq, events) if is_whole else None
        case [str(file_id), int(next_seq), int(events), int(commits), int(position), str(destination), int(is_open), _]:
            state = SegmentState(file_id, next_seq, events, commits, position, destination, bool(is_open))
            return state if state.values == tuple(text) else None
        case _:
            return None


# ---------------------------------------------------------------- where events go


def destination_of(account: bytes) -> str:
    """A fingerprint of an account, different for each file.

    Args:
        account: `Access.account`; it is not stored.
    """
    salt = token_hex(8)
    return f"{salt}:{_salted(account, salt)}"


def is_destination_of(account: bytes, destination: str) -> bool:
    """Whether a fingerprint is of this account; one that an earlier version left empty is of every account."""
    salt, _, digest = destination.partition(":")
    return not destination or digest == _salted(account, salt)


def _salted(account: bytes, salt: str) -> str:
    return blake2b(account, salt=salt.encode()[:16], digest_size=16).hexdigest()


# ---------------------------------------------------------------- the mark


class CommitMark:
    """The mark of a file that this process has open.

    Args:
        path: where it is; the file is made if it is missing.

    Attributes:
        is_new: whether nothing was in it.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0))
        self.is_new = not os.fstat(self._descriptor).st_size

    def write(self, text: bytes) -> None:
        """Record the text of a state that was committed. Best effort: without it less damage is found."""
        try:  # noqa: SIM105 in a tenth of the time: this runs for each commit
            _write_at_start(self._descriptor, b"%b %d\n" % (text, crc32(text)))
        except OSError:
            pass

    def sync(self) -> None:
        """Let it survive a loss of power, as far as the disk can."""
        with suppress(OSError):
            os.fsync(self._descriptor)

    def close(self, *, sync: bool) -> None:
        """Close it, after a sync if the file was closed cleanly."""
        if sync:
            self.sync()
        with suppress(OSError):
            os.close(self._descriptor)


if sys.platform != "win32" and hasattr(os, "pwrite"):

    def _write_at_start(descriptor: int, data: bytes) -> None:
        os.pwrite(descriptor, data, 0)

else:

    def _write_at_start(descriptor: int, data: bytes) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, data)


def read_mark(path: Path) -> SegmentState | None:
    """What a mark holds; None if there is none that can be read."""
    with suppress(OSError, ValueError):
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            text, _, checksum = file.read(_MARK_SIZE).partition(b"\n")[0].rpartition(b" ")
        if int(checksum) != crc32(text):
            return None
        next_seq, events, commits, is_open, file_id, position, destination, version = text.decode().split(" ")
        state = SegmentState(
            file_id, int(next_seq), int(events), int(commits), int(position), destination, is_open == "1"
        )
        return state if int(version) == VERSION else None
    return None
