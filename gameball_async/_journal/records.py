"""What lies in a journal: events, the batches that were sealed, and what was read back of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import attrs

from .._core.events import Event
from ..errors import DeliveryError


class StoredEvent(NamedTuple):
    """One event as it lies in a file.

    Attributes:
        seq: its place in the order of acceptance, unique in its file for ever.
        player_unique_id: whose event it is.
        name: the event's name.
        encoded: the event as a JSON member, as `encode_event` makes it.
        mobile: the mobile number that it came with.
        email: the e-mail address, likewise.
        accepted_at: when it was accepted, in seconds since the Unix epoch.
        together: the seq of the first event of the request that it must go in; None if it may merge.
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
    def size(self) -> int:
        """Bytes of its texts, roughly."""
        contact = len(self.mobile or "") + len(self.email or "")
        return len(self.encoded) + len(self.name) + len(self.player_unique_id) + contact


_Columns = tuple[int, str, str, bytes, str | None, str | None, float, int | None]

new_row: Callable[[_Columns], StoredEvent]
new_row = partial(tuple.__new__, StoredEvent)  # pyright: ignore[reportUnknownMemberType] of a tuple of anything
"""Makes a row of all its columns in half the time of its constructor, which unpacks them and packs them again."""


@attrs.frozen
class SegmentInfo:
    """One file that events come from.

    Attributes:
        segment: the number of the file within this process; the own file's is the greatest.
        events: how many events lie in it, those of sealed batches included.
        next_seq: the seq of the next event that is appended to it.
        sealed: the batches that were sealed and have no outcome: they may have been sent.
    """

    segment: int
    events: int
    next_seq: int
    sealed: list[list[StoredEvent]]


@attrs.frozen
class Loaded:
    """What a read brought.

    Attributes:
        rows: events in order of their seq.
        unreadable: events that were found damaged instead and were set aside, or that went with a damaged
            part of the file.
        is_last: whether no event lies behind them at this moment.
    """

    rows: list[StoredEvent]
    unreadable: int
    is_last: bool


@attrs.frozen
class DeadLetterEntry:
    """An event that will not arrive, on its way to the dead letters.

    Attributes:
        seq: its place in its file.
        event: the event itself.
        error: why it will not arrive.
    """

    seq: int
    event: Event
    error: DeliveryError
