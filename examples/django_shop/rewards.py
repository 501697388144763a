"""The shop's clients. The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""

from __future__ import annotations

import logging
import os

from gameball_async import AsyncGameball, DeliveryError, Event, RateLimit
from gameball_async.sync import Gameball

log = logging.getLogger("shop")
RATE = RateLimit(share=1 / int(os.environ.get("WEB_CONCURRENCY", "1")))


def report(event: Event, error: DeliveryError) -> None:
    """Called with each event that will not arrive."""
    log.error("a %s will not arrive: %s", event.name, error)


def make_gameball() -> AsyncGameball:
    """The client of an ASGI server's process."""
    return AsyncGameball(rate=RATE, on_failure=report)


gameball = Gameball(rate=RATE, on_failure=report)
"""The client of the synchronous views; each worker's starts with its first event."""
