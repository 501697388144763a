"""Dead letters: events that will not be delivered, their rows, and reading and dropping them."""

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
from .dead_letter_file import DeadLetterFile
from .records import DeadLetterEntry

_INSERT = (
    "INSERT INTO letters (file_id, seq, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, "
    "email, encoded, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id, seq) DO NOTHING"
)
"""Its rows come from `_row_of` and `_damaged_row_of`."""

_SELECT = (
    "SELECT id, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, email, encoded, "
    "checksum FROM letters"
)
"""Its rows go to `_from_row`."""

_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1  # of SQLite


class DeadLetterKind(StrEnum):
    """Why an event is a dead letter."""

    REJECTED = "rejected"
    """Gameball rejected it permanently."""
    EXPIRED = "expired"
    """It could not be delivered within `Retry(give_up_after=...)`."""
    UNKNOWN = "unknown"
    """It was sent, its response was lost, and it was not resent."""
    DROPPED = "dropped"
    """The client dropped it for another reason."""
    DAMAGED = "damaged"
    """It could not be read from the journal."""


@attrs.frozen
class DeadLetter:
    """An event that will not be delivered; its `repr` shows only the id, the kind and the event's name.

    Attributes:
        id: its number, never reused in its file.
        event: the event; None if it was damaged.
        kind: why it is a dead letter.
        reason: the error's message, including Gameball's own message.
        status: the HTTP status of the final response, if any.
        code: Gameball's error code in that response, if any.
        may_have_arrived: whether the outcome of an attempt is unknown, so that resending may count it twice.
        buried_at: when it became a dead letter, in UTC.
        raw: the readable data of a damaged event; None otherwise.
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

        Fractions are `Decimal`; numbers with an exponent are floats.
        """
        if self.event is None:
            return {}
        encoded = self.event._encoded  # noqa: SLF001 private only for users
        decoded: dict[str, dict[str, Any]] = json.loads(
            b"{" + encoded + b"}", parse_float=_same_fraction, parse_int=_same_integer
        )
        return decoded[self.event.name]


# -------------------------------------------------------------------- rows


def _row_of(file_id: str, entry: DeadLetterEntry, now: float) -> tuple[object, ...]:
    error, event = entry.error, entry.event
    code = None if error.code is None else _storable_integer(error.code)
    why = (str(_kind_of(error)), _storable(str(error)), error.status, code, int(error.may_have_arrived), now)
    encoded = event._encoded  # noqa: SLF001 private only for users
    columns = (*why, event.player_unique_id, event.name, event.mobile, event.email, encoded)
    return (file_id, entry.seq, *columns, _checksum_of(columns))


def _damaged_row_of(file_id: str, seq: int, raw: bytes, reason: str, now: float) -> tuple[object, ...]:
    why = (str(DeadLetterKind.DAMAGED), _storable(reason), None, None, 1, now)
    columns = (*why, None, None, None, None, raw)
    return (file_id, seq, *columns, _checksum_of(columns))


def _from_row(row: tuple[Any, ...]) -> DeadLetter:
    """Return the dead letter in a row, a damaged one if its checksum is wrong; schema version 1 has no checksums."""
    number, *columns, checksum = row
    with suppress(TypeError, ValueError, OverflowError, OSError):  # caused by damaged columns
        if checksum is None or checksum == _checksum_of(tuple(columns)):
            return _intact_letter(number, columns)
    encoded = columns[-1]
    return DeadLetter(
        id=number,
        event=None,
        kind=DeadLetterKind.DAMAGED,
        reason="it was damaged in the file of dead letters",
        status=None,
        code=None,
        may_have_arrived=True,
        buried_at=datetime.fromtimestamp(0, UTC),
        raw=encoded if isinstance(encoded, bytes) else repr(encoded).encode(),
    )


def _intact_letter(number: int, columns: list[Any]) -> DeadLetter:
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


def _storable_integer(number: int) -> int:
    """Return the nearest integer that SQLite can store; no id and no known error code is near the limits."""
    return min(max(number, _MIN_INTEGER), _MAX_INTEGER)  # sqlite3 raises OverflowError beyond 64 bits


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
    # Gameball's message may contain a lone surrogate, which UTF-8 cannot encode
    return text.encode("utf-8", "replace").decode()


def _same_fraction(text: str) -> Decimal | float:
    """Decode a number to a value that is encoded to the same text."""
    exact = Decimal(text)
    return exact if format(exact, "f") == text else float(text)


def _same_integer(text: str) -> Decimal | int:
    # integers beyond 64 bits, and -0, were encoded from a Decimal
    return Decimal(text) if not _MIN_INTEGER <= int(text) <= _MAX_INTEGER or text == "-0" else int(text)


_PAGE = 100  # dead letters read at once: at most 25 MB with the default event size limit of 256 KiB


class DeadLetters:
    """The dead letters of one journal, oldest first.

    They can be read and dropped at any time, even while clients run. The calls block on the disk: call them in a
    thread if your event loop must not block. An iteration does not include dead letters added while it runs.

    Args:
        folder: the journal's folder; nothing is read or created before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = DeadLetterFile(folder)

    # ---------------------------------------------------------------- adding

    def add(self, file_id: str, entries: Iterable[DeadLetterEntry], *, now: float | None = None) -> None:
        """Add dead letters in one durable transaction; existing ones are not changed.

        Args:
            file_id: the id of their segment, which identifies a dead letter together with its seq.
            entries: the events.
            now: the time in seconds since the epoch; None for that of the call.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: if they cannot be written; none of them was. ENOSPC on a full disk.
        """
        at = time.time() if now is None else now
        self._file.insert(_INSERT, [_row_of(file_id, entry, at) for entry in entries])

    def add_damaged(self, file_id: str, seq: int, raw: bytes, reason: str, *, now: float | None = None) -> None:
        """Add the readable data of a damaged event; see `add`."""
        at = time.time() if now is None else now
        self._file.insert(_INSERT, [_damaged_row_of(file_id, seq, raw, reason, at)])

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""

    # ---------------------------------------------------------------- reading

    def __iter__(self) -> Iterator[DeadLetter]:
        """Read the dead letters, oldest first, a page at a time.

        Raises:
            JournalError: if the file cannot be read.
        """
        newest = max((row[0] for row in self._file.read("SELECT id FROM letters ORDER BY id DESC LIMIT 1")), default=0)
        after = 0
        while page := self._file.read(f"{_SELECT} WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}", after, newest):
            yield from map(_from_row, page)
            after = page[-1][0]

    def __len__(self) -> int:
        """Count the dead letters.

        Raises:
            JournalError: if the file cannot be read.
        """
        counted = self._file.read("SELECT count(*) FROM letters")
        return int(counted[0][0]) if counted else 0

    def __bool__(self) -> bool:
        """Return True even without dead letters: `if letters` must not read the file."""
        return True

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return the dead letter with this id, or None.

        Raises:
            JournalError: if the file cannot be read.
        """
        page = self._file.read(f"{_SELECT} WHERE id = ?", _storable_integer(letter_id))
        return _from_row(page[0]) if page else None

    def drop(self, ids: Iterable[int]) -> int:
        """Delete dead letters permanently in one durable transaction; their bytes are overwritten.

        Args:
            ids: their ids; unknown ids are ignored.

        Returns:
            How many were deleted.

        Raises:
            JournalError: if the file cannot be written; none of them was deleted.
        """
        return self._file.change(
            "DELETE FROM letters WHERE id = ?", [(_storable_integer(letter_id),) for letter_id in ids]
        )
