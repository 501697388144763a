"""The files that a journal leaves in its folder: names, tables, columns, settings, and what a mark holds."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from gameball_async import AsyncGameball, Batching

SETTINGS = ("application_id", "user_version", "journal_mode", "auto_vacuum", "encoding", "page_size")


class _Noted(sqlite3.Connection):
    """A connection that notes which settings it is given."""

    settings: list[str]

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.upper().startswith("PRAGMA") and "=" in sql:
            self.settings.append(" ".join(sql.replace("=", " = ").split()))
        return super().execute(sql, *parameters)


def describe() -> str:
    """The text of the files, after one event was delivered, one rejected and one left."""
    settings: list[str] = []
    noted = type("Noted", (_Noted,), {"settings": settings})
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch("sqlite3.connect", partial(sqlite3.connect, factory=noted)):
            names, mark = asyncio.run(_leave_files(Path(folder)))
        lines = ["# files while a client runs", "", *sorted(set(map(_name, names))), ""]
        lines += ["# a mark", "", _mark(mark), ""]
        for pattern in ("*.journal", "dead-letters.db"):
            [path] = Path(folder).glob(pattern)
            lines += [f"# {pattern}", "", *_database(path), ""]
    return "\n".join([*lines, "# settings of connections", "", *sorted(set(map(_setting, settings)))]) + "\n"


async def _leave_files(folder: Path) -> tuple[list[str], str]:
    async def answer(request: httpx.Request) -> httpx.Response:
        if b"left" in request.content:
            await asyncio.sleep(3600)
        return httpx.Response(422 if b"rejected" in request.content else 200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http_client:
        gameball = AsyncGameball("key", journal=folder, http_client=http_client, batching=Batching(linger=0))
        await gameball.start()
        for player in ("delivered", "rejected", "left"):
            await gameball.track(player, "review", {"stars": 5}, email="jon.snow@example.com")
        while gameball.stats().pending > 1 or not gameball.stats().in_flight:  # noqa: ASYNC110 nothing sets an event
            await asyncio.sleep(0.001)  # the journal's thread must get the interpreter too
        while not (folder / "dead-letters.db").exists():  # noqa: ASYNC110 likewise
            await asyncio.sleep(0.001)
        found = _look(folder)
        await gameball.aclose(timeout=0)
    return found


def _look(folder: Path) -> tuple[list[str], str]:
    [mark] = folder.glob("*.mark")
    return [path.name for path in folder.iterdir()], mark.read_bytes().decode()


def _name(name: str) -> str:
    """A name without what is different in each process."""
    return re.sub(r"[0-9a-f]{8,}|\d{2,}", "N", name)


def _mark(text: str) -> str:
    """The fields of a mark, which but for the version of the format are different in each process."""
    line = text.partition("\n")[0]  # what follows is the end of an earlier, longer one
    *fields, version, checksum = line.split(" ")
    kinds = ["NUMBER" if field.isdigit() else re.sub(r"[0-9a-f]{16,}", "HEX", field) for field in fields]
    return " ".join([*kinds, version, "NUMBER" if checksum.isdigit() else "?"])


def _setting(setting: str) -> str:
    return re.sub(r"\d{6,}", "N", setting)


def _database(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as database:
        for name in SETTINGS:
            [value] = database.execute(f"PRAGMA {name}").fetchone()
            yield f"{name} = {value}"
        for kind, name, sql in database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"):
            yield f"{kind} {name}: {' '.join(sql.split()) if sql else ''}"
        for (table,) in database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        ).fetchall():
            columns = database.execute(f"SELECT * FROM {table} LIMIT 1")
            types = [type(value).__name__ for value in columns.fetchone() or ()]
            yield f"{table} holds {', '.join(types)}" if types else f"{table} holds nothing"
