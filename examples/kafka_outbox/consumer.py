"""Copy the events of a Kafka topic into the outbox, each once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

from psycopg import AsyncConnection

from gameball_async import InvalidEvent
from gameball_async.outbox import OutboxEvent
from gameball_async.outbox.psycopg import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOPIC = "loyalty"

TABLE = """
CREATE TABLE IF NOT EXISTS kafka_position (
  topic text, partition int, next_offset bigint NOT NULL DEFAULT 0, PRIMARY KEY (topic, partition)
)
"""
"""What was stored. A record's identity is (topic, partition, offset), and the offsets of a partition only grow."""

_log = logging.getLogger(__name__)


class Record(Protocol):
    """What is used of a record of aiokafka."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


class Consumer(Protocol):
    """What is used of a consumer of aiokafka."""

    async def getmany(self, *, timeout_ms: int) -> Mapping[Any, Sequence[Record]]:
        """Return records by partition."""
        ...

    async def commit(self) -> None:
        """Note in Kafka what was returned."""


async def store(connection: AsyncConnection, records: Sequence[Record]) -> int:
    """Store the events of a partition's records, except those that are stored already; return how many.

    The events and the position commit together, so a record that Kafka delivers again is recognized.
    """
    place = (records[0].topic, records[0].partition)
    async with connection.transaction():
        # the row's lock makes a consumer that has lost the partition, and does not know it yet, wait
        cursor = await connection.execute(
            "INSERT INTO kafka_position (topic, partition) VALUES (%s, %s) "
            "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = kafka_position.next_offset "
            "RETURNING next_offset",
            place,
        )
        ((next_offset,),) = await cursor.fetchall()
        new = [record for record in records if record.offset >= next_offset]
        if not new:
            return 0
        found = [event for record in new if (event := event_of(record)) is not None]
        await connection.execute(*events(found))
        await connection.execute(
            "UPDATE kafka_position SET next_offset = %s WHERE topic = %s AND partition = %s",
            (new[-1].offset + 1, *place),
        )
        return len(found)


def event_of(record: Record) -> OutboxEvent | None:
    """Return the event of a record; None, with a line in the log, if it has none that can be sent."""
    try:
        content = json.loads(record.value or b"")
        return OutboxEvent(content["player"], content["event"], content.get("metadata"))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidEvent) as error:
        _log.error("skipped %s/%d/%d: %s", record.topic, record.partition, record.offset, type(error).__name__)
        return None


async def consume(consumer: Consumer, connection: AsyncConnection) -> None:
    """Store what arrives, until cancelled."""
    while True:
        batches = await consumer.getmany(timeout_ms=1000)
        for records in batches.values():
            await store(connection, records)
        if batches:
            await consumer.commit()


async def run() -> None:
    """Consume the topic."""
    from aiokafka import (  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415 the tests need no Kafka
        AIOKafkaConsumer,
    )

    async with await AsyncConnection.connect(os.environ["SHOP_DSN"], autocommit=True) as connection:
        await connection.execute(TABLE)
        consumer = AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=os.environ["KAFKA_SERVERS"],
            group_id="gameball-outbox",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        async with consumer:
            await consume(consumer, connection)


def main() -> None:
    """Run until Ctrl-C."""
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run())
