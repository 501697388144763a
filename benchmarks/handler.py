"""How long a FastAPI handler takes that tracks one event, beside the same handler that does not.

Calls come at a fixed rate, whether earlier ones are answered or not; a call's time counts from the moment it was due,
so that one that had to wait its turn shows it. The handler awaits its database for five milliseconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from .handler_app import TRACKERS
from .harness import ROOT, Benchmark, Column, Figures, Goal, Measurement, Setting
from .peers import AsyncPosthog, OfficialCall

_CALLS = 4_000
_PER_SECOND = 400
_CONNECTIONS = 50
_PLAYERS = 500
_WARM_UP = 0.1
_NEEDS = {
    "one blocking request": OfficialCall.library,
    "one blocking request, in a thread": OfficialCall.library,
    "AsyncPosthog": AsyncPosthog.library,
}


@contextmanager
def _app(tracker: str, url: str) -> Generator[int]:
    """Run the app; yields its port."""
    command = [sys.executable, "-m", "benchmarks.handler_app", tracker, url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own module
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 an invariant
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


class _Callers:
    """Connections that are kept open, and the times of the calls made through them."""

    def __init__(self, port: int) -> None:
        self.times = list[float]()
        self._port = port
        self._idle = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    async def call(self, number: int, due: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(due - loop.time())
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        writer.write(b"GET /order/player%d HTTP/1.1\r\nHost: shop\r\n\r\n" % (number % _PLAYERS))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        self.times.append(loop.time() - due)
        self._idle.append((reader, writer))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def open(self) -> None:
        self._idle = [await self._connect() for _ in range(_CONNECTIONS)]

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _called(port: int, calls: int) -> list[float]:
    callers = _Callers(port)
    await callers.open()
    begun = asyncio.get_running_loop().time() + 0.1
    async with asyncio.TaskGroup() as tasks:
        for number in range(calls):
            tasks.create_task(callers.call(number, begun + number / _PER_SECOND))
    callers.close()
    return callers.times


def _measure(tracker: str, setting: Setting) -> Figures:
    with _app(tracker, setting.url) as port:
        times = asyncio.run(_called(port, setting.of(_CALLS, least=10)))
    settled = sorted(times[round(len(times) * _WARM_UP) :])
    return {"p99": 1e3 * settled[len(settled) * 99 // 100], "p50": 1e3 * settled[len(settled) // 2]}


BENCHMARK = Benchmark(
    name="handler",
    title=f"A FastAPI handler that tracks one event, at {_PER_SECOND} calls a second",
    columns=(
        Column(figure="p99", heading="p99 ms", digits=2),
        Column(figure="p50", heading="median ms", digits=2),
    ),
    measurements=tuple(
        Measurement(
            tracker, partial(_measure, tracker), ("nothing",) if tracker != "nothing" else (), needs=_NEEDS.get(tracker)
        )
        for tracker in TRACKERS
    ),
    goals=(
        Goal(
            text="FastAPI handler, p99: within 3 % of the same without tracking",
            label="gameball_async",
            figure="p99",
            beside="nothing",
            at_most=1.03,
        ),
    ),
)
