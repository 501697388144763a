"""How large the outbox's tables grow under a steady load that a relay keeps up with.

Run it with `python -m benchmarks.outbox_size --minutes 5 --rate 200`; `--hold` keeps a transaction open meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import AsyncExitStack, ExitStack

import attrs
import psycopg

from examples.demo_relay.postgres import Postgres
from gameball_async.outbox import OutboxEvent, Relay, schema
from gameball_async.outbox.psycopg import events
from gameball_async.sandbox import Sandbox

from .shop import METADATA

_SAMPLE_EVERY = 5.0  # seconds
_INSERT_EVERY = 0.1  # seconds
_MIB = 2**20
_TABLES = ("gameball_event", "gameball_sent", "gameball_relay", "gameball_shard")
_SIZES = """
SELECT (SELECT count(*) FROM gameball_event), pg_relation_size('gameball_event'), pg_indexes_size('gameball_event'),
  (SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname = ANY(%s))::bigint,
  (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'gameball_event')
"""


@attrs.frozen
class Sample:
    """The tables at one moment; sizes in bytes.

    Attributes:
        waiting: events in the table.
        heap: the size of the events' table without its indexes.
        indexes: the size of its indexes.
        others: the size of the other tables that relays write to, with theirs.
        deleted: deleted rows that were not removed yet, as far as PostgreSQL knows.
    """

    waiting: int
    heap: int
    indexes: int
    others: int
    deleted: int

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{name} {size / _MIB:.1f} MiB"
            for name, size in (("table", self.heap), ("indexes", self.indexes), ("other tables", self.others))
        )
        return f"{self.waiting:,} waiting, {self.deleted:,} deleted rows; {sizes}"


class Load:
    """Writes events, and takes samples.

    Args:
        dsn: the database.
        rate: events in a second.
        players: whose events they are, in turns.
    """

    def __init__(self, dsn: str, rate: int, players: int) -> None:
        self._dsn = dsn
        self._rate = rate
        self._players = players
        self.inserted = 0
        self.samples: list[Sample] = []

    async def write(self, seconds: float) -> None:
        """Insert events at the rate, in ten transactions a second."""
        began = time.monotonic()
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            while (elapsed := time.monotonic() - began) < seconds:
                due = range(self.inserted, int(elapsed * self._rate))
                if due:
                    await connection.execute(
                        *events(OutboxEvent(f"player{n % self._players}", "review", METADATA) for n in due)
                    )
                    self.inserted = due.stop
                await asyncio.sleep(_INSERT_EVERY)

    async def sample(self) -> None:
        """Take samples until cancelled, and print them."""
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            while True:
                cursor = await connection.execute(_SIZES, [list(_TABLES[1:])])
                self.samples += [Sample(*row) for row in await cursor.fetchall()]
                print(f"{self.inserted:,} inserted: {self.samples[-1]}", flush=True)  # noqa: T201 the output
                await asyncio.sleep(_SAMPLE_EVERY)


async def run(dsn: str, url: str, options: argparse.Namespace) -> Load:
    """Write and deliver for some minutes, and return what was measured."""
    load = Load(dsn, options.rate, options.players)
    relay = Relay(dsn, "key", base_url=url, rate=None)
    async with AsyncExitStack() as stack:
        if options.hold:
            holder = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn))
            await holder.execute("SELECT pg_current_xact_id()")
        delivery, sampling = asyncio.create_task(relay.run()), asyncio.create_task(load.sample())
        await load.write(60 * options.minutes)
        while relay.stats().delivered < load.inserted:  # noqa: ASYNC110 a relay has no event for it
            await asyncio.sleep(_INSERT_EVERY)
        sampling.cancel()
        relay.stop()
        await delivery
    return load


def main() -> None:
    """Measure, and print the largest figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox_size", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=200, help="events in a second")
    parser.add_argument("--players", type=int, default=2000)
    parser.add_argument("--hold", action="store_true", help="keep a transaction open")
    options = parser.parse_args()
    with ExitStack() as stack:
        postgres, sandbox = stack.enter_context(Postgres()), stack.enter_context(Sandbox(limits=None))
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(schema().encode())
        load = asyncio.run(run(postgres.dsn, sandbox.url, options))
    largest = Sample(*(max(getattr(sample, name) for sample in load.samples) for name in attrs.fields_dict(Sample)))
    print(f"{load.inserted:,} events at {options.rate} in a second; the largest: {largest}")  # noqa: T201 the output


if __name__ == "__main__":
    main()
