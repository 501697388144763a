"""The outbox's tables: created, upgraded and dropped."""

from __future__ import annotations

import psycopg
import pytest

from gameball_async import ConfigurationError
from gameball_async.outbox import _tables, drop_schema, schema
from gameball_async.outbox._tables import TABLES, VERSION

from .postgres import PostgresServer

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, column_name"""


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


@pytest.fixture
def later_version(monkeypatch: pytest.MonkeyPatch) -> int:
    """A version that adds a column."""
    later = VERSION + 1
    monkeypatch.setitem(_tables._VERSIONS, later, "ALTER TABLE gameball_event ADD later int;")
    monkeypatch.setattr(_tables, "VERSION", later)
    return later


def test_an_upgrade_adds_what_is_new_and_keeps_the_events(
    postgres: PostgresServer, database: str, later_version: int
) -> None:
    with postgres.connect(database) as connection:
        run(connection, "INSERT INTO gameball_event (player, name) VALUES ('player123', 'review')")
        run(connection, schema(since=VERSION, to=later_version))

        assert connection.execute("SELECT name, later FROM gameball_event").fetchall() == [("review", None)]
        with pytest.raises(psycopg.errors.RaiseException, match=f"not at version {VERSION}, .*version {later_version}"):
            run(connection, schema(since=VERSION, to=later_version))


def test_a_new_database_gets_the_latest_version(
    postgres: PostgresServer, empty_database: str, later_version: int
) -> None:
    with postgres.connect(empty_database) as connection:
        with pytest.raises(psycopg.errors.RaiseException, match=f"not at version {VERSION}, but at none"):
            run(connection, schema(since=VERSION, to=later_version))
        run(connection, schema(to=later_version))

        comment = connection.execute("SELECT obj_description('gameball_event'::regclass, 'pg_class')").fetchone()
        assert comment == (f"gameball_async outbox, version {later_version}",)


def test_version_2_ends_the_relays_of_version_1(postgres: PostgresServer, empty_database: str) -> None:
    """These are version 1's statements: such a relay would send the events of an accepted job again."""
    with postgres.connect(empty_database) as connection:
        run(connection, schema(to=1))
        run(connection, "INSERT INTO gameball_event (player, name) VALUES ('player123', 'review')")
        register = "INSERT INTO gameball_relay (name, until) VALUES ('old', clock_timestamp() + interval '1 hour')"
        run(connection, register)
        run(connection, "UPDATE gameball_shard SET relay = (SELECT id FROM gameball_relay)")
        run(
            connection,
            "INSERT INTO gameball_sent (shard, first, seqs, player, relay) "
            "SELECT shard, seq, ARRAY[seq], player, 1 FROM gameball_event",
        )

        run(connection, schema(since=1, to=2))

        assert connection.execute("SELECT FROM gameball_relay WHERE NOT dead").fetchall() == []
        with pytest.raises(psycopg.errors.NotNullViolation):
            run(connection, register)
        assert connection.execute("SELECT seqs, job FROM gameball_sent").fetchall() == [([1], None)]


def test_an_upgrade_and_a_new_database_have_the_same_tables(postgres: PostgresServer, database: str) -> None:
    with postgres.connect(database) as connection:
        created = connection.execute(COLUMNS.encode()).fetchall()
        run(connection, drop_schema())
        run(connection, schema(to=1))
        run(connection, schema(since=1))

        assert connection.execute(COLUMNS.encode()).fetchall() == created


def test_a_migration_of_a_version_does_the_same_after_the_next_one(later_version: int) -> None:
    first, second = schema(to=VERSION), schema(since=VERSION, to=later_version)
    assert "later" not in first
    assert f"version {VERSION}'" in first
    assert "later" in second


def test_a_failing_step_leaves_nothing_behind(
    postgres: PostgresServer, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_tables._VERSIONS, VERSION, _tables._VERSIONS[VERSION] + "\nSELECT 1 / 0;")
    with postgres.connect(empty_database) as connection:
        with pytest.raises(psycopg.Error):
            run(connection, schema())

        assert tables(connection) == set()


def test_nothing_is_left_to_do_since_the_latest_version() -> None:
    assert schema(since=VERSION) == ""


@pytest.mark.parametrize("since", [-1, VERSION + 1, "1", None], ids=repr)
def test_a_version_that_does_not_exist_is_refused(since: int) -> None:
    with pytest.raises(ConfigurationError, match=f"numbers from 0 to {VERSION}"):
        schema(since)
    with pytest.raises(ConfigurationError, match=f"numbers from 0 to {VERSION}"):
        schema(to=since)


def test_no_version_is_taken_back() -> None:
    with pytest.raises(ConfigurationError, match="the lower first"):
        schema(since=VERSION, to=VERSION - 1)


def test_the_sql_has_no_character_that_drivers_take_for_a_parameter() -> None:
    assert set(schema() + drop_schema()).isdisjoint("%:?")


def test_dropping_leaves_nothing_and_may_be_repeated(postgres: PostgresServer, database: str) -> None:
    with postgres.connect(database) as connection:
        run(connection, drop_schema())
        run(connection, drop_schema())

        assert tables(connection) == set()
