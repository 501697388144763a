"""The way into the buffer, seen by an observer that wants to see each event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from .._receipt import SharedOutcome
from ._intake import Admission


class ObservedAdmission(Admission):
    """Tells of each event that it lets in: in the call, and so in the caller's context.

    A class of its own, so that an event costs nothing more where nobody wants to see it.
    """

    def offer(
        self, player: str, name: str, encoded: bytes, mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept an event, or return None."""
        return self._seen(super().offer(player, name, encoded, mobile, email, now), (name,))

    async def wait_to_offer(
        self,
        player: str,
        name: str,
        encoded: bytes,
        mobile: str | None,
        email: str | None,
        now: Callable[[], float],
    ) -> SharedOutcome | None:
        """Accept an event when its turn has come, or return None."""
        return self._seen(await super().wait_to_offer(player, name, encoded, mobile, email, now), (name,))

    def offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: float
    ) -> SharedOutcome | None:
        """Accept events as one request, or return None."""
        return self._seen(super().offer_batch(player, events, mobile, email, now), events)

    async def wait_to_offer_batch(
        self, player: str, events: Mapping[str, bytes], mobile: str | None, email: str | None, now: Callable[[], float]
    ) -> SharedOutcome | None:
        """Accept events as one request when their turn has come, or return None."""
        return self._seen(await super().wait_to_offer_batch(player, events, mobile, email, now), events)

    def _seen(self, shared: SharedOutcome | None, names: Collection[str]) -> SharedOutcome | None:
        if shared is not None:
            self._reporting.tracked(shared, names)
        return shared
