"""Relays behind pgbouncer in transaction mode, which gives each statement any of four connections."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cli.conftest import Process, invoke

from gameball_async.sandbox import Sandbox

from ..postgres import PostgresServer, make_accessible, unprivileged

pytestmark = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="pgbouncer is not installed")

SETTINGS = """
[databases]
* = host={server} user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 4
"""


@pytest.fixture
def through_pgbouncer(postgres: PostgresServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The database's address through a pgbouncer of its own, also in the environment."""
    with tempfile.TemporaryDirectory(prefix="pgb") as name:  # a socket's path has at most 107 bytes
        folder = Path(name)
        (folder / "pgbouncer.ini").write_text(SETTINGS.format(server=postgres.socket_folder, folder=folder))
        make_accessible(folder)
        process = subprocess.Popen(
            ["pgbouncer", "-q", folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **unprivileged()
        )
        dsn = f"postgresql://postgres@/{database}?host={folder}&port=6432"
        try:
            for _ in range(1000):
                try:
                    psycopg.connect(dsn).close()
                    break
                except psycopg.OperationalError:
                    assert process.poll() is None
                    time.sleep(0.01)
            monkeypatch.setenv("GAMEBALL_OUTBOX_DSN", dsn)
            yield dsn
        finally:
            process.kill()
            process.wait()


@pytest.mark.usefixtures("through_pgbouncer")
def test_two_relays_deliver_hand_over_and_show_their_state(
    connection: psycopg.Connection, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    while connection.execute("SELECT count(*) FROM gameball_event").fetchone() != (0,):
        time.sleep(0.02)
    assert invoke("relay", "status", "--name", "relay-1").exit_code == 0
    assert invoke("relay", "dead", "list").stdout == "0 dead letters, 0 shown.\n"
    for relay in relays:
        relay.interrupt()
        assert relay.end() == 0
    assert {player: [event.metadata["n"] for event in events] for player, events in sandbox.holdings().items()} == {
        f"player{n}": [m for m in range(1, 501) if m % 50 == n] for n in range(50)
    }
