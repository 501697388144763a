"""What the integrations' tests share."""

from __future__ import annotations

from typing import ClassVar

from gameball_async import AsyncGameball, CloseReport
from gameball_async.sandbox import Sandbox


def names(sandbox: Sandbox) -> list[str]:
    """The names of player123's events, in order."""
    return [event.name for event in sandbox.holdings().get("player123", [])]


class Timed(AsyncGameball):
    """A client that notes how long its closes may take."""

    close_timeouts: ClassVar[list[float]] = []

    async def aclose(self, timeout: float = 10) -> CloseReport:  # noqa: ASYNC109 as the client's
        self.close_timeouts.append(timeout)
        return await super().aclose(timeout)
