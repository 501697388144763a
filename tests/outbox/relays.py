"""What the tests of relays share: relays in tasks, events in the table, and an oracle over what arrived."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, cast

import psycopg

from gameball_async import Batching, Retry
from gameball_async.outbox import Relay
from gameball_async.outbox._port import OutboxDatabase
from gameball_async.sandbox import Sandbox

SOON = Batching(linger=0.01)
QUICK = Retry(initial=0.02, maximum=0.2)
INSERT = "INSERT INTO gameball_event (player, name, metadata) VALUES (%s, %s, json_build_object('number', %s::int))"

LEASE = 2.0
"""Seconds: short, so that a takeover takes little of a test's time."""


def relay(dsn: str | OutboxDatabase, sandbox: Sandbox, **settings: Any) -> Relay:
    """A relay of the sandbox that loses no time, without pacing."""
    usual: dict[str, Any] = {"rate": None, "lease": LEASE, "batching": SOON, "retry": QUICK}
    return Relay(dsn, "test-key", base_url=sandbox.url, **{**usual, **settings})


@asynccontextmanager
async def running(*relays: Relay) -> AsyncGenerator[list[asyncio.Task[None]]]:
    """Run relays until the block ends, and stop them then."""
    tasks = [asyncio.create_task(each.run()) for each in relays]
    try:
        yield tasks
    finally:
        for each in relays:
            each.stop()
        await asyncio.gather(*tasks)


async def until(condition: Callable[[], object], *tasks: asyncio.Task[None]) -> None:
    """Wait until something is true; a task that has failed raises."""
    while not condition():
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.01)


def count(connection: psycopg.Connection, table: str) -> int:
    """Return the number of rows of a table."""
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def append(connection: psycopg.Connection, events: Iterable[tuple[str, str, int]]) -> None:
    """Insert events, each with a number that no other event has, as a program without this package would."""
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, list(events))


def arrived(sandbox: Sandbox) -> dict[str, list[tuple[str, int]]]:
    """Return name and number of each player's events, in the order in which they arrived."""
    return {
        player: [(event.name, cast("int", event.metadata["number"])) for event in events]
        for player, events in sandbox.holdings().items()
    }


def by_player(events: Iterable[tuple[str, str, int]]) -> dict[str, list[tuple[str, int]]]:
    """Group events by their player."""
    grouped: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for player, name, number in events:
        grouped[player].append((name, number))
    return dict(grouped)


def duplicates(sandbox: Sandbox, events: Iterable[tuple[str, str, int]]) -> set[int]:
    """Check that every event arrived, each player's in order, and return the numbers of those that arrived twice."""
    seen = arrived(sandbox)
    assert {player: list(dict.fromkeys(them)) for player, them in seen.items()} == by_player(events)
    return {number for them in seen.values() for _, number in them if them.count((_, number)) > 1}


class RelayProcess:
    """A relay in a process of its own; it is killed when the block ends."""

    def __init__(self, dsn: str, url: str, **settings: Any) -> None:
        self._settings = {"dsn": dsn, "url": url, **settings}
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.outbox.relay_process", json.dumps(self._settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_for(self, line: str) -> None:
        """Wait until the process has written a line."""
        assert self._process.stdout is not None
        for written in self._process.stdout:
            if written.strip() == line:
                return
        raise AssertionError(self.log())

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.communicate()

    def log(self) -> str:
        """Wait for its end, and return what it has logged."""
        return self._process.communicate()[1]

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None
