"""What one call costs the handler that makes it, with the same events and a server that answers at once.

Each call is timed alone, and what the clock itself takes is subtracted; others get the loop, or the interpreter, after
every tenth call.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial

import attrs

from gameball_async import AsyncGameball, validate_event
from gameball_async._core.events import encode_event

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .peers import AsyncPosthog, OfficialCall, Peer, Segment, Snowplow
from .shop import METADATA, events

_EVENTS = 20_000
_WARM_UP = 0.05
_OURS = "await track()"
_ALONE = "validating and encoding alone"


def _figures(times: list[int]) -> Figures:
    """Median and 99th percentile in microseconds, without the clock's own time."""
    settled = sorted(times[round(len(times) * _WARM_UP) :])
    clock = _clock()
    return {
        "median": (statistics.median(settled) - clock) / 1e3,
        "p99": (settled[len(settled) * 99 // 100] - clock) / 1e3,
    }


def _clock() -> float:
    times = list[int]()
    for _ in range(1000):
        begun = time.perf_counter_ns()
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times)


async def _ours(setting: Setting) -> Figures:
    times = list[int]()
    async with AsyncGameball("key", base_url=setting.url, rate=None) as gameball:
        for number, (player, name) in enumerate(events(setting.of(_EVENTS, least=20))):
            begun = time.perf_counter_ns()
            await gameball.track(player, name, METADATA)
            times.append(time.perf_counter_ns() - begun)
            if not number % 10:
                await asyncio.sleep(0)
        await gameball.flush()
    return _figures(times)


async def _peer(make: Callable[[str], Peer], setting: Setting, full: int = _EVENTS) -> Figures:
    peer, times = make(setting.url), list[int]()
    for number, (player, name) in enumerate(events(setting.of(full, least=20))):
        begun = time.perf_counter_ns()
        peer.track(player, name, METADATA)
        times.append(time.perf_counter_ns() - begun)
        if not number % 10:
            await asyncio.sleep(0)
            time.sleep(0)  # noqa: ASYNC251 the peers' threads get the interpreter
    await peer.finish()
    return _figures(times)


def _call_of(make: Callable[[str], Peer], setting: Setting, full: int = _EVENTS) -> Figures:
    return asyncio.run(_peer(make, setting, full))


@attrs.frozen
class _Function:
    """A part of the call, alone."""

    call: Callable[[str, str], object]

    def measure(self, setting: Setting) -> Figures:
        times = list[int]()
        for player, name in events(setting.of(_EVENTS, least=20)):
            begun = time.perf_counter_ns()
            self.call(player, name)
            times.append(time.perf_counter_ns() - begun)
        return _figures(times)


BENCHMARK = Benchmark(
    name="call",
    title="One call with five keys of metadata",
    columns=(
        Column(figure="median", heading="median µs", digits=2),
        Column(figure="p99", heading="p99 µs"),
    ),
    measurements=(
        Measurement(
            _OURS,
            lambda setting: asyncio.run(_ours(setting)),
            (_ALONE, "snowplow-tracker", "segment-analytics-python", "AsyncPosthog"),
        ),
        Measurement(_ALONE, _Function(lambda _, name: encode_event(name, METADATA)).measure),
        Measurement("validate_event()", _Function(lambda player, name: validate_event(player, name, METADATA)).measure),
        Measurement("snowplow-tracker", partial(_call_of, Snowplow), needs=Snowplow.library),
        Measurement("segment-analytics-python", partial(_call_of, Segment), needs=Segment.library),
        Measurement("AsyncPosthog", partial(_call_of, AsyncPosthog), needs=AsyncPosthog.library),
        Measurement(
            "gameball-python, one blocking request",
            partial(_call_of, OfficialCall, full=2_000),
            needs=OfficialCall.library,
        ),
    ),
)
