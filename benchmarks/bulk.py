"""Bulk requests at full load: 10,000 events a second of 10,000 players, against the sandbox in another process.

::

    python -m benchmarks.bulk                           a minute, under the documented limits
    python -m benchmarks.bulk --players 100_000         so many that the limits are used up
    python -m benchmarks.bulk --virtual                 how much of the limits a client can use
    python -m benchmarks.bulk --seconds 10 --peers      ten seconds, and then other clients

The sandbox applies the limits for "Others", processes the jobs, and keeps every event. Reported are events per second,
bulk requests, requests for the status of jobs, answers 429, and how much of the limits was used: of what the requests
for a status leave, which part the bulk requests took, in the busiest 30 seconds and in all. Beside it a task looks how
late the event loop is. With `--peers` the CPU per event is measured beside that of other clients, each in a process of
its own, without limits, against a server that answers 200 to everything.

With `--virtual` the clock jumps, so that neither the sandbox nor the machine limits the client: requests of up to a
hundred players are answered after 60 ms, jobs take 2 s, and more players come than the limits allow.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from gameball_async import AsyncGameball, Batching, RateLimit
from gameball_async.sandbox import JobSettings, Sandbox

from . import pipeline
from .auto import Gameball
from .harness import ROOT, run_alone
from .linger import run_in_virtual_time
from .server import local_server
from .shop import METADATA, NAMES

RATE = 10_000
PEERS = (pipeline.BULK, "segment-analytics-python", "AsyncPosthog")
LATENCY = (0.05, 0.25)

_GROUP = 50
_SECRET = "any"  # noqa: S105 any will do
_TICK = 0.001


# ---------------------------------------------------------------- the sandbox's process


def _serve() -> None:
    """Serve until the input ends; then write what happened."""
    with Sandbox(jobs=JobSettings(latency=LATENCY)) as sandbox:
        sys.stdout.write(f"{sandbox.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
        tally, requests = sandbox.stats(), sandbox.requests
        starts = {
            route: [record.start for record in requests if record.route == route] for route in ("batch", "status")
        }
        found = {
            "events": tally.events,
            "violations": tally.violations,
            "refused": tally.statuses.get(429, 0),
            "starts": starts,
        }
    sys.stdout.write(f"{json.dumps(found)}\n")


@contextmanager
def _sandbox() -> Generator[tuple[str, dict[str, Any]]]:
    """Yield the address, and a dict that has what happened afterwards."""
    found: dict[str, Any] = {}
    command = [sys.executable, "-m", "benchmarks.bulk", "--serve"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own module
        assert process.stdin is not None, "it is a pipe"  # noqa: S101 an invariant
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 an invariant
        yield process.stdout.readline().strip(), found
        process.stdin.close()
        found.update(json.loads(process.stdout.read()))


# ---------------------------------------------------------------- the client's


async def _tick(lags: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - begun - _TICK)


async def _load(url: str, seconds: float, players: int) -> dict[str, float]:
    lags = list[float]()
    batching = Batching(mode="bulk", buffer_events=10**6, buffer_bytes=10**9)
    gameball = AsyncGameball("key", secret_key=_SECRET, api_version="v4.0", base_url=url, batching=batching)
    async with gameball:
        ticking = asyncio.create_task(_tick(lags))
        begun, cpu, count = time.perf_counter(), time.process_time(), 0
        while (now := time.perf_counter()) < begun + seconds:
            until = min(int((now - begun) * RATE), count + 10 * _GROUP)
            for number in range(count, until):
                await gameball.track(f"player{number % players}", NAMES[number // players % len(NAMES)], METADATA)
            count = max(count, until)
            await asyncio.sleep(_GROUP / RATE)
        ended, at_the_end = time.perf_counter(), gameball.stats()
        ticking.cancel()
        await gameball.flush()
        cpu = time.process_time() - cpu
        stats = gameball.stats()
    lags.sort()
    return {
        "tracked": count,
        "tracked_per_second": count / (ended - begun),
        "delivered_per_second": at_the_end.delivered / (ended - begun),
        "pending_at_the_end": at_the_end.pending,
        "delivered": stats.delivered,
        "unconfirmed": stats.unconfirmed,
        "cpu": 1e6 * cpu / count,
        "lag_p50": 1e3 * lags[len(lags) // 2],
        "lag_p99": 1e3 * lags[len(lags) * 99 // 100],
        "lag_p999": 1e3 * lags[len(lags) * 999 // 1000],
    }


# ---------------------------------------------------------------- what was used of the limits


def shares(batches: Sequence[float], looks: Sequence[float], limit: RateLimit) -> dict[str, float]:
    """Return how much of the limits was used by requests that started at these times.

    Only whole windows of thirty seconds count, from the first request on.
    """
    (_, _), (most, window) = limit.others()
    begun = min(batches)
    windows = int((max(batches) - begun) / window)
    if not windows:
        return {}
    counted = [sum(at < begun + windows * window for at in starts) for starts in (batches, looks)]
    left = most * windows - counted[1]
    return {
        "all": sum(counted) / (most * windows),
        "posts_of_what_looks_leave": counted[0] / left,
        "posts_of_two_thirds": counted[0] / (2 * most * windows / 3),
        "fullest": max(
            sum(start <= at < start + window for at in (*batches, *looks)) for start in sorted((*batches, *looks))
        )
        / most,
    }


def in_virtual_time(seconds: float) -> dict[str, float]:
    """Return how much of the limits a client uses if nothing else limits it."""
    return run_in_virtual_time(_saturated(seconds))


async def _saturated(seconds: float) -> dict[str, float]:
    loop, transport = asyncio.get_running_loop(), Gameball(latency=2.0)
    batching = Batching(mode="bulk", bulk_items=100, buffer_events=10**6)
    async with httpx.AsyncClient(transport=transport) as http_client:
        gameball = AsyncGameball(
            "key", secret_key=_SECRET, api_version="v4.0", batching=batching, http_client=http_client
        )
        async with gameball:
            numbers = itertools.count()
            while loop.time() < seconds:
                for number in itertools.islice(numbers, 100):
                    gameball.track_nowait(f"player{number}", "visit", {"at": 0})
                await asyncio.sleep(1 / 8)
            await gameball.aclose(timeout=0)
    return shares(transport.starts["POST"], transport.starts["GET"], RateLimit())


# ---------------------------------------------------------------- the command


def _peers() -> dict[str, float]:
    with local_server() as url:
        return {
            label: run_alone(pipeline.BENCHMARK, pipeline.BENCHMARK.measurement(label), scale=1.0, url=url)["cpu"]
            for label in PEERS
        }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long events are tracked")
    parser.add_argument("--players", type=int, default=10_000, help="of so many players")
    parser.add_argument("--peers", action="store_true", help="measure other clients as well")
    parser.add_argument("--virtual", action="store_true", help="in virtual time")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve()
        return
    if options.virtual:
        sys.stdout.write(f"{in_virtual_time(options.seconds)}\n")
        return
    with _sandbox() as (url, found):
        figures: dict[str, Any] = asyncio.run(_load(url, options.seconds, options.players))
    starts = found.pop("starts")
    figures |= {f"sandbox_{name}": value for name, value in found.items()}
    figures |= {"posts": len(starts["batch"]), "looks": len(starts["status"])}
    figures |= shares(starts["batch"], starts["status"], RateLimit())
    if options.peers:
        figures["peers"] = _peers()
    for name, value in figures.items():
        shown = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        sys.stdout.write(f"{name:28} {shown}\n")


if __name__ == "__main__":
    main()
