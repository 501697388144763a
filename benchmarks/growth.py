"""Whether an event costs more when many wait: the last 10,000 calls, and the first 10,000 events delivered.

Ten events for each player. The requests are answered in the process, so that the buffer is what is seen.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import httpx

from gameball_async import AsyncGameball, Batching, Receipt

from .harness import Benchmark, Column, Figures, Goal, Measurement, Setting
from .shop import METADATA, events, many_names

SIZES = (10_000, 100_000, 1_000_000)
_SAMPLE = 10_000
_NAMES = many_names(10)


def label(size: int) -> str:
    """The row of this size."""
    return f"{size:,} events of {size // len(_NAMES):,} players"


async def _grown(size: int, setting: Setting) -> Figures:
    count, sample = setting.of(size, least=20), setting.of(_SAMPLE, least=20)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"success": True}))
    async with httpx.AsyncClient(transport=transport) as client:
        gameball = AsyncGameball(
            "key",
            http_client=client,
            rate=None,
            batching=Batching(buffer_events=count, buffer_bytes=2**40, linger=0),
        )
        track, receipt = await _track_last(gameball, count, sample)
        drain = await _drain_first(gameball, receipt)
        await gameball.aclose(timeout=0)
    return {"total": track + drain, "track": track, "drain": drain}


async def _track_last(gameball: AsyncGameball, count: int, sample: int) -> tuple[float, Receipt]:
    """Microseconds of each of the last calls, and the receipt of the last event of the first ones."""
    begun = time.process_time()
    receipts = list[Receipt]()
    for number, (player, name) in enumerate(events(count, names=_NAMES)):
        if number == count - sample:
            begun = time.process_time()
        receipt = await gameball.track(player, name, METADATA)
        if number == sample - 1:
            receipts.append(receipt)
    return 1e6 * (time.process_time() - begun) / sample, receipts[0]


async def _drain_first(gameball: AsyncGameball, receipt: Receipt) -> float:
    """Microseconds of each event's delivery, until this one's."""
    begun = time.process_time()
    await gameball.start()
    await receipt
    return 1e6 * (time.process_time() - begun) / gameball.stats().delivered


def _run(size: int, setting: Setting) -> Figures:
    return asyncio.run(_grown(size, setting))


BENCHMARK = Benchmark(
    name="growth",
    title="The cost of an event when many wait",
    columns=(
        Column(figure="total", heading="CPU µs/event"),
        Column(figure="track", heading="call", digits=2),
        Column(figure="drain", heading="delivery"),
    ),
    measurements=tuple(
        Measurement(label(size), partial(_run, size), (label(SIZES[0]),) if size > SIZES[0] else ()) for size in SIZES
    ),
    goals=(
        *(
            Goal(
                text=f"growth: {words} at 1,000,000 events within 1.3x of that at 10,000",
                label=label(SIZES[-1]),
                figure=figure,
                beside=label(SIZES[0]),
                at_most=1.3,
            )
            for figure, words in (("total", "an event's cost"), ("track", "the call's part of it"))
        ),
    ),
    rounds=3,
)
