"""A real pgbouncer in front of the tests' server, in transaction mode."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, Self

import psycopg

from .postgres import SUPERUSER, PostgresServer, make_accessible, unprivileged

CONNECTIONS = 4
"""Connections to the server for each database."""

_SETTINGS = """\
[databases]
* = host={server} user={user}
[pgbouncer]
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
auth_type = any
listen_port = 6432
unix_socket_dir = {folder}
logfile = {folder}/log
pidfile = {folder}/pid
"""


class PgBouncer:
    """One process of pgbouncer on a Unix socket.

    Args:
        server: where it connects to.
        folder: for its files; short enough for the path of a socket.
    """

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._process: subprocess.Popen[Any]

    def dsn(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self._folder}&port=6432"

    def __enter__(self) -> Self:
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(
                server=self._server.socket_folder, user=SUPERUSER, connections=CONNECTIONS, folder=self._folder
            )
        )
        make_accessible(self._folder)
        self._process = subprocess.Popen(["pgbouncer", "-q", str(settings)], **unprivileged())
        for _ in range(6000):
            try:
                psycopg.connect(self.dsn("postgres")).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.01)
            else:
                return self
        raise TimeoutError("pgbouncer does not accept connections")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
