"""How late events are in the modes of batching, by players per second and by how long jobs take.

The real client in virtual time, under Gameball's limits::

    python -m benchmarks.auto             the grid: a table, and auto.json, which `python -m benchmarks` draws
    python -m benchmarks.auto 100 10      one cell: 100 players per second, jobs of 10 s

Each event is of another player, and they come at random. Requests are answered after 60 ms; a single request is applied
then, and the items of a job all when it ends, the longest that they may take. The delay of an event lasts from its call
until it is applied. Before that, a burst of 500 players shows an `auto` client that bulk requests work; then the load
lasts until the client must have switched, on or off. Only events after that count, for two minutes at most.

*Single* falls behind above 40 players per second, the more the longer it lasts. Beyond 50 per second its figures are
computed: what its backlog takes at that rate.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any

import httpx
import msgspec

from gameball_async import AsyncGameball, Batching, RateLimit
from gameball_async._config import Mode
from gameball_async._core.bulk_jobs import SHORTEST_WAIT

from .harness import ROOT, Figures
from .linger import run_in_virtual_time

RATES = (1, 10, 30, 36, 50, 100, 300, 1_000, 5_000)
LATENCIES = (0.5, 2.0, 10.0, 60.0, 600.0)
MODES: tuple[Mode, ...] = ("single", "bulk", "auto")
KEPT = ROOT / "benchmarks" / "auto.json"

_ANSWER = 0.06
_SECRET = "any"  # noqa: S105 any will do
_SINGLE = RateLimit().per_30_seconds / 30
_BURST = 500
_MEASURED = 120.0
_MOST_MEASURED = 6_000
_MANY = 1_000
_COMPUTED_ABOVE = 50


class Gameball(httpx.AsyncBaseTransport):
    """Answers every request, and keeps how late its events were.

    Args:
        latency: seconds from a job's acceptance to its end.
    """

    def __init__(self, latency: float) -> None:
        self.since = math.inf
        self.of_events: list[float] = []
        self.starts: dict[str, list[float]] = {"POST": [], "GET": []}
        self.requests = self.events = 0
        self._latency = latency
        self._ends: dict[int, float] = {}
        self._numbers = itertools.count(1)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.starts[request.method].append(asyncio.get_running_loop().time())
        await asyncio.sleep(_ANSWER)
        now = asyncio.get_running_loop().time()
        self.requests += 1
        if request.method == "GET":
            ended = now >= self._ends[int(request.url.path.split("/")[-2])]
            return httpx.Response(200, json={"status": "completed" if ended else "processing"})
        body = msgspec.json.decode(await request.aread())
        if "body" not in body:
            self._apply([body], now)
            return httpx.Response(200)
        job = next(self._numbers)
        self._ends[job] = now + self._latency
        self._apply(body["body"], now + self._latency)
        return httpx.Response(200, json={"jobId": job})

    def _apply(self, items: list[dict[str, Any]], at: float) -> None:
        called = [event["at"] for item in items for event in item["events"].values()]
        self.events += len(called)
        self.of_events += [at - call for call in called if call >= self.since]


def lengths(rate: float, latency: float) -> tuple[float, float]:
    """Seconds before events count, and seconds while they do."""
    excess, threshold = rate - _SINGLE, _SINGLE * max(latency, SHORTEST_WAIT)
    settling = (3 if rate < _MANY else 1.5) * SHORTEST_WAIT + (1.2 * threshold / excess if excess > 0 else 0.0)
    return settling, min(_MEASURED, _MOST_MEASURED / rate)


async def _delays(mode: Mode, rate: float, latency: float) -> Figures:
    random, loop, transport = Random(rate), asyncio.get_running_loop(), Gameball(latency)  # noqa: S311 repeatable
    settling, measured = lengths(rate, latency)
    batching = Batching(mode=mode, buffer_events=10**7, buffer_bytes=10**11)
    async with httpx.AsyncClient(transport=transport) as http_client:
        gameball = AsyncGameball(
            "key", secret_key=_SECRET, api_version="v4.0", batching=batching, http_client=http_client
        )
        await gameball.start()
        for number in range(_BURST):
            gameball.track_nowait(f"first{number}", "visit", {"at": loop.time()})
        await gameball.flush()
        begun = loop.time()
        transport.since, before = begun + settling, (transport.requests, transport.events)
        at, number = begun, 0
        while (at := at + random.expovariate(rate)) < begun + settling + measured:
            await asyncio.sleep(at - loop.time())
            gameball.track_nowait(f"player{number}", "visit", {"at": at})
            number += 1
        await gameball.flush()
        await gameball.aclose()
    delays = sorted(transport.of_events)
    return {
        "mean": statistics.fmean(delays),
        "p95": delays[len(delays) * 95 // 100],
        "requests": (transport.requests - before[0]) / (transport.events - before[1]),
    }


def _computed(rate: float, latency: float) -> Figures:
    """What single requests make of more than they can serve."""
    settling, measured = lengths(rate, latency)
    late = (rate - _SINGLE) / _SINGLE
    return {"mean": late * (settling + measured / 2), "p95": late * (settling + 0.95 * measured), "requests": 1.0}


def cell(mode: Mode, rate: float, latency: float) -> Figures:
    """Return the delays of one mode at one rate, with jobs of one length."""
    if mode == "single" and rate > _COMPUTED_ABOVE:
        return _computed(rate, latency)
    return run_in_virtual_time(_delays(mode, rate, latency))


def grid() -> list[tuple[Mode, float, float]]:
    """Return all cells, those that take longest first."""
    cells: list[tuple[Mode, float, float]] = [
        (mode, rate, latency) for mode in MODES for rate in RATES for latency in LATENCIES
    ]
    return sorted(cells, key=lambda each: -each[1] * sum(lengths(*each[1:])))


def key(mode: Mode, rate: float, latency: float) -> str:
    """The name of a cell in the kept results."""
    return f"{mode}, {rate:g}/s, {latency:g} s"


def table(kept: dict[str, Figures]) -> Iterator[str]:
    """The lines of a table: mean and 95th percentile of the delay, and `auto` beside the better of the others."""
    yield "| players/s | job s | " + " | ".join(f"{mode} mean s | p95 s | requests/event" for mode in MODES) + " | |"
    yield "|---" * 12 + "|"
    for rate, latency in itertools.product(RATES, LATENCIES):
        of = {mode: kept[key(mode, rate, latency)] for mode in MODES}
        better = min(of["single"]["mean"], of["bulk"]["mean"])
        cells = " | ".join(
            f"{of[mode]['mean']:,.1f} | {of[mode]['p95']:,.1f} | {of[mode]['requests']:.3f}" for mode in MODES
        )
        yield f"| {rate:,} | {latency:g} | {cells} | {of['auto']['mean'] / better:.2f} |"


def _run(each: tuple[Mode, float, float]) -> tuple[str, Figures]:
    figures = cell(*each)
    sys.stderr.write(f"{key(*each)}: {figures}\n")
    return key(*each), {name: float(f"{figure:.4g}") for name, figure in figures.items()}


def main() -> None:
    """Run one cell, or all."""
    if len(sys.argv) > 1:
        for mode in MODES:
            sys.stdout.write(f"{mode}: {cell(mode, float(sys.argv[1]), float(sys.argv[2]))}\n")
        return
    with ProcessPoolExecutor(2) as pool:
        kept = dict(pool.map(_run, grid()))
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join([*table(kept), ""]))


if __name__ == "__main__":
    main()
