"""The commands find the database of the test in the environment."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from cli.conftest import KEY, Process

from gameball_async.sandbox import Sandbox


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, limits=None) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.setenv("GAMEBALL_OUTBOX_DSN", dsn)
    monkeypatch.setenv("GAMEBALL_API_KEY", KEY)
    for name in ("GAMEBALL_SECRET_KEY", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PGPASSFILE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while Process.started:
        Process.started.pop().kill()
