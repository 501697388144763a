"""What a seed means for a client that sends bulk requests: the same choices, and those about jobs beside them."""

from __future__ import annotations

from random import Random
from typing import Literal

import attrs

from gameball_async import Batching, JobOptions, RateLimit

from ..plan import Fate, JobPlan, Plan, Planner
from .gameball import POLL_REPLIES

Mode = Literal["bulk", "auto"]

_FATES: tuple[Fate, ...] = ("completes", "fails", "is stopped", "never ends", "vanishes", "unnamed")


def make_bulk_plan(seed: int, mode: Mode | None = None) -> Plan:
    """The plan of a seed whose client sends bulk requests; the mode is drawn unless it is given."""
    return _BulkPlanner(seed, mode).plan()


class _BulkPlanner(Planner):
    def __init__(self, seed: int, mode: Mode | None) -> None:
        super().__init__(seed)
        self._more = Random(seed + 5)
        modes: list[Mode] = ["bulk", "auto"]
        drawn = self._more.choice(modes)
        self._mode: Mode = drawn if mode is None else mode
        players = self._more.choice([1, 3, 10, 25, 60] if self._mode == "bulk" else [10, 25, 60, 60])
        self._players = [f"player{number}" for number in range(players)]

    def plan(self) -> Plan:
        plan, more = super().plan(), self._more
        batching, rate = self._with_bulk(plan.batching), self._with_others(plan.rate)
        return attrs.evolve(
            plan,
            api_version=more.choice(["v4.0", "v4.1"]),
            batching=batching,
            rate=rate,
            jobs=self._jobs(),
        )

    def _with_bulk(self, batching: Batching) -> Batching:
        more = self._more
        if self._mode == "auto" and more.random() < 0.8:  # many players have to wait before it does anything
            batching = attrs.evolve(batching, buffer_events=100_000, buffer_bytes=2**26)
        return attrs.evolve(
            batching,
            mode=self._mode,
            bulk_items=more.choice([1, 2, 3, 5, 12, 12, 40] if self._mode == "bulk" else [3, 12, 40, 40]),
            jobs=JobOptions(
                poll_interval=more.choice([0.1, 1.0, 5.0]),
                patience=more.choice([5.0, 60.0, 60.0, 600.0]),
            ),
        )

    def _with_others(self, rate: RateLimit | None) -> RateLimit | None:
        more = self._more
        if self._mode == "auto":  # else single requests drain any number of players at once
            rate = RateLimit(per_second=more.choice([1, 3]), per_30_seconds=more.choice([3, 5, 10]))
        if rate is None:
            return None
        return attrs.evolve(
            rate,
            others_per_second=more.choice([2, 3, 10, 30]),
            others_per_30_seconds=more.choice([6, 20, 60, 360]),
        )

    def _jobs(self) -> JobPlan:
        more = self._more
        is_good = more.random() < 0.3
        bad: list[Fate] = more.sample(_FATES[1:], more.randint(1, 3))
        share = 0.0 if is_good else more.choice([0.05, 0.3, 0.8])
        return JobPlan(
            latency=more.choice([(0.0, 0.0), (0.05, 0.5), (0.5, 5.0), (10.0, 60.0)]),
            fates=(("completes", 1 - share), *((fate, share / len(bad)) for fate in bad)),
            failing=more.choice([0.0, 0.0, 0.1, 0.5]),
            halfway=more.choice([0.0, 0.5, 1.0]),
            is_strict=more.random() < 0.4,
            ids=more.choice(["numbers", "numbers", "digits", "texts"]),
            vocabulary=more.choice(["openapi", "tutorial", "capitalised"]),
            live=frozenset(more.choice([("batches",), ("batch",), ("batches", "batch"), ("batches",), ("batch",), ()])),
            polls=self._polls(),
        )

    def _polls(self) -> tuple[tuple[str, float], ...]:
        more = self._more
        if more.random() < 0.4:
            return (("status", 1.0),)
        labels = more.sample([label for label in POLL_REPLIES if label != "status"], more.randint(1, 5))
        share = more.choice([0.1, 0.5, 0.9])
        return (("status", 1 - share), *((label, share / len(labels)) for label in labels))
