"""The state of a segment, and its copy beside the file, the commit mark, which reveals lost commits.

The commit mark is written after each commit and before the commit is acknowledged. It is synced only when it is
created: after a power failure it may be older than the segment, but it exists, and it is never ahead of the segment.
A segment whose state is older than its commit mark has lost commits.
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

VERSION = 3
"""Version of the format; part of each state's checksum, which distinguishes a damaged version from a later one."""

_CHECKED = (VERSION, 2)
"""The versions whose states have a checksum."""

MARK = ".mark"

_MARK_SIZE = 4096  # bytes; a commit mark is much smaller


class SegmentState(NamedTuple):
    """The row of the table `state`.

    Attributes:
        file_id: the permanent id of the segment.
        next_seq: the seq of the next event.
        events: the number of its events.
        commits: how many transactions have changed it.
        position: its position in the folder, greater than those of all earlier segments.
        destination: the account of its events, see `destination_of`; empty if an earlier version wrote it.
        is_open: whether a process has it open, or died without closing it.
        version: the version of the format that it was written with.
    """

    file_id: str
    next_seq: int = 1
    events: int = 0
    commits: int = 0
    position: int = 0
    destination: str = ""
    is_open: bool = False
    version: int = VERSION

    @property
    def values(self) -> tuple[object, ...]:
        """The columns without the id."""
        return (*self[:-2], int(self.is_open), self.checksum)

    @property
    def checksum(self) -> int:
        """The checksum of `text`."""
        return crc32(self.text)

    @property
    def text(self) -> bytes:
        """All values except the checksum."""
        return text_of(self.next_seq, self.events, self.commits, self.is_open, self.fixed)

    @property
    def fixed(self) -> bytes:
        """The part of `text` that never changes while a segment is in use."""
        return f"{self.file_id} {self.position} {self.destination} {self.version}".encode()


def text_of(next_seq: int, events: int, commits: int, is_open: bool, fixed: bytes) -> bytes:  # noqa: FBT001 a column
    """Build the text of a state from its parts: this runs for each commit."""
    return b"%d %d %d %d %b" % (next_seq, events, commits, is_open, fixed)


def state_of(columns: tuple[object, ...]) -> SegmentState | None:
    """Return the state in a row without its id; None if it is damaged.

    Version 1 of the format has only the first three columns, and no checksum.
    """
    text = [column.decode("ascii", "replace") if isinstance(column, bytes) else column for column in columns]
    match text:
        case [str(file_id), int(next_seq), int(events)]:
            is_whole = bool(file_id) and next_seq > 0 and events >= 0
            return SegmentState(file_id, next_seq, events) if is_whole else None
        case [str(file_id), int(next_seq), int(events), int(commits), int(position), str(destination), int(is_open), _]:
            state = SegmentState(file_id, next_seq, events, commits, position, destination, bool(is_open))
            states = (state._replace(version=version) for version in _CHECKED)
            return next((state for state in states if state.values == tuple(text)), None)
        case _:
            return None


# ---------------------------------------------------------------- accounts


def destination_of(account: bytes) -> str:
    """Return a fingerprint of an account, salted per segment; the account itself is not stored."""
    salt = token_hex(8)
    return f"{salt}:{_salted(account, salt)}"


def is_destination_of(account: bytes, destination: str) -> bool:
    """Return whether a fingerprint matches an account; the empty one of an earlier version matches all."""
    salt, _, digest = destination.partition(":")
    return not destination or digest == _salted(account, salt)


def _salted(account: bytes, salt: str) -> str:
    return blake2b(account, salt=salt.encode()[:16], digest_size=16).hexdigest()


# ---------------------------------------------------------------- the commit mark


class CommitMark:
    """The commit mark of an open segment; it is created if it is missing.

    Attributes:
        is_new: whether it was missing or empty.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NONBLOCK", 0))
        self.is_new = not os.fstat(self._descriptor).st_size

    def write(self, text: bytes, checksum: int) -> None:
        """Write the text of a committed state and its checksum. Best effort: without it less damage is found."""
        try:  # noqa: SIM105 in a tenth of the time: this runs for each commit
            _write_at_start(self._descriptor, b"%b %d\n" % (text, checksum))
        except OSError:
            pass

    def sync(self) -> None:
        """Make it survive a power failure. Best effort."""
        with suppress(OSError):
            os.fsync(self._descriptor)

    def close(self, *, sync: bool) -> None:
        """Close it, optionally after a sync."""
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
    """Read a commit mark; None if it is missing or unreadable."""
    with suppress(OSError, ValueError):
        if not path.is_file():  # a link to one is followed: its content has a checksum
            return None
        with path.open("rb") as file:
            text, _, checksum = file.read(_MARK_SIZE).partition(b"\n")[0].rpartition(b" ")
        if int(checksum) != crc32(text):
            return None
        next_seq, events, commits, is_open, file_id, position, destination, version = text.decode().split(" ")
        numbers = int(next_seq), int(events), int(commits), int(position)
        state = SegmentState(file_id, *numbers, destination, is_open == "1", int(version))
        return state if state.version in _CHECKED else None
    return None
