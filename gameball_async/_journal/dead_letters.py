"""A dead letter: what its reader learns of an event that will not arrive, and how that lies in a row."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zlib import crc32

import attrs

from .._core.events import Event
from ..errors import DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from .dead_letter_file import LetterFile
from .records import DeadLetterEntry

BURY = (
    "INSERT INTO letters (file_id, seq, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, "
    "email, encoded, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id, seq) DO NOTHING"
)
"""Takes what `row_of` and `damaged_row_of` make."""

SELECT = (
    "SELECT id, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, email, encoded, "
    "checksum FROM letters"
)
"""Gives what `letter_of` takes."""

_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 1  # what SQLite can store


class DeadLetterKind(StrEnum):
    """Why an event is a dead letter."""

    REJECTED = "rejected"
    """Gameball refused it for good."""
    EXPIRED = "expired"
    """It could not be delivered within `Retry(give_up_after=...)`."""
    UNKNOWN = "unknown"
    """It was sent, its answer got lost, and it was not sent again."""
    DROPPED = "dropped"
    """The client gave it up for another reason."""
    DAMAGED = "damaged"
    """It could not be read from the journal."""


@attrs.frozen
class DeadLetter:
    """An event that will not arrive; its `repr` shows the id, the kind and the event's name alone.

    Attributes:
        id: its number, never used again in its file.
        event: the event; None if it was damaged.
        kind: why it is here, in a word.
        reason: the error's message, with Gameball's own words if it had any.
        status: the HTTP status of the answer that decided, if one did.
        code: Gameball's own error code of that answer, if it had one.
        may_have_arrived: whether an attempt ended without an answer that settles the matter, so that sending it
            again may count twice.
        buried_at: when it became a dead letter, in UTC.
        raw: what of a damaged event could be read; None otherwise.
    """

    id: int
    event: Event | None
    kind: DeadLetterKind = attrs.field(repr=str)
    reason: str = attrs.field(repr=False)
    status: int | None = attrs.field(repr=False)
    code: int | None = attrs.field(repr=False)
    may_have_arrived: bool = attrs.field(repr=False)
    buried_at: datetime = attrs.field(repr=False)
    raw: bytes | None = attrs.field(repr=False, default=None)

    @property
    def metadata(self) -> dict[str, Any]:
        """The event's metadata, empty if it was damaged: tracking it again sends the same bytes.

        Fractions are `Decimal`; numbers that were written with an exponent are floats.
        """
        if self.event is None:
            return {}
        encoded = self.event._encoded  # noqa: SLF001 Event shows it to no one outside the package
        decoded: dict[str, dict[str, Any]] = json.loads(
            b"{" + encoded + b"}", parse_float=_same_fraction, parse_int=_same_integer
        )
        return decoded[self.event.name]


# -------------------------------------------------------------------- rows


def row_of(file_id: str, letter: DeadLetterEntry, now: float) -> tuple[object, ...]:
    """The row of an event that will not arrive.

    Args:
        file_id: the name of the journal's file that it comes from.
        letter: the event, its place there, and why it will not arrive.
        now: seconds since the Unix epoch.
    """
    error, event = letter.error, letter.event
    code = None if error.code is None else storable_integer(error.code)
    why = (str(_kind_of(error)), _storable(str(error)), error.status, code, int(error.may_have_arrived), now)
    encoded = event._encoded  # noqa: SLF001 Event shows it to no one outside the package
    columns = (*why, event.player_unique_id, event.name, event.mobile, event.email, encoded)
    return (file_id, letter.seq, *columns, _checksum_of(columns))


def damaged_row_of(file_id: str, seq: int, raw: bytes, reason: str, now: float) -> tuple[object, ...]:
    """The row of what was an event once; see `row_of`."""
    why = (str(DeadLetterKind.DAMAGED), _storable(reason), None, None, 1, now)
    columns = (*why, None, None, None, None, raw)
    return (file_id, seq, *columns, _checksum_of(columns))


def letter_of(row: tuple[Any, ...]) -> DeadLetter:
    """What a row tells; if its checksum is wrong, that it is damaged. Rows of the first version have none."""
    number, *columns, checksum = row
    with suppress(TypeError, ValueError, OverflowError, OSError):  # what a damaged column may cause
        if checksum is None or checksum == _checksum_of(tuple(columns)):
            return _whole_letter(number, columns)
    encoded = columns[-1]
    return DeadLetter(
        id=number,
        event=None,
        kind=DeadLetterKind.DAMAGED,
        reason="it was damaged in the file of the dead letters",
        status=None,
        code=None,
        may_have_arrived=True,
        buried_at=datetime.fromtimestamp(0, UTC),
        raw=encoded if isinstance(encoded, bytes) else repr(encoded).encode(),
    )


def _whole_letter(number: int, columns: list[Any]) -> DeadLetter:
    kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, email, encoded = columns
    is_damaged = kind == DeadLetterKind.DAMAGED
    return DeadLetter(
        id=number,
        event=None if is_damaged else Event(player, name, mobile, email, encoded),
        kind=DeadLetterKind(kind),
        reason=reason,
        status=status,
        code=code,
        may_have_arrived=bool(may_have_arrived),
        buried_at=datetime.fromtimestamp(buried_at, UTC),
        raw=encoded if is_damaged else None,
    )


def _checksum_of(columns: tuple[object, ...]) -> int:
    return crc32(repr(columns).encode())


def storable_integer(number: int) -> int:
    """The nearest integer that SQLite can store; no letter's id and no known code comes near the bounds."""
    return min(max(number, _LEAST_INTEGER), _GREATEST_INTEGER)  # beyond 64 bits sqlite3 raises OverflowError


def _kind_of(error: DeliveryError) -> DeadLetterKind:
    match error:
        case Rejected():
            return DeadLetterKind.REJECTED
        case OutcomeUnknown():
            return DeadLetterKind.UNKNOWN
        case Dropped(reason=DropReason.EXPIRED):
            return DeadLetterKind.EXPIRED
        case _:
            return DeadLetterKind.DROPPED


def _storable(text: str) -> str:
    # Gameball's words may hold a lone surrogate, which SQLite's UTF-8 cannot
    return text.encode("utf-8", "replace").decode()


def _same_fraction(text: str) -> Decimal | float:
    """Read a number as what is encoded to the very same text."""
    exact = Decimal(text)
    return exact if format(exact, "f") == text else float(text)


def _same_integer(text: str) -> Decimal | int:
    # more digits than 64 bits hold come from a Decimal, and so does -0
    return Decimal(text) if not _LEAST_INTEGER <= int(text) <= _GREATEST_INTEGER or text == "-0" else int(text)


_PAGE = 100  # letters read at once: 25 MB even if each has the 256 KiB that an event may have by default


class DeadLetters:
    """The dead letters of one journal, in order of their burial.

    They can be read and dropped at any time, also while clients run. Its calls wait for the disk, so let a thread
    make them if your event loop must not wait. Letters that are buried during an iteration are not part of it.

    Args:
        folder: the journal's folder; nothing is read or made before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = LetterFile(folder)

    # ---------------------------------------------------------------- burying

    def add(self, file_id: str, letters: Iterable[DeadLetterEntry]) -> None:
        """Bury letters in one durable transaction; a letter that lies there already stays as it is.

        A damaged file is renamed, and a fresh one begun.

        Args:
            file_id: the name of the journal's file that they come from; with the seq it names a letter for ever.
            letters: the letters.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: likewise; with ENOSPC if there is no room for them.
        """
        now = time.time()
        self._file.insert(BURY, [row_of(file_id, letter, now) for letter in letters])

    def add_damaged(self, file_id: str, seq: int, raw: bytes, reason: str) -> None:
        """Bury a row that could not be read.

        Args:
            file_id: the name of the journal's file that it comes from.
            seq: its place in that file.
            raw: what of it could be read.
            reason: what is wrong with it.

        Raises:
            sqlite3.Error: if it cannot be written.
            OSError: likewise.
        """
        self._file.insert(BURY, [damaged_row_of(file_id, seq, raw, reason, time.time())])

    def close(self) -> None:
        """End the use of the file; nothing is open between two calls, and a later use is fine."""

    # ---------------------------------------------------------------- reading

    def __iter__(self) -> Iterator[DeadLetter]:
        """Read the letters in order of their burial, a page at a time.

        Raises:
            JournalError: if the file cannot be read.
        """
        newest = max((row[0] for row in self._file.read("SELECT id FROM letters ORDER BY id DESC LIMIT 1")), default=0)
        after = 0
        while page := self._file.read(f"{SELECT} WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}", after, newest):
            yield from map(letter_of, page)
            after = page[-1][0]

    def __len__(self) -> int:
        """Count the letters.

        Raises:
            JournalError: if the file cannot be read.
        """
        counted = self._file.read("SELECT count(*) FROM letters")
        return int(counted[0][0]) if counted else 0

    def __bool__(self) -> bool:
        """Be true, letters or none: `if letters` must read no file."""
        return True

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return one letter, or None if there is none of this id.

        Raises:
            JournalError: if the file cannot be read.
        """
        page = self._file.read(f"{SELECT} WHERE id = ?", storable_integer(letter_id))
        return letter_of(page[0]) if page else None

    def drop(self, ids: Iterable[int]) -> int:
        """Delete letters for good, in one durable transaction; their bytes are overwritten.

        Args:
            ids: their ids; an id that is not there is no error.

        Returns:
            How many were deleted.

        Raises:
            JournalError: if the file cannot be written; none of them was deleted.
        """
        return self._file.change(
            "DELETE FROM letters WHERE id = ?", [(storable_integer(letter_id),) for letter_id in ids]
        )
