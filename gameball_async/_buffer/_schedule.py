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

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto

from ._batch import Batch
from ._timers import TimerHeap


class PlayerState(Enum):
    """Where a player stands; the module's table says what that means."""

    LINGERING = auto()
    READY = auto()
    IN_FLIGHT = auto()
    BACKING_OFF = auto()
    GONE = auto()
    """It has no events."""


class Player:
    """A player with events: a chain of batches from head to tail."""

    __slots__ = ("head", "player_state", "tail")

    def __init__(self, batch: Batch) -> None:
        self.head = batch
        self.tail = batch
        self.player_state = PlayerState.GONE


class Schedule:
    """The players by place.

    Args:
        on_due: called with a time, when something becomes due at it that may be the earliest.
    """

    def __init__(self, on_due: Callable[[float], object]) -> None:
        self._on_due = on_due
        self._lingering: TimerHeap[Player] = TimerHeap()
        self._backing_off: TimerHeap[Player] = TimerHeap()
        # who became ready when; two queues, so that the untried ones can be preferred in O(1)
        self._untried: OrderedDict[Player, int] = OrderedDict()
        self._tried: OrderedDict[Player, int] = OrderedDict()
        self._order = itertools.count()

    # ---------------------------------------------------------------- changes of place

    def linger(self, player: Player, until: float) -> None:
        """Let the head wait for more events."""
        self._move(player, PlayerState.LINGERING)
        self._lingering.add(player, until)
        self._on_due(until)

    def make_ready(self, player: Player) -> None:
        """Let the head be taken as soon as its turn comes."""
        self._move(player, PlayerState.READY)
        queue = self._tried if player.head.attempts else self._untried
        queue[player] = next(self._order)
        self._on_due(-math.inf)

    def back_off(self, player: Player, until: float) -> None:
        """Let the head wait for its next try."""
        self._move(player, PlayerState.BACKING_OFF)
        self._backing_off.add(player, until)
        self._on_due(until)

    def leave(self, player: Player) -> None:
        """Forget a player who has no events any more."""
        self._move(player, PlayerState.GONE)

    def _move(self, player: Player, player_state: PlayerState) -> None:
        match player.player_state:
            case PlayerState.LINGERING:
                self._lingering.remove(player)
            case PlayerState.BACKING_OFF:
                self._backing_off.remove(player)
            case PlayerState.READY:
                if self._untried.pop(player, None) is None:
                    del self._tried[player]
            case _:
                pass
        player.player_state = player_state

    # ---------------------------------------------------------------- who comes next

    def due_at(self, now: float) -> float:
        """When the next player is ready: at once if not above `now`, `inf` if there is none."""
        waits = [self._collect_due(timers, now) for timers in (self._lingering, self._backing_off)]
        return now if self._untried or self._tried else min(waits)

    def take(self, *, untried_first: bool) -> Player:
        """Move the player who has been ready longest to IN_FLIGHT; `due_at` said that there is one."""
        first_untried, first_tried = next(iter(self._untried), None), next(iter(self._tried), None)
        if first_untried is None or first_tried is None:
            player = first_untried or first_tried
        elif untried_first or self._untried[first_untried] < self._tried[first_tried]:
            player = first_untried
        else:
            player = first_tried
        assert player is not None, "`due_at` said that somebody is ready"  # noqa: S101 an invariant
        self._move(player, PlayerState.IN_FLIGHT)
        return player

    def end_lingers(self) -> None:
        """Make everyone who lingers ready."""
        for player in self._lingering.in_order():
            self.make_ready(player)

    def end_backoffs(self) -> None:
        """Make everyone who backs off ready, in the order in which they would have been."""
        for player in self._backing_off.in_order():
            self.make_ready(player)

    def _collect_due(self, timers: TimerHeap[Player], now: float) -> float:
        """Make ready whose time has come; returns the next time."""
        while (at := timers.next_at()) is not None and at <= now:
            self.make_ready(timers.soonest())
        return math.inf if at is None else at
