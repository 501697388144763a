"""A database for each test, on the server of the test process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import psycopg
import pytest

from gameball_async.sandbox import Sandbox

from .pgbouncer import PgBouncer
from .postgres import PostgresServer, server_folder


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a fresh database with the outbox's tables."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a fresh database without tables."""
    name = postgres.create_database(template="template1")
    yield name
    postgres.drop_database(name)


@pytest.fixture
def dsn(postgres: PostgresServer, database: str) -> str:
    """The address of a fresh database with the outbox's tables."""
    return postgres.dsn(database)


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """Connections to the same server through pgbouncer: transaction mode, four connections for each database."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("needs pgbouncer")
    with server_folder("pgbouncer") as folder, PgBouncer(postgres, folder) as pgbouncer:
        yield pgbouncer


@pytest.fixture(params=["direct", "pgbouncer"])
def relay_dsn(request: pytest.FixtureRequest, postgres: PostgresServer, database: str) -> str:
    """The address of a fresh database for a relay: directly, and through pgbouncer."""
    if request.param == "direct":
        return postgres.dsn(database)
    pgbouncer: PgBouncer = request.getfixturevalue("pgbouncer")
    return pgbouncer.dsn(database)


@pytest.fixture
def table(postgres: PostgresServer, database: str) -> Iterator[psycopg.Connection]:
    """A connection to the fresh database that commits each statement."""
    with postgres.connect(database) as connection:
        yield connection


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without a rate limit."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox
