"""The events that wait, in a queue for each player: offered, taken, settled or given back.

Plain synchronous state, changed only between awaits; `now` comes in as an argument. A player with
events is at one place by its oldest batch, its head:

==============  ===================================================  =================================
place           the head                                             leaves it
==============  ===================================================  =================================
LINGERING       open, and waits for more events until its linger      linger over, batch full, a further
                is over                                              batch opened, flush → READY
READY           may be taken; merges on until then                   `take` → IN_FLIGHT
IN_FLIGHT       sealed, and being sent                               `settle`, `split`, `give_back`
BACKING_OFF     sealed, and waits for its next try                   wait over, flush → READY
==============  ===================================================  =================================
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto

import attrs

from .._config import Batching
from .._events import Event
from .._receipt import Delivered, Outcome, Receipt, SharedOutcome
from ..errors import Dropped, InvalidEvent, OutcomeUnknown, Rejected
from ._batch import Batch, Overhead, Stage


class Place(Enum):
    """Where a player stands; the module's table says what that means."""

    LINGERING = auto()
    READY = auto()
    IN_FLIGHT = auto()
    BACKING_OFF = auto()


class _Player:
    """A player with events: a chain of batches from head to tail.

    `turn` counts the changes of place, so that an entry left behind in a queue is known as stale.
    """

    __slots__ = ("head", "place", "tail", "turn")

    def __init__(self, batch: Batch) -> None:
        self.head = batch
        self.tail = batch
        self.place: Place | None = None
        self.turn = 0


@attrs.define
class Counts:
    """The ledger: accepted = delivered + rejected + dropped + unknown + pending."""

    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    unknown: int = 0
    pending: int = 0
    pending_bytes: int = 0

    def settle(self, events: int, size: int, outcome: Outcome) -> None:
        """Move events from pending to where their outcome belongs."""
        self.pending -= events
        self.pending_bytes -= size
        match outcome:
            case Delivered():
                self.delivered += events
            case Rejected():
                self.rejected += events
            case Dropped():
                self.dropped += events
            case OutcomeUnknown():
                self.unknown += events
            case _:  # pragma: no cover
                raise AssertionError(f"no account for {outcome!r}")


class _Ready:
    """The players that are READY, in the order in which they became so; O(1) to prefer the untried ones."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._untried: deque[tuple[int, int, _Player]] = deque()
        self._tried: deque[tuple[int, int, _Player]] = deque()

    def __bool__(self) -> bool:
        return bool(self._untried or self._tried)

    def append(self, player: _Player) -> None:
        queue = self._tried if player.head.attempts else self._untried
        queue.append((next(self._order), player.turn, player))

    def pop(self, *, untried_first: bool) -> _Player:
        if not self._tried or (self._untried and (untried_first or self._untried[0] < self._tried[0])):
            return self._untried.popleft()[2]
        return self._tried.popleft()[2]

    def discard_stale(self) -> None:
        """Drop the entries of players who left meanwhile from the front of both queues."""
        for queue in (self._untried, self._tried):
            while queue and queue[0][1] != queue[0][2].turn:
                queue.popleft()


class Buffer:
    """The per-player queues, the ledger, and who may be sent next.

    Args:
        batching: how much fits in a request and in the buffer.
        overhead: bytes of a request beside its events.
        on_due: called with a time, when something becomes due at it that may be the earliest.
    """

    def __init__(self, batching: Batching, overhead: Overhead, on_due: Callable[[float], object]) -> None:
        self.counts = Counts()
        self._batching = batching
        self._overhead = overhead
        self._on_due = on_due
        self._players: dict[str, _Player] = {}
        self._ready = _Ready()
        self._lingering: OrderedDict[_Player, float] = OrderedDict()  # in order: the linger is the same for all
        self._backing_off: list[tuple[float, int, int, _Player]] = []  # a heap; the second is a tie-breaker
        self._numbers = itertools.count()
        # the oldest unsettled batch of each number, in order of opening: halves of a split share a number
        self._by_age: OrderedDict[int, Batch] = OrderedDict()
        self._epoch = 0
        self._pending_of_epoch: dict[int, int] = {}

    # ---------------------------------------------------------------- offer

    def has_room(self, events: int, size: int) -> bool:
        """Whether so many more events of so many bytes together fit."""
        counts, batching = self.counts, self._batching
        return (
            counts.pending + events <= batching.buffer_events and counts.pending_bytes + size <= batching.buffer_bytes
        )

    def offer(
        self, player_unique_id: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> Receipt | None:
        """Accept one event into its player's last batch, or into a new one; None if there is no room.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
        """
        player = self._players.get(player_unique_id)
        growth = None if player is None else self._growth(player.tail, name, encoded, mobile, email)
        if growth is None:
            self._check_size(player_unique_id, name, len(encoded), mobile, email)
        if not self.has_room(1, len(encoded)):
            return None
        if player is None or growth is None:
            batch = self._open(player_unique_id, mobile, email, now)
            self._add(batch, name, encoded)
            self._append(player, batch, now)
        else:
            batch = player.tail
            batch.adopt(mobile, email, growth)
            self._add(batch, name, encoded)
            if player.place is Place.LINGERING and self._is_full(batch):
                self._make_ready(player)
        return Receipt(batch.shared, name)

    def offer_batch(
        self, player_unique_id: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept events as one batch of their own, due at once; None if there is no room.

        Raises:
            InvalidEvent: if they are larger or more than a request may be.
        """
        size = sum(map(len, events.values()))
        self._check_size(player_unique_id, ", ".join(events), size + len(events) - 1, mobile, email)
        if len(events) > self._batching.max_events:
            raise InvalidEvent(
                f"{len(events)} events are more than Batching(max_events={self._batching.max_events}) allows in one "
                "request: send them in several calls, or raise max_events."
            )
        if not self.has_room(len(events), size):
            return None
        batch = self._open(player_unique_id, mobile, email, now)
        for name, encoded in events.items():
            self._add(batch, name, encoded)
        batch.stage = Stage.CLOSED
        self._append(self._players.get(player_unique_id), batch, now)
        return batch.shared

    def refuse_newest(self, name: str, encoded: bytes, error: Dropped) -> Receipt:
        """Accept an event and drop it at once, so that it is counted."""
        shared = SharedOutcome()
        shared.settle(error)
        self.counts.accepted += 1
        self.counts.pending += 1
        self.counts.pending_bytes += len(encoded)
        self.counts.settle(1, len(encoded), error)
        return Receipt(shared, name)

    def _growth(self, batch: Batch, name: str, encoded: bytes, mobile: str | None, email: str | None) -> int | None:
        """Bytes that the event's contact adds to the batch; None if the event cannot join it."""
        if (
            batch.stage is not Stage.OPEN
            or name in batch.events
            or len(batch.events) >= self._batching.max_events
            or batch.shared.has_moved(name)
        ):
            return None
        growth = batch.growth(mobile, email, self._overhead)
        if growth is None or batch.size + growth + len(encoded) + 1 > self._batching.max_bytes:
            return None
        return growth

    def _check_size(self, player_unique_id: str, name: str, size: int, mobile: str | None, email: str | None) -> None:
        total = self._overhead(player_unique_id, mobile, email) + size
        if total > self._batching.max_bytes:
            raise InvalidEvent(
                f"event {name[:60]!r} makes a request of {total:,} bytes, Batching(max_bytes="
                f"{self._batching.max_bytes}) allows no more: shorten its values, or raise max_bytes."
            )

    def _open(self, player_unique_id: str, mobile: str | None, email: str | None, now: float) -> Batch:
        overhead = self._overhead(player_unique_id, mobile, email)
        batch = Batch(next(self._numbers), player_unique_id, overhead=overhead, opened_at=now, epoch=self._epoch)
        batch.mobile, batch.email = mobile, email
        self._by_age[batch.number] = batch
        return batch

    def _add(self, batch: Batch, name: str, encoded: bytes) -> None:
        batch.add(name, encoded, self._epoch)
        counts = self.counts
        counts.accepted += 1
        counts.pending += 1
        counts.pending_bytes += len(encoded)
        self._pending_of_epoch[self._epoch] = self._pending_of_epoch.get(self._epoch, 0) + 1

    def _append(self, player: _Player | None, batch: Batch, now: float) -> None:
        if player is None:
            player = self._players[batch.player_unique_id] = _Player(batch)
            self._place_head(player, now)
            return
        player.tail.following = batch
        player.tail = batch
        if player.place is Place.LINGERING:
            self._make_ready(player)  # nothing can merge into its head any more

    def _is_full(self, batch: Batch) -> bool:
        return len(batch.events) >= self._batching.max_events or batch.size >= self._batching.max_bytes

    # ---------------------------------------------------------------- due, take

    def due_at(self, now: float) -> float:
        """When the next batch may be taken: at once if not above `now`, `inf` if there is none."""
        self._collect_due(now)
        if self._ready:
            return now
        lingers_until = next(iter(self._lingering.values()), math.inf)
        backs_off_until = self._backing_off[0][0] if self._backing_off else math.inf
        return min(lingers_until, backs_off_until)

    def take(self, now: float, *, untried_first: bool = False) -> Batch | None:
        """Seal and return the batch that has been due longest, or None if nothing is due.

        Args:
            now: the present time.
            untried_first: prefer a batch that was never sent: one that failed already may be at
                fault itself, so a probe with it says little.
        """
        if self.due_at(now) > now:
            return None
        player = self._ready.pop(untried_first=untried_first)
        self._move(player, Place.IN_FLIGHT)
        player.head.stage = Stage.SEALED
        return player.head

    def _collect_due(self, now: float) -> None:
        while self._lingering and next(iter(self._lingering.values())) <= now:
            self._make_ready(next(iter(self._lingering)))
        while self._backing_off and self._backing_off[0][0] <= now:
            _, _, turn, player = heapq.heappop(self._backing_off)
            if turn == player.turn:
                self._make_ready(player)
        self._ready.discard_stale()

    # ---------------------------------------------------------------- settle, give back, split

    def settle(self, batch: Batch, outcome: Outcome, now: float) -> None:
        """Give all events of a batch their outcome, and let the player's next batch move up."""
        size = sum(map(len, batch.events.values()))
        self.counts.settle(len(batch.events), size, outcome)
        for epoch, events in batch.epoch_counts():
            self._settle_epoch(epoch, events)
        self._unlink(batch, now)
        batch.shared.settle(outcome)

    def give_back(self, batch: Batch, at: float) -> None:
        """Keep a batch that was taken for another, identical try at the time `at`."""
        player = self._players[batch.player_unique_id]
        self._move(player, Place.BACKING_OFF)
        heapq.heappush(self._backing_off, (at, batch.number, player.turn, player))
        self._on_due(at)

    def split(self, batch: Batch) -> None:
        """Replace a batch that was taken by its two halves, due at once and before all later batches."""
        player = self._players[batch.player_unique_id]
        older, newer = batch.halves(self._overhead(batch.player_unique_id, batch.mobile, batch.email))
        batch.stage = Stage.SETTLED
        self._by_age[batch.number] = older
        player.head = older
        if player.tail is batch:
            player.tail = newer
        self._make_ready(player)

    def _settle_epoch(self, epoch: int, events: int) -> None:
        if not events:
            return
        left = self._pending_of_epoch[epoch] - events
        if left:
            self._pending_of_epoch[epoch] = left
        else:
            del self._pending_of_epoch[epoch]

    def _unlink(self, batch: Batch, now: float) -> None:
        """Take a batch out of its player's chain: the head, or the one behind a head that is sealed."""
        batch.stage = Stage.SETTLED
        sibling = batch.following if batch.following and batch.following.number == batch.number else None
        if self._by_age.get(batch.number) is batch:
            if sibling:
                self._by_age[batch.number] = sibling
            else:
                del self._by_age[batch.number]
        player = self._players[batch.player_unique_id]
        if player.head is not batch:
            self._unlink_behind(player, batch)
        elif batch.following is None:
            self._move(player, None)
            del self._players[batch.player_unique_id]
        else:
            player.head = batch.following
            self._place_head(player, now)

    def _unlink_behind(self, player: _Player, batch: Batch) -> None:
        before = player.head
        while before.following is not batch:
            assert before.following is not None, "a batch is in its player's chain"  # noqa: S101 an invariant
            before = before.following
        before.following = batch.following
        if player.tail is batch:
            player.tail = before

    # ---------------------------------------------------------------- places

    def _place_head(self, player: _Player, now: float) -> None:
        head = player.head
        due = head.opened_at + self._batching.linger
        may_merge = head.stage is Stage.OPEN and head.following is None and not self._is_full(head)
        if may_merge and now < due and head.first_epoch == self._epoch:
            self._move(player, Place.LINGERING)
            self._lingering[player] = due
            self._on_due(due)
        else:
            self._make_ready(player)

    def _make_ready(self, player: _Player) -> None:
        self._move(player, Place.READY)
        self._ready.append(player)
        self._on_due(-math.inf)

    def _move(self, player: _Player, place: Place | None) -> None:
        if player.place is Place.LINGERING:
            del self._lingering[player]
        player.place = place
        player.turn += 1

    # ---------------------------------------------------------------- flush

    def hurry(self) -> int:
        """Make everything accepted so far due at once, and return its epoch for `pending_until`."""
        flushed = self._epoch
        self._epoch += 1
        while self._lingering:
            self._make_ready(next(iter(self._lingering)))
        self.skip_backoff()
        return flushed

    def skip_backoff(self) -> None:
        """Make every batch that waits for its next try due at once."""
        waiting, self._backing_off = self._backing_off, []
        for _, _, turn, player in sorted(waiting, key=lambda entry: entry[:3]):
            if turn == player.turn:
                self._make_ready(player)

    def pending_until(self, epoch: int) -> int:
        """How many events accepted up to the end of this epoch have no outcome yet."""
        return sum(events for of, events in self._pending_of_epoch.items() if of <= epoch)

    # ---------------------------------------------------------------- age, drop

    def restamp(self, now: float) -> None:
        """Take the present time for the opening of every batch: until now there was no clock."""
        for batch in self._by_age.values():
            batch.opened_at = now
        for player in self._lingering:
            self._lingering[player] = now + self._batching.linger

    def oldest_at(self) -> float | None:
        """When the oldest unsettled batch was opened, or None if there is none."""
        return next(iter(self._by_age.values())).opened_at if self._by_age else None

    def expired(self, now: float, age: float) -> list[Batch]:
        """The batches of at least that age that are not being sent, oldest first."""
        old = itertools.takewhile(lambda batch: batch.opened_at + age <= now, self._by_age.values())
        return [batch for batch in old if not self._is_in_flight(batch)]

    def expires_at(self, age: float) -> float:
        """When the next batch reaches that age."""
        waiting = (batch for batch in self._by_age.values() if not self._is_in_flight(batch))
        oldest = next(waiting, None)
        return math.inf if oldest is None else oldest.opened_at + age

    def _is_in_flight(self, batch: Batch) -> bool:
        player = self._players[batch.player_unique_id]
        return player.place is Place.IN_FLIGHT and player.head is batch

    def drop_oldest(self, error: Dropped, now: float) -> Event | None:
        """Give up the oldest event that is not sealed; None if all are."""
        batch = next((batch for batch in self._by_age.values() if batch.stage is not Stage.SEALED), None)
        if batch is None:
            return None
        epoch = batch.first_epoch
        name, encoded = batch.remove_oldest()
        dropped = SharedOutcome()
        batch.shared.move((name,), dropped)
        self.counts.settle(1, len(encoded), error)
        self._settle_epoch(epoch, 1)
        if not batch.events:
            self._unlink(batch, now)
        dropped.settle(error)
        return Event(batch.player_unique_id, name, batch.mobile, batch.email, encoded)

    def unsettled(self) -> Iterator[Batch]:
        """Every batch without an outcome, in order of opening; each must be settled before the next is asked for."""
        while self._by_age:
            yield next(iter(self._by_age.values()))
