"""A client with a journal that sends bulk requests, in a process of its own; the tests kill it.

``python -m tests.crash.bulk_client '{"url": ..., "folder": ..., "backend": "asyncio", "first": 0, "events": 40}'``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import anyio

from gameball_async import (
    AsyncGameball,
    Batching,
    JobOptions,
    JobReport,
    JobState,
    ObservedClient,
    Observer,
    Retry,
)


class Printer(Observer):
    """Prints each job that is on disk, with the number of its items."""

    def on_job(self, client: ObservedClient, report: JobReport) -> None:  # noqa: ARG002 there is one
        if report.state is JobState.ACCEPTED:
            print(report.job, report.players, flush=True)  # noqa: T201 the test reads it


def client(
    url: str,
    folder: Path,
    *,
    poll_interval: float = 0.05,
    ambiguous: Literal["resend", "report"] = "resend",
    **settings: Any,
) -> AsyncGameball:
    """A client that sends bulk requests and looks at jobs often."""
    return AsyncGameball(
        "key",
        secret_key="secret",
        api_version="v4.1",
        base_url=url,
        journal=folder,
        rate=None,
        batching=Batching(mode="bulk", linger=0.2, jobs=JobOptions(poll_interval=poll_interval)),
        retry=Retry(initial=0.05, maximum=0.2, ambiguous=ambiguous),
        **settings,
    )


async def main(settings: dict[str, Any]) -> None:
    """Track events of as many players, and send until killed."""
    first, folder = settings["first"], Path(settings["folder"])
    poll_interval = settings.get("poll_interval", 0.05)
    async with client(settings["url"], folder, poll_interval=poll_interval, observer=Printer()) as gameball:
        for number in range(first, first + settings["events"]):
            gameball.track_nowait(f"player{number % settings['events']}", f"order{number}", {"number": number})
        await anyio.sleep_forever()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    anyio.run(main, options, backend=options["backend"])
