"""What the client's tests share: workloads, and an oracle over what the sandbox holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import anyio
from anyio.lowlevel import checkpoint

from gameball_async import AsyncGameball, Batching, DeliveryError, Event, Journal, RateLimit, Retry, Stats
from gameball_async.sandbox import RequestRecord, Sandbox

SOON = Batching(linger=0.01)
"""A linger that keeps a test short."""

QUICK = Retry(initial=0.02, maximum=0.2)
"""Retries that keep a test short."""

Placed = tuple[str, str, int]
"""A player, an event's name, and a number that no other event has."""


def client(
    sandbox: Sandbox,
    *,
    batching: Batching = SOON,
    retry: Retry = QUICK,
    rate: RateLimit | None = None,
    api_version: str = "v3.0",
    secret_key: str | None = None,
    timeout: float = 30,
    journal: str | Path | Journal | None = None,
    on_failure: Callable[[Event, DeliveryError], Awaitable[None] | None] | None = None,
) -> AsyncGameball:
    """A client of the sandbox that loses no time."""
    return AsyncGameball(
        "test-key",
        secret_key=secret_key,
        api_version=api_version,
        base_url=sandbox.url,
        batching=batching,
        retry=retry,
        rate=rate,
        timeout=timeout,
        # each sandbox has an address of its own, and what one of them left is to go to the next
        journal=Journal(journal, adopt="any") if isinstance(journal, (str, Path)) else journal,
        on_failure=on_failure,
    )


def workload(events: int, players: int, *, names: int = 8, seed: int = 0) -> Iterator[Placed]:
    """Events of random players with random names, so that names repeat."""
    random = Random(seed)
    for number in range(events):
        yield f"player{random.randrange(players)}", f"event{random.randrange(names)}", number


async def track_all(gameball: AsyncGameball, placed: Iterable[Placed]) -> None:
    """Track a workload, checking conservation now and then."""
    for player, name, number in placed:
        await gameball.track(player, name, {"number": number})
        if number % 100 == 0:
            assert_conserved(gameball.stats())


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until something is true; the test's timeout is the limit."""
    for _ in range(1000):
        if condition():
            return
        await checkpoint()
    while not condition():  # noqa: ASYNC110 what is waited for sets no event
        await anyio.sleep(0.001)  # other threads, such as a journal's, must get the interpreter too


def assert_conserved(stats: Stats) -> None:
    settled = stats.delivered + stats.rejected + stats.dropped + stats.unknown
    assert stats.accepted == settled + stats.pending


def assert_all_arrived(sandbox: Sandbox, placed: Iterable[Placed], *, duplicates: bool = False) -> int:
    """Everything arrived, under its own player, first deliveries in order; returns the number of duplicates."""
    expected: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for player, name, number in placed:
        expected[player].append((name, number))
    held = {
        player: [(event.name, event.metadata["number"]) for event in events]
        for player, events in sandbox.holdings().items()
    }
    assert {player: list(dict.fromkeys(events)) for player, events in held.items()} == expected
    surplus = sum(map(len, held.values())) - sum(map(len, expected.values()))
    assert duplicates or not surplus
    return surplus


def assert_well_behaved(sandbox: Sandbox) -> None:
    """No rule broken, never two requests in flight for a player, retries byte-identical."""
    assert sandbox.violations == []
    for requests in _by_player(sandbox.requests).values():
        for earlier, later in pairwise(requests):
            assert earlier.end <= later.start
            if not earlier.applied and earlier.events[0] == later.events[0]:
                assert earlier.digest == later.digest


def _by_player(requests: Iterable[RequestRecord]) -> dict[str | None, list[RequestRecord]]:
    by_player: dict[str | None, list[RequestRecord]] = defaultdict(list)
    for request in sorted(requests, key=lambda request: request.start):
        by_player[request.player].append(request)
    return by_player
