"""What every test relies on."""

from __future__ import annotations

import gc
import importlib
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gameball_async._platform import locked_folder

if TYPE_CHECKING:
    from outbox.postgres import PostgresServer

# The signals that tests send to the processes they start. Processes inherit what is ignored or blocked here, as it is
# under nohup or in the background of a script, so nothing is: they start as they would from a shell.
STOPPING = {getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)}


def _keep_running(*_: object) -> None:
    """Ignore a signal here, but not in the processes started from here."""


for _number in STOPPING:
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else _keep_running)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    # ten thousand tests stay until the end, and every full garbage collection would visit what they consist of
    importlib.import_module("hypothesis")  # it asks for referrers at its import, which are not found later
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def build_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Callable[[Path], None]], Path]:
    """Build a folder once for all processes of a parallel run: call it with a name and what fills the folder."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def build(name: str, fill: Callable[[Path], None]) -> Path:
        folder, is_built = shared / name, shared / f"{name}.built"
        folder.mkdir(exist_ok=True)
        with locked_folder(folder):
            if not is_built.exists():
                fill(folder)
                is_built.touch()
        return folder

    return build


@pytest.fixture(scope="session")
def new_server(
    build_once: Callable[[str, Callable[[Path], None]], Path],
) -> Iterator[Callable[[], PostgresServer]]:
    """Start a PostgreSQL server of one's own, to kill or to restart; it has the template "outbox"."""
    from outbox.postgres import PostgresServer, initialise, server_folder  # noqa: PLC0415 few tests need it

    def initialise_with_template(built: Path) -> None:
        with server_folder("postgres") as folder:
            data = folder / "data"
            data.mkdir(mode=0o700)
            initialise(data)
            server = PostgresServer(data)
            server.start()
            server.create_template()
            server.stop(signal.SIGINT)
            shutil.copytree(data, built / "data")

    with ExitStack() as stack:

        def start() -> PostgresServer:
            data = stack.enter_context(server_folder("postgres")) / "data"
            shutil.copytree(build_once("postgres", initialise_with_template) / "data", data)
            server = PostgresServer(data)
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def postgres(new_server: Callable[[], PostgresServer]) -> PostgresServer:
    """The PostgreSQL server that the tests of a process share; roles belong to it as a whole."""
    return new_server()
