"""Who was active, and when: sums kept with each request, so that showing them costs the same whatever is held; pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 60


@attrs.frozen
class ActivityCounts:
    """Requests that have ended.

    Args:
        applied: those whose events are held.
        unapplied: the others.
    """

    applied: int = 0
    unapplied: int = 0

    def plus(self, *, applied: bool) -> ActivityCounts:
        """With one more request."""
        return ActivityCounts(self.applied + applied, self.unapplied + (not applied))


class Activity:
    """Counts in all, for each player, and for each of the last seconds in which something ended."""

    def __init__(self) -> None:
        self.all = ActivityCounts()
        # who had the latest request stands last
        self._players: dict[str, ActivityCounts] = {}
        self._seconds: deque[tuple[int, ActivityCounts]] = deque(maxlen=_SECONDS)

    def add(self, player: str | None, end: float, *, applied: bool) -> None:
        """Count a request.

        Args:
            player: whose it was, if that could be made out.
            end: when it ended, in seconds.
            applied: whether its events are held.
        """
        self.all = self.all.plus(applied=applied)
        if player is not None:
            self._players[player] = self._players.pop(player, ActivityCounts()).plus(applied=applied)
        second = int(end)
        counts = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else ActivityCounts()
        self._seconds.append((second, counts.plus(applied=applied)))

    def seconds(self, now: float) -> list[tuple[int, ActivityCounts]]:
        """The last minute, second by second; those in which nothing ended are left out."""
        return [(second, counts) for second, counts in self._seconds if now - second <= _SECONDS]

    def latest(self, like: str) -> Iterator[tuple[str, ActivityCounts]]:
        """The players whose id holds some text, whatever its case; who had the latest request comes first."""
        wanted = like.casefold()
        return ((player, self._players[player]) for player in reversed(self._players) if wanted in player.casefold())
