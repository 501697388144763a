"""What is special about single drivers, and that none is imported unless it is used."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import psycopg
import pytest
from django.db import connections, transaction
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gameball_async import ConfigurationError, InvalidEvent
from gameball_async.outbox import OutboxEvent
from gameball_async.outbox import asyncpg as for_asyncpg
from gameball_async.outbox import django as for_django
from gameball_async.outbox import psycopg as for_psycopg
from gameball_async.outbox import sqlalchemy as for_sqlalchemy

from .applications import DJANGO_ALIAS, on_django
from .pgbouncer import PgBouncer
from .postgres import PostgresServer

DRIVERS = {"psycopg", "psycopg2", "asyncpg", "sqlalchemy", "django"}


class Base(DeclarativeBase):
    """The application's models."""


class Order(Base):
    __tablename__ = "shop_order"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int]


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("gameball_async", set[str]()),
        ("gameball_async.outbox", set[str]()),
        ("gameball_async.outbox.psycopg", set[str]()),
        ("gameball_async.outbox.asyncpg", set[str]()),
        ("gameball_async.outbox.sqlalchemy", {"sqlalchemy"}),
        ("gameball_async.outbox.django", {"django"}),
    ],
)
def test_no_driver_is_imported_unless_it_is_used(module: str, imported: set[str]) -> None:
    code = f"import sys, {module}; print(*{DRIVERS!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) == imported


# ---------------------------------------------------------------- what is accepted is stored


@pytest.fixture
def names(postgres: PostgresServer, database: str) -> Iterator[list[str]]:
    """The names of the events of each test, in the order of their seqs, once it has ended."""
    names: list[str] = []
    yield names
    with postgres.connect(database) as connection:
        assert connection.execute("SELECT name FROM gameball_event ORDER BY seq").fetchall() == [(n,) for n in names]


TEXTS = st.text(st.characters(), max_size=600) | st.text("\0 \ud800é🎁a", max_size=20)
VALUES = TEXTS | st.integers() | st.floats() | st.decimals() | st.lists(TEXTS, max_size=3) | st.none() | st.booleans()


@pytest.fixture(scope="session")
def shared_connection(postgres: PostgresServer) -> Iterator[psycopg.Connection]:
    name = postgres.create_database()
    with postgres.connect(name) as connection:
        yield connection
    postgres.drop_database(name)


@given(TEXTS, TEXTS, st.dictionaries(TEXTS, VALUES, max_size=3), st.none() | TEXTS, st.none() | TEXTS)
def test_whatever_is_accepted_is_stored_exactly(
    shared_connection: psycopg.Connection, player: str, name: str, metadata: Any, mobile: str | None, email: str | None
) -> None:
    try:
        event = OutboxEvent(player, name, metadata, mobile=mobile, email=email)
    except InvalidEvent:
        return
    with shared_connection.transaction(force_rollback=True):
        shared_connection.execute(*for_psycopg.event(player, name, metadata, mobile=mobile, email=email))
        shared_connection.execute(*for_psycopg.events([event]))
        stored = shared_connection.execute("SELECT player, name, metadata::text, mobile, email FROM gameball_event")
        assert stored.fetchall() == [event.row] * 2


# ---------------------------------------------------------------- SQLAlchemy


def test_a_session_keeps_its_objects_as_they_are(postgres: PostgresServer, database: str) -> None:
    engine = create_engine(postgres.dsn(database, driver="psycopg"))
    try:
        Base.metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            session.add(loaded := Order(number=1, total=100))
            session.flush()
            session.add(pending := Order(number=2, total=200))
            with session.no_autoflush:
                session.execute(for_sqlalchemy.event("player123", "place_order", {"total_amount": loaded.total}))

            assert pending in session.new
            assert loaded.__dict__["total"] == 100
        with Session(engine) as session:
            assert session.query(Order).count() == 2
    finally:
        engine.dispose()


def test_an_async_session_stores_an_event_with_its_objects(postgres: PostgresServer, database: str) -> None:
    async def place_order(driver: str, number: int) -> None:
        engine = create_async_engine(postgres.dsn(database, driver=driver))
        async with AsyncSession(engine) as session, session.begin():
            await session.run_sync(lambda sync: Base.metadata.create_all(sync.connection()))
            session.add(Order(number=number, total=100))
            await session.execute(for_sqlalchemy.event("player123", driver, {"total_amount": 100}))
        await engine.dispose()

    for number, driver in enumerate(["psycopg", "asyncpg"]):
        asyncio.run(place_order(driver, number))

    with postgres.connect(database) as connection:
        assert connection.execute("SELECT name FROM gameball_event ORDER BY seq").fetchall() == [
            ("psycopg",),
            ("asyncpg",),
        ]
        assert connection.execute("SELECT count(*) FROM shop_order").fetchone() == (2,)


# ---------------------------------------------------------------- asyncpg


def test_a_converter_for_json_does_not_encode_the_metadata_again(dsn: str, names: list[str]) -> None:
    async def append() -> object:
        connection: Any = await cast("Any", asyncpg).connect(dsn)
        await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        await connection.execute(*for_asyncpg.event("player123", "first", {"rating": 5}))
        await connection.execute(*for_asyncpg.events([OutboxEvent("player123", "second", {"rating": 5})]))
        stored = await connection.fetch("SELECT metadata FROM gameball_event")
        await connection.close()
        return [row["metadata"] for row in stored]

    assert asyncio.run(append()) == [{"rating": 5}, {"rating": 5}]
    names += ["first", "second"]


def test_events_are_copied(dsn: str, names: list[str]) -> None:
    names += [f"event{number}" for number in range(1000)]
    columns = ["player", "name", "metadata", "mobile", "email"]

    async def copy() -> None:
        connection: Any = await cast("Any", asyncpg).connect(dsn)
        records = [OutboxEvent("player123", name, {"note": "\t\n\\"}).row for name in names]
        await connection.copy_records_to_table("gameball_event", columns=columns, records=records)
        await connection.close()

    asyncio.run(copy())


# ---------------------------------------------------------------- Django


@pytest.fixture
def django_database(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
    with on_django(lambda _: dsn):
        yield


@pytest.mark.usefixtures("django_database")
def test_an_event_outside_of_a_block_commits_at_once(names: list[str]) -> None:
    for_django.track("player123", "review", using=DJANGO_ALIAS)
    names.append("review")


@pytest.mark.usefixtures("django_database")
def test_an_invalid_event_leaves_djangos_block_usable(names: list[str]) -> None:
    with transaction.atomic(using=DJANGO_ALIAS):
        with pytest.raises(InvalidEvent):
            for_django.track("player\0", "review", using=DJANGO_ALIAS)
        for_django.track("player123", "place_order", using=DJANGO_ALIAS)
    names.append("place_order")


@pytest.mark.usefixtures("django_database")
def test_atrack_appends_from_asynchronous_code(names: list[str]) -> None:
    async def view() -> None:
        with pytest.raises(InvalidEvent):
            await for_django.atrack("", "review", using=DJANGO_ALIAS)
        await for_django.atrack("player123", "review", {"rating": 5}, using=DJANGO_ALIAS)

    asyncio.run(view())
    names.append("review")


@pytest.mark.usefixtures("django_database")
def test_a_database_that_is_not_postgresql_is_refused() -> None:
    databases: Any = connections.settings
    lite = {"lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.devnull}}
    databases |= connections.configure_settings({"default": {}, **lite})
    with pytest.raises(ConfigurationError, match="'lite' is sqlite, the outbox needs PostgreSQL"):
        for_django.track("player123", "review", using="lite")


# ---------------------------------------------------------------- psycopg is missing


def test_a_relay_without_psycopg_names_the_extra_and_appending_needs_none() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from gameball_async.outbox import OutboxEvent, Relay
from gameball_async.outbox.psycopg import event
print(len(event("player123", "review")))
Relay("dbname=shop", "a-key")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "2\n"
    assert done.stderr.endswith('ModuleNotFoundError: A relay needs psycopg: pip install "gameball-async[outbox]"\n')


# ---------------------------------------------------------------- behind pgbouncer


async def psycopg_behind_pgbouncer(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, prepare_threshold=None) as connection:
        for number in range(20):
            async with connection.transaction(force_rollback=number % 2 == 1):
                await connection.execute(*for_psycopg.event("anna", "visit", {"number": number}))


async def asyncpg_behind_pgbouncer(dsn: str) -> None:
    connection = await cast("Any", asyncpg).connect(dsn, statement_cache_size=0)
    try:
        for number in range(20):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(*for_asyncpg.event("anna", "visit", {"number": number}))
            await (transaction.rollback() if number % 2 else transaction.commit())
    finally:
        await connection.close()


@pytest.mark.parametrize("append", [psycopg_behind_pgbouncer, asyncpg_behind_pgbouncer])
def test_ten_applications_append_through_four_connections(
    append: Callable[[str], Coroutine[Any, Any, None]], pgbouncer: PgBouncer, database: str, table: psycopg.Connection
) -> None:
    async def append_ten_times() -> None:
        await asyncio.gather(*(append(pgbouncer.dsn(database)) for _ in range(10)))

    asyncio.run(append_ten_times())
    query = "SELECT (metadata->>'number')::int, count(*) FROM gameball_event GROUP BY 1 ORDER BY 1"
    assert table.execute(query).fetchall() == [(number, 10) for number in range(0, 20, 2)]
