"""The jobs of the simulated Gameball: what becomes of each item, and what their status says, in either vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from ..plan import Fate, JobPlan, Vocabulary

if TYPE_CHECKING:
    from .attempts import Item

POISONED = "no"
"""The message of an item that has failed."""


class State(Enum):
    """What a status says about its job."""

    WAITING = auto()
    RUNNING = auto()
    COMPLETED = auto()
    FAILED = auto()
    STOPPED = auto()


ENDS = frozenset({State.COMPLETED, State.FAILED, State.STOPPED})

_WORDS: dict[Vocabulary, dict[State, str]] = {
    "openapi": {State.WAITING: "pending", State.RUNNING: "processing"},
    "tutorial": {State.WAITING: "queued", State.RUNNING: "running"},
    "capitalised": {State.WAITING: "Queued", State.RUNNING: "Running"},
}


@attrs.frozen(kw_only=True)
class Told:
    """What one status says.

    Attributes:
        done: items that are processed.
        failures: items that are said to have failed.
        successful: the players of the items that are listed as successful.
        failed: the players of those that are listed as failed.
    """

    state: State
    done: int
    failures: int
    successful: frozenset[str]
    failed: frozenset[str]


@attrs.define(eq=False, kw_only=True)
class Job:
    """One job, as the server knows it.

    Attributes:
        job_id: as it is sent: a number, or a text.
        items: in the order of the request.
        order: the items in the order in which they are processed.
        times: when each of those is, or would be.
        failing: players whose items fail.
        halfway: players whose failed items are applied all the same.
        stands_still_after: items after which nothing is processed any more.
        vanishes_at: when its status cannot be found any more.
    """

    job_id: int | str
    fate: Fate
    items: Sequence[Item]
    order: Sequence[Item]
    times: Sequence[float]
    failing: frozenset[str]
    halfway: frozenset[str]
    stands_still_after: int
    vanishes_at: float
    done: int = 0
    stopped_at: float = float("inf")

    def advance(self, now: float, apply: Callable[[Item], None]) -> None:
        """Process what is due by now."""
        while self.done < min(len(self.order), self.stands_still_after):
            item = self.order[self.done]
            if self.times[self.done] > min(now, self.stopped_at):
                return
            self.done += 1
            if item.player not in self.failing or item.player in self.halfway:
                apply(item)

    def state(self, now: float) -> State:
        """Where it is now; `advance` comes first."""
        if now >= self.stopped_at:
            return State.STOPPED
        if self.fate == "fails" and self.done >= self.stands_still_after and now >= self.times[-1]:
            return State.FAILED
        if self.done == len(self.order):
            return State.COMPLETED
        return State.RUNNING if self.done else State.WAITING

    def told(self, now: float) -> Told | None:
        """What its status says; None if it cannot be found."""
        if now >= self.vanishes_at:
            return None
        state, processed = self.state(now), self.order[: self.done]
        failed = frozenset(item.player for item in processed if item.player in self.failing)
        successful = frozenset(item.player for item in processed) - failed
        is_named = self.fate != "unnamed"
        return Told(
            state=state,
            done=self.done,
            failures=len(failed),
            successful=successful if is_named else frozenset(),
            failed=failed if is_named else frozenset(),
        )


class Jobs:
    """All jobs, as the plan has them.

    Args:
        plan: how they go.
        seed: of the chance.
        apply: called with each item that is processed and counts.
    """

    def __init__(self, plan: JobPlan, seed: int, apply: Callable[[Item], None]) -> None:
        self._plan = plan
        self._random = Random(seed)
        self._apply = apply
        self.all: list[Job] = []

    def accept(self, items: Sequence[Item], now: float, *, is_calm: bool) -> Job:
        """Accept the items of one request as a job."""
        plan, random = self._plan, self._random
        fate: Fate = "completes" if is_calm else random.choices(*zip(*plan.fates, strict=True))[0]
        order = random.sample(items, len(items))
        latency = 0.05 if is_calm else random.uniform(*plan.latency)
        share = 0.0 if is_calm else plan.failing
        poisoned = {item.player for item in items if any("poison" in placed.asked.metadata for placed in item.placed)}
        unlucky = {item.player for item in items if random.random() < share}
        part = random.randrange(len(items)) if fate in ("fails", "never ends") else len(items)
        job = Job(
            job_id=self._new_id(),
            fate=fate,
            items=items,
            order=order,
            times=sorted(now + random.uniform(0, latency) for _ in items),
            failing=frozenset(poisoned | unlucky),
            halfway=frozenset(player for player in sorted(unlucky) if random.random() < plan.halfway),
            stands_still_after=part,
            vanishes_at=now + random.choice([0.0, latency / 2, latency]) if fate == "vanishes" else float("inf"),
        )
        if fate == "is stopped":
            job.stopped_at = now + random.uniform(0, latency)
        self.all.append(job)
        return job

    def _new_id(self) -> int | str:
        number = 1000 + 7 * len(self.all)
        match self._plan.ids:
            case "numbers":
                return number
            case "digits":
                return str(number)
            case _:
                return f"job-{number}"

    def advance(self, now: float) -> None:
        """Process what is due by now."""
        for job in self.all:
            job.advance(now, self._apply)

    def find(self, job_id: str) -> Job | None:
        """The job with this id in a path."""
        return next((job for job in self.all if str(job.job_id) == job_id), None)

    def body(self, job: Job, told: Told) -> bytes:
        """What a status says, in the plan's vocabulary."""
        vocabulary = self._plan.vocabulary
        words = _WORDS[vocabulary].get(told.state, told.state.name.lower())
        status = words.capitalize() if vocabulary == "capitalised" else words
        failed, successful = self._shuffled(told.failed), self._shuffled(told.successful)
        content: dict[str, Any]
        if vocabulary == "openapi":
            content = {
                "batchId": str(job.job_id),
                "status": status,
                "progress": 100 * told.done // len(job.items),
                "totalItems": len(job.items),
                "processedItems": told.done,
                "failedItems": told.failures,
                "results": [{"customerId": player, "message": "ok"} for player in successful],
                "errors": [{"customerId": player, "message": POISONED} for player in failed],
            }
        else:
            is_listed = told.state in ENDS and job.fate != "unnamed"
            content = {
                "operation": "events",
                "errorCount": told.failures,
                "totalCount": len(job.items),
                "finishedCount": told.done,
                "startedAt": None if told.state is State.WAITING else "2026-11-29T00:00:00Z",
                "createdAt": "2026-11-29T00:00:00Z",
                "status": status,
                "response": None
                if not is_listed
                else {
                    "successful": [{"customerId": player, "message": "ok"} for player in successful],
                    "failed": [{"customerId": player, "error": POISONED} for player in failed],
                },
            }
        return json.dumps(content).encode()

    def _shuffled(self, players: frozenset[str]) -> list[str]:
        return self._random.sample(sorted(players), len(players))
