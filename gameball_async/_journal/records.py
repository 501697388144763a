"""Records of the journal: stored events, segments, loaded events and dead-letter entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import attrs

from .._core.events import EncodedEvent, Event
from .._core.receipts import JobId
from ..errors import DeliveryError


class StoredEvent(NamedTuple):
    """One event as it is stored in a segment.

    Attributes:
        seq: its number in the order of acceptance, never reused in its segment.
        player_unique_id: the player of the event.
        name: the event's name.
        encoded: the event as a JSON member, as `encode_event` returns it.
        mobile: the mobile number passed with the event.
        email: the e-mail address passed with the event.
        accepted_at: when it was accepted, in seconds since the Unix epoch.
        together: the seq of the first event of its request; None if the event may merge into any request.
    """

    seq: int
    player_unique_id: str
    name: str
    encoded: bytes
    mobile: str | None
    email: str | None
    accepted_at: float
    together: int | None

    @property
    def event(self) -> EncodedEvent:
        """The event itself."""
        return EncodedEvent(*self[1:6])

    @property
    def size(self) -> int:
        """Approximate bytes of its texts."""
        contact = len(self.mobile or "") + len(self.email or "")
        return len(self.encoded) + len(self.name) + len(self.player_unique_id) + contact


_Columns = tuple[int, str, str, bytes, str | None, str | None, float, int | None]

new_row: Callable[[_Columns], StoredEvent]
new_row = partial(tuple.__new__, StoredEvent)  # pyright: ignore[reportUnknownMemberType] of a tuple of anything
"""Create a row from a tuple of all columns, in half the time of the constructor."""


class SealRecord(NamedTuple):
    """What a segment stores of a sealed batch.

    Attributes:
        members: the seqs of its events, in order; the first one identifies it.
        mobile: the mobile number in its request.
        email: the e-mail address in its request.
        job: the job that Gameball has accepted it as part of; None if it did not, or the answer is unknown.
    """

    members: Sequence[int]
    mobile: str | None
    email: str | None
    job: JobId | None = None


@attrs.frozen
class SegmentInfo:
    """What an opened segment contains.

    Attributes:
        segment: its number in this process; the active segment has the greatest.
        events: the number of its events, including those in sealed batches.
        next_seq: the seq of the next event appended to it.
        sealed: the sealed batches without an outcome: they may have been sent.
        jobs: the jobs of those that Gameball has accepted, by the seq of their first event.
    """

    segment: int
    events: int
    next_seq: int
    sealed: list[list[StoredEvent]]
    jobs: Mapping[int, JobId] = {}


@attrs.frozen
class Loaded:
    """The result of a read.

    Attributes:
        rows: events in order of their seq.
        unreadable: the number of events that turned out to be damaged or lost.
        is_last: whether the segment has no later events at this moment.
    """

    rows: list[StoredEvent]
    unreadable: int
    is_last: bool


@attrs.frozen
class DeadLetterEntry:
    """An event to be added to the dead letters.

    Attributes:
        seq: its seq in its segment.
        event: the event.
        error: why it will not be delivered.
    """

    seq: int
    event: Event
    error: DeliveryError
