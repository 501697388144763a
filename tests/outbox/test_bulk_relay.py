"""Relays that send bulk requests: the next owner follows an accepted job, whatever became of the one that sent it."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import Any, Literal

import attrs
import psycopg
import pytest

from gameball_async import Batching, ConfigurationError, RateLimit
from gameball_async._engine.bulk import SENDERS
from gameball_async.outbox import Relay
from gameball_async.sandbox import Fault, JobSettings, Sandbox

from .relay_process import bulk
from .relays import QUICK, RelayProcess, append, arrived, by_player, count, relay, running, until

pytestmark = pytest.mark.asyncio

PLAYERS = 40
FOREVER = 3600.0
ORDERS = [(f"player{number}", "order", number) for number in range(PLAYERS)]
REVIEWS = [(f"player{number}", "review", PLAYERS + number) for number in range(PLAYERS)]

JOBS = JobSettings(latency=2.0)
"""A job ends while the next owner follows it."""

NO_ANSWER = Fault.drip(FOREVER, routes={"batch"})
"""The job is accepted, and the relay does not learn that."""


def bulk_relay(dsn: str, sandbox: Sandbox, **settings: Any) -> Relay:
    return relay(dsn, sandbox, secret_key="test-secret", api_version="v4.1", batching=bulk(0.05), **settings)


def recorded(table: psycopg.Connection) -> int:
    row = table.execute("SELECT count(job) FROM gameball_sent").fetchone()
    assert row is not None
    return int(row[0])


def times(sandbox: Sandbox) -> dict[int, int]:
    """How often each event arrived."""
    return dict(Counter(number for them in arrived(sandbox).values() for _, number in them))


def items(sandbox: Sandbox) -> int:
    return sum(job.items for job in sandbox.jobs)


async def test_a_backlog_goes_in_few_requests_and_in_order(relay_dsn: str, table: psycopg.Connection) -> None:
    events = [(f"player{number % 500}", f"event{number // 500 % 2}", number) for number in range(2000)]
    append(table, events)
    with Sandbox(limits=None, jobs=JobSettings(latency=(0.0, 0.1))) as sandbox:
        async with running(it := bulk_relay(relay_dsn, sandbox)) as tasks:
            await until(lambda: not count(table, "gameball_event"), *tasks)
            stats = it.stats()
        assert arrived(sandbox) == by_player(events)
        assert (stats.delivered, stats.unconfirmed, stats.jobs_accepted) == (2000, 0, len(sandbox.jobs))
        assert items(sandbox) == 1000
        assert len(sandbox.jobs) < 500  # of a thousand items; how many each has depends on the speed of the machine
        assert sandbox.violations == []
    assert count(table, "gameball_sent") == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.parametrize("mode", ["bulk", "single"])
async def test_the_next_owner_follows_a_job_and_sends_nothing_of_it_again(
    dsn: str, table: psycopg.Connection, end: signal.Signals, mode: Literal["bulk", "single"]
) -> None:
    append(table, ORDERS)
    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        with RelayProcess(dsn, sandbox.url, poll_interval=FOREVER) as first:
            await until(lambda: recorded(table) == PLAYERS)
            first.signal(end)
            first.log()
        append(table, REVIEWS)
        successor = bulk_relay(dsn, sandbox) if mode == "bulk" else single_relay(dsn, sandbox)
        async with running(successor) as tasks:
            await until(lambda: not count(table, "gameball_event"), *tasks)
            stats = successor.stats()
        assert arrived(sandbox) == by_player([*ORDERS, *REVIEWS])
        assert (stats.delivered, stats.unconfirmed, stats.ambiguous) == (2 * PLAYERS, 0, 0)
        assert items(sandbox) == (2 if mode == "bulk" else 1) * PLAYERS
        assert sandbox.violations == []
    assert count(table, "gameball_sent") == 0


def single_relay(dsn: str, sandbox: Sandbox) -> Relay:
    batching = Batching(linger=0.01, jobs=bulk(0.05).jobs)
    return relay(dsn, sandbox, secret_key="test-secret", api_version="v4.1", batching=batching)


@pytest.mark.parametrize("ambiguous", ["resend", "report"])
async def test_a_bulk_request_without_an_answer_is_one_for_each_of_its_players(
    dsn: str, table: psycopg.Connection, ambiguous: Literal["resend", "report"]
) -> None:
    append(table, ORDERS)
    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        sandbox.script(NO_ANSWER)
        with RelayProcess(dsn, sandbox.url, poll_interval=0.05, ambiguous=ambiguous, timeout=FOREVER) as first:
            await until(lambda: items(sandbox) == PLAYERS or len(sandbox.jobs) == SENDERS)
            first.kill()
        sent = items(sandbox)
        assert (count(table, "gameball_sent"), recorded(table)) == (sent, 0)
        sandbox.script()
        successor = bulk_relay(dsn, sandbox, retry=attrs.evolve(QUICK, ambiguous=ambiguous))
        async with running(successor) as tasks:
            await until(lambda: not count(table, "gameball_event"), *tasks)
            await until(lambda: all(job.state == "completed" for job in sandbox.jobs))
            stats = successor.stats()
        arrivals = times(sandbox)
        assert arrivals.keys() == set(range(PLAYERS))
        assert sum(arrivals.values()) == PLAYERS + (sent if ambiguous == "resend" else 0)
    assert stats.ambiguous == sent
    dead = table.execute("SELECT kind, count(*) FROM gameball_dead GROUP BY kind").fetchall()
    assert dead == ([] if ambiguous == "resend" else [("OutcomeUnknown", sent)])


async def test_a_relay_that_releases_shards_leaves_their_jobs_to_their_next_owner(
    dsn: str, table: psycopg.Connection
) -> None:
    append(table, ORDERS)
    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        async with running(first := bulk_relay(dsn, sandbox)) as tasks:
            await until(lambda: recorded(table) + first.stats().delivered >= PLAYERS, *tasks)
            second = bulk_relay(dsn, sandbox)
            async with running(second) as more:
                await until(lambda: not count(table, "gameball_event"), *tasks, *more)
                await until(lambda: (first.shards, second.shards) == (32, 32), *tasks, *more)
        assert arrived(sandbox) == by_player(ORDERS)
        assert items(sandbox) == PLAYERS
        assert first.stats().delivered + second.stats().delivered == PLAYERS


async def test_all_relays_together_keep_the_limits_of_bulk_requests_and_their_status(
    dsn: str, table: psycopg.Connection
) -> None:
    """The sandbox counts as Gameball documents: what is above is a violation."""
    append(table, [(f"player{number}", "order", number) for number in range(200)])
    with Sandbox(jobs=JobSettings(latency=0.2)) as sandbox:
        relays = [bulk_relay(dsn, sandbox, rate=RateLimit()) for _ in range(2)]
        async with running(*relays) as tasks:
            for wave in range(1, 4):
                await until(lambda: not count(table, "gameball_event"), *tasks)
                append(table, [(f"player{number}", "review", 1000 * wave + number) for number in range(200)])
            await until(lambda: not count(table, "gameball_event"), *tasks)
        assert sandbox.violations == []
        assert sum(relay.stats().delivered for relay in relays) == 800


async def test_bulk_requests_need_v4_and_both_keys(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Batching\(mode='auto'\) needs api_version 'v4.0' or 'v4.1'"):
        Relay(dsn, "key", batching=Batching(mode="auto"))
    with pytest.raises(ConfigurationError, match=r"Batching\(mode='bulk'\) needs a secret_key"):
        Relay(dsn, "key", api_version="v4.0", batching=Batching(mode="bulk"))
    await asyncio.sleep(0)
