"""An event as a row of the outbox, and the statements that insert it; every driver's functions use them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

import attrs

from .._arguments import PaddingLog
from .._config import REJECTING, Batching, Conversion
from .._core.events import EncodedEvent, Metadata, MetadataRecord, encode, metadata_json
from .._core.remedies import quoted
from .._core.wire import API_VERSIONS
from ..errors import InvalidEvent
from ._tables import LONGEST_PLAYER

Row = tuple[str, str, str, str | None, str | None]
"""The columns player, name, metadata (as JSON), mobile and email."""

Columns = tuple[list[str], list[str], list[str], list[str | None], list[str | None]]
"""The same columns of many events."""

_MOST_BYTES = Batching().max_bytes

_note_padded = PaddingLog().note


INSERT_ONE: LiteralString = (
    "INSERT INTO gameball_event (player, name, metadata, mobile, email) "
    "VALUES ({}, {}, CAST(CAST({} AS text) AS json), {}, {})"
)
"""Inserts one row; format it with a driver's placeholders.

The metadata is passed as text: applications register converters for json, which would encode it again.
"""

INSERT_MANY: LiteralString = (
    "INSERT INTO gameball_event (player, name, metadata, mobile, email) "
    "SELECT player, name, CAST(metadata AS json), mobile, email "
    "FROM unnest(CAST({} AS text[]), CAST({} AS text[]), CAST({} AS text[]), CAST({} AS text[]), CAST({} AS text[])) "
    "WITH ORDINALITY AS event (player, name, metadata, mobile, email, place) ORDER BY place"
)
"""Inserts a row for each item of five arrays, in their order."""


@attrs.frozen(init=False)
class OutboxEvent:
    """One event, checked as `track` checks it, and for what PostgreSQL refuses. Its `repr` shows the name alone.

    Args:
        player_unique_id: the player's id, at most 512 bytes of UTF-8.
        name: the event's name.
        metadata: as for `AsyncGameball.track`. It is encoded at once: changing it later changes nothing.
        mobile: the player's mobile number, if and only if the account merges channels by it.
        email: the player's e-mail address, likewise.
        conversion: as for `AsyncGameball`.

    Attributes:
        name: the event's name.
        row: the columns player, name, metadata (as JSON), mobile and email, for `COPY`.

    Raises:
        InvalidEvent: if the event cannot be stored or sent as it is.
    """

    name: str
    row: Row = attrs.field(repr=False)

    def __init__(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | MetadataRecord | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
        conversion: Conversion = REJECTING,
    ) -> None:
        event = encode(player_unique_id, name, metadata, mobile, email, _note_padded, conversion)
        _check_storable(event)
        _check_size(event)
        object.__setattr__(self, "name", event.name)
        object.__setattr__(
            self, "row", (event.player, event.name, metadata_json(event).decode(), event.mobile, event.email)
        )


def columns(events: Iterable[OutboxEvent]) -> Columns:
    """Return the rows of many events as arrays, for `INSERT_MANY`."""
    rows = [event.row for event in events]
    return (
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[4] for row in rows],
    )


def _check_storable(event: EncodedEvent) -> None:
    """Raise InvalidEvent for what would abort the application's transaction."""
    texts = {"player_unique_id": event.player, "name": event.name, "mobile": event.mobile, "email": event.email}
    for argument, value in texts.items():
        if value is not None and "\0" in value:
            raise InvalidEvent(
                f"event {quoted(event.name)}: {argument} holds a NUL character, which PostgreSQL cannot store: "
                f"{argument}.replace('\\0', '')"
            )
    length = len(event.player.encode())
    if length > LONGEST_PLAYER:
        raise InvalidEvent(
            f"event {quoted(event.name)}: player_unique_id has {length:,} bytes, the outbox takes {LONGEST_PLAYER} "
            "at most: pass a shorter id, such as the one Gameball knows the player by."
        )


def _check_size(event: EncodedEvent) -> None:
    """Raise InvalidEvent if the event is larger than a request may be, in the API version where it is largest."""
    size = len(event.encoded)
    if size + 6 * (len(event.player) + len(event.mobile or "") + len(event.email or "")) + 256 <= _MOST_BYTES:
        return  # nearly every event, even if each character were escaped as \\u0000
    size += max(version.overhead(event.player, event.mobile, event.email) for version in API_VERSIONS.values())
    if size > _MOST_BYTES:
        raise InvalidEvent(
            f"event {quoted(event.name)} makes a request of {size:,} bytes, more than the {_MOST_BYTES:,} of a relay's "
            "requests: shorten its values."
        )
