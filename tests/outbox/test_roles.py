"""Privileges: an application may append and nothing else; a relay may do its work and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from gameball_async import ConfigurationError
from gameball_async.outbox import OutboxEvent, grants, schema
from gameball_async.outbox.psycopg import event, events

from .postgres import PostgresServer

APPEND = "INSERT INTO gameball_event (player, name) VALUES ('player123', 'review')"

REFUSED_TO_APPLICATIONS = [
    "SELECT player FROM gameball_event",
    "UPDATE gameball_event SET name = 'x'",
    "DELETE FROM gameball_event",
    "TRUNCATE gameball_event",
    f"{APPEND} RETURNING seq",
    "INSERT INTO gameball_event (player, name, accepted_at) VALUES ('player123', 'review', now())",
    "COPY gameball_event TO STDOUT",
    "SELECT nextval('gameball_event_seq_seq')",
    *(f"SELECT 1 FROM {table}" for table in ("gameball_relay", "gameball_shard", "gameball_sent", "gameball_dead")),
    *(f"DELETE FROM {table}" for table in ("gameball_relay", "gameball_shard", "gameball_sent", "gameball_dead")),
    "INSERT INTO gameball_shard (shard) VALUES (1)",
]

RELAY = [
    APPEND,
    "SELECT * FROM gameball_event",
    "WITH gone AS (DELETE FROM gameball_event WHERE player = 'player123' RETURNING *) SELECT count(*) FROM gone",
    "INSERT INTO gameball_relay (name, until, version) VALUES ('host', clock_timestamp(), 2) RETURNING id",
    "SELECT 1 FROM gameball_relay WHERE NOT dead FOR SHARE",
    "UPDATE gameball_shard SET relay = 1 WHERE shard = 0",
    "INSERT INTO gameball_sent (shard, first, seqs, player, job, relay) VALUES (0, 1, '{1}', 'player123', '17', 1)",
    "DELETE FROM gameball_sent",
    "INSERT INTO gameball_dead (seq, player, name, metadata, accepted_at, kind, error) "  # noqa: ISC004 one statement
    "VALUES (1, 'player123', 'review', '{}', clock_timestamp(), 'rejected', 'no such rating')",
    "DELETE FROM gameball_dead",
    "UPDATE gameball_relay SET dead = true",
    "DELETE FROM gameball_relay",
]

REFUSED_TO_RELAYS = ["UPDATE gameball_event SET name = 'x'", "TRUNCATE gameball_event", "DROP TABLE gameball_sent"]

NewRole = Callable[[str], psycopg.Connection]


@pytest.fixture
def new_role(postgres: PostgresServer, database: str) -> Iterator[NewRole]:
    """Create a role whose name ends with a text, and connect as it."""
    created: list[psycopg.Connection] = []

    def create(name: str) -> psycopg.Connection:
        postgres.execute("CREATE ROLE {} LOGIN", database + name)
        created.append(psycopg.connect(postgres.dsn(database), user=database + name, autocommit=True))
        return created[-1]

    yield create
    for connection in created:
        user = connection.info.user
        connection.close()
        with postgres.connect(database) as owner:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(user)))
        postgres.execute("DROP ROLE {}", user)


def grant(postgres: PostgresServer, database: str, *, application: str | None = None, relay: str | None = None) -> None:
    with postgres.connect(database) as owner:
        owner.execute(grants(application=application, relay=relay).encode())


@pytest.mark.parametrize("name", ["shop", 'a"b', "x'; DROP TABLE gameball_event; --", "$gameball$", "Größe", "p%s:x"])
def test_an_application_may_append_and_nothing_else(
    name: str, postgres: PostgresServer, database: str, new_role: NewRole
) -> None:
    connection = new_role(name)
    with pytest.raises(InsufficientPrivilege):
        connection.execute(APPEND)
    grant(postgres, database, application=database + name)

    connection.execute(APPEND)
    connection.execute(*event("player123", "review"))
    connection.execute(*events([OutboxEvent("player123", "review")]))
    copying = "COPY gameball_event (player, name, metadata, mobile, email) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(copying) as copy:
        copy.write_row(OutboxEvent("player123", "review").row)
    for statement in REFUSED_TO_APPLICATIONS:
        with pytest.raises(InsufficientPrivilege):
            connection.execute(statement.encode())

    with postgres.connect(database) as owner:
        assert owner.execute("SELECT count(*) FROM gameball_event").fetchone() == (4,)


def test_a_relay_may_do_its_work_and_nothing_else(postgres: PostgresServer, database: str, new_role: NewRole) -> None:
    connection = new_role("relay")
    grant(postgres, database, relay=connection.info.user)

    for statement in RELAY:
        connection.execute(statement.encode())
    for statement in REFUSED_TO_RELAYS:
        with pytest.raises(InsufficientPrivilege):
            connection.execute(statement.encode())


def test_both_roles_may_be_granted_at_once(postgres: PostgresServer, database: str, new_role: NewRole) -> None:
    application, relay = new_role("shop"), new_role("relay")
    grant(postgres, database, application=application.info.user, relay=relay.info.user)

    application.execute(APPEND)
    assert relay.execute("DELETE FROM gameball_event").rowcount == 1


def test_the_owner_of_the_tables_needs_no_grants(postgres: PostgresServer, empty_database: str) -> None:
    owner = f"{empty_database}_owner"
    postgres.execute("CREATE ROLE {} LOGIN", owner)
    postgres.execute("ALTER DATABASE {} OWNER TO {}", empty_database, owner)
    try:
        with psycopg.connect(postgres.dsn(empty_database, owner), autocommit=True) as connection:
            connection.execute(schema().encode())
            for statement in RELAY:
                connection.execute(statement.encode())
    finally:
        postgres.execute("ALTER DATABASE {} OWNER TO {}", empty_database, "postgres")
        with postgres.connect(empty_database) as connection:
            connection.execute(f"DROP OWNED BY {owner}".encode())
        postgres.execute("DROP ROLE {}", owner)


def test_grants_need_a_role() -> None:
    with pytest.raises(ConfigurationError, match="pass application=, relay= or both"):
        grants()


@pytest.mark.parametrize("name", ["", "a\0b", "é" * 32, "\ud800", 5], ids=ascii)
def test_a_name_that_no_role_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a role"):
        grants(application=name)
