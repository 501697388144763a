"""Append events to the outbox with asyncpg: the arguments for `execute`. It does not import asyncpg."""

from __future__ import annotations

from collections.abc import Iterable

from .._config import REJECTING, Conversion
from .._core.events import Metadata, MetadataRecord
from ._append import INSERT_MANY, INSERT_ONE, OutboxEvent, columns

__all__ = ["event", "events"]

_ONE = INSERT_ONE.format("$1", "$2", "$3", "$4", "$5")
_MANY = INSERT_MANY.format("$1", "$2", "$3", "$4", "$5")


def event(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
) -> tuple[str, str, str, str, str | None, str | None]:
    """Return the statement and its parameters that append one event: ``await connection.execute(*event(...))``.

    The arguments are those of `OutboxEvent`.

    Raises:
        InvalidEvent: if the event cannot be stored or sent as it is. The transaction is not affected.
    """
    outbox_event = OutboxEvent(player_unique_id, name, metadata, mobile=mobile, email=email, conversion=conversion)
    return (_ONE, *outbox_event.row)


def events(
    outbox_events: Iterable[OutboxEvent],
) -> tuple[str, list[str], list[str], list[str], list[str | None], list[str | None]]:
    """Return one statement that appends many events in their order: ``await connection.execute(*events([...]))``."""
    return (_MANY, *columns(outbox_events))
