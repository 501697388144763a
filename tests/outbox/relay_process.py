"""A relay as a process of its own: `python -m tests.outbox.relay_process '{"dsn": ..., "url": ...}'`."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import sys
from typing import Any

from gameball_async import Batching, JobOptions, RateLimit, Retry
from gameball_async._engine.network import Stream
from gameball_async.outbox import Relay
from gameball_async.outbox._outbox_storage import OutboxStorage


def suspend_once_after(owner: Any, method: str) -> None:
    """Let the process suspend itself right after the first call of a method, before anything else runs."""
    original = getattr(owner, method)

    def suspend() -> None:
        setattr(owner, method, original)
        print("suspended", flush=True)  # noqa: T201 the test reads it
        os.kill(os.getpid(), signal.SIGSTOP)

    async def call_and_suspend(*arguments: Any) -> None:
        await original(*arguments)
        suspend()

    def call_and_suspend_at_once(*arguments: Any) -> None:
        original(*arguments)
        suspend()

    replacement = call_and_suspend if inspect.iscoroutinefunction(original) else call_and_suspend_at_once
    setattr(owner, method, replacement)


def bulk(poll_interval: float) -> Batching:
    """Bulk requests, whose jobs are looked at this often."""
    return Batching(mode="bulk", linger=0.01, jobs=JobOptions(poll_interval=poll_interval))


SUSPENSIONS = {
    "after the seal": (OutboxStorage, "seal"),
    "before the first byte": (Stream, "_begin_request"),
}
"""Where a process can suspend itself: before and after its last look at the lease."""


async def main(settings: dict[str, Any]) -> None:
    if where := settings.get("suspend"):
        suspend_once_after(*SUSPENSIONS[where])
    share, is_bulk = settings.get("share"), "poll_interval" in settings
    relay = Relay(
        settings["dsn"],
        "test-key",
        base_url=settings["url"],
        lease=settings.get("lease", 2.0),
        rate=None if share is None else RateLimit(share=share),
        secret_key="test-secret" if is_bulk else None,
        api_version="v4.1" if is_bulk else None,
        batching=bulk(settings["poll_interval"]) if is_bulk else Batching(linger=0.01),
        retry=Retry(initial=0.02, maximum=0.2, ambiguous=settings.get("ambiguous", "resend")),
        timeout=settings.get("timeout", 5.0),
        name=settings.get("name"),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, relay.stop)
    running = asyncio.ensure_future(relay.run())
    while not (relay.is_ready or running.done()):  # noqa: ASYNC110 there is no event for it
        await asyncio.sleep(0.01)
    print("ready", flush=True)  # noqa: T201 the test reads it
    await running


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(json.loads(sys.argv[1])))
