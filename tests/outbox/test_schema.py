"""The outbox's tables: created, upgraded and dropped."""

from __future__ import annotations

import psycopg
import pytest

from gameball_async import ConfigurationError
from gameball_async.outbox import drop_schema, schema
from gameball_async.outbox._tables import TABLES, VERSION

from .postgres import PostgresServer


def run(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement.encode())


def tables(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in rows}


def test_the_schema_creates_the_tables_and_notes_its_version(postgres: PostgresServer, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        run(connection, schema())

        assert tables(connection) == set(TABLES)
        comment = connection.execute("SELECT obj_description('gameball_event'::regclass, 'pg_class')").fetchone()
        assert comment == (f"gameball_async outbox, version {VERSION}",)
        shards = connection.execute("SELECT count(*), min(shard), max(shard) FROM gameball_shard").fetchone()
        assert shards == (64, 0, 63)


def test_a_second_creation_fails_and_names_the_version(postgres: PostgresServer, database: str) -> None:
    with (
        postgres.connect(database) as connection,
        pytest.raises(psycopg.errors.RaiseException, match=f"not at version 0, but at .*version {VERSION}"),
    ):
        run(connection, schema())


def test_a_foreign_table_of_that_name_is_left_alone(postgres: PostgresServer, empty_database: str) -> None:
    with postgres.connect(empty_database) as connection:
        run(connection, "CREATE TABLE gameball_event (id int)")
        with pytest.raises(psycopg.errors.RaiseException, match="but at none"):
            run(connection, schema())

        assert tables(connection) == {"gameball_event"}


def test_nothing_is_left_to_do_since_the_latest_version() -> None:
    assert schema(since=VERSION) == ""


@pytest.mark.parametrize("since", [-1, VERSION + 1, "1", None], ids=repr)
def test_a_version_that_does_not_exist_is_refused(since: int) -> None:
    with pytest.raises(ConfigurationError, match=f"from 0 to {VERSION}"):
        schema(since)


def test_the_sql_has_no_character_that_drivers_take_for_a_parameter() -> None:
    assert set(schema() + drop_schema()).isdisjoint("%:?")


def test_dropping_leaves_nothing_and_may_be_repeated(postgres: PostgresServer, database: str) -> None:
    with postgres.connect(database) as connection:
        run(connection, drop_schema())
        run(connection, drop_schema())

        assert tables(connection) == set()
