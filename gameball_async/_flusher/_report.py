"""What a closed client leaves behind."""

from __future__ import annotations

import attrs

from .._events import Event
from ..errors import DeliveryError


@attrs.frozen
class Undelivered:
    """An event that did not arrive, or may not have, and why.

    Attributes:
        event: the event; its `repr` shows the name alone.
        error: a `Dropped`, `Rejected` or `OutcomeUnknown`.
    """

    event: Event
    error: DeliveryError


@attrs.frozen
class CloseReport:
    """What `aclose` could not deliver.

    Attributes:
        undelivered: every event that failed since the close began, in order per player.
        kept: events without an outcome that are kept in the journal for the next client.
        last_failure: why the latest request failed, such as "HTTP 503", if anything is undelivered
            or kept; None if none did.
    """

    undelivered: tuple[Undelivered, ...] = ()
    kept: int = 0
    last_failure: str | None = None
