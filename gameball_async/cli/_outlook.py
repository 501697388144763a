"""Whether Gameball answers, read off the client's counters; knows no clock, `now` comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ._words import duration

if TYPE_CHECKING:
    from gameball_async import Stats

_PATIENCE = 3.0  # seconds without a success before it is worth a word


@attrs.frozen
class StallStatus:
    """What the user should know.

    Attributes:
        text: in words.
        is_trouble: whether something is wrong; waiting for the pacing is not.
    """

    text: str
    is_trouble: bool


_WAITING = StallStatus("Waiting for room in the rate limit.", is_trouble=False)


class StallDetector:
    """Watches for the moment from which nothing succeeds any more."""

    def __init__(self) -> None:
        self._settled = -1
        self._tries = 0
        self._since = 0.0

    def note(self, now: float, stats: Stats) -> StallStatus | None:
        """Take in the counters; return what the user should know, or None if all is well.

        Args:
            now: seconds, never less than in an earlier call.
            stats: the client's counters.
        """
        settled, tries = stats.delivered + stats.rejected, stats.requests - stats.in_flight
        if settled != self._settled or not stats.pending:
            self._settled, self._tries, self._since = settled, tries, now
            return None
        quiet = now - self._since
        if quiet < _PATIENCE:
            return None
        if tries == self._tries:  # nothing has failed either
            return None if stats.in_flight else _WAITING
        return StallStatus(
            f"Gameball has accepted nothing for {duration(quiet)}: it cannot be reached, or fails, or asks to wait. "
            "Nothing is lost; trying again. Ctrl-C stops.",
            is_trouble=True,
        )
