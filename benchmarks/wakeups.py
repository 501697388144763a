"""When the flusher's loop wakes, three ways over the same buffer; what it takes is settled at once.

*By due time* is what the client does: it sleeps until the earliest batch is due, and is woken only if something becomes
due before that. *For every event* is a queue's way. *By a clock* looks every ten milliseconds, as a thread with a timer
does.

Fifty handlers track one event each, then comes a pause: 10,000 events a second. Each batch of eight waits for its
linger; its lateness begins when that is over. The last column is a second in which nothing happens.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial

from gameball_async import Batching, Delivered
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent

from .harness import Benchmark, Column, Figures, Measurement, Setting
from .shop import ENCODED, events

_EVENTS = 40_000
_GROUP = 50
_PAUSE = 0.005
_LINGER = 0.05
_TICK = 0.01
_DELIVERED = Delivered(status=200)


def _overhead(_player: str, _mobile: str | None, _email: str | None) -> int:
    return 60


class _Flusher:
    """Takes what is due, and counts how often it looked and how late it was."""

    def __init__(self) -> None:
        self.wakes = 0
        self.late: list[float] = []
        self.woken = asyncio.Event()
        self.sleeps_until = -math.inf
        self.buffer = Buffer(Batching(linger=_LINGER), _overhead, self._on_due)

    def _on_due(self, at: float) -> None:
        if at < self.sleeps_until:
            self.woken.set()

    def look(self) -> float:
        """Take what is due; returns when the next batch will be."""
        self.wakes += 1
        self.woken.clear()
        now = time.monotonic()
        while (batch := self.buffer.take(now)) is not None:
            self.late.append(now - batch.opened_at - _LINGER)
            self.buffer.settle(batch, _DELIVERED, now)
        return self.buffer.due_at(now)

    async def wait(self, seconds: float) -> None:
        """Wait to be woken."""
        try:
            async with asyncio.timeout(seconds if seconds < math.inf else None):
                await self.woken.wait()
        except TimeoutError:
            pass


async def _by_due_time(flusher: _Flusher) -> None:
    while True:
        flusher.sleeps_until = flusher.look()
        await flusher.wait(flusher.sleeps_until - time.monotonic())


async def _for_every_event(flusher: _Flusher) -> None:
    while True:
        due_at = flusher.look()
        await flusher.wait(due_at - time.monotonic())


async def _by_a_clock(flusher: _Flusher) -> None:
    while True:
        flusher.look()
        await asyncio.sleep(_TICK)


_Strategy = Callable[[_Flusher], Awaitable[None]]


async def _fed(strategy: _Strategy, setting: Setting) -> Figures:
    flusher, count = _Flusher(), setting.of(_EVENTS, least=_GROUP)
    working = asyncio.ensure_future(strategy(flusher))
    await asyncio.sleep(0)
    begun = time.process_time()
    for number, (player, name) in enumerate(events(count)):
        flusher.buffer.offer(EncodedEvent(player, name, ENCODED, None, None), time.monotonic())
        if strategy is _for_every_event:
            flusher.woken.set()
        await asyncio.sleep(_PAUSE if not number % _GROUP else 0)  # each event comes from a handler of its own
    await asyncio.sleep(_LINGER + _TICK)  # until the last ones are settled
    cpu, wakes = time.process_time() - begun, flusher.wakes
    begun = time.process_time()
    await asyncio.sleep(setting.seconds(1))
    idle = (time.process_time() - begun) / setting.seconds(1)
    working.cancel()
    flusher.late.sort()
    return {
        "cpu": 1e6 * cpu / count,
        "wakes": 1e3 * wakes / count,
        "late": 1e3 * flusher.late[len(flusher.late) * 99 // 100],
        "idle": 1e3 * idle,
    }


def _run(strategy: _Strategy, setting: Setting) -> Figures:
    return asyncio.run(_fed(strategy, setting))


_OURS = "by due time"

BENCHMARK = Benchmark(
    name="wakeups",
    title="When the flusher wakes",
    columns=(
        Column(figure="cpu", heading="CPU µs/event", digits=2),
        Column(figure="wakes", heading="wakes/1,000 events", digits=0),
        Column(figure="late", heading="lateness p99 ms", digits=2),
        Column(figure="idle", heading="idle CPU ms/s", digits=2),
    ),
    measurements=(
        Measurement(_OURS, partial(_run, _by_due_time)),
        Measurement("for every event", partial(_run, _for_every_event), (_OURS,)),
        Measurement("by a clock", partial(_run, _by_a_clock), (_OURS,)),
    ),
    rounds=3,
)
