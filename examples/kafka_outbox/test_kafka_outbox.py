"""Records become events of the outbox once, however often Kafka delivers them."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from examples.demo_relay.postgres import Postgres
from gameball_async.outbox import drop_schema, schema

from .consumer import TABLE, TOPIC, Record, consume, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


pytestmark = pytest.mark.skipif(os.name == "nt", reason="the server listens at a Unix socket")

kafka: Any = importlib.import_module("aiokafka")  # it has no types


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def dsn(server: Postgres) -> str:
    """The address of a server with empty tables."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kafka_position")
        connection.execute(drop_schema().encode())
        connection.execute(schema().encode())
        connection.execute(TABLE)
    return server.dsn


def record(offset: int, value: bytes | None = None, *, partition: int = 0) -> Record:
    content = {"player": "player-1", "event": "review", "metadata": {"offset": offset}}
    body = json.dumps(content).encode() if value is None else value
    made: Record = kafka.ConsumerRecord(TOPIC, partition, offset, 0, 0, b"player-1", body, None, 8, len(body), ())
    return made


async def stored(dsn: str, *batches: Sequence[Record]) -> list[int]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        return [await store(connection, batch) for batch in batches]


def offsets(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT (metadata ->> 'offset')::int FROM gameball_event ORDER BY seq").fetchall()
    return [offset for (offset,) in rows]


def test_records_become_events_in_their_order(dsn: str) -> None:
    assert asyncio.run(stored(dsn, [record(0), record(1)], [record(2)])) == [2, 1]
    assert offsets(dsn) == [0, 1, 2]


def test_what_is_delivered_again_is_stored_once(dsn: str) -> None:
    batches = [record(0), record(1)], [record(0), record(1)], [record(1), record(2)]
    assert asyncio.run(stored(dsn, *batches)) == [2, 0, 1]
    assert offsets(dsn) == [0, 1, 2]


def test_the_offsets_of_partitions_are_independent(dsn: str) -> None:
    assert asyncio.run(stored(dsn, [record(5)], [record(3, partition=1)])) == [1, 1]


def test_two_consumers_of_the_same_partition_store_a_record_once(dsn: str) -> None:
    async def both() -> list[list[int]]:
        return await asyncio.gather(*(stored(dsn, *([record(n)] for n in range(20))) for _ in range(2)))

    counts = asyncio.run(both())
    assert sum(map(sum, counts)) == 20
    assert offsets(dsn) == list(range(20))


@pytest.mark.parametrize("value", [b"", b"no JSON", b"[]", b"{}", b'{"player": "", "event": "review"}', b"null"])
def test_a_record_without_an_event_is_skipped_and_logged(
    dsn: str, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert asyncio.run(stored(dsn, [record(0), record(1, value), record(2)])) == [2]
    assert offsets(dsn) == [0, 2]
    assert caplog.messages[0].startswith("skipped loyalty/0/1: ")


class CrashingConsumer:
    """Delivers from the committed offset, and crashes at the first commit."""

    def __init__(self) -> None:
        self.is_first = True
        self.committed = 0

    async def getmany(self, *, timeout_ms: int) -> Mapping[Any, Sequence[Record]]:
        assert timeout_ms > 0
        if self.committed:
            raise asyncio.CancelledError
        return {kafka.TopicPartition(TOPIC, 0): [record(0), record(1)]}

    async def commit(self) -> None:
        if self.is_first:
            self.is_first = False
            raise ConnectionError
        self.committed = 2


def test_a_crash_between_the_storing_and_the_commit_repeats_nothing(dsn: str) -> None:
    async def crash_and_restart() -> None:
        consumer = CrashingConsumer()
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            with pytest.raises(ConnectionError):
                await consume(consumer, connection)
            with pytest.raises(asyncio.CancelledError):
                await consume(consumer, connection)

    asyncio.run(crash_and_restart())
    assert offsets(dsn) == [0, 1]


def test_events_of_a_failed_transaction_are_not_stored(dsn: str) -> None:
    """The position does not advance either."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE kafka_position ADD CHECK (next_offset < 2)")
    assert asyncio.run(stored(dsn, [record(0)])) == [1]
    with pytest.raises(psycopg.errors.CheckViolation):
        asyncio.run(stored(dsn, [record(1)]))
    assert offsets(dsn) == [0]
