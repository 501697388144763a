"""How long a backlog takes under Gameball's real limits, beside what arithmetic says is the least.

Of R requests, each window of 30 seconds lets 1,200 go, in groups of a hundred, one a second. The sandbox judges by its
own windows; a request that it refuses for the rate counts as a violation.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right

from gameball_async import AsyncGameball, Batching
from gameball_async.sandbox import Sandbox

from .harness import Benchmark, Column, Figures, Goal, Measurement, Setting
from .shop import METADATA

_REQUESTS = 3_600
_PER_SECOND = 100
_PER_30_SECONDS = 1_200


def least(requests: int) -> float:
    """The seconds that so many requests take at least, from the first one's start to the last one's."""
    windows, rest = divmod(requests - 1, _PER_30_SECONDS)
    return 30.0 * windows + rest // _PER_SECOND


async def _drained(setting: Setting) -> Figures:
    requests = setting.of(_REQUESTS, least=3)
    with Sandbox() as sandbox:
        gameball = AsyncGameball("key", base_url=sandbox.url, batching=Batching(linger=0))
        for number in range(requests):
            await gameball.track(f"player{number}", "review", METADATA)
        begun = time.monotonic()
        await gameball.start()
        await gameball.flush()
        seconds = time.monotonic() - begun
        await gameball.aclose()
        violations, ends = len(sandbox.violations), sorted(request.end - begun for request in sandbox.requests)
    minimum = least(requests)
    figures = {"seconds": seconds, "least": minimum, "violations": float(violations), **_course(ends)}
    return figures | ({"ratio": seconds / minimum} if minimum else {})


def _course(ends: list[float]) -> Figures:
    """How many requests were answered after each second: for the plot."""
    return {str(second): float(bisect_right(ends, second)) for second in range(int(ends[-1]) + 2)}


_LABEL = f"{_REQUESTS:,} requests"

BENCHMARK = Benchmark(
    name="drain",
    title="Draining a backlog under the real limits",
    columns=(
        Column(figure="ratio", heading="of the least", digits=4),
        Column(figure="seconds", heading="seconds", digits=2),
        Column(figure="least", heading="least seconds", digits=0),
        Column(figure="violations", heading="violations", digits=0),
    ),
    measurements=(Measurement(_LABEL, lambda setting: asyncio.run(_drained(setting))),),
    goals=(Goal(text="draining: within 2 % of the arithmetic minimum", label=_LABEL, figure="ratio", at_most=1.02),),
    rounds=1,
)
