"""A relay that is suspended or killed between its seal and its request: what its successor and itself send then."""

from __future__ import annotations

import signal
from typing import Literal

import attrs
import psycopg
import pytest

from gameball_async.sandbox import Sandbox

from .relays import QUICK, RelayProcess, append, arrived, count, relay, running, until

pytestmark = pytest.mark.asyncio


@pytest.fixture
def dsn(relay_dsn: str) -> str:
    """The address for relays and for the transactions of applications."""
    return relay_dsn


@pytest.mark.parametrize(
    ("where", "ambiguous", "by_successor", "in_all"),
    [
        # the lease is over when it resumes, so it sends nothing
        ("after the seal", "resend", 1, 1),
        ("after the seal", "report", 0, 0),
        # it has looked at its lease already: the gap that HTTP leaves
        ("before the first byte", "resend", 1, 2),
        ("before the first byte", "report", 0, 1),
    ],
)
async def test_a_suspended_relay_sends_at_most_what_it_has_begun(
    dsn: str,
    table: psycopg.Connection,
    sandbox: Sandbox,
    where: str,
    ambiguous: Literal["resend", "report"],
    by_successor: int,
    in_all: int,
) -> None:
    with RelayProcess(dsn, sandbox.url, suspend=where, ambiguous=ambiguous) as suspended:
        append(table, [("anna", "order", 1)])
        suspended.wait_for("suspended")
        append(table, [("bert", "order", 2)])
        successor = relay(dsn, sandbox, retry=attrs.evolve(QUICK, ambiguous=ambiguous))
        async with running(successor) as tasks:
            await until(lambda: not count(table, "gameball_event") and "bert" in arrived(sandbox), *tasks)
            assert len(arrived(sandbox).get("anna", [])) == by_successor
            suspended.signal(signal.SIGCONT)
            append(table, [("anna", "review", 3)])
            await until(lambda: ("review", 3) in arrived(sandbox).get("anna", []), *tasks)
            suspended.signal(signal.SIGTERM)
            log = suspended.log()
    sent = [number for _, number in arrived(sandbox)["anna"]]
    assert sent.count(1) == in_all
    assert sent.count(3) == 1
    assert "declared this one dead" in log
    dead = table.execute("SELECT player, name, kind FROM gameball_dead").fetchall()
    assert dead == ([("anna", "order", "OutcomeUnknown")] if ambiguous == "report" else [])


async def test_what_a_killed_relay_had_sealed_is_resent_identically_and_nothing_else(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    events = [(f"player{number % 40}", f"event{number // 40}", number) for number in range(400)]
    with RelayProcess(dsn, sandbox.url) as killed:
        killed.wait_for("ready")
        append(table, events)
        await until(lambda: len(sandbox.requests) >= 5)
        killed.kill()
    sealed = {seq for (seqs,) in table.execute("SELECT seqs FROM gameball_sent") for seq in seqs}
    numbers = {
        row[0]
        for row in table.execute(
            "SELECT (metadata->>'number')::int FROM gameball_event WHERE seq = ANY(%s)", [list(sealed)]
        )
    }
    async with running(relay(dsn, sandbox)) as tasks:
        await until(lambda: not count(table, "gameball_event"), *tasks)
    seen = arrived(sandbox)
    twice = {number for them in seen.values() for _, number in them if them.count((_, number)) > 1}
    assert twice <= numbers
    assert {number for them in seen.values() for _, number in them} == set(range(400))
    digests = [request.digest for request in sandbox.requests]
    resent = {request.digest: len(request.events) for request in sandbox.requests if digests.count(request.digest) > 1}
    assert sum(resent.values()) == len(twice)


async def test_a_stopped_relay_hands_over_without_waiting_for_the_lease(
    dsn: str, table: psycopg.Connection, sandbox: Sandbox
) -> None:
    with RelayProcess(dsn, sandbox.url, lease=3600.0) as first:
        first.wait_for("ready")
        first.signal(signal.SIGTERM)
        assert "declared" not in first.log()
    append(table, [("anna", "order", 1)])
    async with running(it := relay(dsn, sandbox)) as tasks:
        await until(lambda: not count(table, "gameball_event"), *tasks)
        assert it.shards == 64
