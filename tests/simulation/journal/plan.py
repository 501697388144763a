"""What a seed means here: several lives, each with a plan, a disk and an end. Drawn before anything runs."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Literal

import attrs

from gameball_async import Batching

from ..plan import Await, Flush, Plan, Send, Step, Track, make_plan
from .disk import DiskPlan

JournalEnding = Literal["drain", "close", "cancel", "dies", "crash", "exit"]
"""How a life ends: all settled; a close, perhaps a short one; the flusher cancelled; an error in it; everything in
memory gone at a step; the process ended as soon as the close returned."""

CrashIn = Literal["loop", "commits", "files"]

NUMBERS = 10_000
"""Events of one life are numbered from its number times this."""


@attrs.frozen(kw_only=True)
class LifePlan:
    """One life of the service.

    Attributes:
        plan: its settings, weather and scripts.
        disk: how the disk behaves.
        ending: how it ends.
        crash_at: the step at which everything in memory is gone, if that is how it ends.
        crash_in: which steps count: those of the event loop, the begins and ends of commits, or these and each file
            that is made, renamed or removed.
        chunk: events read back at once, at most.
        max_bytes: of its own file.
    """

    plan: Plan
    disk: DiskPlan
    ending: JournalEnding
    crash_at: int
    crash_in: CrashIn
    chunk: int
    max_bytes: int


@attrs.frozen(kw_only=True)
class JournalPlan:
    """Everything that a seed decides."""

    seed: int
    lives: tuple[LifePlan, ...]


def make_journal_plan(seed: int) -> JournalPlan:
    """The plan of a seed."""
    return _JournalPlanner(seed).plan()


_ENDINGS: dict[JournalEnding, int] = {"close": 25, "cancel": 12, "dies": 8, "crash": 45, "exit": 10}


class _JournalPlanner:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(f"journal {seed}")
        self._more = Random(f"more of journal {seed}")  # so that the others mean what they always meant

    def plan(self) -> JournalPlan:
        lives = self._random.choice([2, 2, 3, 4])
        first = make_plan(self._seed * 10)
        endings = self._random.choices(list(_ENDINGS), list(_ENDINGS.values()), k=lives - 1)
        batching = self._batching(first)
        plans = [
            self._life(number, attrs.evolve(first, batching=batching), ending) for number, ending in enumerate(endings)
        ]
        return JournalPlan(seed=self._seed, lives=(*plans, self._life(lives - 1, plans[0].plan, "drain")))

    def _life(self, number: int, first: Plan, ending: JournalEnding) -> LifePlan:
        random = self._random
        plan = make_plan(self._seed * 10 + number)
        same = self._chance(0.6)
        retry = first.retry if same else plan.retry
        if math.isfinite(retry.give_up_after) and retry.give_up_after < 60:
            retry = attrs.evolve(retry, give_up_after=random.choice([retry.give_up_after, 86_400.0]))
        plan = attrs.evolve(
            plan,
            api_version=first.api_version,
            batching=first.batching if same else self._batching(plan),
            retry=retry,
            before_start=(),
            finalizers=False,
            logging=False,
            callback=random.choice(["none", "plain", "slow", "raises"]),
            scripts=tuple(tuple(_renumbered(step, number) for step in script) for script in plan.scripts),
            lasts=min(plan.lasts, 600.0),
        )
        disk = DiskPlan() if ending == "drain" and self._chance(0.5) else self._disk(is_last=ending == "drain")
        disk = self._filled(disk, plan)
        if disk.refuses:
            plan = attrs.evolve(plan, starts=(), run_in_group=False)
        return LifePlan(
            plan=plan,
            disk=disk,
            ending=ending,
            crash_at=int(math.exp(random.uniform(0, math.log(300)))),
            crash_in="loop" if self._chance(0.5) else self._more.choice(["commits", "commits", "files"]),
            chunk=random.choice([1, 2, 3, 10, 1000]),
            max_bytes=random.choice([2**20, 2**30]),
        )

    def _batching(self, plan: Plan) -> Batching:
        return attrs.evolve(plan.batching, when_full=self._random.choice(["wait", "wait", "raise"]))

    def _disk(self, *, is_last: bool) -> DiskPlan:
        random = self._random
        fails = random.choice([0.0, 0.0, 0.0, 0.05, 0.3])
        return DiskPlan(
            commit=random.choice([(0.0, 0.0), (0.0, 0.002), (0.0, 0.05), (0.01, 0.05)]),
            hiccup=random.choice([0.0, 0.0, 0.02]),
            fails=fails,
            fails_for=random.choice([0.0, 0.5, 10.0]),
            reaches=random.choice([0.0, 0.5, 1.0]),
            row_bytes=random.choice([200, 200, 50_000, 300_000]),
            refuses=not is_last and self._chance(0.03),
        )

    def _filled(self, disk: DiskPlan, plan: Plan) -> DiskPlan:
        """The same disk, with a wrong clock and full for a time."""
        random = self._more
        clock = random.choice([0.0, 0.0, 0.0, -3600.0, 300.0])
        if random.random() < 0.8:
            return attrs.evolve(disk, clock=clock)
        begin = random.uniform(0, min(plan.lasts, 60.0))
        full = (begin, begin + random.choice([0.5, 5.0, 600.0]))
        return attrs.evolve(disk, clock=clock, full=full, left=random.choice([0, 10_000, 300_000]))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def _renumbered(step: Step, life: int) -> Step:
    """The same step with numbers of this life's own."""
    act: Track | Send | Flush | Await = step.act
    if isinstance(act, Track):
        act = _numbered(act, life)
    elif isinstance(act, Send):
        act = Send(tuple(_numbered(track, life) for track in act.events))
    return attrs.evolve(step, act=act)


def _numbered(track: Track, life: int) -> Track:
    number = life * NUMBERS + track.number
    metadata: dict[str, Any] = track.metadata | {"n": number}
    return attrs.evolve(track, number=number, metadata=metadata)
