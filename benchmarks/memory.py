"""What one buffered event takes of memory: players, names' places, metadata of its own, nothing sent yet."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from functools import partial

from gameball_async import AsyncGameball, Batching

from .harness import Benchmark, Column, Figures, Goal, Measurement, Setting
from .machine import resident
from .peers import AsyncPosthog, Peer, Segment, Snowplow
from .shop import UNREACHABLE, Body, events, metadata

_EVENTS = 200_000
_OURS = "gameball_async"


async def _filled(count: int, track: Callable[[str, str, Body], object]) -> Figures:
    """Grow by so many events, none of which the caller keeps."""
    gc.collect()
    before, objects = resident(), len(gc.get_objects())
    for number, (player, name) in enumerate(events(count)):
        track(player, name, metadata(number))
    gc.collect()
    return {"bytes": (resident() - before) / count, "objects": (len(gc.get_objects()) - objects) / count}


async def _ours(setting: Setting) -> Figures:
    gameball = AsyncGameball(
        "key", base_url=UNREACHABLE, batching=Batching(buffer_events=_EVENTS, buffer_bytes=2**40, linger=3600)
    )
    await gameball.start()
    return await _filled(setting.of(_EVENTS), gameball.track_nowait)


async def _peer(make: Callable[[str], Peer], setting: Setting) -> Figures:
    return await _filled(setting.of(_EVENTS), make(UNREACHABLE).track)


def _run_peer(make: Callable[[str], Peer], setting: Setting) -> Figures:
    return asyncio.run(_peer(make, setting))


BENCHMARK = Benchmark(
    name="memory",
    title="Memory of a buffered event, at 200,000 events",
    columns=(
        Column(figure="bytes", heading="bytes/event", digits=0),
        Column(figure="objects", heading="objects of the garbage collector/event", digits=2),
    ),
    measurements=(
        Measurement(
            _OURS,
            lambda setting: asyncio.run(_ours(setting)),
            ("snowplow-tracker", "segment-analytics-python", "AsyncPosthog"),
        ),
        Measurement("snowplow-tracker", partial(_run_peer, partial(Snowplow, batch=10**9)), needs=Snowplow.library),
        Measurement("segment-analytics-python", partial(_run_peer, Segment), needs=Segment.library),
        Measurement("AsyncPosthog", partial(_run_peer, AsyncPosthog), needs=AsyncPosthog.library),
    ),
    goals=(Goal(text="memory: at most 400 bytes an event", label=_OURS, figure="bytes", at_most=400),),
    rounds=2,
)
