"""One server for each test process, and a database for each test."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .postgres import PostgresServer, initialise


@pytest.fixture(scope="session")
def new_server(
    build_once: Callable[[str, Callable[[Path], None]], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], PostgresServer]]:
    """Start a server of one's own, to kill or to restart; it has the template "outbox"."""
    servers: list[PostgresServer] = []

    def initialise_with_template(folder: Path) -> None:
        data = folder / "data"
        data.mkdir(mode=0o700)
        initialise(data)
        server = PostgresServer(data)
        server.start()
        server.create_template()
        server.stop(signal.SIGINT)

    def start() -> PostgresServer:
        data = tmp_path_factory.mktemp("postgres") / "data"
        shutil.copytree(build_once("postgres", initialise_with_template) / "data", data)
        servers.append(PostgresServer(data))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.delete()


@pytest.fixture(scope="session")
def postgres(new_server: Callable[[], PostgresServer]) -> PostgresServer:
    """The server that the tests of a process share. Roles belong to it as a whole: give them the database's name."""
    return new_server()


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
