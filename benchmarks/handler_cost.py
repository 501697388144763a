"""Processor time that tracking adds to a FastAPI call, with this source tree and with another one, alternating.

::

    git worktree add ../before COMMIT
    python -m benchmarks.handler_cost ../before --rounds 9

Each measurement is an app in a process of its own, whose handler awaits its database and tracks one event. As in the
benchmark `handler` there are 400 calls a second, of 500 players, and nothing merges, so the client sends a hundred
requests a second, as many as Gameball allows. With ``--flat-out`` there is no pacing, and each call has a request of
its own, which is waited for. Nothing is saved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .harness import ROOT
from .server import local_server
from .shop import METADATA

DATABASE = 0.005
"""Seconds that a handler waits for its database."""

_PER_SECOND = 400
_PLAYERS = 500
_CONNECTIONS = 8
_WARM_UP = 200

Row = tuple[float, float, float]
"""Microseconds of one call: without tracking, with the other tree, and with this one."""


# ---------------------------------------------------------------- the app


async def _serve(url: str | None, *, flat_out: bool) -> None:
    from gameball_async import AsyncGameball, RateLimit  # noqa: PLC0415 of the tree that is measured

    fastapi: Any = import_module("fastapi")
    uvicorn: Any = import_module("uvicorn")
    app, rate = fastapi.FastAPI(), None if flat_out else RateLimit()
    gameball = AsyncGameball("key", base_url=url or "http://127.0.0.1:9", rate=rate)
    async with gameball:

        async def order(player: str) -> dict[str, str]:
            await asyncio.sleep(DATABASE)
            if url is not None:
                await gameball.track(player, "place_order", METADATA)
            return {"player": player}

        async def cpu() -> dict[str, float]:
            if flat_out:
                await gameball.flush()
            return {"seconds": time.process_time()}

        app.get("/order/{player}")(order)
        app.get("/cpu")(cpu)
        listener = socket.socket(proto=socket.IPPROTO_TCP)  # without the number asyncio leaves Nagle's algorithm on
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_keep_alive=600)
        await uvicorn.Server(config).serve(sockets=[listener])


# ---------------------------------------------------------------- the callers


@contextmanager
def _app(tree: Path, url: str | None, *, flat_out: bool) -> Generator[int]:
    """Run the app with a tree's client; yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gameball_async").symlink_to(tree.resolve() / "gameball_async")  # the client alone
        environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-P", "-m", "benchmarks.handler_cost", "--serve", url or ""]
        command += ["--flat-out"] * flat_out
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own module
            assert process.stdout is not None, "it is a pipe"  # noqa: S101 an invariant
            try:
                yield int(process.stdout.readline())
            finally:
                process.terminate()


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n", 1)[0]))


async def _call(port: int, numbers: range, per_second: float = math.inf) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for done, number in enumerate(numbers):
        await asyncio.sleep(begun + done / per_second - loop.time())
        await _get(reader, writer, f"/order/player{number % _PLAYERS}")
    writer.close()


async def _cpu(port: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seconds: float = json.loads(await _get(reader, writer, "/cpu"))["seconds"]
    writer.close()
    return seconds


async def _measured(port: int, calls: int, per_second: float) -> float:
    await _call(port, range(_WARM_UP))
    before = await _cpu(port)
    async with asyncio.TaskGroup() as tasks:
        for first in range(_CONNECTIONS):
            tasks.create_task(_call(port, range(first, calls, _CONNECTIONS), per_second / _CONNECTIONS))
    return 1e6 * (await _cpu(port) - before) / calls


def measure(tree: Path, url: str | None, calls: int, *, flat_out: bool) -> float:
    """Microseconds of processor time of one call of the app; `url` None does not track."""
    with _app(tree, url, flat_out=flat_out) as port:
        return asyncio.run(_measured(port, calls, math.inf if flat_out else _PER_SECOND))


def run(before: Path, rounds: int, calls: int, *, flat_out: bool) -> list[Row]:
    """The figures of each round."""
    with local_server() as url:
        apps = ((ROOT, None), (before, url), (ROOT, url))
        figures = [[measure(tree, to, calls, flat_out=flat_out) for tree, to in apps] for _ in range(rounds)]
    return [(bare, old, new) for bare, old, new in figures]


def table(rows: list[Row]) -> list[str]:
    """A table: the medians, and the median and the range of what tracking adds, as a part of the bare call."""
    lines = ["| CPU µs/call | median | added (range) |", "|---|---|---|"]
    for column, label in enumerate(("without tracking", "before", "now")):
        added = [row[column] / row[0] - 1 for row in rows]
        spread = f"{statistics.median(added):.0%} ({min(added):.0%}–{max(added):.0%})"
        lines.append(f"| {label} | {statistics.median(row[column] for row in rows):.0f} | {spread if column else ''} |")
    return lines


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handler_cost", description="CPU per FastAPI call.")
    parser.add_argument("before", type=Path, nargs="?", default=ROOT, help="the other source tree")
    parser.add_argument("--rounds", type=int, default=9, help="how often (default: 9)")
    parser.add_argument("--calls", type=int, default=4_000, help="in each measurement (default: 4000)")
    parser.add_argument("--serve", metavar="URL", help="be the app; tracks only if the URL is not empty")
    parser.add_argument("--flat-out", action="store_true", help="without pacing, a request for each call")
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(_serve(options.serve or None, flat_out=options.flat_out))
    else:
        sys.stdout.write(
            "\n".join(table(run(options.before, options.rounds, options.calls, flat_out=options.flat_out))) + "\n"
        )


if __name__ == "__main__":
    main()
