"""A call can be cancelled in each of its awaits, one after another, and every promise is kept."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import pytest

from gameball_async import Batching, Retry

from .plan import Await, Cancel, Close, Ending, Flush, Plan, Send, Span, Step, Track
from .simulation import Result, simulate
from .users import CUT

WAYS = [("asyncio", False), ("asyncio", True), ("trio", False)]
"""The loop, and whether the call is cancelled by `Task.cancel`; else by a scope."""

SEED = 0
"""It decides latencies and answers."""

WEATHER = {"ok": 0.4, "reset_applied": 0.2, "unavailable": 0.2, "busy": 0.1, "not_success": 0.1}
EVENTS = 12
LATER = 1000
"""The number of the first event that the call itself places."""


def event(number: int) -> Track:
    return Track(number=number, player=f"player{number % 3}", name=f"event{number % 2}", metadata={"n": number})


def plan(seed: int) -> Plan:
    """A client whose buffer is full most of the time, in bad weather."""
    others = tuple(tuple(Step(0.01 * n, event(n)) for n in range(first, EVENTS + 1, 3)) for first in (1, 2, 3))
    return Plan(
        seed=seed,
        api_version="v3.0",
        batching=Batching(linger=0.05, max_events=2, buffer_events=3, wait_timeout=60.0),
        retry=Retry(initial=0.05, maximum=0.2),
        rate=None,
        timeout=1.0,
        own_pool=False,
        callback="slow",
        logging=True,
        finalizers=False,
        scripts=others,
        before_start=(),
        weather=(Span(math.inf, tuple(WEATHER.items()), (0.02, 0.12)),),
        lasts=1.0,
        most_requests=100,
        ending="drain",
        ends_after=0.1,
        closes=(),
        run_in_group=False,
        starts=(),
        killed_after=None,
        crash_after=0,
    )


def step(act: Track | Send | Flush | Await) -> Callable[[Plan, Cancel], Plan]:
    """The call is one of a script of its own, in the midst of the others."""

    def change(plan: Plan, cancel: Cancel) -> Plan:
        return attrs.evolve(plan, scripts=(*plan.scripts, (Step(0.05, act, cancel),)))

    return change


def close(ending: Ending, timeout: float = 2.0, *, in_group: bool = False) -> Callable[[Plan, Cancel], Plan]:
    """The call is the first close of a client that ends so; after it comes another one."""

    def change(plan: Plan, cancel: Cancel) -> Plan:
        before = tuple(event(LATER + number) for number in range(3 if ending == "unstarted" else 0))
        closes = (Close(0.0, timeout, cancel),)
        return attrs.evolve(plan, ending=ending, closes=closes, before_start=before, run_in_group=in_group)

    return change


def start(plan: Plan, cancel: Cancel) -> Plan:
    return attrs.evolve(plan, starts=(cancel,))


CALLS = {
    "track that waits for room": step(event(LATER)),
    "send": step(Send((event(LATER), event(LATER + 3)))),
    "flush": step(Flush(None)),
    "flush with a timeout": step(Flush(0.3)),
    "await of a receipt": step(Await(0.9)),
    "start": start,
    "close": close("close"),
    "close with a short timeout": close("close", timeout=0.05),
    "close of a client that was never started": close("unstarted"),
    "close after the flusher was cancelled": close("cancel", in_group=True),
}


def awaits_of(simulated: Callable[[int], Result]) -> int:
    """Cancel a call in one await after another, each in a life of its own; returns how many it has."""
    in_await = 0
    while True:
        in_await += 1
        result = simulated(in_await)
        told = [f"cancelled in await {in_await}", *result.failures, *result.trace.lines(last=60)]
        assert not result.failures, "\n".join(told)
        if not any(line.split()[1] == CUT for line in result.trace.lines()):
            return in_await - 1


@pytest.mark.parametrize(("backend", "native"), WAYS, ids=["asyncio", "asyncio-native", "trio"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_cancelled_in_each_of_its_awaits(call: str, backend: str, native: bool) -> None:  # noqa: FBT001
    change = CALLS[call]
    assert awaits_of(lambda at: simulate(SEED, backend, change(plan(SEED), Cancel(at_await=at, native=native)))) > 0
