"""How long others wait for the event loop while 100,000 events are tracked and flushed beside them.

A task sleeps for a millisecond, again and again, and looks how much later than that it wakes. Events come in groups of
fifty, 10,000 a second at most, a hundred for each player. The pauses are those of the garbage collector.

A client keeps to Gameball's limits, unless it is told not to: *flat out* there are none, and requests of eight events
keep the loop busy all the time.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from functools import partial

from gameball_async import AsyncGameball

from .harness import Benchmark, Column, Figures, Goal, Measurement, Setting
from .peers import AsyncPosthog
from .shop import NAMES, Body, events, many_names, metadata

_EVENTS = 100_000
_GROUP = 50
_PAUSE = 0.005
_TICK = 0.001
_OURS = "gameball_async"
_HUNDRED = many_names(100)

Track = Callable[[str, str, Body], Awaitable[object]]


class _Pauses:
    """The garbage collector's pauses."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.total = 0.0
        self._begun = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
            return
        pause = time.perf_counter() - self._begun
        self.longest, self.total = max(self.longest, pause), self.total + pause


async def _tick(lags: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - begun - _TICK)


async def _looked_at(work: Awaitable[object]) -> Figures:
    lags, pauses = list[float](), _Pauses()
    begun = time.perf_counter()
    ticking = asyncio.create_task(_tick(lags))
    await work
    seconds = time.perf_counter() - begun
    await asyncio.sleep(2 * _TICK)
    ticking.cancel()
    lags.sort()
    return {
        "p999": 1e3 * lags[len(lags) * 999 // 1000],
        "p50": 1e3 * lags[len(lags) // 2],
        "longest": 1e3 * lags[-1],
        "pause": 1e3 * pauses.longest,
        "paused": 100 * pauses.total / seconds,
    }


async def _work(count: int, track: Track, names: tuple[str, ...] = _HUNDRED) -> None:
    for number, (player, name) in enumerate(events(count, names=names)):
        await track(player, name, metadata(number))
        if not number % _GROUP:
            await asyncio.sleep(_PAUSE)


async def _idle(setting: Setting) -> Figures:
    return await _looked_at(asyncio.sleep(setting.seconds(10)))


async def _ours(setting: Setting) -> Figures:
    async with AsyncGameball("key", base_url=setting.url) as gameball:
        return await _looked_at(_tracked_and_flushed(gameball, setting, _HUNDRED))


async def _flat_out(setting: Setting) -> Figures:
    async with AsyncGameball("key", base_url=setting.url, rate=None) as gameball:
        return await _looked_at(_tracked_and_flushed(gameball, setting, NAMES))


async def _tracked_and_flushed(gameball: AsyncGameball, setting: Setting, names: tuple[str, ...]) -> None:
    await _work(setting.of(_EVENTS), gameball.track, names)
    await gameball.flush()


async def _frozen(setting: Setting) -> Figures:
    gc.collect()
    gc.freeze()
    return await _ours(setting)


async def _posthog(setting: Setting) -> Figures:
    peer = AsyncPosthog(setting.url)

    async def track(player: str, name: str, body: Body) -> None:
        peer.track(player, name, body)

    async def work() -> None:
        await _work(setting.of(_EVENTS), track)
        await peer.finish()

    return await _looked_at(work())


def _run(measure: Callable[[Setting], Awaitable[Figures]], setting: Setting) -> Figures:
    with asyncio.Runner() as runner:
        return runner.run(_awaited(measure, setting))


async def _awaited(measure: Callable[[Setting], Awaitable[Figures]], setting: Setting) -> Figures:
    return await measure(setting)


BENCHMARK = Benchmark(
    name="lag",
    title="How late the event loop is while 100,000 events are tracked and flushed",
    columns=(
        Column(figure="p999", heading="p99.9 ms", digits=2),
        Column(figure="p50", heading="median ms", digits=2),
        Column(figure="longest", heading="longest ms"),
        Column(figure="pause", heading="longest GC pause ms"),
        Column(figure="paused", heading="GC % of time"),
    ),
    measurements=(
        Measurement("nothing beside it", partial(_run, _idle)),
        Measurement(_OURS, partial(_run, _ours)),
        Measurement("gameball_async, after gc.freeze()", partial(_run, _frozen)),
        Measurement("gameball_async, flat out", partial(_run, _flat_out)),
        Measurement("AsyncPosthog", partial(_run, _posthog), needs=AsyncPosthog.library),
    ),
    goals=(Goal(text="event loop: p99.9 of the lag at most 5 ms", label=_OURS, figure="p999", at_most=5.0),),
    rounds=3,
)
