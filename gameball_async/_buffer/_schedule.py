"""Where each player with events stands, and who comes next; O(1) for a change of place, O(due) for what comes due.

A player stands at one place, by its oldest batch, the head:

===========  ==================================  ==============================================
place        the head                            leaves it
===========  ==================================  ==============================================
LINGERING    open, and waits for more events     linger over, batch full, a further batch
                                                 opened, or flush → READY
READY        may be taken; merges on until then  taken → IN_FLIGHT
IN_FLIGHT    sealed, and being sent              settled or split → the next head's place;
                                                 given back → BACKING_OFF
BACKING_OFF  sealed, and waits for its next try  wait over, or flush → READY
===========  ==================================  ==============================================
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto

from ._batch import Batch


class Place(Enum):
    """Where a player stands; the module's table says what that means."""

    LINGERING = auto()
    READY = auto()
    IN_FLIGHT = auto()
    BACKING_OFF = auto()
    GONE = auto()
    """It has no events."""


class Player:
    """A player with events: a chain of batches from head to tail.

    `turn` counts the changes of place, so that an entry left behind in a queue is known as stale.
    """

    __slots__ = ("head", "place", "tail", "turn")

    def __init__(self, batch: Batch) -> None:
        self.head = batch
        self.tail = batch
        self.place = Place.GONE
        self.turn = 0


class Schedule:
    """The players by place.

    Args:
        on_due: called with a time, when something becomes due at it that may be the earliest.
    """

    def __init__(self, on_due: Callable[[float], object]) -> None:
        self._on_due = on_due
        self._lingering: OrderedDict[Player, float] = OrderedDict()  # in order: the linger is the same for all
        self._backing_off: list[tuple[float, int, int, Player]] = []  # a heap by time, then by order
        # in order of becoming ready; two queues, so that the untried ones can be preferred in O(1)
        self._untried: deque[tuple[int, int, Player]] = deque()
        self._tried: deque[tuple[int, int, Player]] = deque()
        self._order = itertools.count()

    # ---------------------------------------------------------------- changes of place

    def linger(self, player: Player, until: float) -> None:
        """Let the head wait for more events."""
        self._move(player, Place.LINGERING)
        self._lingering[player] = until
        self._on_due(until)

    def make_ready(self, player: Player) -> None:
        """Let the head be taken as soon as its turn comes."""
        self._move(player, Place.READY)
        queue = self._tried if player.head.attempts else self._untried
        queue.append((next(self._order), player.turn, player))
        self._on_due(-math.inf)

    def back_off(self, player: Player, until: float) -> None:
        """Let the head wait for its next try."""
        self._move(player, Place.BACKING_OFF)
        heapq.heappush(self._backing_off, (until, next(self._order), player.turn, player))
        self._on_due(until)

    def leave(self, player: Player) -> None:
        """Forget a player who has no events any more."""
        self._move(player, Place.GONE)

    def _move(self, player: Player, place: Place) -> None:
        if player.place is Place.LINGERING:
            del self._lingering[player]
        player.place = place
        player.turn += 1

    # ---------------------------------------------------------------- who comes next

    def due_at(self, now: float) -> float:
        """When the next player is ready: at once if not above `now`, `inf` if there is none."""
        self._collect_due(now)
        if self._untried or self._tried:
            return now
        lingers_until = next(iter(self._lingering.values()), math.inf)
        backs_off_until = self._backing_off[0][0] if self._backing_off else math.inf
        return min(lingers_until, backs_off_until)

    def take(self, *, untried_first: bool) -> Player:
        """Move the player who has been ready longest to IN_FLIGHT; `due_at` said that there is one."""
        tried, untried = self._tried, self._untried
        takes_untried = untried and (untried_first or not tried or untried[0] < tried[0])
        _, _, player = untried.popleft() if takes_untried else tried.popleft()
        self._move(player, Place.IN_FLIGHT)
        return player

    def end_lingers(self) -> None:
        """Make everyone who lingers ready."""
        while self._lingering:
            self.make_ready(next(iter(self._lingering)))

    def end_backoffs(self) -> None:
        """Make everyone who backs off ready, in the order in which they would have been."""
        waiting, self._backing_off = sorted(self._backing_off), []
        for _, _, turn, player in waiting:
            if turn == player.turn:
                self.make_ready(player)

    def relinger(self, until: float) -> None:
        """Let everyone who lingers do so until that time."""
        self._lingering = OrderedDict.fromkeys(self._lingering, until)

    def _collect_due(self, now: float) -> None:
        while self._lingering and next(iter(self._lingering.values())) <= now:
            self.make_ready(next(iter(self._lingering)))
        while self._backing_off and self._backing_off[0][0] <= now:
            _, _, turn, player = heapq.heappop(self._backing_off)
            if turn == player.turn:
                self.make_ready(player)
        for queue in (self._untried, self._tried):
            while queue and queue[0][1] != queue[0][2].turn:
                queue.popleft()
