"""One request in the making: events of one player, no name twice, merged until it is taken to be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

import msgspec

from .._config import MOST_ITEMS
from .events import EncodedEvent, Event
from .receipts import JobId, SharedOutcome

Overhead = Callable[[str, str | None, str | None], int]
"""Bytes of a request's body beside its events, from the player's id, mobile and email."""

_EVENT_OVERHEAD = 450
"""Bytes of memory that an event takes beside its texts: measured 140 merged into a batch, 640 to 900 alone in one.

One figure for both, so that the sum stays the same when a batch is split.
"""


def _text_bytes(text: str | None) -> int:
    """Return the bytes of memory that a text takes, at most."""
    return 0 if text is None else len(text) if text.isascii() else 4 * len(text)


def contact_bytes(mobile: str | None, email: str | None) -> int:
    """Return the bytes that a batch's contact counts with."""
    return _text_bytes(mobile) + _text_bytes(email)


def request_bytes(events: Sequence[EncodedEvent]) -> int:
    """Return the bytes that events of one player count with, at most, if they are a batch of their own."""
    player, mobile, email = events[0].player, events[0].mobile, events[0].email
    if len(events) > 1:
        mobile, email = contact_of(events)
    size = len(events) * ((len(player) if player.isascii() else 4 * len(player)) + _EVENT_OVERHEAD)
    for event in events:
        size += len(event.encoded) + len(event.name)
    return size if mobile is None and email is None else size + contact_bytes(mobile, email)


def contact_of(events: Sequence[EncodedEvent]) -> tuple[str | None, str | None]:
    """Return the mobile number and the e-mail address that the events of one request share."""
    return (
        next((event.mobile for event in events if event.mobile is not None), None),
        next((event.email for event in events if event.email is not None), None),
    )


class BatchState(Enum):
    """Where a batch is in its life; it only moves down this list."""

    OPEN = auto()
    """Accepts further names, if it is its player's last batch."""
    CLOSED = auto()
    """Accepts no more names and was not taken yet: made by `send`, half of a split batch, or has lost an event."""
    SEALED = auto()
    """Taken to be sent: its bytes never change again, so that a retry is identical."""
    SETTLED = auto()
    """Has its outcome, or was split and its events wait for the outcomes of the halves."""


class Batch(msgspec.Struct, eq=False):
    """Events of one player that go in one request, and what happened to it so far.

    Attributes:
        number: the place in the order of opening; halves of a split batch keep their parent's.
        player_unique_id: whose events these are.
        events: each event's JSON member by its name, in the order of placement.
        size: bytes of the request's body.
        mobile: the mobile number that at least one of its events came with.
        email: the e-mail address, likewise.
        opened_at: when its first event was accepted, in seconds of the loop's clock.
        stage: see `BatchState`.
        shared: the outcome that its receipts wait for.
        following: the player's next batch.
        body: the bytes of the request, once it is sealed.
        attempts: requests sent with it.
        earlier_attempts: requests sent with the batch that it was split from.
        solo_failures: attempts that failed although other players' requests succeeded.
        successes_seen: requests of the client that had succeeded when its last attempt failed.
        last_failure: why its last attempt failed, in words; None if none has.
        ambiguous: whether an attempt ended without an answer that settles it.
        per_event: bytes that each event counts with, beside its encoding and its name.
        segment: the file of the journal that its events lie in; 0 if they lie in memory alone.
        seqs: their places in that file, in the order of `events`.
        epoch: the epoch of its latest event; epochs count the calls of flush.
        first_epoch: the epoch of its oldest event.
        is_recorded: whether the journal knows it as a sealed batch.
        bulk_items: items of the bulk request that it may be part of, at most; 1 if it has to be sent alone.
        job: the accepted, unfinished job that it is part of.
    """

    number: int
    player_unique_id: str
    size: int
    per_event: int
    opened_at: float
    epoch: int
    first_epoch: int
    events: dict[str, bytes] = {}
    mobile: str | None = None
    email: str | None = None
    stage: BatchState = BatchState.OPEN
    shared: SharedOutcome = msgspec.field(default_factory=SharedOutcome)
    following: Batch | None = None
    body: bytes | None = None
    attempts: int = 0
    earlier_attempts: int = 0
    solo_failures: int = 0
    successes_seen: int | None = None
    last_failure: str | None = None
    ambiguous: bool = False
    segment: int = 0
    seqs: tuple[int, ...] = ()
    is_recorded: bool = False
    bulk_items: int = MOST_ITEMS
    job: JobId | None = None
    # Nearly every batch lives within one epoch, so an event's epoch is not kept with the event: `_boundaries` has
    # (epoch, index after its last event) for all epochs but the latest.
    _boundaries: tuple[tuple[int, int], ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether it has to be sent alone; items of bulk requests have no contact."""
        return self.bulk_items == 1 or self.mobile is not None or self.email is not None

    @property
    def held_bytes(self) -> int:
        """What it counts with in the buffer."""
        texts = sum(map(len, self.events)) + sum(map(len, self.events.values()))
        held = texts + len(self.events) * self.per_event
        return held if self.mobile is None and self.email is None else held + contact_bytes(self.mobile, self.email)

    def begin_epoch(self, epoch: int) -> None:
        """Note that the next events are of a later epoch."""
        self._boundaries += ((self.epoch, len(self.events)),)
        self.epoch = epoch

    def growth(self, mobile: str | None, email: str | None, overhead: Overhead) -> int | None:
        """Bytes by which taking over a contact would lengthen the body; None if the contact differs."""
        if (mobile is None or mobile == self.mobile) and (email is None or email == self.email):
            return 0
        if (mobile and self.mobile and mobile != self.mobile) or (email and self.email and email != self.email):
            return None
        return overhead(self.player_unique_id, mobile or self.mobile, email or self.email) - overhead(
            self.player_unique_id, self.mobile, self.email
        )

    def contact_growth(self, mobile: str | None, email: str | None) -> int:
        """Bytes that it counts with in addition when it takes over a contact."""
        new = contact_bytes(mobile or self.mobile, email or self.email)
        return new - contact_bytes(self.mobile, self.email)

    def adopt(self, mobile: str | None, email: str | None, growth: int) -> None:
        """Take over a contact that does not differ, which lengthens the body by `growth` bytes."""
        self.mobile = mobile or self.mobile
        self.email = email or self.email
        self.size += growth

    def epoch_counts(self) -> Iterator[tuple[int, int]]:
        """How many of its events were accepted in which epoch."""
        start = 0
        for epoch, end in self._boundaries:
            yield epoch, end - start
            start = end
        yield self.epoch, len(self.events) - start

    def remove_oldest(self) -> tuple[str, bytes]:
        """Take its oldest event out."""
        name = next(iter(self.events))
        encoded = self.events.pop(name)
        self.size -= len(encoded) + 1
        self.set_boundaries(_shifted(self._boundaries, 1))
        return name, encoded

    def set_boundaries(self, boundaries: tuple[tuple[int, int], ...]) -> None:
        """Set where the epochs of its events end."""
        self._boundaries = boundaries
        self.first_epoch = boundaries[0][0] if boundaries else self.epoch

    def halves_behind(self) -> Iterator[Batch]:
        """Itself, and the other parts of the batch that it was split from, which come next."""
        part: Batch | None = self
        while part is not None and part.number == self.number:
            yield part
            part = part.following

    def halves(self, overhead: int) -> tuple[Batch, Batch]:
        """Two closed batches with the older and the newer half of its events, to which the receipts move.

        Args:
            overhead: bytes of its body beside the events.
        """
        middle = len(self.events) // 2
        items = list(self.events.items())
        older = self._part(
            items[:middle], tuple((epoch, min(end, middle)) for epoch, end in self._boundaries), overhead
        )
        newer = self._part(items[middle:], _shifted(self._boundaries, middle), overhead)
        older.seqs, newer.seqs = self.seqs[:middle], self.seqs[middle:]
        older.following, newer.following = newer, self.following
        return older, newer

    def _part(self, items: list[tuple[str, bytes]], boundaries: tuple[tuple[int, int], ...], overhead: int) -> Batch:
        part = new_batch(self.number, self.player_unique_id, overhead, self.opened_at, self.epoch)
        part.mobile, part.email = self.mobile, self.email
        part.shared.check = self.shared.check
        part.events = dict(items)
        part.size += sum(len(encoded) + 1 for encoded in part.events.values())
        part.set_boundaries(boundaries)
        part.stage = BatchState.CLOSED
        part.last_failure = self.last_failure
        part.ambiguous = self.ambiguous
        part.earlier_attempts = self.earlier_attempts + self.attempts
        part.bulk_items = self.bulk_items
        part.segment = self.segment
        self.shared.move(part.events, part.shared)
        return part

    def as_events(self) -> list[Event]:
        """Its events as the user gets them back."""
        return [
            Event(self.player_unique_id, name, self.mobile, self.email, encoded)
            for name, encoded in self.events.items()
        ]


def new_batch(number: int, player_unique_id: str, overhead: int, opened_at: float, epoch: int) -> Batch:
    """Return an empty batch; `overhead` is the size of its body without events."""
    per_event = (len(player_unique_id) if player_unique_id.isascii() else 4 * len(player_unique_id)) + _EVENT_OVERHEAD
    # the first event has no comma before it
    return Batch(number, player_unique_id, overhead - 1, per_event, opened_at, epoch, epoch)


def _shifted(boundaries: tuple[tuple[int, int], ...], by: int) -> tuple[tuple[int, int], ...]:
    return tuple((epoch, end - by) for epoch, end in boundaries if end > by)
