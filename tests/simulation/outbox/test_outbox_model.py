"""The model of PostgreSQL in the simulation answers as PostgreSQL does: the same statements, the same results."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock

import psycopg
import pytest

from gameball_async.outbox._port import (
    SHARDS,
    Changes,
    DeadLetterRow,
    Membership,
    OutboxDatabase,
    OutboxPage,
    RelayReport,
    SealedBatch,
    Settled,
)
from gameball_async.outbox._postgres import PostgresOutbox

from . import tables as model
from .database import Network, SimulatedOutbox
from .postgres import Transaction
from .world import Process, World

if TYPE_CHECKING:
    from outbox.postgres import PostgresServer

T = TypeVar("T")

STEPS = 250
PLAYERS = ("anna", "ben", "carla", "dan", "eva")
HOUR = 3600.0

INSERT = "INSERT INTO gameball_event (player, name, metadata) VALUES (%s, 'visit', %s)"


class ModelServer:
    """The model, reached by calls that return when it has answered."""

    def __init__(self) -> None:
        self.world = World(0, pytest.fail)
        self.tables = model.Tables(self.world, Random(0), model.History())
        self._process = Process(self.world, "test")
        self.outbox = SimulatedOutbox(self.world, self._process, self.tables, Network(), Random(0))

    def call(self, statement: Callable[[OutboxDatabase], Awaitable[T]]) -> T:
        results: list[T] = []

        async def run() -> None:
            results.append(await statement(self.outbox))

        self._process.start(run)
        self.world.run(self.world.now + 1)
        (result,) = results
        return result


class Both:
    """PostgreSQL and the model: what is done to one is done to the other.

    Attributes:
        snapshots: what both have called a moment.
    """

    def __init__(self, dsn: str, random: Random) -> None:
        self.model = ModelServer()
        self.snapshots: list[tuple[str, str]] = []
        self.relays: list[int] = []
        self._outbox = PostgresOutbox(dsn, timeout=60)
        self._dsn = dsn
        self._random = random
        self._open: list[tuple[psycopg.Connection, Transaction]] = []
        self._table = psycopg.connect(dsn, autocommit=True)
        self._inserted = 0

    def shard_of(self, player: str) -> int:
        row = self._table.execute("SELECT hashtextextended(%s, 0) & 63", (player,)).fetchone()
        assert row is not None
        return int(row[0])

    async def close(self) -> None:
        await self._outbox.close()
        for connection, _ in self._open:
            connection.close()
        self._table.close()
        self.model.world.end()

    async def both(
        self, statement: Callable[[OutboxDatabase], Awaitable[T]], compared: Callable[[T], Any] = lambda result: result
    ) -> T:
        """Execute a statement in both, and compare what they return."""
        real, modelled = await statement(self._outbox), self.model.call(statement)
        assert compared(real) == compared(modelled)
        return real

    # ---------------------------------------------------------------- steps

    async def application(self) -> None:
        """Begin a transaction, insert in one, undo an insert, or end one."""
        random, server = self._random, self.model.tables.server
        if not self._open or (len(self._open) < 4 and random.random() < 0.3):
            self._open.append((psycopg.connect(self._dsn), server.begin()))
        at = random.randrange(len(self._open))
        connection, transaction = self._open[at]
        if random.random() < 0.6:
            self._insert(connection, transaction, is_undone=random.random() < 0.1)
            return
        del self._open[at]
        if random.random() < 0.8:
            connection.commit()
            server.commit(transaction)
        else:
            connection.rollback()
            server.abort(transaction)
        connection.close()

    def _insert(self, connection: psycopg.Connection, transaction: Transaction, *, is_undone: bool) -> None:
        player, metadata = self._random.choice(PLAYERS), json.dumps({"n": self._inserted})
        self._inserted += 1
        connection.execute("SAVEPOINT before")
        connection.execute(INSERT, (player, metadata))
        version = self.model.tables.append(transaction, player, "visit", metadata.encode(), None, None)
        if is_undone:
            connection.execute("ROLLBACK TO SAVEPOINT before")
            self.model.tables.server.delete(transaction, version)

    async def register(self) -> None:
        lease = self._random.choice([HOUR, HOUR, -HOUR])
        self.relays.append(await self.both(lambda outbox: outbox.register("test", lease)))

    async def renew(self) -> None:
        relay, lease = self._relay(), self._random.choice([HOUR, HOUR, -HOUR])
        report = RelayReport(paused=self._random.choice([0.0, HOUR]))
        await self.both(lambda outbox: outbox.renew(relay, lease, report), _comparable)

    async def declare_dead(self) -> None:
        relay = self._relay() if self._random.random() < 0.1 else None
        await self.both(lambda outbox: outbox.declare_dead(relay))

    async def claim(self) -> None:
        relay, most, quiet = self._relay(), self._random.choice([1, 20, 64]), self._random.choice([0.0, HOUR])
        await self.both(lambda outbox: outbox.claim(relay, most, quiet), sorted)

    async def release(self) -> None:
        relay, shards = self._relay(), self._random.sample(range(SHARDS), self._random.choice([1, 30, 64]))
        quiet = self._random.choice([0.0, HOUR])
        await self.both(lambda outbox: outbox.release(relay, shards, quiet))

    async def sealed(self) -> None:
        await self.both(lambda outbox: outbox.sealed(range(SHARDS)), _batches)

    async def scan(self) -> None:
        player, limit = self._random.choice(PLAYERS), self._random.choice([1, 3, 100])
        after, within = (player, self._random.randrange(20)), self._moment(or_none=True)
        shard = self.shard_of(player)
        await self._read(lambda outbox, which: outbox.scan(shard, after, limit, within and within[which]))

    async def tail(self) -> None:
        previous, within = self._moment(), self._moment(or_none=True)
        after, limit = self._random.choice([0, 0, 5, 20]), self._random.choice([1, 3, 100])
        shards = range(SHARDS) if self._random.random() < 0.8 else range(32)
        if previous is not None:
            before = previous
            await self._read(
                lambda outbox, which: outbox.tail(shards, before[which], after, limit, within and within[which])
            )

    async def _read(self, read: Callable[[OutboxDatabase, int], Awaitable[OutboxPage]]) -> None:
        real, modelled = await read(self._outbox, 0), self.model.call(lambda outbox: read(outbox, 1))
        assert [_event(row) for row in real.rows] == [_event(row) for row in modelled.rows]
        self.snapshots.append((real.snapshot, modelled.snapshot))

    async def write(self) -> None:
        relay, number = self._relay(), self._random.randrange(20)
        changes = Changes()
        for player in PLAYERS:
            self._change(changes, player)
        await self.both(lambda outbox: outbox.write(relay, number, changes))

    def _change(self, changes: Changes, player: str) -> None:
        random, shard = self._random, self.shard_of(player)
        rows = self.model.tables.server.rows(self.model.tables.events, (shard,))
        seqs = tuple(sorted(row.seq for row in rows if row.player == player))[: random.randrange(1, 5)]
        kind = random.choice(["nothing", "seal", "unseal", "settle", "bury"])
        if not seqs or kind == "nothing":
            return
        if kind == "seal":
            job = random.choice([None, 17, "0b6e"])
            changes.seals[shard, seqs[0]] = SealedBatch(shard, player, seqs, "+201", None, job)
        elif kind == "unseal":
            changes.unseals.add((shard, seqs[0]))
        else:
            changes.settled.append(Settled(shard, player, seqs))
            if kind == "bury":
                changes.dead_letters.extend(DeadLetterRow(seq, "Rejected", "no", 400, None) for seq in seqs)

    def _relay(self) -> int:
        return self._random.choice(self.relays or [1])

    def _moment(self, *, or_none: bool = False) -> tuple[str, str] | None:
        if not self.snapshots or (or_none and self._random.random() < 0.5):
            return None
        return self._random.choice(self.snapshots[-12:])

    # ---------------------------------------------------------------- the tables

    def compare_tables(self) -> None:
        tables = self.model.tables
        rows = tables.server.rows
        assert self._select("SELECT seq, player FROM gameball_event") == {
            (row.seq, row.player) for row in rows(tables.events)
        }
        assert self._select("SELECT relay, number, shard, seqs::text, coalesce(job, 'None') FROM gameball_sent") == {
            (row.relay, row.number, row.batch.shard, f"{{{','.join(map(str, row.batch.seqs))}}}", str(row.batch.job))
            for row in rows(tables.sent)
        }
        assert self._select("SELECT seq, kind, status FROM gameball_dead") == {
            (row.event.seq, row.letter.kind, row.letter.status) for row in rows(tables.dead)
        }
        assert self._select("SELECT shard, relay FROM gameball_shard") == {
            (row.shard, row.relay) for row in rows(tables.shards)
        }
        assert self._select("SELECT id, dead FROM gameball_relay") == {
            (row.id, row.dead) for row in rows(tables.relays)
        }

    def _select(self, statement: str) -> set[tuple[Any, ...]]:
        return set(self._table.execute(statement.encode()).fetchall())


def _comparable(membership: Membership | None) -> object:
    """Without what depends on the time that passes."""
    if membership is None:
        return None
    quiet = {shard: seconds > 0 for shard, seconds in membership.shards.items()}
    return membership.relays, quiet, membership.free, membership.expired, membership.paused > 0


def _batches(found: list[tuple[SealedBatch, list[Any]]]) -> object:
    return sorted(
        (batch.shard, batch.seqs, batch.mobile, str(batch.job), [_event(row) for row in rows]) for batch, rows in found
    )


def _event(row: Any) -> object:
    return row.seq, row.shard, row.player, row.name, json.loads(row.metadata)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(2))
async def test_the_model_answers_as_postgresql_does(postgres: PostgresServer, seed: int) -> None:
    database = postgres.create_database()
    both = Both(postgres.dsn(database), random := Random(seed))
    steps: dict[Callable[[], Awaitable[None]], int] = {
        both.application: 40,
        both.register: 2,
        both.renew: 6,
        both.declare_dead: 2,
        both.claim: 6,
        both.release: 2,
        both.sealed: 5,
        both.scan: 12,
        both.tail: 15,
        both.write: 15,
    }
    shards = {player: both.shard_of(player) for player in PLAYERS}
    with mock.patch.object(model, "shard_of", shards.__getitem__):
        await both.register()
        for step in random.choices(list(steps), list(steps.values()), k=STEPS):
            await step()
        both.compare_tables()
    await both.close()
    postgres.drop_database(database)
