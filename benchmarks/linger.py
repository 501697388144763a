"""What merges, and how late events are, by the linger: the real client in virtual time, under Gameball's limits.

Customers come at random, a given number in a second on average. Each causes three events, with a gap of about so many
seconds between them. A request is answered after 60 ms. The delay of an event lasts from its call to its answer.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from selectors import DefaultSelector, SelectorKey

import httpx

from gameball_async import AsyncGameball, Batching

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .shop import NAMES

LINGERS = (0.5, 2.0, 5.0)
GAPS = (0.0, 1.0, 10.0)
RATES = (10, 20, 30, 38, 50)
"""Visits per second. Merging leaves at least one request for each visit, so no linger helps above 40."""

_EVENTS = 3
_ANSWER = 0.06
_MEASURED = 120


class _VirtualSelector(DefaultSelector):
    """Never waits for a timer: the time jumps to it instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is that of its selector."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_in_virtual_time(main: Coroutine[object, object, Figures]) -> Figures:
    """Run a coroutine in a loop that never waits for its timers."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(main)


class _Delays(httpx.AsyncBaseTransport):
    """Answers every request, and keeps how late its events were."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.of_events: list[float] = []
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(_ANSWER)
        now = asyncio.get_running_loop().time()
        called = [event["at"] for event in json.loads(await request.aread())["events"].values()]
        measured = [now - at for at in called if at >= self.since]
        self.of_events += measured
        self.requests += bool(measured)
        return httpx.Response(200)


@asynccontextmanager
async def _client(linger: float, transport: _Delays) -> AsyncGenerator[AsyncGameball]:
    async with httpx.AsyncClient(transport=transport) as http_client:
        gameball = AsyncGameball("key", batching=Batching(linger=linger), http_client=http_client)
        await gameball.start()
        yield gameball
        await gameball.flush()
        await gameball.aclose()


async def _visits(rate: float, linger: float, gap: float, seconds: float) -> Figures:
    """Delays and requests of one rate of visits; its customers are the same for each linger and gap."""
    warm_up = seconds / 2
    random, loop, transport = Random(rate), asyncio.get_running_loop(), _Delays(warm_up)  # noqa: S311 repeatable
    starts = [0.0]
    while starts[-1] < warm_up + seconds:
        starts.append(starts[-1] + random.expovariate(rate))
    calls = sorted(
        (start + gap * number * random.uniform(0.5, 1.5), visit, number)
        for visit, start in enumerate(starts)
        for number in range(_EVENTS)
    )
    async with _client(linger, transport) as gameball:
        for at, visit, number in calls:
            await asyncio.sleep(at - loop.time())
            await gameball.track(f"player{visit}", NAMES[number], {"at": loop.time()})
    delays = sorted(transport.of_events)
    return {
        "requests": transport.requests / (len(delays) / _EVENTS),
        "p50": statistics.median(delays),
        "p99": delays[len(delays) * 99 // 100],
    }


def _measured(setting: Setting, linger: float, gap: float) -> Figures:
    figures: Figures = {}
    for rate in RATES:
        of_rate = run_in_virtual_time(_visits(rate, linger, gap, setting.of(_MEASURED, least=2)))
        figures |= {f"{figure} at {rate}": value for figure, value in of_rate.items()}
    return figures


def label(linger: float, gap: float) -> str:
    """The row of one linger and one gap."""
    return f"linger {linger:g}, gap {gap:g} s"


BENCHMARK = Benchmark(
    name="linger",
    title="What merges, by linger, visits per second and the gap between a visit's events",
    columns=tuple(
        Column(figure=f"{figure} at {rate}", heading=heading.format(rate), digits=digits)
        for rate in RATES
        for figure, heading, digits in (
            ("requests", "requests/visit at {}/s", 2),
            ("p50", "p50 s at {}/s", 1),
            ("p99", "p99 s at {}/s", 1),
        )
    ),
    measurements=tuple(
        Measurement(label(linger, gap), partial(_measured, linger=linger, gap=gap))
        for gap in GAPS
        for linger in LINGERS
    ),
    rounds=1,
    notes=f"Simulated: {_EVENTS} events a visit, answers after {_ANSWER * 1000:.0f} ms, {_MEASURED} s measured.",
)
