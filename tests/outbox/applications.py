"""An application on each driver: its own orders, and events in the same transactions. All are called synchronously."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, closing, contextmanager
from typing import Any, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import django
import psycopg
import psycopg2
from django.db import connections, transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from gameball_async.outbox import OutboxEvent
from gameball_async.outbox import asyncpg as for_asyncpg
from gameball_async.outbox import django as for_django
from gameball_async.outbox import psycopg as for_psycopg
from gameball_async.outbox import sqlalchemy as for_sqlalchemy

DJANGO_ALIAS = "shop"

Address = Callable[[str], str]
"""Returns the database's address for a driver of SQLAlchemy, or with "" for others."""


class Application(Protocol):
    """What the tests ask of each."""

    def transaction(self) -> AbstractContextManager[Any]: ...

    def savepoint(self) -> AbstractContextManager[Any]: ...

    def place_order(self, number: int) -> None: ...

    def event(self, *arguments: Any, **options: Any) -> None: ...

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None: ...


class Psycopg:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def transaction(self) -> AbstractContextManager[Any]:
        return self._connection.transaction()

    savepoint = transaction

    def place_order(self, number: int) -> None:
        self._connection.execute("INSERT INTO shop_order (number) VALUES (%s)", [number])

    def event(self, *arguments: Any, **options: Any) -> None:
        self._connection.execute(*for_psycopg.event(*arguments, **options))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self._connection.execute(*for_psycopg.events(outbox_events))


class Psycopg2:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def transaction(self) -> AbstractContextManager[Any]:
        return cast("AbstractContextManager[Any]", self._connection)

    @contextmanager
    def savepoint(self) -> Generator[None]:
        self._cursor.execute("SAVEPOINT mine")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO mine")
            raise

    def place_order(self, number: int) -> None:
        self._cursor.execute("INSERT INTO shop_order (number) VALUES (%s)", [number])

    def event(self, *arguments: Any, **options: Any) -> None:
        self._cursor.execute(*for_psycopg.event(*arguments, **options))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self._cursor.execute(*for_psycopg.events(outbox_events))


class SqlAlchemy:
    def __init__(self, session: Session | Connection) -> None:
        self._session = session

    def transaction(self) -> AbstractContextManager[Any]:
        return self._session.begin()

    def savepoint(self) -> AbstractContextManager[Any]:
        return self._session.begin_nested()

    def place_order(self, number: int) -> None:
        self._session.execute(text("INSERT INTO shop_order (number) VALUES (:number)"), {"number": number})

    def event(self, *arguments: Any, **options: Any) -> None:
        self._session.execute(for_sqlalchemy.event(*arguments, **options))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self._session.execute(for_sqlalchemy.events(outbox_events))


class Django:
    def transaction(self) -> AbstractContextManager[Any]:
        return transaction.atomic(using=DJANGO_ALIAS)

    savepoint = transaction

    def place_order(self, number: int) -> None:
        with connections[DJANGO_ALIAS].cursor() as cursor:
            cursor.execute("INSERT INTO shop_order (number) VALUES (%s)", [number])

    def event(self, *arguments: Any, **options: Any) -> None:
        for_django.track(*arguments, **options, using=DJANGO_ALIAS)

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        for_django.track_many(outbox_events, using=DJANGO_ALIAS)


class AsyncApplication:
    """What asynchronous applications share: a loop that runs for the length of each call."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[Any]) -> Generator[None]:
        self.run(_enter(manager))
        try:
            yield
        except BaseException as error:
            self.run(_exit(manager, error))
            raise
        self.run(_exit(manager, None))


async def _enter(manager: AbstractAsyncContextManager[Any]) -> None:
    await manager.__aenter__()


async def _exit(manager: AbstractAsyncContextManager[Any], error: BaseException | None) -> None:
    assert not await manager.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)


class AsyncPsycopg(AsyncApplication):
    def __init__(self, runner: asyncio.Runner, connection: psycopg.AsyncConnection) -> None:
        super().__init__(runner)
        self._connection = connection

    def transaction(self) -> AbstractContextManager[Any]:
        return self.entered(self._connection.transaction())

    savepoint = transaction

    def place_order(self, number: int) -> None:
        self.run(self._connection.execute("INSERT INTO shop_order (number) VALUES (%s)", [number]))

    def event(self, *arguments: Any, **options: Any) -> None:
        self.run(self._connection.execute(*for_psycopg.event(*arguments, **options)))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self.run(self._connection.execute(*for_psycopg.events(outbox_events)))


class Asyncpg(AsyncApplication):
    def __init__(self, runner: asyncio.Runner, connection: Any) -> None:
        super().__init__(runner)
        self._connection = connection

    def transaction(self) -> AbstractContextManager[Any]:
        return self.entered(self._connection.transaction())

    savepoint = transaction

    def place_order(self, number: int) -> None:
        self.run(self._connection.execute("INSERT INTO shop_order (number) VALUES ($1)", number))

    def event(self, *arguments: Any, **options: Any) -> None:
        self.run(self._connection.execute(*for_asyncpg.event(*arguments, **options)))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self.run(self._connection.execute(*for_asyncpg.events(outbox_events)))


class AsyncSqlAlchemy(AsyncApplication):
    def __init__(self, runner: asyncio.Runner, session: AsyncSession | AsyncConnection) -> None:
        super().__init__(runner)
        self._session = session

    def transaction(self) -> AbstractContextManager[Any]:
        return self.entered(self._session.begin())

    def savepoint(self) -> AbstractContextManager[Any]:
        return self.entered(self._session.begin_nested())

    def place_order(self, number: int) -> None:
        self.run(self._session.execute(text("INSERT INTO shop_order (number) VALUES (:number)"), {"number": number}))

    def event(self, *arguments: Any, **options: Any) -> None:
        self.run(self._session.execute(for_sqlalchemy.event(*arguments, **options)))

    def events(self, outbox_events: Sequence[OutboxEvent]) -> None:
        self.run(self._session.execute(for_sqlalchemy.events(outbox_events)))


# ---------------------------------------------------------------- how they connect


@contextmanager
def on_psycopg(address: Address) -> Generator[Application]:
    with psycopg.connect(address(""), autocommit=True) as connection:
        yield Psycopg(connection)


@contextmanager
def on_psycopg2(address: Address) -> Generator[Application]:
    with closing(psycopg2.connect(address(""))) as connection:
        yield Psycopg2(connection)


@contextmanager
def on_async_psycopg(address: Address) -> Generator[Application]:
    with asyncio.Runner() as runner:
        connection = runner.run(psycopg.AsyncConnection.connect(address(""), autocommit=True))
        try:
            yield AsyncPsycopg(runner, connection)
        finally:
            runner.run(connection.close())


async def _connect_asyncpg(address: str) -> Any:
    return await cast("Any", asyncpg).connect(address)


@contextmanager
def on_asyncpg(address: Address) -> Generator[Application]:
    with asyncio.Runner() as runner:
        connection = runner.run(_connect_asyncpg(address("")))
        try:
            yield Asyncpg(runner, connection)
        finally:
            runner.run(connection.close())


@contextmanager
def on_session(address: Address, driver: str) -> Generator[Application]:
    engine = create_engine(address(driver))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        yield SqlAlchemy(stack.enter_context(Session(engine)))


@contextmanager
def on_connection(address: Address) -> Generator[Application]:
    engine = create_engine(address("psycopg"))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        yield SqlAlchemy(stack.enter_context(engine.connect()))


@contextmanager
def on_async_session(address: Address, driver: str) -> Generator[Application]:
    with asyncio.Runner() as runner:
        engine = create_async_engine(address(driver))
        session = AsyncSession(engine)
        try:
            yield AsyncSqlAlchemy(runner, session)
        finally:
            runner.run(session.close())
            runner.run(engine.dispose())


@contextmanager
def on_django(address: Address, alias: str = DJANGO_ALIAS) -> Generator[Application]:
    """Django's settings are those of the examples, which have no database; it gets one for as long as this runs."""
    django.setup()
    options = conninfo_to_dict(address(""))
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": options["dbname"]}
    database |= {"USER": options["user"], "HOST": options["host"]}
    databases: Any = connections.settings
    before = dict(databases)
    databases |= connections.configure_settings({"default": {}, alias: database})
    try:
        yield Django()
    finally:
        connections[alias].close()
        del connections[alias]
        databases.clear()
        databases |= before


APPLICATIONS: dict[str, Callable[[Address], AbstractContextManager[Application]]] = {
    "psycopg": on_psycopg,
    "psycopg2": on_psycopg2,
    "async psycopg": on_async_psycopg,
    "asyncpg": on_asyncpg,
    "Session psycopg": lambda address: on_session(address, "psycopg"),
    "Session psycopg2": lambda address: on_session(address, "psycopg2"),
    "Connection psycopg": on_connection,
    "AsyncSession psycopg": lambda address: on_async_session(address, "psycopg"),
    "AsyncSession asyncpg": lambda address: on_async_session(address, "asyncpg"),
    "Django": on_django,
}
