"""Events that are on disk when `track` returns, in a second: beside what SQLite and this disk allow at all.

Both limits write rows of the same size as the journal does, in WAL mode with `synchronous=FULL` and an exclusive lock.
*Bare SQLite* is one thread that commits as many rows at once as there are callers, and waits for nobody; *bare group
commit* is so many asyncio callers that wait for one thread, which commits whatever has gathered. *Handwritten group
commit* is the same with what no caller can do without: each makes its own JSON, with the standard library, and its
checksum.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import statistics
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from zlib import crc32

from gameball_async import AsyncGameball, Batching

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .shop import ENCODED, METADATA, NAMES, UNREACHABLE

_CALLERS = (1, 10, 100)
_SECONDS = 2.0
_TABLE = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, player TEXT, name TEXT, encoded BLOB, mobile TEXT, email TEXT,"
    " accepted_at REAL, together INTEGER, checksum INTEGER)"
)
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_Row = tuple[None, str, str, bytes, None, None, float, None, int]


def _row(caller: int, number: int) -> _Row:
    return None, f"player{caller}", NAMES[number % len(NAMES)], ENCODED, None, None, 1.0, None, 123


def _connection(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None, check_same_thread=False)
    for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.execute(_TABLE).close()
    return connection


def _commit(connection: sqlite3.Connection, rows: list[_Row]) -> None:
    connection.execute("BEGIN").close()
    connection.executemany(_INSERT, rows).close()
    connection.execute("COMMIT").close()


def _figures(count: int, seconds: float, cpu: float) -> Figures:
    return {"per_second": count / seconds, "cpu": 1e6 * cpu / count}


# ---------------------------------------------------------------- the limits


def _bare_sqlite(callers: int, setting: Setting) -> Figures:
    connection = _connection(setting.folder)
    count, begun, cpu = 0, time.perf_counter(), time.process_time()
    until = begun + setting.seconds(_SECONDS)
    while time.perf_counter() < until:
        _commit(connection, [_row(caller, count) for caller in range(callers)])
        count += callers
    figures = _figures(count, time.perf_counter() - begun, time.process_time() - cpu)
    connection.close()
    return figures


class _GroupCommit:
    """A thread that commits whatever has gathered while it committed before."""

    def __init__(self, folder: Path) -> None:
        self._connection = _connection(folder)
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[_Row, asyncio.Future[None]]] = deque()
        self._added = threading.Event()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def store(self, row: _Row) -> None:
        stored: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((row, stored))
        self._added.set()
        await stored

    def close(self) -> None:
        self._is_ending = True
        self._added.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._is_ending:
            self._added.wait()
            self._added.clear()
            group = [self._queue.popleft() for _ in range(len(self._queue))]
            if group:
                _commit(self._connection, [row for row, _ in group])
                self._loop.call_soon_threadsafe(self._announce, [stored for _, stored in group])

    def _announce(self, group: list[asyncio.Future[None]]) -> None:
        for stored in group:
            stored.set_result(None)


async def _calls_per_second(callers: int, setting: Setting, call: Callable[[int, int], Awaitable[object]]) -> Figures:
    count, begun, cpu = 0, time.perf_counter(), time.process_time()
    until = begun + setting.seconds(_SECONDS)

    async def go_on(caller: int) -> None:
        nonlocal count
        own = 0  # names follow one another for each player: a number that all callers share would give each always one
        while not own or time.perf_counter() < until:
            await call(caller, own)
            own += 1
        count += own

    async with asyncio.TaskGroup() as tasks:
        for caller in range(callers):
            tasks.create_task(go_on(caller))
    return _figures(count, time.perf_counter() - begun, time.process_time() - cpu)


def _handwritten_row(caller: int, number: int) -> _Row:
    player, name, encoded = f"player{caller}", NAMES[number % len(NAMES)], json.dumps(METADATA).encode()
    return (
        None,
        player,
        name,
        encoded,
        None,
        None,
        time.time(),
        None,
        crc32(encoded, crc32(f"{player} {name}".encode())),
    )


async def _grouped(callers: int, setting: Setting, row: Callable[[int, int], _Row]) -> Figures:
    commits = _GroupCommit(setting.folder)
    try:
        return await _calls_per_second(callers, setting, lambda caller, number: commits.store(row(caller, number)))
    finally:
        commits.close()


def _group_commit(callers: int, row: Callable[[int, int], _Row], setting: Setting) -> Figures:
    return asyncio.run(_grouped(callers, setting, row))


# ---------------------------------------------------------------- ours


async def _tracked(callers: int, setting: Setting) -> Figures:
    gameball = AsyncGameball(
        "key", base_url=UNREACHABLE, journal=setting.folder, batching=Batching(buffer_events=1_000_000)
    )
    await gameball.start()
    figures = await _calls_per_second(
        callers,
        setting,
        lambda caller, number: gameball.track(f"player{caller}", NAMES[number % len(NAMES)], METADATA),
    )
    await gameball.aclose(timeout=0)
    return figures


def _durable_track(callers: int, setting: Setting) -> Figures:
    return asyncio.run(_tracked(callers, setting))


def _sync_time(setting: Setting) -> Figures:
    """One page appended and synced, again and again: the most commits that this disk allows."""
    file = os.open(setting.folder / "page", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    page, times = bytes(4096), list[float]()
    for _ in range(setting.of(2000, least=3)):
        os.write(file, page)
        begun = time.perf_counter()
        os.fdatasync(file)
        times.append(time.perf_counter() - begun)
    os.close(file)
    return {"per_second": len(times) / sum(times), "sync": 1e6 * statistics.median(times)}


def _rows() -> list[Measurement]:
    rows = [Measurement("one page and fdatasync", _sync_time)]
    for callers in _CALLERS:
        sqlite, group = f"bare SQLite, {callers} rows a commit", f"bare group commit, {callers} callers"
        handwritten = f"handwritten group commit, {callers} callers"
        rows += [
            Measurement(sqlite, partial(_bare_sqlite, callers)),
            Measurement(group, partial(_group_commit, callers, _row)),
            Measurement(handwritten, partial(_group_commit, callers, _handwritten_row)),
            Measurement(
                f"durable track(), {callers} callers", partial(_durable_track, callers), (group, handwritten, sqlite)
            ),
        ]
    return rows


BENCHMARK = Benchmark(
    name="durable",
    title="Durable track() calls in a second, server down",
    columns=(
        Column(figure="per_second", heading="calls/s", digits=0),
        Column(figure="cpu", heading="CPU µs/call"),
        Column(figure="sync", heading="fdatasync µs", digits=0),
    ),
    measurements=tuple(_rows()),
)
