"""The pending events, in a queue for each player: plain synchronous state, changed only between awaits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from .._config import Batching
from ..errors import Dropped, InvalidEvent, LifecycleError
from .batch import Batch, BatchState, Overhead, contact_bytes, contact_of, new_batch, request_bytes
from .events import EncodedEvent, Event
from .receipts import Counters, JobId, Outcome, SharedOutcome, check_stack
from .schedule import AgeIndex, Player, PlayerState, Schedule

_P = ParamSpec("_P")
_T = TypeVar("_T")
_N = TypeVar("_N", bound="NonReentrant")

# Python 3.11 takes 60 ns to look up a member, as long as a call
_OPEN, _LINGERING = BatchState.OPEN, PlayerState.LINGERING

_MOST_OVERHEAD = 256
"""Bytes of a request that are neither an event nor an id, in any dialect; a test compares."""

_NEARLY = 0.2
"""The share of the linger by which the items of a bulk request may be early."""

_LONGEST_ESCAPE = 6
"""Bytes of one character in JSON, at most: `\\u001f`."""


class NonReentrant(Protocol):
    """An object that is changed by one call at a time."""

    is_changing: bool


def non_reentrant(method: Callable[Concatenate[_N, _P], _T]) -> Callable[Concatenate[_N, _P], _T]:
    """Refuse to begin a change during another, which only a finalizer or a signal handler can try.

    Nor does a change begin where the stack might have no room for its end.
    """

    @wraps(method)
    def change(changed: _N, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if changed.is_changing:
            raise reentrant()
        check_stack()
        changed.is_changing = True
        try:
            return method(changed, *args, **kwargs)
        finally:
            changed.is_changing = False

    return change


def reentrant() -> LifecycleError:
    """Return the error for a change during another."""
    return LifecycleError(
        "track_nowait() was called by a finalizer or a signal handler during another call: schedule it with "
        "loop.call_soon(), or loop.add_signal_handler()."
    )


class Buffer:
    """The per-player queues, the event counts, and the schedule.

    Args:
        batching: how much fits in a request and in the buffer.
        overhead: bytes of a request beside its events.
        on_due: called with a time, when something becomes due at it that may be the earliest.
        on_settled: called when events got their outcome, and so made room.

    Attributes:
        check_waiting: the `check` of outcomes; the lifecycle sets it.
    """

    def __init__(
        self,
        batching: Batching,
        overhead: Overhead,
        on_due: Callable[[float], object],
        on_settled: Callable[[], object] = lambda: None,
    ) -> None:
        self.counts = Counters()
        self._on_settled = on_settled
        self.check_waiting: Callable[[], object] = lambda: None
        self.is_changing = False
        self._batching = batching
        self._overhead = overhead
        self._players: dict[str, Player] = {}
        self._schedule = Schedule(on_due, has_items=batching.mode != "single")
        self._numbers = itertools.count()
        self._by_age = AgeIndex()
        self._epoch = 0
        self._pending_of_epoch: dict[int, int] = {}  # of all epochs but the present one

    # ---------------------------------------------------------------- offer

    def has_room(self, events: int, size: int) -> bool:
        """Whether this many more events and bytes fit; an empty buffer has room for any request."""
        counts, batching = self.counts, self._batching
        has_bytes = counts.pending_bytes + size <= batching.buffer_bytes or not counts.pending
        return has_bytes and counts.pending + events <= batching.buffer_events

    def offer(
        self, event: EncodedEvent, now: float, segment: int = 0, seqs: tuple[int, ...] = ()
    ) -> SharedOutcome | None:
        """Accept one event into its player's last batch, or into a new one; None when full.

        This runs for every event, so it does not call `check_stack`: what may raise comes before the first change.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
            RecursionError: if the stack has no room for the calls; the event is not accepted.
        """
        if self.is_changing:
            raise reentrant()
        self.is_changing = True  # as `non_reentrant` does, inlined because this runs for every event
        try:
            player, name, encoded = self._players.get(event.player), event.name, event.encoded
            if player is None or event.mobile is not None or event.email is not None:
                return self._offer_slowly(player, event, now, segment, seqs)
            # what nearly every event meets, in one place: each call would cost as much as all of these tests
            batch, size, counts, batching = player.tail, len(encoded), self.counts, self._batching
            if (
                batch.stage is not _OPEN
                or name in batch.events
                or len(batch.events) + 1 >= batching.max_events
                or batch.size + size + 1 >= batching.max_bytes
                or batch.segment != segment
            ):
                return self._offer_slowly(player, event, now, segment, seqs)
            held = size + len(name) + batch.per_event
            if counts.pending >= batching.buffer_events or counts.pending_bytes + held > batching.buffer_bytes:
                return None
            if batch.epoch != self._epoch:
                batch.begin_epoch(self._epoch)
            batch.events[name] = encoded
            batch.size += size + 1
            if seqs:
                batch.seqs += seqs
            counts.accepted += 1
            counts.pending += 1
            counts.pending_bytes += held
            return batch.shared
        finally:
            self.is_changing = False

    def _offer_slowly(
        self, player: Player | None, event: EncodedEvent, now: float, segment: int, seqs: tuple[int, ...]
    ) -> SharedOutcome | None:
        batch = None if player is None or player.tail.segment != segment else player.tail
        growth = None if batch is None else self._growth(batch, event)
        if batch is None or growth is None:
            self.check_size((event,))
            held = request_bytes((event,))
            if not self.has_room(1, held):
                return None
            return self._open(player, (event,), held, now, segment, seqs).shared
        held = len(event.encoded) + len(event.name) + batch.per_event
        contact_growth = batch.contact_growth(event.mobile, event.email)
        if not self.has_room(1, held + contact_growth):
            return None
        if batch.epoch != self._epoch:
            batch.begin_epoch(self._epoch)
        if player is not None and player.player_state is _LINGERING and self._is_full(batch, event, growth):
            self._schedule.make_ready(player)
        batch.adopt(event.mobile, event.email, growth)
        batch.seqs += seqs
        batch.events[event.name] = event.encoded
        batch.size += len(event.encoded) + 1
        counts = self.counts
        counts.accepted += 1
        counts.pending += 1
        counts.pending_bytes += held + contact_growth
        return batch.shared

    @non_reentrant
    def offer_batch(
        self, events: Sequence[EncodedEvent], now: float, segment: int = 0, seqs: tuple[int, ...] = ()
    ) -> SharedOutcome | None:
        """Accept events of one player as one batch of their own, due at once; None when full.

        Raises:
            InvalidEvent: if they are larger or more than a request may be.
        """
        self.check_batch(events)
        held = request_bytes(events)
        if not self.has_room(len(events), held):
            return None
        player = self._players.get(events[0].player)
        return self._open(player, events, held, now, segment, seqs, BatchState.CLOSED).shared

    @non_reentrant
    def restore(
        self,
        events: Sequence[EncodedEvent],
        now: float,
        segment: int,
        seqs: tuple[int, ...],
        job: JobId | None = None,
    ) -> Batch:
        """Take over a batch that an earlier process sealed and may have sent, without regard to its size.

        With a job it was accepted as part of that: it is not due, and its player's later events wait for it.
        """
        player = self._players.get(events[0].player)
        batch = self._open(player, events, request_bytes(events), now, segment, seqs, BatchState.CLOSED)
        batch.is_recorded = True
        batch.ambiguous = job is None
        if job is not None:
            batch.job, batch.stage = job, BatchState.SEALED
            if player is None:
                self._schedule.move(self._players[batch.player_unique_id], PlayerState.IN_FLIGHT)
        return batch

    def check_batch(self, events: Sequence[EncodedEvent]) -> None:
        """Raise InvalidEvent if these events are larger or more than one request may ever be."""
        self.check_size(events)
        for limit in ("max_events", "buffer_events"):
            if len(events) > (most := getattr(self._batching, limit)):
                raise InvalidEvent(
                    f"{len(events)} events are more than Batching({limit}={most}) allows in one request: send them in "
                    f"several calls, or raise {limit}."
                )

    @non_reentrant
    def refuse_newest(self, event: EncodedEvent, error: Dropped) -> SharedOutcome:
        """Accept an event and drop it at once, so that it is counted."""
        shared = SharedOutcome()
        shared.settle(error)
        self.counts.accepted += 1
        self.counts.pending += 1
        self.counts.pending_bytes += len(event.encoded)
        self.counts.settle(1, len(event.encoded), error)
        return shared

    def write_off(self, events: int) -> None:
        """Count events as accepted and dropped that were lost before they came here."""
        self.counts.accepted += events
        self.counts.dropped += events

    def _growth(self, batch: Batch, event: EncodedEvent) -> int | None:
        """Bytes that the event's contact adds to the batch; None if the event cannot join it."""
        has_room = event.name not in batch.events and len(batch.events) < self._batching.max_events
        if batch.stage is not BatchState.OPEN or not has_room:
            return None
        growth = batch.growth(event.mobile, event.email, self._overhead)
        if growth is None or batch.size + growth + len(event.encoded) + 1 > self._batching.max_bytes:
            return None
        return growth

    def check_size(self, events: Sequence[EncodedEvent]) -> None:
        """Raise InvalidEvent if a request of these events is larger than a request may ever be."""
        first = events[0]
        player, name, mobile, email = first.player, first.name, first.mobile, first.email
        size = len(first.encoded)
        if len(events) > 1:
            mobile, email = contact_of(events)
            name = ", ".join(event.name for event in events)
            size = sum(len(event.encoded) for event in events) + len(events) - 1  # with the commas
        most = _MOST_OVERHEAD + _LONGEST_ESCAPE * (len(player) + len(mobile or "") + len(email or ""))
        if most + size <= self._batching.max_bytes:
            return  # nearly every event: without the cost of the exact figure
        total = self._overhead(player, mobile, email) + size
        if total > self._batching.max_bytes:
            raise InvalidEvent(
                f"event {name[:60]!r} makes a request of {total:,} bytes, Batching(max_bytes="
                f"{self._batching.max_bytes}) allows no more: shorten its values, or raise max_bytes."
            )

    def _open(
        self,
        player: Player | None,
        events: Sequence[EncodedEvent],
        held: int,
        now: float,
        segment: int,
        seqs: tuple[int, ...],
        stage: BatchState = _OPEN,
    ) -> Batch:
        """Append a new batch with these events to the player's queue."""
        first = events[0]
        player_unique_id, mobile, email = first.player, first.mobile, first.email
        if len(events) > 1:
            mobile, email = contact_of(events)
        overhead = self._overhead(player_unique_id, mobile, email)
        batch = new_batch(next(self._numbers), player_unique_id, overhead, now, self._epoch)
        batch.mobile, batch.email, batch.segment, batch.seqs = mobile, email, segment, seqs
        batch.shared.check = self.check_waiting
        batch.stage = stage
        for event in events:
            batch.events[event.name] = event.encoded
            batch.size += len(event.encoded) + 1  # with its comma
        if player is None:
            player = Player(batch, batch)
            self._place_head(player, now)
            self._players[player_unique_id] = player
        else:
            if player.player_state is _LINGERING:
                self._schedule.make_ready(player)  # nothing can merge into its head any more
            player.tail.following = batch
            player.tail = batch
        self._by_age[batch.number] = batch
        counts = self.counts
        counts.accepted += len(events)
        counts.pending += len(events)
        counts.pending_bytes += held
        return batch

    def _is_full(self, batch: Batch, event: EncodedEvent | None = None, growth: int = 0) -> bool:
        """Whether a batch takes no further event, or will not once it has this one."""
        events, size = len(batch.events), batch.size + growth
        if event is not None:
            events, size = events + 1, size + len(event.encoded) + 1
        return events >= self._batching.max_events or size >= self._batching.max_bytes

    # ---------------------------------------------------------------- due, take

    def due_at(self, now: float) -> float:
        """When the next batch may be taken: at once if not above `now`, `inf` without one."""
        if self.is_changing:
            raise reentrant()
        self.is_changing = True  # as in `offer`
        try:
            return self._schedule.due_at(now)
        finally:
            self.is_changing = False

    def take(self, now: float, *, untried_first: bool = False) -> Batch | None:
        """Seal and return the batch that has been due longest, or None if nothing is due.

        Args:
            now: the present time.
            untried_first: prefer a batch that was never sent: one that failed already may be at
                fault itself, so a probe with it says little.
        """
        if self.due_at(now) > now:
            return None
        self.is_changing = True  # as in `offer`
        try:
            batch = self._schedule.take(untried_first=untried_first).head
            batch.stage = BatchState.SEALED
        finally:
            self.is_changing = False
        return batch

    @property
    def ready_items(self) -> int:
        """The players whose batch is due and may be an item of a bulk request."""
        return len(self._schedule.items)

    def let_single_take_items(self, *, allowed: bool) -> None:
        """Whether `take` returns batches that may be items as well."""
        self._schedule.single_takes_items = allowed

    @non_reentrant
    def items_due_at(self, now: float) -> float:
        """When the next batch may be taken that may be an item of a bulk request; or somewhat earlier."""
        return self._schedule.items_due_at(now)

    @non_reentrant
    def take_items(self, now: float, most: int, most_bytes: int) -> list[Batch]:
        """Seal and return the batches of a bulk request, one of each player.

        Players whose linger is nearly over are taken too: else the first request of a burst would have one item.
        """
        until = now + _NEARLY * self._batching.linger
        taken = [player.head for player in self._schedule.take_items(until, most, most_bytes)]
        for batch in taken:
            batch.stage = BatchState.SEALED
        return taken

    # ---------------------------------------------------------------- settle, give back, split

    def settle(self, batch: Batch, outcome: Outcome, now: float) -> None:
        """Give all events of a batch their outcome, and let the player's next batch move up."""
        if self.is_changing:
            raise reentrant()
        self.is_changing = True  # as in `offer`
        try:
            self.counts.settle(len(batch.events), batch.held_bytes, outcome)
            if batch.first_epoch != self._epoch:
                for epoch, events in batch.epoch_counts():
                    self._settle_epoch(epoch, events)
            self._unlink(batch, now)
            batch.shared.settle(outcome)
            self._on_settled()
        finally:
            self.is_changing = False

    @non_reentrant
    def requeue(self, batch: Batch, at: float) -> None:
        """Keep a batch that was taken for another, identical try at the time `at`."""
        player = self._players[batch.player_unique_id]
        if player.head is batch:  # one that was restored with its job may lie behind others
            self._schedule.back_off(player, at)

    @non_reentrant
    def split(self, batch: Batch) -> None:
        """Replace a batch that was taken by its two halves, due at once and before all later batches."""
        player = self._players[batch.player_unique_id]
        older, newer = batch.halves(self._overhead(batch.player_unique_id, batch.mobile, batch.email))
        batch.stage = BatchState.SETTLED
        self.counts.pending_bytes += contact_bytes(batch.mobile, batch.email)  # of two batches from now on
        self._by_age[batch.number] = older
        player.head = older
        if player.tail is batch:
            player.tail = newer
        self._schedule.make_ready(player)

    def _settle_epoch(self, epoch: int, events: int) -> None:
        if not events or epoch == self._epoch:
            return
        left = self._pending_of_epoch[epoch] - events
        if left:
            self._pending_of_epoch[epoch] = left
        else:
            del self._pending_of_epoch[epoch]

    def _unlink(self, batch: Batch, now: float) -> None:
        """Take a batch out of its player's chain."""
        batch.stage = BatchState.SETTLED
        if self._by_age.get(batch.number) is batch:  # the next part of what it was split from takes its place
            following = batch.following
            if following is not None and following.number == batch.number:
                self._by_age[batch.number] = following
            else:
                del self._by_age[batch.number]
        player = self._players[batch.player_unique_id]
        if player.head is not batch:
            self._unlink_behind(player, batch)
        elif batch.following is None:
            self._schedule.move(player, PlayerState.GONE)
            del self._players[batch.player_unique_id]
        else:
            player.head = batch.following
            self._place_head(player, now)

    @staticmethod
    def _unlink_behind(player: Player, batch: Batch) -> None:
        """Take out a batch that is not the head: one dropped behind a sealed head, or one restored at the tail."""
        previous = player.head
        while previous.following is not batch:
            assert previous.following is not None, "the batch is in its player's chain"  # noqa: S101 an invariant
            previous = previous.following
        previous.following = batch.following
        if player.tail is batch:
            player.tail = previous

    # ---------------------------------------------------------------- places

    def _place_head(self, player: Player, now: float) -> None:
        head = player.head
        if head.job is not None:
            self._schedule.move(player, PlayerState.IN_FLIGHT)
            return
        due = head.opened_at + self._batching.linger
        may_merge = head.stage is BatchState.OPEN and head.following is None and not self._is_full(head)
        if may_merge and now < due and head.first_epoch == self._epoch:
            self._schedule.linger(player, due)
        else:
            self._schedule.make_ready(player)

    # ---------------------------------------------------------------- flush

    @non_reentrant
    def flush_now(self) -> int:
        """Make everything accepted so far due at once, and return its epoch for `pending_until`."""
        flushed = self._epoch
        if pending := self.counts.pending - sum(self._pending_of_epoch.values()):
            self._pending_of_epoch[flushed] = pending
        self._epoch += 1
        self._schedule.end_lingers()
        self._schedule.end_backoffs()
        return flushed

    @non_reentrant
    def skip_backoff(self) -> None:
        """Make every batch that waits for its next try due at once."""
        self._schedule.end_backoffs()

    def pending_until(self, epoch: int) -> int:
        """How many events accepted up to the end of this epoch have no outcome yet."""
        return sum(events for of, events in self._pending_of_epoch.items() if of <= epoch)

    # ---------------------------------------------------------------- age, drop

    @non_reentrant
    def rebase_clock(self, now: float) -> None:
        """Take the present time for the opening of every batch: until now there was no clock."""
        for batch in self._by_age.values():
            batch.opened_at = now

    def oldest_at(self) -> float | None:
        """When the oldest unsettled batch was opened, or None."""
        return next(iter(self._by_age.values())).opened_at if self._by_age else None

    def expired(self, now: float, age: float) -> Iterator[Batch]:
        """The batches of at least that age, oldest first; each must be settled before the next is asked for.

        Batches behind one that is being sent are left out until it is settled, for the sake of the order.
        """
        return self._by_age.reaching(age, now, self._is_in_flight)

    def expires_at(self, age: float) -> float:
        """When the next batch reaches that age."""
        return self._by_age.next_at(age, self._is_in_flight)

    def _is_in_flight(self, batch: Batch) -> bool:
        """Whether a request of its player is being sent."""
        return self._players[batch.player_unique_id].player_state is PlayerState.IN_FLIGHT

    @non_reentrant
    def drop_oldest(self, error: Dropped, now: float) -> Event | None:
        """Give up the oldest event that is not sealed; None if all are.

        Args:
            error: its outcome; `may_have_arrived` is set on it, as part of a split batch may have arrived.
            now: the present time.
        """
        batch = self._by_age.unsealed()
        if batch is None:
            return None
        error.may_have_arrived = batch.ambiguous
        epoch = batch.first_epoch
        name, encoded = batch.remove_oldest()
        held = len(encoded) + len(name) + batch.per_event
        if not batch.events:
            held += contact_bytes(batch.mobile, batch.email)
        dropped = SharedOutcome()
        batch.shared.move((name,), dropped)
        self.counts.settle(1, held, error)
        self._settle_epoch(epoch, 1)
        if batch.events:
            self._close(batch)  # or the names that it has lost would add up, and nothing would count them
        else:
            self._unlink(batch, now)
        dropped.settle(error)
        self._on_settled()
        return Event(batch.player_unique_id, name, batch.mobile, batch.email, encoded)

    def _close(self, batch: Batch) -> None:
        """Let no further event into a batch; without that it waits for nothing."""
        batch.stage = BatchState.CLOSED
        player = self._players[batch.player_unique_id]
        if player.head is batch and player.player_state is PlayerState.LINGERING:
            self._schedule.make_ready(player)

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts with `error`; None resumes."""
        for batch in self._by_age.parts():
            batch.shared.interrupt(error)

    def unsettled(self) -> Iterator[Batch]:
        """Every batch without an outcome, in order of opening; each must be settled before the next is asked for."""
        while self._by_age:
            yield next(iter(self._by_age.values()))
