"""Append events to the outbox with SQLAlchemy: sessions and connections, asynchronous or not, with any driver."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ARRAY, Text, TextClause, bindparam, text

from .._config import REJECTING, Conversion
from .._core.events import Metadata, MetadataRecord
from ._append import INSERT_MANY, INSERT_ONE, OutboxEvent, columns
from ._tables import APPENDED

__all__ = ["event", "events"]

# A text, not an Insert of a table: that would ask for the new primary key with RETURNING, which takes more privileges.
_ONE = text(INSERT_ONE.format(":player", ":name", ":metadata", ":mobile", ":email")).bindparams(
    *(bindparam(column, type_=Text) for column in APPENDED)
)
_MANY = text(INSERT_MANY.format(":player", ":name", ":metadata", ":mobile", ":email")).bindparams(
    *(bindparam(column, type_=ARRAY(Text)) for column in APPENDED)
)


def event(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
) -> TextClause:
    """Return a statement that appends one event: ``await session.execute(event(...))``.

    The arguments are those of `OutboxEvent`. The session neither refreshes nor expires any object. From version 2.1 on,
    SQLAlchemy flushes pending objects before every statement, unless in `session.no_autoflush`.

    Raises:
        InvalidEvent: if the event cannot be stored or sent as it is. The transaction is not affected.
    """
    outbox_event = OutboxEvent(player_unique_id, name, metadata, mobile=mobile, email=email, conversion=conversion)
    return _ONE.bindparams(**dict(zip(APPENDED, outbox_event.row, strict=True)))


def events(outbox_events: Iterable[OutboxEvent]) -> TextClause:
    """Return one statement that appends many events in their order: ``await session.execute(events([...]))``."""
    return _MANY.bindparams(**dict(zip(APPENDED, columns(outbox_events), strict=True)))
