"""Why nothing goes: the client may pause only when the server asked for it, refused it, or failed for many players.

Whatever else would hold up everybody for one player's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from gameball_async._core.pacing import BreakerState

from .replies import Meaning
from .requests import Attempt

OUTAGE_PLAYERS = 5
"""So many players have to fail, with no success between, before the others wait as well."""

_WORKING = (Meaning.DELIVERED, Meaning.REFUSED, Meaning.BUSY)
_TROUBLED = (Meaning.FAILED, Meaning.AMBIGUOUS)


class Pauses:
    """Reads every answer, and looks whether there is a reason when the client lets nothing go.

    Args:
        fail: takes what is wrong.
    """

    def __init__(self, fail: Callable[[str], None]) -> None:
        self._fail = fail
        self._unread: list[Attempt] = []
        self._seen = 0
        self._failing: set[str] = set()
        self._has_reason = False

    def check(self, requests: Sequence[Attempt], state: BreakerState) -> None:
        """Look at all requests so far, when nothing is ready."""
        for _, attempts in groupby(self._ended(requests), key=lambda attempt: attempt.ended):
            self._read(list(attempts))
        if state is BreakerState.CLOSED:
            self._has_reason = False
        elif not self._has_reason:
            self._fail(f"the client lets nothing go, it is {state.name}, and {len(self._failing)} players failed")

    def _ended(self, requests: Sequence[Attempt]) -> list[Attempt]:
        """The attempts that ended since the last look, in this order."""
        self._unread += requests[self._seen :]
        self._seen = len(requests)
        ended = [attempt for attempt in self._unread if attempt.ended is not None]
        self._unread = [attempt for attempt in self._unread if attempt.ended is None]
        return sorted(ended, key=lambda attempt: attempt.ended or 0.0)

    def _read(self, attempts: Sequence[Attempt]) -> None:
        """Read what ended at one instant: nobody knows whether the client saw the failures or the successes first."""
        self._has_reason |= any(
            attempt.pause is not None or attempt.meaning in (Meaning.LIMITED, Meaning.HALT) for attempt in attempts
        )
        attempts = [attempt for attempt in attempts if attempt.placed or attempt.is_probe]  # not a look at a job
        failing = {attempt.player for attempt in attempts if attempt.meaning in _TROUBLED}
        self._failing |= failing
        self._has_reason |= len(self._failing) >= OUTAGE_PLAYERS
        if any(attempt.meaning in _WORKING for attempt in attempts) and not self._has_reason:
            self._failing = failing
