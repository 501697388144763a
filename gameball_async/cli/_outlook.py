"""Whether Gameball answers, read off the client's counters; knows no clock, `now` comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._words import duration

if TYPE_CHECKING:
    from gameball_async import Stats

_PATIENCE = 3.0  # seconds without a success, with retries, before it is worth a word


class Outlook:
    """Watches for the moment from which nothing succeeds any more."""

    def __init__(self) -> None:
        self._settled = -1
        self._requests = 0
        self._since = 0.0

    def note(self, now: float, stats: Stats) -> str | None:
        """Take in the counters; return what the user should know, or None if all is well.

        Args:
            now: seconds, never less than in an earlier call.
            stats: the client's counters.
        """
        settled = stats.delivered + stats.rejected
        if settled != self._settled or not stats.pending:
            self._settled, self._requests, self._since = settled, stats.requests - stats.in_flight, now
            return None
        quiet = now - self._since
        # without failed tries it is the pacing that waits, not Gameball
        if quiet < _PATIENCE or stats.requests - stats.in_flight <= self._requests:
            return None
        return (
            f"Gameball has accepted nothing for {duration(quiet)}: it cannot be reached, or fails, or asks to wait. "
            "Nothing is lost; trying again. Ctrl-C stops."
        )
