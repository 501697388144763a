"""The recipes of the page on the outbox, executed by Alembic and Django, and its examples that are only defined."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from django.db import DEFAULT_DB_ALIAS
from docs.pages import DOCS
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from gameball_async.outbox._tables import TABLES

from .applications import on_django
from .postgres import PostgresServer


def example(words: str) -> str:
    """The one example of the page that holds these words."""
    (block,) = [block for block in DOCS["outbox"].blocks() if block.info == "python" and words in block.text]
    return block.text


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'gameball%'").fetchall()
    return {name for (name,) in rows}


# ---------------------------------------------------------------- Alembic

ENVIRONMENT = """
from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""


@pytest.fixture
def alembic(tmp_path: Path) -> Config:
    """A project whose one migration is that of the page."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    (tmp_path / "script.py.mako").touch()
    (tmp_path / "versions" / "outbox.py").write_text(example("from alembic import op"))
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")
    return config


def migrate(connection: Connection, config: Config, target: str) -> None:
    config.attributes["connection"] = connection
    (command.downgrade if target == "base" else command.upgrade)(config, target)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_alembic_creates_and_drops_the_tables(
    driver: str, alembic: Config, postgres: PostgresServer, empty_database: str
) -> None:
    engine = create_engine(postgres.dsn(empty_database, driver=driver), poolclass=NullPool)
    for target, expected in {"head": set(TABLES), "base": set[str]()}.items():
        with engine.begin() as connection:
            migrate(connection, alembic, target)
        assert tables(postgres.dsn(empty_database)) == expected


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.asyncio
async def test_alembic_migrates_with_asynchronous_drivers(
    driver: str, alembic: Config, postgres: PostgresServer, empty_database: str
) -> None:
    engine = create_async_engine(postgres.dsn(empty_database, driver=driver), poolclass=NullPool)
    for target, expected in {"head": set(TABLES), "base": set[str]()}.items():
        async with engine.begin() as connection:
            await connection.run_sync(migrate, alembic, target)
        assert tables(postgres.dsn(empty_database)) == expected


# ---------------------------------------------------------------- Django

SETTINGS = """
SECRET_KEY = "for-tests-only"
INSTALLED_APPS = ["shop"]
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": "{name}", "USER": "postgres", "HOST": "{host}"
}}}}
"""


@pytest.fixture
def django_project(tmp_path: Path, postgres: PostgresServer, empty_database: str) -> Path:
    """A project whose one migration is that of the page."""
    migrations = tmp_path / "shop" / "migrations"
    migrations.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (migrations / "__init__.py").touch()
    (migrations / "0001_outbox.py").write_text(example("from django.db import migrations"))
    settings = SETTINGS.format(name=empty_database, host=postgres.socket_folder)
    (tmp_path / "shop_settings.py").write_text(settings)
    return tmp_path


def test_django_creates_and_drops_the_tables(
    django_project: Path, postgres: PostgresServer, empty_database: str
) -> None:
    for target, expected in {"0001": set(TABLES), "zero": set[str]()}.items():
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "shop", target, "--verbosity", "0"],
            check=True,
            cwd=django_project,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": str(django_project)},
        )
        assert tables(postgres.dsn(empty_database)) == expected


@pytest.fixture
def _default_database(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
    with on_django(lambda _: dsn, DEFAULT_DB_ALIAS):
        yield


@pytest.mark.usefixtures("_default_database")
def test_the_function_for_django_appends_an_event(dsn: str) -> None:
    defined: dict[str, Any] = {}
    exec(example("def place_order"), defined)  # the page is ours
    defined["place_order"]("player123")

    with psycopg.connect(dsn) as connection:
        stored = connection.execute("SELECT player, name, metadata FROM gameball_event").fetchall()
    assert stored == [("player123", "place_order", {"total_amount": 100})]


# ---------------------------------------------------------------- tables of the page


def test_the_page_describes_every_table() -> None:
    described = {row["Table"].strip("`") for row in DOCS["outbox"].tables()["Tables/Table"]}
    assert described == set(TABLES)
