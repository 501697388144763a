"""Checksums of rows, by which a later run finds the first row that has changed; knows no file and no format."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._lines import InputRow

_MOST_MARKS = 8192  # of a file; the progress file is written every second
_DIGEST_BYTES = 4


@attrs.frozen
class RowChecksum:
    """What a file was up to a row.

    Attributes:
        position: the last line of the row, or its number among the file's entries.
        digest: a short hash of all rows up to there, in hexadecimal.
    """

    position: int
    digest: str


def encode(marks: Sequence[RowChecksum]) -> str:
    """Return marks as one short text."""
    return " ".join(f"{mark.position}:{mark.digest}" for mark in marks)


def decode(text: str) -> tuple[RowChecksum, ...]:
    """Read what `encode` wrote.

    Raises:
        ValueError: if it did not.
    """
    pairs = (word.partition(":") for word in text.split())
    return tuple(RowChecksum(int(position), digest) for position, _, digest in pairs)


class ChangedError(Exception):
    """A row is not what it was; the message says which."""


class Fingerprint:
    """Takes in the rows of one file in order, and compares them with what an earlier run has taken in.

    Every digest covers all rows before it, so that any change shows at the next mark. With many rows the older marks
    are thinned out, and a change is known to lie between two of them.

    Args:
        earlier: the marks of an earlier run.
    """

    def __init__(self, earlier: Sequence[RowChecksum] = ()) -> None:
        self._hash = hashlib.sha256()
        self._kept = [*earlier]
        self._expected = deque(earlier)
        self._verified = self._previous = 0
        self._ahead: deque[RowChecksum] = deque()

    @property
    def is_verified(self) -> bool:
        """Whether all rows of the earlier run have been compared."""
        return not self._expected

    def add(self, row: InputRow) -> None:
        """Take in the next row; called in one thread, `marks` in another.

        Raises:
            ChangedError: if it is not the row that an earlier run has read.
        """
        position = row.position[-1]
        data = row.raw.rstrip(b"\r\n")  # the last line of a file may get its end later
        self._hash.update(b"%d %d " % (position, len(data)) + data)
        mark = RowChecksum(position, self._hash.copy().digest()[:_DIGEST_BYTES].hex())
        if not self._expected:
            self._ahead.append(mark)
        elif position >= self._expected[0].position:
            if mark != self._expected.popleft():
                noun, start = ("line", row.line) if row.entry is None else ("entry", row.entry)
                is_known = self._verified == self._previous  # no row lies between the last mark and this one
                where = f"at {noun} {start}" if is_known else f"between {noun} {self._verified + 1} and {position}"
                raise ChangedError(f"has changed since then {where}")
            self._verified = position
        self._previous = position

    def finish(self) -> None:
        """Take in the end of the file.

        Raises:
            ChangedError: if an earlier run has read more.
        """
        if self._expected:
            raise ChangedError(f"is shorter than then: rows after line {self._verified} are missing")

    def marks(self, until: int) -> tuple[RowChecksum, ...]:
        """Return what a later run needs to verify the rows up to a position."""
        while self._ahead and self._ahead[0].position <= until:
            self._kept.append(self._ahead.popleft())
        if len(self._kept) > _MOST_MARKS:
            self._kept = self._kept[::-2][::-1]  # with the last one
        return tuple(self._kept)
