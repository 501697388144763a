"""A database for each test, on the server of the test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .postgres import PostgresServer


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
