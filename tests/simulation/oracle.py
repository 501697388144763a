"""The oracle: it looks after every step of the client, whenever nothing is ready, and at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import anyio
import attrs
import trio

from gameball_async import AsyncGameball, Delivered
from gameball_async._core.pacing import BreakerState
from gameball_async._core.receipts import SharedOutcome
from gameball_async._engine.flusher import Flusher
from gameball_async._engine.lifecycle import ClientState

from . import loops
from .bulk.requests import BulkRequests
from .calls import Calls
from .hooks import Crash, watch, watch_close
from .ledger import LONGEST_CONTACT, Ledger, Placed, Trace
from .pauses import Pauses
from .plan import Plan
from .requests import EPSILON, Requests

MOST_REQUESTS = 4000
LONGEST = 3 * 86_400.0
MOST_FAILURES = 5

OWN_TASKS = 14
"""Tasks of a running client: the flusher, its reporter, a worker for each connection, and some spare."""


class Oracle:
    """All that is known of one run, and what is wrong with it.

    Args:
        plan: what the seed means.
        now: the virtual time.
        stop: ends the run; called with the first finding.
    """

    def __init__(self, plan: Plan, now: Callable[[], float], stop: Callable[[], None]) -> None:
        self.plan = plan
        self.now = now
        self.failures: list[str] = []
        self.trace = Trace(now)
        self.ledger = Ledger(now, self.fail, self.trace)
        self.requests = (BulkRequests if plan.jobs else Requests)(plan, self.ledger, self.trace, now, self.fail)
        self.pauses = Pauses(self.fail)
        self.calls = Calls(plan, self.ledger, self.requests, now, self.fail)
        self.life = self.calls.life
        self._stop = stop
        self._gameball: AsyncGameball | None = None
        self._takes = 0
        self._flushed_at = -1.0
        self._tasks_before = 0
        self._observed: tuple[object, ...] = ()

    def fail(self, what: str) -> None:
        """Note what is wrong, and end the run."""
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(what)
            self.trace.note("FAILED", what.splitlines()[0])
        self._stop()

    # ---------------------------------------------------------------- the client

    @property
    def gameball(self) -> AsyncGameball:
        """The client that is watched."""
        assert self._gameball is not None, "watch a client first"
        return self._gameball

    @property
    def flusher(self) -> Flusher:
        """Its flusher, looked into."""
        return self.gameball._lifecycle.flusher

    @property
    def state(self) -> ClientState:
        """Its state, looked into."""
        return self.gameball._lifecycle.state

    def watch(self, gameball: AsyncGameball) -> None:
        """Look at a client from now on."""
        self._gameball = gameball
        self._tasks_before = count_tasks()
        self.requests.flusher = self.flusher
        watch_close(self.flusher, self.calls.begin_close)
        watch(self.flusher.buffer, accepted=self._accepted, look=self._look)

    def forget(self) -> None:
        """After a finding: the client need not warn of what is known."""
        if self._gameball is not None:
            self._gameball._lifecycle.state = ClientState.CLOSED

    # ---------------------------------------------------------------- after each step

    def _accepted(self, player: str | None, encoded: bytes, shared: SharedOutcome) -> None:
        self.calls.accepted(self.ledger.accept(player, encoded, shared))

    def _look(self, transition: str) -> None:
        if transition in ("skip_backoff", "flush_now"):
            self.requests.hurried_at = self.now()
            if transition == "flush_now":  # the other one skips no linger
                self._flushed_at = self.now()
            return
        self.ledger.collect()
        self.requests.collect()
        self.ledger.check(self.gameball.stats())
        self._check_bounds()
        if transition in ("take", "take_items"):
            self._take()

    def _take(self) -> None:
        self._takes += 1
        if self._takes % 8 == 0 and count_tasks() > self._tasks_before + self._own_tasks + self.plan.most_tasks:
            self.fail(f"there are {count_tasks()} tasks\n{loops.who_waits()}")
        if self.plan.ending == "crash" and self._takes == self.plan.crash_after:
            self.life.is_killed = True
            self.requests.ending_at = min(self.now(), self.requests.ending_at)
            raise Crash

    @property
    def _own_tasks(self) -> int:
        """Tasks of the client, at most: with bulk requests also their senders, and one for each job at most."""
        return OWN_TASKS + (15 + 2 * self.requests.numbers["jobs"] if self.plan.jobs else 0)

    def _check_bounds(self) -> None:
        stats, batching = self.gameball.stats(), self.plan.batching
        most = batching.buffer_bytes + LONGEST_CONTACT * stats.buffered_events  # a split batch has two contacts
        is_one_request = len({placed.asked.player for placed in self.ledger.pending.values()}) == 1
        if stats.buffered_events > batching.buffer_events or (stats.buffered_bytes > most and not is_one_request):
            self.fail(f"the buffer holds too much: {stats}")
        if stats.in_flight != self.requests.in_flight_count and not self.failures:
            self._check_in_flight(stats.in_flight)
        if len(self.requests.all) > MOST_REQUESTS or self.now() > loops.START + LONGEST:
            self.fail("the simulation does not come to an end")

    def _check_in_flight(self, told: int) -> None:
        """Between a batch's taking and its request there is an instant, and so between its answer and its end."""
        if abs(told - (truth := self.requests.in_flight_count)) > 1:
            self.fail(f"stats say in_flight={told}, the truth is {truth}")

    # ---------------------------------------------------------------- when nothing is ready

    def idle(self) -> None:
        """Look when every task waits, before time moves on."""
        if self._gameball is None or self.failures:
            return
        self.ledger.collect()
        self.requests.collect()
        self._observe_stats()
        self.life.is_dead |= self.life.is_killed
        if self.life.is_killed and self.state is ClientState.RUNNING:
            self.fail("the flusher is dead, and the client does not know")
        self.calls.check_idle(self.flusher)
        self.pauses.check(self.requests.all, self.flusher.breaker.state)
        if self.state in (ClientState.RUNNING, ClientState.CLOSING):
            self.requests.check_idle()
            self._check_hurried()
            self._check_told_numbers()

    def _observe_stats(self) -> None:
        """Add the numbers that the client tells to the fingerprint whenever they have changed."""
        stats = self.gameball.stats()
        numbers = {name: value for name, value in attrs.asdict(stats).items() if type(value) is int}
        del numbers["filtered"], numbers["invalid"]  # which nothing here brings about
        for name in ("unconfirmed", "jobs", "jobs_accepted", "polls"):  # without bulk requests
            if not numbers[name]:
                del numbers[name]
        facts = (*numbers.items(), stats.paused_until is not None, stats.halted is not None)
        if facts != self._observed:
            self._observed = facts
            self.trace.observe(*facts)

    def _check_hurried(self) -> None:
        """What a flush or a close found waiting for its linger or backoff went at once, if it may go at all."""
        requests, now = self.requests, self.now()
        if self.flusher.breaker.state is not BreakerState.CLOSED or self.flusher.storage.is_persistent:
            return
        if not self.requests.may_go(now):
            return
        for player, queue in self.ledger.queues.items():
            is_waiting = queue and player not in requests.in_flight and self._was_flushed(queue[0])
            if is_waiting and requests.may_go(now, player):
                self.fail(f"event {queue[0].asked.number} waits on after a flush or a close")

    def _was_flushed(self, placed: Placed) -> bool:
        ended_at = placed.accepted_at if placed.last is None else placed.last.ended
        return ended_at is not None and ended_at < self._flushed_at - EPSILON

    def _check_told_numbers(self) -> None:
        stats = self.gameball.stats()
        for account, expected in self.requests.numbers.items():
            if getattr(stats, account) != expected:
                self.fail(f"stats say {account}={getattr(stats, account)}, the truth is {expected}")

    # ---------------------------------------------------------------- at the end

    async def check_end(self) -> None:
        """Look at what a closed client leaves behind, long after."""
        await anyio.sleep(1000)  # what was forgotten would show up now
        if (tasks := count_tasks()) > self._tasks_before:
            self.fail(f"{tasks - self._tasks_before} tasks outlive the client\n{loops.who_waits()}")
        self.ledger.check_resolved_once()
        self.ledger.check(self.gameball.stats())
        self.requests.check_windows()
        for placed in self.ledger.accepted:
            self.requests.check_outcome(placed)
            self._check_told(placed)

    def _check_told(self, placed: Placed) -> None:
        expected = 0 if isinstance(placed.outcome, Delivered) or self.plan.callback == "none" else 1
        if len(placed.told) != expected:
            self.fail(f"on_failure was told {len(placed.told)} times of event {placed.asked.number}: {placed.outcome}")


def count_tasks() -> int:
    """Tasks that live in the running loop."""
    with suppress(RuntimeError):
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks(asyncio.get_running_loop()))
