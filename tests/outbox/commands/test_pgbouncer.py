"""Relays behind pgbouncer in transaction mode, which gives each statement any of four connections."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from cli.conftest import Process, invoke

from gameball_async.sandbox import Sandbox

from ..pgbouncer import PgBouncer
from .test_run import is_empty, wait_until


def test_two_relays_deliver_hand_over_and_show_their_state(
    connection: psycopg.Connection,
    database: str,
    pgbouncer: PgBouncer,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GAMEBALL_OUTBOX_DSN", pgbouncer.dsn(database))
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    relays = [
        Process("relay", "run", "--no-limits", "--name", f"relay-{n}", "--ready-file", tmp_path / f"{n}")
        for n in (1, 2)
    ]
    for relay in relays:
        relay.wait_for(b"shards.\n")
    connection.execute(
        "INSERT INTO gameball_event (player, name, metadata) "
        "SELECT 'player' || n %% 50, 'review', json_build_object('n', n) FROM generate_series(1, %s::int) n",
        [500],
    )
    wait_until(lambda: is_empty(connection))
    assert invoke("relay", "status", "--name", "relay-1").exit_code == 0
    assert invoke("relay", "dead", "list").stdout == "0 dead letters, 0 shown.\n"
    for relay in relays:
        relay.interrupt()
        assert relay.end() == 0
    assert {player: [event.metadata["n"] for event in events] for player, events in sandbox.holdings().items()} == {
        f"player{n}": [m for m in range(1, 501) if m % 50 == n] for n in range(50)
    }
