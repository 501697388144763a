"""Append events to the outbox on a database connection of Django's: they commit and roll back with the block."""

from __future__ import annotations

from collections.abc import Iterable

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, connections

from .._config import REJECTING, Conversion
from .._core.events import Metadata, MetadataRecord
from ..errors import ConfigurationError
from ._append import INSERT_MANY, INSERT_ONE, Columns, OutboxEvent, Row, columns

__all__ = ["atrack", "track", "track_many"]

_ONE = INSERT_ONE.format("%s", "%s", "%s", "%s", "%s")
_MANY = INSERT_MANY.format("%s", "%s", "%s", "%s", "%s")


def track(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
    using: str = DEFAULT_DB_ALIAS,
) -> None:
    """Append one event in the current transaction, or in one of its own outside of `transaction.atomic`.

    Args:
        player_unique_id: as for `OutboxEvent`, and so are the next five.
        name: the event's name.
        metadata: numbers, strings, or lists and tuples of these, by key.
        mobile: the player's mobile number, if and only if the account merges channels by it.
        email: the player's e-mail address, likewise.
        conversion: as for `AsyncGameball`.
        using: the alias of the database that has the outbox's tables and the rows that the event belongs to.

    Raises:
        InvalidEvent: if the event cannot be stored or sent as it is. The transaction is not affected.
        ConfigurationError: if that database is not PostgreSQL.
    """
    outbox_event = OutboxEvent(player_unique_id, name, metadata, mobile=mobile, email=email, conversion=conversion)
    _execute(using, _ONE, outbox_event.row)


def track_many(outbox_events: Iterable[OutboxEvent], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Append many events in their order, with one statement.

    Raises:
        ConfigurationError: as `track` does.
    """
    _execute(using, _MANY, columns(outbox_events))


async def atrack(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
    using: str = DEFAULT_DB_ALIAS,
) -> None:
    """Append one event as `track` does, from asynchronous code: in the thread that Django's own async calls use.

    Django has no transactions in asynchronous code. To commit with other rows, call `track` in a synchronous function
    with `transaction.atomic`, through `sync_to_async`.
    """
    outbox_event = OutboxEvent(player_unique_id, name, metadata, mobile=mobile, email=email, conversion=conversion)
    await sync_to_async(_execute)(using, _ONE, outbox_event.row)


def _execute(using: str, statement: str, parameters: Row | Columns) -> None:
    connection = connections[using]
    if connection.vendor != "postgresql":
        raise ConfigurationError(
            f"the database {using!r} is {connection.vendor}, the outbox needs PostgreSQL: pass its alias as using=."
        )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
