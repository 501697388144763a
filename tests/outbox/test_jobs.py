"""A relay's storage keeps the jobs of bulk requests: recorded by a living relay alone, and known to the next owner."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import attrs
import psycopg
import pytest

from gameball_async import Batching
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.receipts import Delivered, JobId
from gameball_async._engine.backends import current_backend
from gameball_async._engine.storage import StorageCallbacks
from gameball_async.outbox._outbox_storage import Lease, OutboxStorage, Repeating
from gameball_async.outbox._port import SHARDS, Changes, OutboxRow, SealedBatch
from gameball_async.outbox._postgres import PostgresOutbox
from gameball_async.outbox._relay import suspension_proof_clock

from .relays import append, count, until

pytestmark = pytest.mark.asyncio

BATCHING = Batching(linger=0)
HOUR = 3600.0


class Owner:
    """A relay without its flusher: it owns every shard.

    Attributes:
        restored: the batches that a previous owner had sealed.
    """

    def __init__(self, outbox: PostgresOutbox, relay: int, shards: Sequence[int]) -> None:
        self.outbox, self.relay, self.restored = outbox, relay, list[Batch]()
        self.lease = Lease(relay, suspension_proof_clock)
        self.lease.extend(math.inf)
        self.buffer = Buffer(BATCHING, lambda _player, _mobile, _email: 0, lambda _: None)
        callbacks = StorageCallbacks(
            now=current_backend().now,
            on_progress=lambda: None,
            on_restored=self.restored.append,
            on_refused=lambda _events, _error: None,
            on_missing=lambda _: None,
        )
        self.storage = OutboxStorage(outbox, Repeating(), self.lease, self.buffer, BATCHING, callbacks)
        self.storage.add(shards)

    @classmethod
    async def of(cls, outbox: PostgresOutbox) -> Self:
        relay = await outbox.register("test", HOUR)
        return cls(outbox, relay, await outbox.claim(relay, SHARDS, 0.0))

    async def hold(self, events: int) -> None:
        """Wait until so many events are in the buffer."""
        await until(lambda: self.buffer.counts.pending >= events)

    def take(self) -> list[Batch]:
        """Take every batch that is due, in the order of the players."""
        taken: list[Batch] = []
        while (batch := self.buffer.take(current_backend().now())) is not None:
            taken.append(batch)
        return sorted(taken, key=lambda batch: batch.player_unique_id)

    async def accept(self, batches: Sequence[Batch], job: JobId) -> None:
        """Do what a flusher does when Gameball accepts a bulk request."""
        await self.storage.seal_all(batches)
        await self.storage.record_job(batches, job)
        for batch in batches:
            batch.job = job

    def deliver(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.buffer.settle(batch, Delivered(status=200), current_backend().now())
            self.storage.ack(batch)


@asynccontextmanager
async def owner(dsn: str, *, dies: bool = False) -> AsyncGenerator[Owner]:
    """An owner of all shards, until it hands them over or dies."""
    outbox = PostgresOutbox(dsn, timeout=60)
    owner = await Owner.of(outbox)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(owner.storage.run)
            yield owner
            if not dies:
                await owner.storage.close()
            tasks.cancel_scope.cancel()
        if not dies:
            await outbox.release(owner.relay, range(SHARDS), 0.0)
        await outbox.declare_dead(owner.relay)
    finally:
        await outbox.close()


def jobs(table: psycopg.Connection) -> dict[str, str | None]:
    return dict(table.execute("SELECT player, job FROM gameball_sent ORDER BY player").fetchall())


def outcomes(batches: Sequence[Batch]) -> list[tuple[str, JobId | None, bool]]:
    found = [(batch.player_unique_id, batch.job, batch.ambiguous) for batch in batches]
    return sorted(found, key=lambda each: each[0])


@pytest.mark.parametrize("dies", [False, True], ids=["stopped", "killed"])
async def test_the_next_owner_follows_the_job(relay_dsn: str, table: psycopg.Connection, *, dies: bool) -> None:
    await follow(relay_dsn, table, dies=dies)


async def follow(relay_dsn: str, table: psycopg.Connection, *, dies: bool) -> None:
    append(table, [("anna", "visit", 1), ("ben", "visit", 2), ("carla", "visit", 3)])
    async with owner(relay_dsn, dies=dies) as first:
        await first.hold(3)
        batches = first.take()
        await first.accept(batches[:2], 17)
        await first.storage.seal_all(batches[2:])

    append(table, [("anna", "order", 4)])
    async with owner(relay_dsn) as second:
        await second.hold(4)
        assert outcomes(second.restored) == [("anna", 17, False), ("ben", 17, False), ("carla", None, True)]
        assert [batch.player_unique_id for batch in second.take()] == ["carla"]
        second.deliver(second.restored)
        assert [batch.player_unique_id for batch in second.take()] == ["anna"]
    assert (count(table, "gameball_event"), jobs(table)) == (1, {})


@pytest.mark.parametrize("job", [17, 2**70, "0b6e-4f", "017"], ids=["number", "long number", "text", "digits"])
async def test_a_job_keeps_its_id(dsn: str, table: psycopg.Connection, job: JobId) -> None:
    append(table, [("anna", "visit", 1)])
    async with owner(dsn) as first:
        await first.hold(1)
        await first.accept(first.take(), job)
    async with owner(dsn) as second:
        await second.hold(1)
        assert [batch.job for batch in second.restored] == [job]


async def test_an_item_of_a_failed_job_is_sealed_again_without_it(dsn: str, table: psycopg.Connection) -> None:
    append(table, [("anna", "visit", 1)])
    async with owner(dsn) as first:
        await first.hold(1)
        [batch] = batches = first.take()
        await first.accept(batches, 17)
        batch.job, batch.ambiguous, batch.is_recorded = None, True, False
        await first.storage.seal(batch)
        assert jobs(table) == {"anna": None}
    async with owner(dsn) as second:
        await second.hold(1)
        assert outcomes(second.restored) == [("anna", None, True)]


async def test_the_parts_of_an_item_that_was_split_have_no_job(dsn: str, table: psycopg.Connection) -> None:
    append(table, [("anna", "visit", 1), ("anna", "order", 2)])
    async with owner(dsn) as first:
        await first.hold(2)
        batches = first.take()
        await first.accept(batches, 17)
        batches[0].job, batches[0].ambiguous = None, True
        first.buffer.split(batches[0])
        first.storage.retry(batches[0])
    assert jobs(table) == {}


async def test_events_of_a_job_that_were_deleted_by_hand_are_left_out(dsn: str, table: psycopg.Connection) -> None:
    append(table, [("anna", "visit", 1), ("anna", "order", 2)])
    async with owner(dsn) as first:
        await first.hold(2)
        await first.accept(first.take(), 17)
    table.execute("DELETE FROM gameball_event WHERE name = 'visit'")
    for _ in range(2):
        async with owner(dsn) as next_owner:
            await next_owner.hold(1)
            [batch] = next_owner.restored
            assert (list(batch.events), batch.job) == (["order"], 17)
    assert jobs(table) == {"anna": "17"}


async def test_a_relay_that_was_declared_dead_records_no_job(dsn: str, table: psycopg.Connection) -> None:
    append(table, [("anna", "visit", 1)])
    async with owner(dsn, dies=True) as first:
        await first.hold(1)
        batches = first.take()
        await first.storage.seal_all(batches)
        await first.outbox.declare_dead(first.relay)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.storage.record_job, batches, 17)
            await first.lease.lost()
            tasks.cancel_scope.cancel()
    assert jobs(table) == {"anna": None}


async def test_a_seal_that_the_network_delivers_late_takes_no_job_away(dsn: str, table: psycopg.Connection) -> None:
    append(table, [("anna", "visit", 1)])
    row = table.execute("SELECT shard, seq FROM gameball_event").fetchone()
    assert row is not None
    shard, seq = row
    outbox = PostgresOutbox(dsn, timeout=60)
    relay = await outbox.register("test", HOUR)
    await outbox.claim(relay, SHARDS, 0.0)

    def seal(job: JobId | None) -> Changes:
        return Changes(seals={(shard, seq): SealedBatch(shard, "anna", (seq,), None, None, job)})

    for number, job in ((1, None), (2, 17), (1, None)):
        assert await outbox.write(relay, number, seal(job))
    assert jobs(table) == {"anna": "17"}
    assert await outbox.write(relay, 3, seal(None))
    assert await outbox.write(relay, 2, seal(17))
    assert jobs(table) == {"anna": None}
    await outbox.close()


async def test_a_thousand_batches_are_sealed_and_get_their_job_in_two_statements(
    dsn: str, table: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(table, [(f"player{number}", "visit", number) for number in range(1000)])
    async with owner(dsn) as first:
        await first.hold(1000)
        batches = first.take()
        written: list[int] = []
        write = first.outbox.write

        async def counted(relay: int, number: int, changes: Changes) -> bool:
            written.append(len(changes.seals))
            return await write(relay, number, changes)

        monkeypatch.setattr(first.outbox, "write", counted)
        await first.accept(batches, 17)
        assert written == [1000, 1000]
        first.deliver(batches)
        await first.storage.close()
        assert written == [1000, 1000, 0]
    assert (count(table, "gameball_event"), count(table, "gameball_sent")) == (0, 0)


# ---------------------------------------------------------------- mutants

_record_job, _retry, _sealed = OutboxStorage.record_job, OutboxStorage.retry, PostgresOutbox.sealed
_restore = Buffer.restore


async def _record_nothing(_: OutboxStorage, __: Sequence[Batch], ___: JobId) -> None:
    """Let the seals be as they were."""


async def _record_one_only(storage: OutboxStorage, batches: Sequence[Batch], job: JobId) -> None:
    await _record_job(storage, batches[:1], job)


async def _remove_the_seals(storage: OutboxStorage, batches: Sequence[Batch], job: JobId) -> None:
    await _record_job(storage, batches, job)
    for batch in batches:
        _retry(storage, batch)


async def _read_no_jobs(outbox: PostgresOutbox, shards: Collection[int]) -> list[tuple[SealedBatch, list[OutboxRow]]]:
    return [(attrs.evolve(sealed, job=None), rows) for sealed, rows in await _sealed(outbox, shards)]


async def _read_no_accepted_batches(
    outbox: PostgresOutbox, shards: Collection[int]
) -> list[tuple[SealedBatch, list[OutboxRow]]]:
    return [(sealed, rows) for sealed, rows in await _sealed(outbox, shards) if sealed.job is None]


def _restore_as_due(buffer: Buffer, *batch: Any, job: JobId | None) -> Batch:
    restored = _restore(buffer, *batch)
    restored.job, restored.ambiguous = job, job is None
    return restored


@pytest.mark.parametrize(
    ("owner_class", "method", "mutant"),
    [
        (OutboxStorage, "record_job", _record_nothing),
        (OutboxStorage, "record_job", _record_one_only),
        (OutboxStorage, "record_job", _remove_the_seals),
        (PostgresOutbox, "sealed", _read_no_jobs),
        (PostgresOutbox, "sealed", _read_no_accepted_batches),
        (Buffer, "restore", _restore_as_due),
    ],
    ids=[
        "records no job",
        "records the job of one batch only",
        "removes the seals of an accepted job",
        "forgets jobs at a takeover",
        "forgets accepted batches at a takeover",
        "sends the batches of a job again after a takeover",
    ],
)
async def test_a_mutant_is_found(
    dsn: str,
    table: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    owner_class: type,
    method: str,
    mutant: Callable[..., Any],
) -> None:
    monkeypatch.setattr(owner_class, method, mutant)
    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True):
        await follow(dsn, table, dies=True)
