"""The state of each player, and which player is sent next."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Generic, TypeVar

import msgspec

from .batch import Batch, BatchState

_T = TypeVar("_T")

_FEW = 64
"""Entries that are kept however many of them are stale."""


class TimerHeap(Generic[_T]):
    """A heap of times. Removal is O(1): the entry stays behind, until it is due or most entries are stale.

    Attributes:
        heap: times, numbers and items; some entries are stale.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, _T]] = []
        self._entry_of: dict[_T, int] = {}
        self._numbers = itertools.count()

    def add(self, item: _T, at: float) -> None:
        """Let an item wait that does not wait yet."""
        number = next(self._numbers)
        heapq.heappush(self.heap, (at, number, item))
        self._entry_of[item] = number

    def remove(self, item: _T) -> None:
        if len(self.heap) > 2 * len(self._entry_of) + _FEW:
            heap = [entry for entry in self.heap if self._entry_of.get(entry[2]) == entry[1]]
            heapq.heapify(heap)
            self.heap = heap
        del self._entry_of[item]

    def soonest(self) -> tuple[float, _T] | None:
        """Return the soonest time and its item; None if nothing waits."""
        heap, entry_of = self.heap, self._entry_of
        while heap and entry_of.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return (heap[0][0], heap[0][2]) if heap else None

    def in_order(self) -> list[_T]:
        """Every item that waits, soonest first."""
        return [item for _, number, item in sorted(self.heap) if self._entry_of.get(item) == number]


class AgeIndex(OrderedDict[int, Batch]):
    """The oldest batch of each number, in order of opening: the parts of a split batch share its number."""

    def reaching(self, age: float, now: float, is_kept: Callable[[Batch], bool]) -> Iterator[Batch]:
        """The batches of at least that age, oldest first; each must leave before the next is asked for.

        Args:
            age: seconds.
            now: the present time.
            is_kept: whether a batch is to be left out, with the other parts of what it was split from.
        """
        # what is left out does not hide what is older and behind it: the wall clock, by which the age of events
        # of a journal is known, may have been set since
        others = (batch for batch in self.values() if not is_kept(batch))
        for old in list(itertools.takewhile(lambda batch: batch.opened_at + age <= now, others)):
            half, settled = self.get(old.number), None
            while half is not None and half is not settled and not is_kept(half):
                yield half
                half, settled = self.get(old.number), half

    def next_at(self, age: float, is_kept: Callable[[Batch], bool]) -> float:
        """When the next batch reaches that age, or `inf`; see `reaching`."""
        oldest = next((batch for batch in self.values() if not is_kept(batch)), None)
        return math.inf if oldest is None else oldest.opened_at + age

    def unsealed(self) -> Batch | None:
        """The oldest batch that is not sealed; None if all are."""
        # a sealed batch is skipped, not the halves behind it; few are sealed: in flight, or backing off
        return next((batch for batch in self.parts() if batch.stage is not BatchState.SEALED), None)

    def parts(self) -> Iterator[Batch]:
        """Every batch, with all parts of what was split."""
        for batch in self.values():
            yield from batch.halves_behind()


class PlayerState(Enum):
    """The state of a player's first batch."""

    LINGERING = auto()
    READY = auto()
    IN_FLIGHT = auto()
    BACKING_OFF = auto()
    GONE = auto()
    """It has no events."""


class Player(msgspec.Struct, eq=False):
    """A player with events: a chain of batches from head to tail."""

    head: Batch
    tail: Batch
    player_state: PlayerState = PlayerState.GONE


class Schedule:
    """The players by place.

    A change calls `on_due` first: if that raises for lack of stack, nothing has changed.

    Args:
        on_due: called with a time, when something becomes due at it that may be the earliest.
        has_items: whether players may be items of bulk requests, unless their head has to be sent alone.

    Attributes:
        items: players who are ready and may be items, by when they became ready.
        single_takes_items: whether `take` takes these as well.
    """

    def __init__(self, on_due: Callable[[float], object], *, has_items: bool = False) -> None:
        self._on_due = on_due
        self._has_items = has_items
        self.items: OrderedDict[Player, int] = OrderedDict()
        self.single_takes_items = False
        self._lingering: TimerHeap[Player] = TimerHeap()
        self._backing_off: TimerHeap[Player] = TimerHeap()
        # who became ready when; two queues, so that the untried ones can be preferred in O(1)
        self._untried: OrderedDict[Player, int] = OrderedDict()
        self._tried: OrderedDict[Player, int] = OrderedDict()
        self._order = itertools.count()

    # ---------------------------------------------------------------- changes of place

    def linger(self, player: Player, until: float) -> None:
        """Let the head wait for more events."""
        self._on_due(until)
        self.move(player, PlayerState.LINGERING)
        self._lingering.add(player, until)

    def make_ready(self, player: Player) -> None:
        """Let the head be taken as soon as its turn comes."""
        self._on_due(-math.inf)
        self.move(player, PlayerState.READY)
        queue = self._tried if player.head.attempts else self._untried
        if self._has_items and not player.head.is_single:
            queue = self.items
        queue[player] = next(self._order)

    def back_off(self, player: Player, until: float) -> None:
        """Let the head wait for its next try."""
        self._on_due(until)
        self.move(player, PlayerState.BACKING_OFF)
        self._backing_off.add(player, until)

    def move(self, player: Player, player_state: PlayerState) -> None:
        """Change a player's state, and leave the queue of its previous one."""
        match player.player_state:
            case PlayerState.LINGERING:
                self._lingering.remove(player)
            case PlayerState.BACKING_OFF:
                self._backing_off.remove(player)
            case PlayerState.READY:
                if self._untried.pop(player, None) is None and self._tried.pop(player, None) is None:
                    del self.items[player]
            case _:
                pass
        player.player_state = player_state

    # ---------------------------------------------------------------- who comes next

    def items_due_at(self, now: float) -> float:
        """When the next player is ready who may be an item; or somewhat earlier, when another one is."""
        due_at = self.due_at(now)
        if self.items:
            return now
        return due_at if due_at > now else self._soonest()

    def _soonest(self) -> float:
        soonest = (timers.soonest() for timers in (self._lingering, self._backing_off))
        return min((each[0] for each in soonest if each is not None), default=math.inf)

    def due_at(self, now: float) -> float:
        """When the next player is ready: at once if not above `now`, `inf` without one."""
        due_at = math.inf
        for timers in (self._lingering, self._backing_off):
            if not timers.heap:
                continue
            while (soonest := timers.soonest()) is not None and soonest[0] <= now:
                self.make_ready(soonest[1])
            due_at = due_at if soonest is None else min(due_at, soonest[0])
        if self._untried or self._tried or (self.items and self.single_takes_items):
            return now
        return due_at

    def take(self, *, untried_first: bool) -> Player:
        """Move the player who has been ready longest to IN_FLIGHT; `due_at` said that there is one."""
        first_untried, first_tried = next(iter(self._untried), None), next(iter(self._tried), None)
        if self.items and self.single_takes_items:
            item = next(iter(self.items))
            others = (self._untried.get(first_untried), self._tried.get(first_tried))  # type: ignore[arg-type]
            if all(order is None or self.items[item] < order for order in others):
                self.move(item, PlayerState.IN_FLIGHT)
                return item
        if first_untried is None or first_tried is None:
            player = first_untried or first_tried
        elif untried_first or self._untried[first_untried] < self._tried[first_tried]:
            player = first_untried
        else:
            player = first_tried
        assert player is not None, "`due_at` said that a player is ready"  # noqa: S101 an invariant
        self.move(player, PlayerState.IN_FLIGHT)
        return player

    def take_items(self, until: float, most: int, most_bytes: int) -> list[Player]:
        """Move players who may be items to IN_FLIGHT, those who have been ready longest, at least one if there is any.

        Args:
            until: players whose linger is over by this time are ready as well.
            most: players, at most; fewer if one of them may only be part of a smaller request.
            most_bytes: bytes of their batches, at most.
        """
        while len(self.items) < most and (soonest := self._lingering.soonest()) is not None and soonest[0] <= until:
            self.make_ready(soonest[1])
        taken: list[Player] = []
        size = 0
        for player in list(itertools.islice(self.items, most)):
            head = player.head
            if head.is_single:  # it has got a contact while it was ready
                self.make_ready(player)
                continue
            most, size = min(most, head.bulk_items), size + head.size
            if taken and (len(taken) >= most or size > most_bytes):
                break
            self.move(player, PlayerState.IN_FLIGHT)
            taken.append(player)
        return taken

    def end_lingers(self) -> None:
        """Make all lingering players ready."""
        for player in self._lingering.in_order():
            self.make_ready(player)

    def end_backoffs(self) -> None:
        """Make all players in backoff ready, in the order of their times."""
        for player in self._backing_off.in_order():
            self.make_ready(player)
