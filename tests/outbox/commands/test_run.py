"""`relay run` as a process: it delivers, hands over at a signal, and is fit for an orchestrator."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from cli.conftest import Process, invoke

from gameball_async.sandbox import Fault, Sandbox

from ..postgres import PostgresServer

STOPPED = b"Stopped. "


@pytest.fixture
def gameball(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox without limits, whose address the environment has."""
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    return sandbox


def append(connection: psycopg.Connection, count: int, first: int = 1) -> None:
    connection.execute(
        "INSERT INTO gameball_event (player, name, metadata) "
        "SELECT 'player' || n %% 10, 'review', json_build_object('n', n) FROM generate_series(%s::int, %s::int) n",
        [first, first + count - 1],
    )


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_empty(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT count(*) FROM gameball_event").fetchone() == (0,)


def owners(connection: psycopg.Connection) -> set[str | None]:
    rows = connection.execute(
        "SELECT relay.name FROM gameball_shard AS shard LEFT JOIN gameball_relay AS relay ON relay.id = shard.relay"
    )
    return {name for (name,) in rows}


def started(name: str, folder: Path, *options: object) -> Process:
    ready = folder / f"{name}.ready"
    process = Process("relay", "run", "--name", name, "--no-limits", "--ready-file", ready, *options)
    process.wait_for(b"shards.\n")
    assert ready.read_text() == f"{process.pid}\n"
    return process


def test_it_delivers_and_hands_everything_over_at_sigterm(
    connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path
) -> None:
    append(connection, 50)
    process = started("relay-1", tmp_path)
    append(connection, 50, first=51)
    wait_until(lambda: is_empty(connection))
    assert owners(connection) == {"relay-1"}

    process.interrupt(signal.SIGTERM)

    assert process.end() == 0
    assert owners(connection) == {None}
    assert connection.execute("SELECT count(*) FROM gameball_relay WHERE NOT dead").fetchone() == (0,)
    assert sum(map(len, gameball.holdings().values())) == 100
    assert b"Stopped. 100 events delivered in " in process.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["bulk", "auto"])
def test_it_delivers_in_bulk_requests_if_it_may(
    connection: psycopg.Connection,
    gameball: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "secret-key-0123456789")
    append(connection, 50)
    process = started("relay-1", tmp_path, "--mode", mode, "--bulk-items", 4)
    wait_until(lambda: is_empty(connection))
    process.interrupt(signal.SIGTERM)
    assert process.end() == 0
    assert sum(map(len, gameball.holdings().values())) == 50
    assert b"Stopped. 50 events delivered in " in process.err
    items = [request.items for request in gameball.requests if request.route == "batch"]
    assert (sum(items), max(items, default=0)) == ((50, 4) if mode == "bulk" else (0, 0))


def test_bulk_requests_need_v4_and_both_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_SECRET_KEY", raising=False)
    arguments = ("relay", "run", "--dsn", "service=none", "--mode", "bulk")
    for version, words in (("v3.0", "--mode bulk needs bulk requests"), ("v4.0", "--mode bulk needs both keys")):
        result = invoke(*arguments, "--api-version", version)
        assert result.exit_code == 2
        assert words in result.stderr


def test_the_next_relay_waits_for_no_lease(connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path) -> None:
    """With a lease of an hour, a takeover would be noticed."""
    first = started("relay-1", tmp_path, "--lease", "3600")
    second = started("relay-2", tmp_path, "--lease", "3600")
    wait_until(lambda: owners(connection) == {"relay-1", "relay-2"})
    state = json.loads(invoke("relay", "status", "--json", "--name", "relay-2").stdout)
    wait_until(lambda: connection.execute("SELECT count(*) FROM gameball_shard WHERE relay IS NULL").fetchone() == (0,))
    assert [relay["name"] for relay in state["relays"]] == ["relay-1", "relay-2"]

    first.interrupt(signal.SIGTERM)
    assert first.end() == 0
    append(connection, 20)
    wait_until(lambda: is_empty(connection))

    assert owners(connection) == {"relay-2"}
    assert sum(map(len, gameball.holdings().values())) == 20
    second.interrupt()
    assert second.end() == 0


def test_requests_in_flight_finish_before_it_ends(
    connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path
) -> None:
    gameball.script(Fault.latency(1.0))
    append(connection, 1)
    process = started("relay-1", tmp_path)
    gameball.wait_for(lambda tally: tally.in_flight == 1, timeout=100)

    process.interrupt(signal.SIGTERM)

    assert process.end() == 0
    assert is_empty(connection)
    assert b"Stopped. 1 event delivered in 1 request" in process.err


def test_a_second_signal_ends_it_at_once(connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path) -> None:
    gameball.script(Fault.hang())
    append(connection, 1)
    process = started("relay-1", tmp_path)
    wait_until(lambda: connection.execute("SELECT count(*) FROM gameball_sent").fetchone() == (1,))

    process.interrupt(signal.SIGTERM)
    process.wait_for(b"Stopping: ")
    process.interrupt(signal.SIGTERM)

    assert process.end() == 130
    assert STOPPED not in process.err
    assert connection.execute("SELECT count(*) FROM gameball_event").fetchone() == (1,)
    assert list(tmp_path.iterdir()) == []


def test_the_ready_file_shows_that_it_is_alive(gameball: Sandbox, tmp_path: Path) -> None:
    del gameball
    process = started("relay-1", tmp_path)
    path = tmp_path / "relay-1.ready"
    touched = path.stat().st_mtime_ns
    wait_until(lambda: path.stat().st_mtime_ns > touched)
    process.interrupt()
    assert process.end() == 0


def test_a_ready_file_that_cannot_be_written_ends_it(gameball: Sandbox, tmp_path: Path) -> None:
    del gameball
    process = Process("relay", "run", "--ready-file", tmp_path / "none" / "ready")

    assert process.end() == 1
    assert b"No such file or directory" in process.err


def test_with_a_wrong_key_it_waits_and_says_so(
    connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path
) -> None:
    gameball.script(Fault.status(401))
    append(connection, 1)
    process = started("relay-1", tmp_path)
    process.wait_for(b"ERROR   Gameball refuses this client")

    process.interrupt(signal.SIGTERM)

    assert process.end() == 0
    assert not is_empty(connection)


def test_its_log_can_be_json(connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path) -> None:
    gameball.script(Fault.status(422, code=3003, times=1))
    append(connection, 1)
    process = Process("relay", "run", "--no-limits", "--log-json", "--ready-file", tmp_path / "ready")
    process.wait_for(b"gameball_code")
    process.interrupt(signal.SIGTERM)
    assert process.end() == 0

    lines = [json.loads(line) for line in process.err.splitlines()]
    assert all(line.keys() >= {"at", "level", "message"} for line in lines)
    refused = next(line for line in lines if "gameball_code" in line)
    assert (refused["level"], refused["gameball_kind"], refused["gameball_code"]) == ("error", "undelivered", 3003)
    assert any(line.get("gameball_shards") == 64 for line in lines)


def test_a_database_that_is_down_is_waited_for(tmp_path: Path, gameball: Sandbox) -> None:
    del gameball
    dsn = f"host={tmp_path} dbname=shop user=relay password=secret-1"
    process = Process("relay", "run", environment={"GAMEBALL_OUTBOX_DSN": dsn})
    process.wait_for(b"the database is unavailable")

    process.interrupt(signal.SIGTERM)

    assert process.end() == 0
    assert b"secret-1" not in process.err + process.out


def test_a_database_that_cannot_be_written_to_is_waited_for(
    connection: psycopg.Connection, database: str, gameball: Sandbox, tmp_path: Path
) -> None:
    """As after a failover, when the address leads to a replica."""
    connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
    process = Process("relay", "run", "--no-limits", "--ready-file", tmp_path / "ready")
    process.wait_for(b"the database is unavailable")
    connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = off".encode())
    append(connection, 1)
    wait_until(lambda: is_empty(connection))
    process.interrupt()
    assert process.end() == 0
    assert sum(map(len, gameball.holdings().values())) == 1


def test_without_the_tables_it_ends_and_says_what_to_do(
    postgres: PostgresServer, empty_database: str, gameball: Sandbox
) -> None:
    del gameball
    process = Process("relay", "run", "--dsn", postgres.dsn(empty_database))

    assert process.end() == 2
    assert b"gameball-async relay schema" in process.err


@pytest.mark.parametrize(
    ("variable", "message"),
    [("GAMEBALL_API_KEY", "the API key is missing"), ("GAMEBALL_OUTBOX_DSN", "the database is missing")],
)
def test_what_it_needs_is_named(variable: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable)
    result = invoke("relay", "run")

    assert result.exit_code == 2
    assert message in result.stderr


def test_it_has_three_connections_with_a_name(
    connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path
) -> None:
    append(connection, 1)
    process = started("relay-1", tmp_path)
    wait_until(lambda: is_empty(connection))
    assert sum(map(len, gameball.holdings().values())) == 1
    count = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gameball-async relay' "
        "AND datname = current_database()"
    )
    assert count.fetchone() == (3,)
    process.interrupt()
    assert process.end() == 0


def test_a_pause_is_shown_to_operators(connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path) -> None:
    gameball.script(Fault.status(429, retry_after=120, times=1))
    append(connection, 1)
    process = started("relay-1", tmp_path)
    wait_until(lambda: json.loads(invoke("relay", "status", "--json").stdout)["paused"] > 60)
    process.interrupt()
    assert process.end() == 0


@pytest.mark.parametrize(("choice", "held", "kinds"), [("resend", 2, []), ("report", 1, ["OutcomeUnknown"])])
def test_an_answer_that_got_lost_is_resent_or_reported(
    connection: psycopg.Connection, gameball: Sandbox, tmp_path: Path, choice: str, held: int, kinds: list[str]
) -> None:
    gameball.script(Fault.reset_after(times=1))
    append(connection, 1)
    process = started("relay-1", tmp_path, "--ambiguous", choice)
    wait_until(lambda: is_empty(connection))
    process.interrupt()
    assert process.end() == 0
    assert sum(map(len, gameball.holdings().values())) == held
    assert [kind for (kind,) in connection.execute("SELECT kind FROM gameball_dead")] == kinds
