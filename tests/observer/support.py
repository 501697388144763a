"""What these tests share: a client that loses no time, and an observer that writes everything down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from gameball_async import (
    AsyncGameball,
    Batching,
    Delivered,
    DeliveryError,
    Dropped,
    ObservedClient,
    Observer,
    OutcomeUnknown,
    PauseReason,
    Rejected,
    RequestEnd,
    RequestStart,
    Retry,
    Stats,
)
from gameball_async.sandbox import Sandbox

SOON = Batching(linger=0.01)
QUICK = Retry(initial=0.01, maximum=0.05)
KEY = "test-key"


def client(sandbox: Sandbox, observer: Observer | None = None, **settings: Any) -> AsyncGameball:
    """A client of the sandbox that loses no time."""
    known: dict[str, Any] = {"batching": SOON, "retry": QUICK, "rate": None}
    return AsyncGameball(KEY, base_url=sandbox.url, observer=observer, **(known | settings))


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until something is true; the test's timeout is the limit."""
    for _ in range(1000):
        if condition():
            return
        await checkpoint()
    while not condition():  # noqa: ASYNC110 what is waited for sets no event
        await anyio.sleep(0.001)  # other threads must get the interpreter too


@attrs.define(eq=False)
class Notebook(Observer):
    """Writes down what it is told, in order."""

    told: list[str] = attrs.field(factory=list[str])
    clients: list[ObservedClient] = attrs.field(factory=list[ObservedClient])
    starts: list[RequestStart] = attrs.field(factory=list[RequestStart])
    ends: list[tuple[RequestStart, RequestEnd]] = attrs.field(factory=list[tuple[RequestStart, RequestEnd]])
    settled: dict[str, int] = attrs.field(factory=dict[str, int])
    pauses: list[PauseReason] = attrs.field(factory=list[PauseReason])
    lengths: list[float] = attrs.field(factory=list[float])

    def on_start(self, client: ObservedClient) -> None:
        self.told.append("start")
        self.clients.append(client)

    def on_track(self, client: ObservedClient, name: str) -> object:
        del client
        self.told.append(f"track {name}")
        return f"mark of {name}"

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
        del client
        self.told.append("request start")
        self.starts.append(start)

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        del client
        self.told.append(f"request end: {end.verdict}")
        self.ends.append((start, end))

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:
        del client
        self.told.append(f"settled {events}: {type(outcome).__name__}")
        account = ACCOUNTS[type(outcome)]
        self.settled[account] = self.settled.get(account, 0) + events

    def on_pause(self, client: ObservedClient, reason: PauseReason) -> None:
        del client
        self.told.append(f"pause: {reason}")
        self.pauses.append(reason)

    def on_resume(self, client: ObservedClient, reason: PauseReason, seconds: float) -> None:
        del client
        self.told.append(f"resume: {reason}")
        self.lengths.append(seconds)

    def on_close(self, client: ObservedClient) -> None:
        self.told.append("close")
        assert client is self.clients[-1]


ACCOUNTS: dict[type, str] = {
    Delivered: "delivered",
    Rejected: "rejected",
    Dropped: "dropped",
    OutcomeUnknown: "unknown",
}


def settled(stats: Stats) -> dict[str, int]:
    """The outcomes that a snapshot counts."""
    counted = {account: int(getattr(stats, account)) for account in ACCOUNTS.values()}
    return {account: count for account, count in counted.items() if count}
