"""The one loop: it takes what is due when it may go, sends it, and acts on the answer.

A fixed number of workers take turns. The one whose turn it is waits until a batch is due, the gate
is open and a slot in both windows is free; only then it takes the batch, which merged until that
moment, and passes the turn on before it sends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from random import random

import anyio
import anyio.abc
import anyio.lowlevel

from .._bell import Bell
from .._buffer import Batch, Buffer
from .._config import Batching, RateLimit, Retry
from .._delivery import CONNECTIONS, Backoff, Delivery
from .._failures import Failures, OnFailure
from .._pacing import Gate, GateState, Windows
from .._receipt import Delivered
from .._runtime import Runtime
from .._verdict import Answer, Verdict
from .._wire import SingleDialect
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason, FlushTimeout, OutcomeUnknown, Rejected
from ._intake import Intake
from ._report import Undelivered

_log = logging.getLogger("gameball_async")

_INTERRUPTED = Answer(verdict=Verdict.INTERRUPTED, words="the request was cancelled on its way")


class Flusher:
    """The buffer and everything that empties it.

    Args:
        batching: how events are merged and how many are held.
        retry: when and how long a request is tried again.
        rate: the two windows; None switches pacing off.
        dialect: how a request looks.
        make_delivery: opens the connections; called when `run` begins.
        on_failure: the user's callback.

    Attributes:
        now: seconds of the loop's clock; before there is one, everything is overdue.
    """

    def __init__(
        self,
        *,
        batching: Batching,
        retry: Retry,
        rate: RateLimit | None,
        dialect: SingleDialect,
        make_delivery: Callable[[], Delivery],
        on_failure: OnFailure | None,
    ) -> None:
        self.buffer = Buffer(batching, dialect.overhead, self._on_due, self._on_settled)
        self.gate = Gate()
        self.failures = Failures(on_failure)
        self.intake = Intake(self.buffer, batching, self.failures)
        self.halted: ClientHalted | None = None
        self.undelivered: list[Undelivered] = []
        self.requests = 0
        self.retries = 0
        self.ambiguous = 0
        self.in_flight = 0
        self._retry = retry
        self._dialect = dialect
        self._make_delivery = make_delivery
        self._backoff = Backoff(retry, random)
        self._windows = Windows(rate.windows() if rate is not None else ())
        self._successes = 0
        self.now: Callable[[], float] = lambda: -math.inf
        self._wake = Bell()
        self._progress = Bell()
        self._turn: anyio.Lock
        self._idle_until = -math.inf
        self._closing_at: float | None = None
        self._ending = False
        self._ends_at_deadline: list[anyio.abc.TaskGroup] = []

    # ---------------------------------------------------------------- run, flush, close

    async def run(self, runtime: Runtime, on_under_way: Callable[[], object]) -> None:
        """Send until `close` was called and the buffer is empty or the time is over; or until cancelled.

        Args:
            runtime: the loop that it runs in.
            on_under_way: called when every worker has begun.
        """
        self._turn = anyio.Lock()
        delivery = self._make_delivery()
        try:
            await delivery.prepare()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runtime.protected(self.failures.report))
                async with anyio.create_task_group() as workers:
                    self._end_at_deadline(workers)
                    for _ in range(CONNECTIONS):
                        workers.start_soon(runtime.protected(self._work), delivery)
                    await anyio.lowlevel.checkpoint()
                    on_under_way()
                self.give_up(DropReason.CLOSED, self._why_closed())
                self.failures.finish()
                self._end_at_deadline(tasks)
            await self.failures.report_without_waiting()
        finally:
            self._ends_at_deadline.clear()
            with anyio.move_on_after(1, shield=True):
                await delivery.aclose()

    def close(self, deadline: float) -> None:
        """Let `run` end: when everything is settled, or at the earliest deadline; linger and backoff are skipped."""
        self._closing_at = deadline if self._closing_at is None else min(deadline, self._closing_at)
        self._ending = True
        self._set_deadlines()
        self._hurry()
        self.intake.admission.dismiss()

    def _why_closed(self) -> str:
        if self.halted is not None:
            return f"the client was closed while Gameball refused it (HTTP {self.halted.status})"
        return "the client was closed before the event was delivered"

    def _end_at_deadline(self, tasks: anyio.abc.TaskGroup) -> None:
        """Cancel these tasks at the deadline of the close, also of one that is yet to come."""
        self._ends_at_deadline.append(tasks)
        self._set_deadlines()

    def _set_deadlines(self) -> None:
        if self._closing_at is not None:
            left = self._closing_at - self.now()
            for tasks in self._ends_at_deadline:
                tasks.cancel_scope.deadline = anyio.current_time() + left

    async def flush(self, timeout: float | None, check: Callable[[], object]) -> None:  # noqa: ASYNC109 the user's
        """Wait until everything accepted so far is settled.

        Args:
            timeout: seconds, or None for no limit.
            check: raises if nothing will be settled any more.
        """
        epoch = self._hurry()
        with anyio.move_on_after(timeout):
            while self.buffer.pending_until(epoch):
                check()
                if self.halted is not None:
                    raise self.halted.with_traceback(None)
                await self._progress.wait()
        check()
        if unsettled := self.buffer.pending_until(epoch):
            raise FlushTimeout(
                f"{unsettled} events have no outcome after {timeout:g} s; they are kept, and sending goes on: "
                "flush again, or look at stats().",
                unsettled=unsettled,
            )

    def ring(self) -> None:
        """Make everyone who waits for progress look again."""
        self._progress.ring()
        self.intake.admission.dismiss()

    def give_up(self, reason: DropReason, why: str) -> None:
        """Settle whatever is left as dropped, or as unknown if it may have arrived."""
        self._ending = True
        if self.buffer.counts.pending:
            _log.error("%d events will not arrive: %s", self.buffer.counts.pending, why)
        for batch in self.buffer.unsettled():
            if batch.ambiguous:
                self._fail(batch, OutcomeUnknown(f"{why}, after an attempt whose answer got lost: {_ASK}"))
            else:
                self._fail(batch, Dropped(f"{why}: {_AGAIN}", reason=reason))

    def _hurry(self) -> int:
        epoch = self.buffer.hurry()
        self.gate.skip_wait()
        self._wake.ring()
        return epoch

    # ---------------------------------------------------------------- a worker

    async def _work(self, delivery: Delivery) -> None:
        while (batch := await self._next_batch()) is not None:
            await self._send(batch, delivery)

    async def _next_batch(self) -> Batch | None:
        """Wait until a batch may go, and take it; None if there will be none."""
        async with self._turn:
            while True:
                now = self.now()
                expires_at = self._expire(now)
                if self._is_finished():
                    return None
                may_go_at = self._may_go_at(now)
                if may_go_at <= now:
                    return self.buffer.take(now, untried_first=self.gate.state is not GateState.OPEN)
                with anyio.move_on_after(min(may_go_at, expires_at) - now):
                    await self._wake.wait()

    def _is_finished(self) -> bool:
        return self._closing_at is not None and (not self.buffer.counts.pending or self.halted is not None)

    def _may_go_at(self, now: float) -> float:
        """When the next batch may go: at once if not above `now`."""
        due_at = self.buffer.due_at(now)
        self._idle_until = due_at if due_at > now else -math.inf
        return max(due_at, self.gate.opens_at(), self._windows.free_at(now))

    def _on_settled(self) -> None:
        self._progress.ring()
        self.intake.admission.room_made()

    def _on_due(self, at: float) -> None:
        if at < self._idle_until:
            self._idle_until = at
            self._wake.ring()

    def _expire(self, now: float) -> float:
        """Drop what an outage has kept for too long; returns when the next batch is that old."""
        if self.gate.state not in (GateState.OUTAGE, GateState.PAUSED):
            return math.inf
        before = self.buffer.counts.pending
        for batch in self.buffer.expired(now, self._retry.give_up_after):
            self._drop_expired(batch, "Gameball could not be reached")
        if expired := before - self.buffer.counts.pending:
            _log.error("%d events expired before Gameball could be reached", expired)
        return self.buffer.expires_at(self._retry.give_up_after)

    async def _send(self, batch: Batch, delivery: Delivery) -> None:
        if batch.body is None:
            batch.body = self._dialect.body(batch.player_unique_id, batch.events.values(), batch.mobile, batch.email)
        self.requests += 1
        self.retries += batch.attempts > 0
        batch.attempts += 1
        if batch.successes_seen is None:
            batch.successes_seen = self._successes
        self.in_flight += 1
        self._windows.start()
        probe = self.gate.start()
        answer = _INTERRUPTED
        try:
            answer = await delivery.post(batch.body, batch.private)
        finally:
            now = self.now()
            self.in_flight -= 1
            self._windows.finish(now)
            self._note(batch, answer, probe=probe, now=now)
            self._conclude(batch, answer, now)
            self._wake.ring()

    # ---------------------------------------------------------------- an answer

    def _note(self, batch: Batch, answer: Answer, *, probe: bool, now: float) -> None:
        """Tell the gate and the counters what the answer says about the server."""
        before = self.gate.state
        pause = self._backoff.pause(answer, self.gate.failed_probes)
        player = batch.player_unique_id if batch.attempts == 1 else None
        self.gate.finish(answer.sign, player, probe=probe, now=now, pause=pause)
        if answer.verdict is Verdict.DELIVERED:
            self._successes += 1
            self.intake.note_delivery()
        if answer.verdict in (Verdict.AMBIGUOUS, Verdict.INTERRUPTED):
            self.ambiguous += 1
            batch.ambiguous = True
        if answer.status is not None and answer.verdict in (Verdict.FAILED, Verdict.AMBIGUOUS):
            # only what the server answered may be the batch's own fault; a broken connection says nothing about it
            batch.strikes += self._successes > (batch.successes_seen or 0)
            batch.successes_seen = self._successes
        if self.gate.state is not before:
            self._on_gate_change(answer)

    def _on_gate_change(self, answer: Answer) -> None:
        self.halted = None
        match self.gate.state:
            case GateState.OPEN:
                self.buffer.skip_backoff()
                _log.warning("Gameball answers again; %d events are waiting", self.buffer.counts.pending)
            case GateState.HALTED:
                self.halted = _halted(answer)
                self._progress.ring()
                _log.error("%s", self.halted)
            case GateState.PAUSED:
                _log.warning("pausing all requests: %s", answer.summary)
            case GateState.OUTAGE:
                _log.warning("Gameball is out of reach, probing from time to time: %s", answer.summary)

    def _conclude(self, batch: Batch, answer: Answer, now: float) -> None:
        """Settle the batch, split it, or keep it for another try."""
        match answer.verdict:
            case Verdict.DELIVERED:
                attempts = batch.earlier_attempts + batch.attempts
                delivered = Delivered(status=answer.status or 0, attempts=attempts, maybe_duplicate=batch.ambiguous)
                self.buffer.settle(batch, delivered, now)
            case Verdict.REFUSED:
                self._refuse(batch, answer)
            case Verdict.AMBIGUOUS | Verdict.INTERRUPTED if self._retry.ambiguous == "report":
                _log.error("events %s: %s", ", ".join(batch.events), error := _unknown(answer))
                self._fail(batch, error)
            case Verdict.INTERRUPTED:
                self.buffer.give_back(batch, now)
            case _:
                self._try_again(batch, answer, now)

    def _try_again(self, batch: Batch, answer: Answer, now: float) -> None:
        wait = self._backoff.after(answer, attempts=batch.attempts, strikes=batch.strikes)
        if wait is None:
            self._refuse(batch, answer)
        elif now - batch.opened_at > self._retry.give_up_after and answer.verdict is not Verdict.HALT:
            self._drop_expired(batch, answer.summary)
            _log.error("events %s expired: %s", ", ".join(batch.events), answer.summary)
        else:
            self.buffer.give_back(batch, now + wait)

    def _refuse(self, batch: Batch, answer: Answer) -> None:
        if len(batch.events) > 1:
            self.buffer.split(batch)
        else:
            error = _rejected(answer, may_have_arrived=batch.ambiguous)
            _log.error("event %s: %s", *batch.events, error)
            self._fail(batch, error)

    def _drop_expired(self, batch: Batch, why: str) -> None:
        error = Dropped(
            f"its request was not delivered within Retry(give_up_after={self._retry.give_up_after:g}) s ({why}): "
            f"{_AGAIN}",
            reason=DropReason.EXPIRED,
            may_have_arrived=batch.ambiguous,
        )
        self._fail(batch, error)

    def _fail(self, batch: Batch, error: DeliveryError) -> None:
        events = batch.as_events()
        self.buffer.settle(batch, error, self.now())
        self.failures.add(events, error)
        if self._ending:
            self.undelivered.extend(Undelivered(event, error) for event in events)


_AGAIN = "track it again if it still matters."
_ASK = "look in Gameball's dashboard before you track it again."


def _rejected(answer: Answer, *, may_have_arrived: bool) -> Rejected:
    return Rejected(
        f"Gameball refused the event ({answer.summary}). Correct the event, or ask Gameball about it.",
        status=answer.status,
        code=answer.code,
        may_have_arrived=may_have_arrived,
    )


def _unknown(answer: Answer) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the request was sent and nobody can tell whether it was applied ({answer.summary}): {_ASK}",
        status=answer.status,
        code=answer.code,
    )


def _halted(answer: Answer) -> ClientHalted:
    return ClientHalted(
        f"Gameball refuses this client ({answer.summary}). Check the keys, api_version, base_url, the plan and that "
        "Gameball is enabled; events are kept meanwhile, and a probe goes out every minute.",
        status=answer.status or 0,
        code=answer.code,
    )
