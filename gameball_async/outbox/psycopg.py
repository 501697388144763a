"""Append events to the outbox with psycopg 3 or psycopg2: the arguments for `execute`. It imports neither."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from .._config import REJECTING, Conversion
from .._core.events import Metadata, MetadataRecord
from ._append import INSERT_MANY, INSERT_ONE, Columns, OutboxEvent, Row, columns

__all__ = ["event", "events"]

_ONE = INSERT_ONE.format("%s", "%s", "%s", "%s", "%s")
_MANY = INSERT_MANY.format("%s", "%s", "%s", "%s", "%s")


def event(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
) -> tuple[LiteralString, Row]:
    """Return the statement and its parameters that append one event: ``await connection.execute(*event(...))``.

    The arguments are those of `OutboxEvent`.

    Raises:
        InvalidEvent: if the event cannot be stored or sent as it is. The transaction is not affected.
    """
    outbox_event = OutboxEvent(player_unique_id, name, metadata, mobile=mobile, email=email, conversion=conversion)
    return _ONE, outbox_event.row


def events(outbox_events: Iterable[OutboxEvent]) -> tuple[LiteralString, Columns]:
    """Return one statement that appends many events in their order: ``await connection.execute(*events([...]))``."""
    return _MANY, columns(outbox_events)
