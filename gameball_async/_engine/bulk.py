"""Bulk requests: many players in one request, which Gameball accepts as a job and processes later."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
import anyio.lowlevel

from .._config import Batching
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.bulk_jobs import (
    PROOF_ITEMS,
    AutoMode,
    AutoState,
    BulkJob,
    EndedJob,
    FollowedJobs,
    ItemOutcome,
    JobStatus,
    job_id,
    read_status,
)
from .._core.outcome import FAILURES, Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, PacedPart, Pacing
from .._core.receipts import Delivered, JobId, Notifier
from .._core.stats import JobReport, JobState
from .._core.wire import Call, bulk_body
from .._endpoint import Endpoint
from .._log import LogThrottle, counted, fields, logger
from ..errors import JobError, LifecycleError, OutcomeUnknown
from .backends import Backend
from .calls import CallQueue
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

_LONGEST_STATUS = 16 * 1024 * 1024
"""Bytes of a job's status that are read: with an id and a message for each of 1,000 items it exceeds 64 KiB."""

_AT_ONCE = 50
"""Items that are settled without a break: they take the loop about a millisecond."""

_FAILURES_LOGGED = 3
"""Failures of a bulk request from which on they are logged."""

_MISSES = 2
"""Looks in a row at which no path shows a job's status, until the job counts as lost."""

_NO_SUCH_PATH = frozenset({400, 404, 405, 410, 501})
"""Answers of a path that does not show a job's status."""

_INTERRUPTED = Answer(verdict=Decision.INTERRUPTED, words="the request was cancelled on its way")
_NOT_SENT = Answer(verdict=Decision.NOT_SENT)


class BulkSender:
    """Sends bulk requests, and follows their jobs.

    Args:
        batching: the mode, and how jobs are followed.
        endpoint: where requests go.
        single: the pacing of single requests.
        buffer: holds the batches.
        storage: keeps the events until they have their outcome.
        breaker: says when requests may go.
        settlement: settles batches that were not accepted.
        reporting: logs, and calls the observer.
        calls: asks for the status of jobs.
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
        polls: requests for the status of jobs.
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
        pacing: PacedPart,
        wake: Notifier,
        wake_workers: Callable[[], object],
        now: Callable[[], float],
        may_send: Callable[[], bool],
        is_finished: Callable[[], bool],
    ) -> None:
        self.jobs = FollowedJobs(batching.jobs.poll_interval)
        self.idle_until = -math.inf
        self.in_flight = self.requests = self.retries = self.accepted = self.polls = 0
        self._mode = batching.mode
        self._single = single
        self._auto = AutoMode(single.rate, batching.bulk_items) if batching.mode == "auto" else None
        self._items = batching.bulk_items
        self._settings = batching.jobs
        self._endpoint = endpoint
        self._buffer = buffer
        self._storage = storage
        self._breaker = breaker
        self._settlement = settlement
        self._reporting = reporting
        self._calls = calls
        self._pacing = pacing
        self._wake = wake
        self._wake_workers = wake_workers
        self._now = now
        self._may_send = may_send
        self._is_finished = is_finished
        self._status_paths = list(batching.jobs.status)
        self._lost = LogThrottle()
        self._divided = LogThrottle()
        self._turn: anyio.Lock
        settlement.on_job_resumed = self._resume
        settlement.on_jobs_given_up = self.jobs.clear
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
        """Send and follow until the client is ending and nothing is left, or until cancelled."""
        self._turn = anyio.Lock()
        self.jobs.look_soon(self._now(), at_all=True)  # at those that an earlier run has left
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.protected(self._follow), backend)
            if self.sends:
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
        state = self._auto.look(ready, self.jobs.latency, self._now())
        if state is not before:
            self._on_auto(state, ready)

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
                    self.jobs.latency,
                    extra=fields("bulk", cause="on", players=ready, seconds=self.jobs.latency),
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
            call = Call(method="POST", url=self._endpoint.url_of(self._settings.submit), body=body)
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
                self.jobs.follow(job, batches, answer.status or 0, self._now())
            self._reporting.job(_report(job, JobState.ACCEPTED, len(batches)))
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
            self._on_lost(None, len(batches), "the answer names no job", now)
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

    # ---------------------------------------------------------------- jobs

    async def stop(self, number: JobId) -> None:
        """Ask Gameball to stop a job, in the documented ways.

        Raises:
            JobError: if none of them was confirmed.
        """
        answer = _NOT_SENT
        for method, path in zip(("POST", "DELETE"), self._settings.stop, strict=False):
            url = self._endpoint.url_of(path.replace("{job}", _quoted(number)))
            answer = await self._calls.request(Call(method=method, url=url))
            if answer.verdict is Decision.DELIVERED:
                return
            if answer.status not in _NO_SUCH_PATH:
                break
        raise JobError(
            f"job {number} may continue: Gameball did not confirm that it stops ({answer.summary}). Try again, or look "
            "in Gameball's dashboard.",
            status=answer.status,
            code=answer.code,
        )

    def _resume(self, number: JobId, batch: Batch, now: float) -> None:
        """Follow a job that an earlier process has sent."""
        self.jobs.resume(number, batch, now)
        self._wake.ring()

    def look_soon(self) -> None:
        """Look at all jobs soon: someone waits for the outcomes."""
        self.jobs.look_soon(self._now())

    async def _follow(self, backend: Backend) -> None:
        """Look at each job when it is time."""
        async with anyio.create_task_group() as looks:
            while not self._is_finished():
                for job in self.jobs.due(self._now()):
                    looks.start_soon(backend.protected(self._look_at), job)
                with anyio.move_on_after(self.jobs.next_look_at() - self._now()):
                    await self._wake.wait()
            looks.cancel_scope.cancel()

    async def _look_at(self, job: BulkJob) -> None:
        """Ask for the status of a job, and settle it if it has ended."""
        status: JobStatus | None = None
        if not self._endpoint.can_follow_jobs:
            self._lose(job, "its status needs v4 and both keys")
            return
        for path in self._status_paths.copy():
            url = self._endpoint.url_of(path.replace("{job}", _quoted(job.number)))
            self.polls += 1
            try:
                answer = await self._calls.request(Call(method="GET", url=url, longest_answer=_LONGEST_STATUS))
            except LifecycleError:
                return
            job.looked_at = self._now()
            if answer.verdict is Decision.DELIVERED:
                status = read_status(answer.content)
            elif answer.status not in _NO_SUCH_PATH:
                break  # it may be there: ask again later
            if status is not None:
                self._status_paths.remove(path)
                self._status_paths.insert(0, path)  # the other jobs' status is there as well
                break
        else:
            job.misses += 1
        await self._act_on(job, status)

    async def _act_on(self, job: BulkJob, status: JobStatus | None) -> None:
        now = self._now()
        if status is not None:
            job.misses = 0
            if status.progress != job.progress:
                job.progress, job.progressed_at = status.progress, now
            if status.state is not None:
                await self._end(job, status, status.state)
                return
        if job.misses >= _MISSES:
            self._lose(job, "its status cannot be found")
        elif now >= job.progressed_at + self._settings.patience:
            self._lose(job, f"it made no progress for {self._settings.patience:g} s")
        else:
            self.jobs.look_again(job, now, is_awaited=self._settlement.is_awaited)
            self._wake.ring()

    async def _end(self, job: BulkJob, status: JobStatus, state: JobState) -> None:
        """Give each item of a job that has ended its outcome, and other tasks of the loop their turn in between."""
        now, players = self._now(), list(job.batches)
        ended, outcomes = EndedJob(status, players, is_whole=job.is_ours), Counter[ItemOutcome]()
        with anyio.CancelScope(shield=True):
            for position, player in enumerate(players):
                if position % _AT_ONCE == _AT_ONCE - 1:
                    await anyio.lowlevel.checkpoint()
                outcome = ended.of(player)
                outcomes[outcome] += 1
                self._settle_item(job, job.batches.pop(player), outcome, now)
        if job.batches:  # Gameball has used its id again since
            self.jobs.look_again(job, now)
        else:
            self.jobs.remove(job, now)
        failed, unnamed = outcomes[ItemOutcome.FAILED], outcomes[ItemOutcome.UNNAMED]
        self._reporting.job(_report(job.number, state, len(players), failed, now - job.accepted_at))
        if unnamed:
            self._log_lost(job.number, unnamed, "some of its items failed, and its status does not say which", now)
        if self._auto is not None:
            before, ready = self._auto.state, self._buffer.ready_items
            if state is JobState.COMPLETED and not unnamed and (failed < len(players) or failed > PROOF_ITEMS):
                self._auto.completed(ready, self.jobs.latency, now)
            else:
                self._auto.lost(now)
            if self._auto.state is not before:
                self._on_auto(self._auto.state, ready)
        self._after_settling(now)

    def _settle_item(self, job: BulkJob, batch: Batch, outcome: ItemOutcome, now: float) -> None:
        match outcome:
            case ItemOutcome.CONFIRMED:
                attempts = max(batch.earlier_attempts + batch.attempts, 1)  # those of an earlier process are not known
                maybe_duplicate = batch.ambiguous
                delivered = Delivered(
                    status=job.status, attempts=attempts, maybe_duplicate=maybe_duplicate, job=job.number
                )
                self._settlement.deliver(batch, delivered, now)
            case ItemOutcome.FAILED:
                self._settlement.fail_item(batch, job.number, now)
            case ItemOutcome.UNKNOWN:
                self._settlement.fail(batch, _stopped(job.number), now)
            case ItemOutcome.UNNAMED:
                self._settlement.deliver_unconfirmed(batch, job.number, job.status, now)

    def _lose(self, job: BulkJob, why: str) -> None:
        """Settle the items of a job whose end will not be known."""
        now = self._now()
        self.jobs.drop(job)
        for batch in job.batches.values():
            self._settlement.deliver_unconfirmed(batch, job.number, job.status, now)
        self._on_lost(job.number, len(job.batches), why, now)
        self._after_settling(now)

    def _on_lost(self, number: JobId | None, players: int, why: str, now: float) -> None:
        self._log_lost(number, players, why, now)
        self._reporting.job(_report(number or "", JobState.LOST, players))
        if self._auto is not None:
            before = self._auto.state
            self._auto.lost(now)
            if before is not self._auto.state:
                self._on_auto(self._auto.state, self._buffer.ready_items)

    def _log_lost(self, number: JobId | None, players: int, why: str, now: float) -> None:
        self._lost.count += players
        if lost := self._lost.take(now):
            _log.warning(
                "the end of a job is unknown (job %s: %s): the events of %s count as delivered without confirmation, "
                "and are not sent again. Look in Gameball's dashboard, and check with `gameball-async doctor --bulk`.",
                number,
                why,
                counted(lost, "player"),
                extra=fields("job_lost", cause=why, players=lost),
            )

    def _after_settling(self, now: float) -> None:
        self._pacing.cost_each(1 + self.jobs.looks)
        self._storage.refill()
        self._wake.ring()
        self._reporting.log_failed(now)


_AUTO_INTERVAL = 10.0
"""Seconds after which `auto` decides again while bulk requests are on and nothing happens."""


def _report(job: JobId, state: JobState, players: int, failed: int = 0, seconds: float = 0.0) -> JobReport:
    return JobReport(job=job, state=state, players=players, failed=failed, seconds=seconds)


def _quoted(job: JobId) -> str:
    return quote(str(job), safe="")


def _stopped(job: JobId) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"job {job} was stopped, and its status does not say that this event was processed: look in Gameball's "
        "dashboard before you track it again."
    )
