"""`relay status`: what waits, which relays run, and an exit code for probes."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from cli.conftest import invoke
from psycopg import sql

from gameball_async.outbox._tables import VERSION

from ..postgres import PostgresServer


def add_relay(connection: psycopg.Connection, name: str, *, shards: range = range(0), lease: float = 3600) -> None:
    connection.execute(
        "WITH relay AS (INSERT INTO gameball_relay (name, until, version, delivered, rate) "
        "VALUES (%s, clock_timestamp() + make_interval(secs => %s), 2, 12345, 39.5) RETURNING id) "
        "UPDATE gameball_shard SET relay = relay.id FROM relay WHERE shard = ANY(%s)",
        [name, lease, list(shards)],
    )


def state_of(*options: str, code: int = 0) -> dict[str, Any]:
    result = invoke("relay", "status", "--json", *options)
    assert result.exit_code == code, result.output
    state: dict[str, Any] = json.loads(result.stdout)
    assert state["healthy"] is (code == 0)
    return state


def test_it_shows_what_waits_and_which_relay_has_what(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1", shards=range(40))
    connection.execute(
        "INSERT INTO gameball_event (player, name) SELECT 'p' || n, 'review' FROM generate_series(1, 7) n"
    )
    connection.execute(
        "INSERT INTO gameball_sent (shard, first, seqs, player, job, relay) "
        "SELECT shard, seq, ARRAY[seq], player, CASE WHEN seq < 3 THEN NULL WHEN seq < 5 THEN '17' ELSE '18' END, 1 "
        "FROM gameball_event"
    )

    result = invoke("relay", "status")

    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["Events", "waiting", "7"] in lines
    assert ["in", "sealed", "requests", "7"] in lines
    assert ["unfinished", "jobs", "2"] in lines
    assert ["shards", "without", "a", "relay", "24", "of", "64"] in lines
    assert "relay-1: 40 shards, 39.5 events/s, 12,345 events delivered" in result.stdout
    assert result.stdout.endswith("All is well.\n")


def test_in_json_it_has_every_figure(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1", shards=range(64))
    connection.execute("UPDATE gameball_relay SET paused_until = clock_timestamp() + interval '1 hour'")
    connection.execute(
        "INSERT INTO gameball_event (player, name, accepted_at) VALUES ('p', 'review', now() - interval '1 hour')"
    )

    state = state_of()

    assert (state["waiting"], state["is_counted"], state["dead_letters"], state["ownerless"]) == (1, True, 0, 0)
    assert 3600 <= state["oldest_age"] < 7200
    assert 3000 < state["paused"] <= 3600
    assert state["size_bytes"] > 0
    (relay,) = state["relays"]
    assert (relay["name"], relay["shards"], relay["delivered"], relay["rate"]) == ("relay-1", 64, 12345, 39.5)
    assert 3000 < relay["lease"] <= 3600


def test_an_empty_outbox_with_a_relay_is_well(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1")

    state = state_of("--max-age", "0s", "--max-dead", "0", "--name", "relay-1")

    assert (state["waiting"], state["oldest_age"], state["problems"]) == (0, 0, [])


def test_without_a_relay_it_is_not_well() -> None:
    assert state_of(code=1)["problems"] == ["no relay is running: start one with `gameball-async relay run`."]


@pytest.mark.parametrize("end", ["dead = true", "until = clock_timestamp()"], ids=["dead", "its lease is over"])
def test_a_relay_that_has_ended_does_not_count(connection: psycopg.Connection, end: str) -> None:
    add_relay(connection, "relay-1", shards=range(64))
    connection.execute(f"UPDATE gameball_relay SET {end}".encode())

    state = state_of(code=1)

    assert (state["relays"], state["ownerless"]) == ([], 64)


def test_a_relay_of_another_name_does_not_count_for_a_probe(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1")

    assert state_of("--name", "relay-2", code=1)["problems"] == ["no relay of the name relay-2 is running."]


def test_an_event_that_waits_for_too_long_is_a_problem(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1")
    connection.execute(
        "INSERT INTO gameball_event (player, name, accepted_at) VALUES ('p', 'review', now() - interval '2 hours')"
    )

    state_of("--max-age", "1d")
    assert state_of("--max-age", "90m", code=1)["problems"] == ["the oldest event has been waiting for 2 h 00 min."]


def test_too_many_dead_letters_are_a_problem(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay-1")
    connection.execute(
        "INSERT INTO gameball_dead (seq, player, name, metadata, accepted_at, kind, error) "
        "SELECT n, 'p', 'review', '{}', now(), 'Rejected', 'no' FROM generate_series(1, 2) n"
    )

    state_of("--max-dead", "2")
    assert state_of("--max-dead", "1", code=1)["problems"] == [
        "2 dead letters are kept: see `gameball-async relay dead list`."
    ]


def test_a_count_stops_at_a_limit(connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameball_async.outbox._operations.MOST_COUNTED", 5)
    add_relay(connection, "relay-1")
    connection.execute("INSERT INTO gameball_event (player, name) SELECT 'p', 'review' FROM generate_series(1, 6) n")

    state = state_of()

    assert (state["waiting"], state["is_counted"]) == (5, False)
    assert "more than 5" in invoke("relay", "status").stdout


def test_the_name_of_a_relay_cannot_control_the_terminal(connection: psycopg.Connection) -> None:
    add_relay(connection, "relay\x1b[2J")

    assert "\x1b" not in invoke("relay", "status").stdout


# ---------------------------------------------------------------- the database


def test_without_the_tables_it_says_how_to_create_them(postgres: PostgresServer, empty_database: str) -> None:
    result = invoke("relay", "status", "--dsn", postgres.dsn(empty_database))

    assert result.exit_code == 2
    assert "gameball-async relay schema" in result.stderr


def test_without_a_privilege_it_names_the_command_that_grants_it(postgres: PostgresServer, database: str) -> None:
    role = f"nothing_{database}"
    postgres.execute("CREATE ROLE {} LOGIN", role)
    try:
        result = invoke("relay", "status", "--dsn", postgres.dsn(database, role))
        granting = invoke("relay", "schema", "--since", VERSION, "--grants", role, role)
        with postgres.connect(database) as owner:
            owner.execute(granting.stdout.encode())
        repeated = invoke("relay", "status", "--dsn", postgres.dsn(database, role))
        with postgres.connect(database) as owner:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    finally:
        postgres.execute("DROP ROLE {}", role)

    assert result.exit_code == 2
    assert "permission denied for table gameball_" in result.stderr
    assert f"`gameball-async relay schema --since {VERSION} --grants APPLICATION RELAY`" in result.stderr
    assert "no relay is running" in repeated.stderr + repeated.stdout


def test_the_relays_own_role_may_do_everything(postgres: PostgresServer, database: str) -> None:
    role = f"relay_{database}"
    postgres.execute("CREATE ROLE {} LOGIN", role)
    grants = invoke("relay", "schema", "--since", VERSION, "--grants", "postgres", role)
    with postgres.connect(database) as connection:
        connection.execute(grants.stdout.encode())
        connection.execute(
            "INSERT INTO gameball_dead (seq, player, name, metadata, accepted_at, kind, error) "
            "SELECT n, 'p', 'review', '{}', now(), 'Rejected', 'no' FROM generate_series(1, 3) n"
        )
    dsn = postgres.dsn(database, role)
    try:
        codes = [
            invoke("relay", *arguments, "--dsn", dsn).exit_code
            for arguments in (
                ("status",),
                ("dead", "list"),
                ("dead", "retry", "1"),
                ("dead", "purge", "2", "--yes"),
                ("dead", "show", "3"),
            )
        ]
    finally:
        with postgres.connect(database) as connection:
            connection.execute(f"DROP OWNED BY {role}".encode())
        postgres.execute("DROP ROLE {}", role)

    assert codes == [1, 0, 0, 0, 0]  # no relay is running


def test_a_database_that_cannot_be_reached_is_not_well() -> None:
    result = invoke("relay", "status", "--dsn", "host=/none dbname=shop password=secret-1")

    assert result.exit_code == 1
    assert "the outbox's database cannot be used: connection" in result.stderr
    assert "secret-1" not in result.output


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres//shop:secret-1@db/shop",
        "postgresql+asyncpg://shop:secret-1@db/shop",
        "postgresql://shop:secret-1%z@db",
        "postgresql://shop:p@secret-1@db/shop",
        "postgresql://shop:secret-1/x@db/shop",
    ],
    ids=["no colon", "a driver", "a percent sign", "an at sign", "a slash"],
)
def test_an_address_that_cannot_be_read_is_not_printed(dsn: str) -> None:
    result = invoke("relay", "status", "--dsn", dsn)

    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
    assert "secret-1" not in result.output


def test_an_address_with_several_folders_and_ports_can_be_read() -> None:
    result = invoke("relay", "status", "--dsn", "postgresql://shop@:6543,/shop?host=/none,/no%40ne")

    assert result.exit_code == 1
    assert "the outbox's database cannot be used: connection" in result.stderr


def test_without_an_address_it_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_OUTBOX_DSN")
    result = invoke("relay", "status")

    assert result.exit_code == 2
    assert "set GAMEBALL_OUTBOX_DSN" in result.stderr


@pytest.mark.parametrize("duration", ["soon", "-1s", "nan", "1w", ""])
def test_a_duration_that_is_none_is_refused(duration: str) -> None:
    result = invoke("relay", "status", "--max-age", duration)

    assert result.exit_code == 2
    assert "give a duration such as 90s, 15m, 2h or 7d" in result.stderr
