"""What a client has done so far, as one immutable snapshot."""

from __future__ import annotations

from datetime import datetime

import attrs

from ..errors import DeliveryError
from .events import Event


@attrs.frozen(kw_only=True)
class Stats:
    """A snapshot of one client's counters.

    At every instant ``accepted == delivered + rejected + dropped + unknown + pending``.

    Attributes:
        accepted: events that `track` or `send` took over, or that were found in the journal.
        delivered: events in requests that Gameball answered with success.
        rejected: events that Gameball refused for good.
        dropped: events given up here: buffer full, expired, client closed.
        unknown: events whose request was sent and whose answer got lost, and that are not sent
            again: `Retry(ambiguous="report")`, or the client was closed.
        buffered_events: events in memory without an outcome yet, those in flight included.
        buffered_bytes: what they count with in `Batching(buffer_bytes=...)`: each event's encoding and name, its
            player's id, and 450 bytes for the rest; and each batch's mobile number and e-mail address.
        oldest_age: seconds since the oldest of them was accepted; 0.0 without any.
        in_flight: requests being sent right now.
        requests: requests sent, retries included.
        retries: requests that repeated an earlier one.
        ambiguous: requests that ended without an answer that settles whether they were applied;
            with `Retry(ambiguous="resend")` each of them may have counted twice.
        paused_until: when requests may go again, in UTC, if they are paused now.
        halted: why Gameball refuses this client, if it does.
        journaled_events: events without an outcome that are not in memory: they are in the journal,
            or being written to it.
        journal_bytes: bytes of this process's journal file that are in use.
    """

    accepted: int
    delivered: int
    rejected: int
    dropped: int
    unknown: int
    buffered_events: int
    buffered_bytes: int
    oldest_age: float
    in_flight: int
    requests: int
    retries: int
    ambiguous: int
    paused_until: datetime | None
    halted: str | None
    journaled_events: int = 0
    journal_bytes: int = 0

    @property
    def pending(self) -> int:
        """Events without an outcome yet, in memory or in the journal alone."""
        return self.buffered_events + self.journaled_events


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
