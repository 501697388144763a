"""Fixtures of the tests of the pages."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from outbox.postgres import SUPERUSER, PostgresServer

from gameball_async._loop_thread import close_all
from gameball_async.sandbox import Sandbox

from .pages import ROOT


@pytest.fixture(autouse=True)
def _the_log_is_as_before() -> Iterator[None]:
    """Some examples configure the log; no later test did."""
    log = logging.getLogger("gameball_async")
    handlers = list(log.handlers)
    yield
    log.handlers[:] = handlers
    logging.getLogger("gameball_async.requests").setLevel(logging.NOTSET)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with Gameball's own limits."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def gameball_is_the_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """What `docs/index.md` tells: a key and an address in the environment; no more."""
    monkeypatch.setenv("GAMEBALL_API_KEY", "test-key")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    yield sandbox
    close_all()  # synchronous clients, which some examples leave to the interpreter's exit


@pytest.fixture
def shop_database(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the examples of the outbox name: a database "shop" with the outbox's tables, and its server by default."""
    monkeypatch.setenv("PGHOST", str(postgres.socket_folder))
    monkeypatch.setenv("PGUSER", SUPERUSER)
    postgres.execute("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", "shop", "outbox")
    yield
    postgres.drop_database("shop")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(source: Path, to: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build a site with this project's configuration and the options of `make docs`."""
    (given,) = re.findall(r"-m sphinx (.+) -c docs ", (ROOT / "Makefile").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "sphinx", *given.split(), "-c", ROOT / "docs", "-d", to / "doctrees", *options]
    return subprocess.run([*command, source, to / "html"], capture_output=True, text=True, check=False, cwd=source)


@pytest.fixture(scope="session")
def site(build_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The site, built as by `make docs`."""
    if (ROOT / "gameball_async").is_symlink():
        pytest.skip("the package is installed elsewhere: a site is built where its source is")

    def fill(folder: Path) -> None:
        done = build(ROOT, folder)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""

    return build_once("site", fill) / "html"
