"""With a journal, too, a call can be cancelled in each of its awaits, and the next life finds what it should."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from ..plan import Cancel, Close, Flush, Plan, Send, Step, Track
from ..simulation import Result
from ..test_cancelling import LATER, SEED, WAYS, awaits_of, event, plan
from .disk import DiskPlan
from .plan import NUMBERS, JournalEnding, JournalPlan, LifePlan
from .simulation import simulate_journal

SLOW = DiskPlan(commit=(0.01, 0.05))
FAILING = DiskPlan(commit=(0.01, 0.05), fails=0.3, fails_for=0.5)


def life(plan: Plan, ending: JournalEnding, disk: DiskPlan = SLOW) -> LifePlan:
    return LifePlan(plan=plan, disk=disk, ending=ending, crash_at=0, crash_in="loop", chunk=2, max_bytes=2**30)


def lives(first: Plan, ending: JournalEnding, disk: DiskPlan) -> JournalPlan:
    """A life in which a call is cancelled, and one that settles what it left."""
    last = attrs.evolve(first, scripts=((Step(0.0, event(NUMBERS + 1)),),), closes=(), starts=(), run_in_group=False)
    return JournalPlan(seed=first.seed, lives=(life(first, ending, disk), life(last, "drain")))


def step(act: Track | Send | Flush) -> Callable[[Plan, Cancel], Plan]:
    """The call is one of a script of its own, in the midst of the others; then comes a close."""

    def change(plan: Plan, cancel: Cancel) -> Plan:
        scripts = (*plan.scripts, (Step(0.05, act, cancel),))
        return attrs.evolve(plan, scripts=scripts, ends_after=1.0, closes=(Close(0.0, 2.0),))

    return change


def close(timeout: float, *, in_group: bool = False) -> Callable[[Plan, Cancel], Plan]:
    """The call is the first close; after it comes another one."""

    def change(plan: Plan, cancel: Cancel) -> Plan:
        return attrs.evolve(plan, closes=(Close(0.0, timeout, cancel),), run_in_group=in_group)

    return change


def start(plan: Plan, cancel: Cancel) -> Plan:
    return attrs.evolve(plan, starts=(cancel,))


CALLS: dict[str, tuple[JournalEnding, Callable[[Plan, Cancel], Plan]]] = {
    "track": ("close", step(event(LATER))),
    "send": ("close", step(Send((event(LATER), event(LATER + 3))))),
    "flush": ("close", step(Flush(None))),
    "start": ("close", start),
    "close": ("close", close(2.0)),
    "close with a short timeout": ("close", close(0.05)),
    "close after the flusher was cancelled": ("cancel", close(2.0, in_group=True)),
}


@pytest.mark.parametrize("disk", [SLOW, FAILING], ids=["slow disk", "failing disk"])
@pytest.mark.parametrize(("backend", "native"), WAYS, ids=["asyncio", "asyncio-native", "trio"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_cancelled_in_each_of_its_awaits(call: str, backend: str, native: bool, disk: DiskPlan) -> None:  # noqa: FBT001
    ending, change = CALLS[call]

    def simulated(in_await: int) -> Result:
        planned = change(plan(SEED), Cancel(at_await=in_await, native=native))
        return simulate_journal(SEED, backend, lives(planned, ending, disk))

    assert awaits_of(simulated) > 0
