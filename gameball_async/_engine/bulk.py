"""Bulk requests: many players in one request, which Gameball accepts as a job and processes later.

`job_follower` finds out what becomes of the jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from .._config import Batching
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.bulk_jobs import AutoMode, AutoState
from .._core.job_answers import job_id
from .._core.outcome import FAILURES, Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, PacedPart, Pacing
from .._core.receipts import JobId, Notifier
from .._core.stats import JobState
from .._core.wire import Call, bulk_body
from .._endpoint import Endpoint
from .._log import LogThrottle, counted, fields, logger
from .backends import Backend
from .calls import CallQueue
from .job_follower import LONGEST_STATUS, JobFollower, job_report
from .reporting import Reporting
from .settlement import Settlement
from .storage import Storage

if TYPE_CHECKING:
    from .delivery import Delivery

_log = logger("gameball_async")

SENDERS = 8
"""Bulk requests in flight at once: six a second, with answers that take a second, need no fewer."""

_PROBE_ITEMS = 10
"""Items of a bulk request that probes whether Gameball works again."""

_MOST_BYTES = 4 * 1024 * 1024
"""Bytes of a bulk request, at most, unless one item is larger. The API states no limit; 1,000 items have a tenth."""

_FAILURES_LOGGED = 3
"""Failures of a bulk request from which on they are logged."""

_AUTO_INTERVAL = 10.0
"""Seconds after which `auto` decides again while bulk requests are on and nothing happens."""

_INTERRUPTED = Answer(verdict=Decision.INTERRUPTED, words="the request was cancelled on its way")
_NOT_SENT = Answer(verdict=Decision.NOT_SENT)


class BulkSender:
    """Sends bulk requests.

    Args:
        batching: the mode, the size, and the path.
        endpoint: where requests go.
        single: the pacing of single requests.
        buffer: holds the batches.
        storage: keeps the events until they have their outcome.
        breaker: says when requests may go.
        settlement: settles batches that were not accepted.
        reporting: logs, and calls the observer.
        calls: asks for the status of jobs.
        follower: gets the accepted jobs.
        pacing: the part of the limits for bulk requests.
        wake: rings when something has changed.
        wake_workers: wakes those that send single requests.
        now: returns the seconds of the loop's clock.
        may_send: whether further requests may start.
        is_finished: whether the client is ending and nothing is left to do.

    Attributes:
        idle_until: for what a sender waits: something due before this time.
        in_flight: bulk requests in flight.
        requests: bulk requests sent.
        retries: those of them that had only batches which were sent before.
        accepted: jobs accepted.
    """

    def __init__(  # noqa: PLR0913 parts of the flusher
        self,
        *,
        batching: Batching,
        endpoint: Endpoint,
        single: Pacing,
        buffer: Buffer,
        storage: Storage,
        breaker: CircuitBreaker,
        settlement: Settlement,
        reporting: Reporting,
        calls: CallQueue,
        follower: JobFollower,
        pacing: PacedPart,
        wake: Notifier,
        wake_workers: Callable[[], object],
        now: Callable[[], float],
        may_send: Callable[[], bool],
        is_finished: Callable[[], bool],
    ) -> None:
        self.idle_until = -math.inf
        self.in_flight = self.requests = self.retries = self.accepted = 0
        self._mode = batching.mode
        self._single = single
        self._auto = AutoMode(single.rate, batching.bulk_items) if batching.mode == "auto" else None
        self._items = batching.bulk_items
        self._path = batching.jobs.submit
        self._endpoint = endpoint
        self._buffer = buffer
        self._storage = storage
        self._breaker = breaker
        self._settlement = settlement
        self._reporting = reporting
        self._calls = calls
        self._follower = follower
        self._pacing = pacing
        self._wake = wake
        self._wake_workers = wake_workers
        self._now = now
        self._may_send = may_send
        self._is_finished = is_finished
        self._divided = LogThrottle()
        self._turn: anyio.Lock
        follower.on_ended = self._on_job_ended
        buffer.let_single_take_items(allowed=self._auto is not None)

    @property
    def sends(self) -> bool:
        """Whether it may send bulk requests at all."""
        return self._mode != "single"

    @property
    def is_on(self) -> bool:
        """Whether bulk requests are sent at present."""
        return self._mode == "bulk" or (self._auto is not None and self._auto.state is AutoState.ON)

    # ---------------------------------------------------------------- run

    async def run(self, delivery: Delivery, backend: Backend) -> None:
        """Send until the client is ending and nothing is left, or until cancelled."""
        self._turn = anyio.Lock()
        async with anyio.create_task_group() as tasks:
            for _ in range(SENDERS):
                tasks.start_soon(backend.protected(self._work), delivery)

    async def _work(self, delivery: Delivery) -> None:
        while batches := await self._next_batches():
            await self._send(batches, delivery)

    async def _next_batches(self) -> list[Batch]:
        """Wait until a bulk request may be sent, and take its batches; none if there will be none."""
        async with self._turn:
            while not self._is_finished():
                now, most = self._now(), self._most_items()
                due_at = self._buffer.items_due_at(now) if most else math.inf
                is_closed = self._breaker.state is BreakerState.CLOSED
                allowed_at = max(self._pacing.free_at(now), now if is_closed else self._breaker.next_request_at())
                may_go_at = max(due_at, allowed_at)
                if may_go_at > now:
                    self.idle_until = due_at if most and due_at > allowed_at else -math.inf
                    with anyio.move_on_after(min(may_go_at, self._looks_again_at(now)) - now):
                        await self._wake.wait()
                    self.idle_until = -math.inf
                elif self._calls.is_due(now):
                    await anyio.lowlevel.checkpoint()  # a look at a job goes first
                elif batches := self._buffer.take_items(now, most, _MOST_BYTES):
                    if self._auto is not None:
                        self._auto.sent(len(batches), now)
                    return batches
        return []

    def _most_items(self) -> int:
        """Items of the next bulk request, at most; 0 if none may be sent."""
        if self._auto is None:
            most = self._items
        else:
            self.look()
            most = self._auto.most_items
        return most if self._breaker.state is BreakerState.CLOSED else min(most, _PROBE_ITEMS)

    def _looks_again_at(self, now: float) -> float:
        """When `auto` is to decide again, if nothing happens before."""
        return now + _AUTO_INTERVAL if self._auto is not None and self._auto.state is AutoState.ON else math.inf

    def look(self) -> None:
        """Let `auto` decide again."""
        if self._auto is None:
            return
        before, ready = self._auto.state, self._buffer.ready_items
        self._auto.rate = self._single.rate  # a relay's part of the limits changes
        state = self._auto.look(ready, self._follower.jobs.latency, self._now())
        if state is not before:
            self._on_auto(state, ready)

    def _on_job_ended(self, works: bool, now: float) -> None:  # noqa: FBT001 a callback
        """Let `auto` decide what the end of a job means."""
        if self._auto is None:
            return
        before, ready = self._auto.state, self._buffer.ready_items
        if works:
            self._auto.completed(ready, self._follower.jobs.latency, now)
        else:
            self._auto.lost(now)
        if self._auto.state is not before:
            self._on_auto(self._auto.state, ready)

    def _on_auto(self, state: AutoState, ready: int) -> None:
        """Act on a decision of `auto`, and log it."""
        waiting = counted(ready, "player", "are")
        self._buffer.let_single_take_items(allowed=state is not AutoState.ON)
        self._wake.ring()
        self._wake_workers()
        match state:
            case AutoState.PROVING:
                _log.info(
                    "%s waiting, more than single requests serve soon: a first bulk request of a few players shows "
                    "whether they work here.",
                    waiting,
                    extra=fields("bulk", cause="proving", players=ready),
                )
            case AutoState.ON:
                _log.info(
                    "bulk requests are on: %s waiting, more than single requests serve soon. Jobs take %.1f s.",
                    waiting,
                    self._follower.jobs.latency,
                    extra=fields("bulk", cause="on", players=ready, seconds=self._follower.jobs.latency),
                )
            case AutoState.OFF:
                _log.info(
                    "bulk requests are off: %s waiting, which single requests serve.",
                    waiting,
                    extra=fields("bulk", cause="off", players=ready),
                )

    # ---------------------------------------------------------------- one request

    async def _send(self, batches: list[Batch], delivery: Delivery) -> None:
        self._pacing.start(self._now())
        breaker = self._breaker
        probe = breaker.state is not BreakerState.CLOSED and breaker.start()
        answer, request = _NOT_SENT, None
        try:
            await self._storage.seal_all(batches)
            if not self._may_send():
                return
            if breaker.state is not BreakerState.CLOSED and (not probe or breaker.until > self._now()):
                return  # it tripped during the wait, or its pause got longer
            body = bulk_body(map(self._item, batches))
            self.requests += 1
            self.retries += all(batch.attempts for batch in batches)
            for batch in batches:
                batch.attempts += 1
            call = Call(
                method="POST",
                url=self._endpoint.url_of(self._path),
                body=body,
                longest_answer=LONGEST_STATUS,
            )
            answer, request = _INTERRUPTED, self._reporting.request_starts(batches, body, self._now())
            self.in_flight += 1
            try:
                answer = await delivery.fetch(call, [batch.player_unique_id for batch in batches])
            finally:
                self.in_flight -= 1
        finally:
            now = self._now()
            self._pacing.finish(now)
            may_halt = self._auto is None
            self._settlement.note_items(batches, answer, probe=probe, may_halt=may_halt, now=now)
            job = self._conclude(batches, answer, now)
            self._wake.ring()
            if probe or breaker.state is not BreakerState.CLOSED:
                self._wake_workers()
            if request is not None:
                self._reporting.request_ends(request, answer, now)
            self._reporting.log_failed(now)
        if job is not None:
            try:
                await self._storage.record_job(batches, job)
            finally:  # if that is cancelled, the next run follows it, or none does
                self._follower.jobs.follow(job, batches, answer.status or 0, self._now())
            self._reporting.job(job_report(job, JobState.ACCEPTED, len(batches)))
            self._wake.ring()

    def _item(self, batch: Batch) -> bytes:
        if batch.body is None:
            batch.body = self._endpoint.dialect.body(batch.player_unique_id, batch.events.values(), None, None)
        return batch.body

    def _conclude(self, batches: Sequence[Batch], answer: Answer, now: float) -> JobId | None:
        """Act on the answer; return the job if the batches were accepted as one that can be followed."""
        if answer.verdict is not Decision.DELIVERED:
            self._not_accepted(batches, answer, now)
            return None
        self.accepted += 1
        job = job_id(answer.content)
        if job is None:
            for batch in batches:
                self._settlement.deliver_unconfirmed(batch, None, answer.status or 0, now)
            self._follower.report_lost(None, len(batches), "the answer names no job", now)
        else:
            for batch in batches:
                batch.job = job
        return job

    def _not_accepted(self, batches: Sequence[Batch], answer: Answer, now: float) -> None:
        if self._auto is None or not self._switches_off(self._auto, answer, now):
            self._log_divided(batches, answer, now)
        self._settlement.conclude_items(batches, answer, now)

    def _switches_off(self, auto: AutoMode, answer: Answer, now: float) -> bool:
        """Let `auto` decide what a request means that was not accepted; whether it does without them for now."""
        before = auto.state
        if answer.verdict is Decision.HALT:
            auto.lost(now)
        elif answer.verdict is Decision.NOT_SENT:
            auto.not_sent()
        else:
            auto.not_accepted(now)
        if auto.state is before:
            return False
        self._buffer.let_single_take_items(allowed=True)
        self._wake_workers()
        _log.warning(
            "bulk requests do not work at present (%s): events are sent in single requests.",
            answer.summary,
            extra=fields("bulk", cause="not accepted", status=answer.status, code=answer.code),
        )
        return True

    def _log_divided(self, batches: Sequence[Batch], answer: Answer, now: float) -> None:
        """Log a refusal; and a failure, if it is not the first: else a retry may repair it."""
        is_failure = answer.status is not None and answer.verdict in FAILURES
        is_repeated = min(batch.attempts for batch in batches) >= _FAILURES_LOGGED
        if answer.verdict is not Decision.REFUSED and not (is_failure and is_repeated):
            return
        self._divided.count += 1
        if self._divided.take(now):
            _log.warning(
                "Gameball refused a bulk request of %s (%s): they are sent in smaller requests, at last singly.",
                counted(len(batches), "player"),
                answer.summary,
                extra=fields("bulk", cause="refused", status=answer.status, code=answer.code),
            )
