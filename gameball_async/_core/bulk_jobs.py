"""Jobs of bulk requests: when to look at their status next, and when bulk requests are worth their wait.

Plain synchronous state; `now` comes in as an argument.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum, auto

import msgspec

from .batch import Batch
from .job_answers import JobStatus
from .receipts import JobId

# ---------------------------------------------------------------- jobs that are followed


class BulkJob(msgspec.Struct, eq=False):
    """An accepted job that has not ended.

    Attributes:
        number: how Gameball identifies it.
        batches: its items without an outcome, by player.
        accepted_at: when it was accepted, or taken over from an earlier process.
        answered_at: until when `stalled_for` counts: the end of the latest look that was not in a pause.
        due_at: when the next look after that was planned; a pause or the limits may put it off.
        is_ours: whether this process has sent it.
        status: the HTTP status of its acceptance.
        progress: see `JobStatus`.
        stalled_for: seconds without progress, but for those in which a pause put a look off.
        running_for: the age at which it was last seen running.
        misses: looks in a row at which no status was found.
        problem: why the latest look did not bring a readable status; empty if it did.
        problems: such looks in a row.
        looks: looks so far.
        looked_at: when the latest look began.
        is_early: whether the first look comes before its end is expected.
    """

    number: JobId
    batches: dict[str, Batch]
    accepted_at: float
    answered_at: float
    due_at: float
    is_ours: bool = True
    status: int = 200
    progress: float = 0.0
    stalled_for: float = 0.0
    running_for: float = 0.0
    misses: int = 0
    problem: str = ""
    problems: int = 0
    looks: int = 0
    looked_at: float = -math.inf
    is_early: bool = False

    def note_answer(self, now: float, closed_since: float) -> None:
        """Note a look that was not in a pause.

        Args:
            now: the present time.
            closed_since: when the latest pause ended; if it has put off this look, that time does not count.
        """
        if closed_since > self.due_at:
            self.stalled_for += self.due_at - self.answered_at + now - closed_since
        else:
            self.stalled_for += now - self.answered_at
        self.answered_at = now

    def note_status(self, status: JobStatus, now: float) -> None:
        """Note what a look has shown."""
        self.misses, self.running_for = 0, now - self.accepted_at
        if status.progress > self.progress:
            self.progress, self.stalled_for, self.answered_at = status.progress, 0.0, now


_AGE_SHARE = 0.05
"""The share of a job's age between two looks: it is noticed at most that much later than it ends, and a job of ten
minutes takes a handful of looks."""

_EARLY_LOOK = 0.9
"""The first look at one in four jobs comes after this share of the expected time, that at the others after all of it:
without an earlier one it would never be found that jobs became faster, and each early one costs another look."""

_MOST_LOOKS = 4
"""Looks that a job counts with, at most: a flush takes one each second, and says nothing about the next jobs."""

_AWAITED = 1.0
"""Seconds between two looks at a job while a flush or a close waits for it, at most."""

_SMOOTHING = 0.3
"""The weight of the latest job in the expected time."""


class FollowedJobs:
    """The accepted jobs, and when to look at each.

    Args:
        poll_interval: seconds between two looks at a job, at least.

    Attributes:
        latency: seconds from acceptance to completion, as expected from earlier jobs; 0.0 before there were any.
        looks: how many looks a job takes, as expected from earlier jobs.
    """

    def __init__(self, poll_interval: float) -> None:
        self.latency = 0.0
        self.looks = 1.0
        self._poll_interval = poll_interval
        self._jobs: dict[JobId, BulkJob] = {}
        self._looks: list[tuple[float, int, BulkJob]] = []  # a heap; some entries are stale
        self._look_of: dict[JobId, int] = {}
        self._numbers = itertools.count()
        self._followed = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[BulkJob]:
        return iter(list(self._jobs.values()))

    def follow(self, number: JobId, batches: Iterable[Batch], status: int, now: float) -> BulkJob:
        """Follow a job that Gameball has just accepted."""
        if (known := self._jobs.get(number)) is not None:  # an id that Gameball has used again: one status is for both
            known.batches.update({batch.player_unique_id: batch for batch in batches})
            return known
        job = BulkJob(number, {batch.player_unique_id: batch for batch in batches}, now, now, now, status=status)
        self._followed += 1
        job.is_early = not self._followed % 4
        expected = (_EARLY_LOOK if job.is_early else 1.0) * self.latency
        if not self.latency and self._jobs:  # none has ended yet
            expected = next(iter(self._jobs.values())).running_for
        self._jobs[number] = job
        self._look_at(job, now + max(self._poll_interval, expected))
        return job

    def resume(self, number: JobId, batch: Batch, now: float) -> None:
        """Follow a job that an earlier process has sent; one call for each of its batches."""
        if (job := self._jobs.get(number)) is None:
            job = self._jobs[number] = BulkJob(number, {}, now, now, now, is_ours=False)
            self._look_at(job, now)
        job.batches[batch.player_unique_id] = batch

    def drop(self, job: BulkJob) -> None:
        """Stop following a job whose end will not be known."""
        self._jobs.pop(job.number, None)
        self._look_of.pop(job.number, None)

    def remove(self, job: BulkJob) -> None:
        """Stop following a job that has ended: it says how long jobs take."""
        self.drop(job)
        if job.is_ours:
            # one that has ended by an early look may have taken any shorter time
            seconds = max(job.due_at - job.accepted_at, self._poll_interval)
            seconds *= 0.5 if job.is_early and job.looks == 1 else 1.0
            if self.latency:  # the first job takes as many looks as no other
                self.looks += (min(max(job.looks, 1), _MOST_LOOKS) - self.looks) * _SMOOTHING
            self.latency += (seconds - self.latency) * (_SMOOTHING if self.latency else 1.0)

    def look_again(self, job: BulkJob, now: float, *, is_awaited: bool = False) -> None:
        """Plan the next look at a job that has not ended; sooner if a flush or a close waits for it."""
        share = _AGE_SHARE * (now - job.accepted_at)
        self._look_at(job, now + max(self._poll_interval, min(share, _AWAITED) if is_awaited else share))

    def look_soon(self, now: float, *, at_all: bool = False) -> None:
        """Look at the jobs that wait for their next look as soon as that may be.

        Args:
            now: the present time.
            at_all: also at those that are being looked at, by a task that has ended.
        """
        for job in self:
            if at_all or job.number in self._look_of:
                self._look_at(job, max(now, job.looked_at + self._poll_interval))

    def clear(self) -> None:
        """Follow no job any more."""
        self._jobs.clear()
        self._looks.clear()
        self._look_of.clear()

    def next_look_at(self) -> float:
        """When the next job is to be looked at; `inf` without one."""
        looks = self._looks
        while looks and self._look_of.get(looks[0][2].number) != looks[0][1]:
            heapq.heappop(looks)
        return looks[0][0] if looks else math.inf

    def due(self, now: float) -> Iterator[BulkJob]:
        """Take the jobs that are to be looked at; `look_again` or `remove` follows for each."""
        while self.next_look_at() <= now:
            due_at, _, job = heapq.heappop(self._looks)
            del self._look_of[job.number]
            job.looks += 1
            job.looked_at = now
            if job.due_at <= job.answered_at:
                job.due_at = due_at
            yield job

    def _look_at(self, job: BulkJob, at: float) -> None:
        number = self._look_of[job.number] = next(self._numbers)
        heapq.heappush(self._looks, (at, number, job))


# ---------------------------------------------------------------- single or bulk


class AutoState(Enum):
    """Where `mode="auto"` is."""

    OFF = auto()
    """Single requests serve all players."""
    PROVING = auto()
    """Bulk requests are worth it, and a first, small job has to show that they work here."""
    ON = auto()
    """Bulk requests are sent."""


PROOF_ITEMS = 10
"""Items of the first job."""

SHORTEST_WAIT = 10.0
"""Seconds of single requests that may wait before bulk requests are worth it, at least."""

_SERVED = 0.9
"""The share of what single requests can serve below which they are enough: with more of it players would have to wait
for each other. With half of it, 30 players per second after a burst stayed in jobs of a minute."""

DISTRUST = 600.0
"""Seconds after a lost job during which no bulk request is sent."""


class AutoMode:
    """Decides between single and bulk requests.

    Args:
        rate: players per second that single requests serve; `inf` if they are not paced.
        items: players of one bulk request, at most.

    Attributes:
        state: see `AutoState`.
        rate: as given; a relay's changes.
    """

    def __init__(self, rate: float, items: int) -> None:
        self.state = AutoState.OFF
        self.rate = rate
        self._items = items
        self._is_proven = False
        self._is_proof_sent = False
        self._distrusts_until = -math.inf
        self._on_since = math.inf
        self._sent: deque[tuple[float, int]] = deque()  # when bulk requests were sent, and with how many players

    def threshold(self, latency: float) -> float:
        """The players that single requests serve while a job would be processed: more are worth a bulk request."""
        return self.rate * max(latency, SHORTEST_WAIT)

    def look(self, ready: int, latency: float, now: float) -> AutoState:
        """Decide again.

        Args:
            ready: players whose batches are due and may be items.
            latency: seconds that jobs take.
            now: the present time.
        """
        match self.state:
            case AutoState.OFF if ready > self.threshold(latency) and now >= self._distrusts_until:
                self.state = AutoState.ON if self._is_proven else AutoState.PROVING
                self._on_since = now
            case AutoState.ON if now >= self._on_since + SHORTEST_WAIT and self._demand(ready, now) < self._least():
                self.state = AutoState.OFF
                self._sent.clear()
            case _:
                pass
        return self.state

    def _least(self) -> float:
        return _SERVED * self.rate * SHORTEST_WAIT

    def _demand(self, ready: int, now: float) -> int:
        """The players that single requests would have had to serve in the latest seconds."""
        while self._sent and self._sent[0][0] <= now - SHORTEST_WAIT:
            self._sent.popleft()
        return ready + sum(players for _, players in self._sent)

    @property
    def most_items(self) -> int:
        """Items of the next bulk request; 0 if none may be sent."""
        match self.state:
            case AutoState.ON:
                return self._items
            case AutoState.PROVING if not self._is_proof_sent:
                return min(PROOF_ITEMS, self._items)
            case _:
                return 0

    def sent(self, players: int, now: float) -> None:
        """Note that a bulk request was sent."""
        self._is_proof_sent = self.state is AutoState.PROVING
        if self.state is AutoState.ON:
            self._sent.append((now, players))

    def not_sent(self) -> None:
        """Note that a bulk request was not sent after all."""
        self._is_proof_sent = False

    def not_accepted(self, now: float) -> None:
        """Note that a bulk request was not accepted: a proof is to be given later."""
        if self.state is AutoState.PROVING:
            self._distrust(now, SHORTEST_WAIT)

    def completed(self, ready: int, latency: float, now: float) -> None:
        """Note that a job was completed."""
        self._is_proven = True
        if self.state is AutoState.PROVING:
            self.state, self._is_proof_sent = AutoState.OFF, False
            self.look(ready, latency, now)

    def lost(self, now: float) -> None:
        """Note that a job was lost: bulk requests do not work here."""
        self._is_proven = False
        self._distrust(now, DISTRUST)

    def _distrust(self, now: float, seconds: float) -> None:
        self.state, self._is_proof_sent = AutoState.OFF, False
        self._distrusts_until = now + seconds
        self._sent.clear()
