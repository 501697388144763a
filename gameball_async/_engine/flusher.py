"""The one loop: it takes what is due when it may go, sends it, and acts on the answer.

A fixed number of workers take turns. The one whose turn it is waits until a batch is due, the breaker
is open and a slot in both windows is free; only then it takes the batch, which merged until that
moment, and passes the turn on before it sends.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from random import random
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from .._config import Batching, Retry
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.events import Event
from .._core.outcome import Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, Pacing, SharedPacing
from .._core.receipts import Notifier, check_stack
from .._core.stats import ObservedClient, Observer, Stats
from .._endpoint import Endpoint
from .._log import counted, fields, logger
from ..errors import ClientClosed, DeliveryError, DropReason, FlushTimeout, LifecycleError
from .admission import Admission
from .backends import Backend, running_task
from .bulk import BulkSender
from .callbacks import FailureCallbacks, OnFailure
from .calls import CallQueue
from .job_follower import JobFollower
from .reporting import Reporting
from .settlement import CLOSED, Settlement
from .storage import MakeStorage, StorageCallbacks

if TYPE_CHECKING:
    from .delivery import Delivery  # its import takes longest, see `Flusher._load_delivery`

_log = logger("gameball_async")

_CLOSED = BreakerState.CLOSED  # Python 3.11 takes 60 ns to look up a member

_NOT_SENT = Answer(verdict=Decision.NOT_SENT)
_INTERRUPTED = Answer(verdict=Decision.INTERRUPTED, words="the request was cancelled on its way")


CONNECTIONS = 10
"""Requests in flight at once: ten at 100 ms of latency reach the documented 100 requests a second."""


class _NoDelivery:
    """What a client that is switched off has instead of connections; httpx is not imported for it."""

    async def prepare(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""


class Flusher:
    """The buffer and everything that empties it.

    Args:
        batching: how events are merged and how many are held.
        retry: when and how long a request is tried again.
        pacing: the windows of the rate limit.
        shared_pacing: those of all requests that are not for a single player; by default they are not paced.
        make_storage: makes the storage of accepted events.
        endpoint: where requests go, and how they look.
        make_delivery: opens the connections; called when `run` begins.
        on_failure: the user's callback.
        observer: the user's observer.

    Attributes:
        now: seconds of the loop's clock; before there is one, everything is overdue.
        sends_new: whether further requests may start; `Engine.stop_sending` forbids it.
    """

    def __init__(  # noqa: PLR0913 everything that it is made of
        self,
        *,
        batching: Batching,
        retry: Retry,
        pacing: Pacing,
        shared_pacing: SharedPacing | None = None,
        make_storage: MakeStorage,
        endpoint: Endpoint,
        make_delivery: Callable[[], Delivery],
        on_failure: OnFailure | None,
        observer: Observer | None,
    ) -> None:
        dialect = endpoint.dialect
        observed = ObservedClient(base_url=endpoint.base_url, api_version=dialect.version, stats=self.stats)
        self.reporting = Reporting(observer, observed, lambda: self.pending)
        self.buffer = Buffer(batching, dialect.overhead, self._on_due, self._on_settled)
        self.breaker = CircuitBreaker()
        self.failures = FailureCallbacks(on_failure)
        callbacks = StorageCallbacks(
            now=lambda: self.now(),  # noqa: PLW0108 the clock changes when the client is bound to a loop
            on_progress=self._on_settled,
            on_restored=lambda batch: self.settlement.take_over(batch, self.now()),
            on_refused=self._on_refused,
            on_missing=self.reporting.missing,
        )
        self.storage = make_storage(self.buffer, batching, callbacks)
        self.admission = Admission(self.buffer, self.storage, batching, self.failures, self.reporting)
        self.settlement = Settlement(
            self.buffer, self.storage, self.breaker, self.failures, self.reporting, retry, random
        )
        self.sends_new = True
        self.requests = 0
        self.retries = 0
        self.in_flight = 0
        self._is_auto = batching.mode == "auto"
        self._endpoint = endpoint
        self._has_warned = False
        self._dialect = dialect
        self._make_delivery = make_delivery
        self._windows = pacing.windows
        self._spacing = pacing.spacing
        self.now: Callable[[], float] = lambda: -math.inf
        self._wake = Notifier()  # of the workers
        self._others_wake = Notifier()  # of what sends calls and bulk requests
        self._progress = Notifier()
        shared_pacing = shared_pacing or SharedPacing(())
        self.calls = CallQueue(shared_pacing.calls, self.breaker, self._others_wake, self._note_call)
        self.follower = JobFollower(
            options=batching.jobs,
            endpoint=endpoint,
            storage=self.storage,
            breaker=self.breaker,
            settlement=self.settlement,
            reporting=self.reporting,
            calls=self.calls,
            pacing=shared_pacing.bulk,
            wake=self._others_wake,
            now=lambda: self.now(),  # noqa: PLW0108 as above
            is_finished=self._has_ended,
        )
        self.bulk = BulkSender(
            batching=batching,
            endpoint=endpoint,
            single=pacing,
            buffer=self.buffer,
            storage=self.storage,
            breaker=self.breaker,
            settlement=self.settlement,
            reporting=self.reporting,
            calls=self.calls,
            follower=self.follower,
            pacing=shared_pacing.bulk,
            wake=self._others_wake,
            now=lambda: self.now(),  # noqa: PLW0108 as above
            may_send=lambda: self.sends_new,
            wake_workers=self._wake.ring,
            is_finished=self._has_ended,
        )
        self._turn: anyio.Lock
        self._serving: anyio.CancelScope
        # for what the worker waits whose turn it is: something due before this time, or an answer
        self._idle_until = -math.inf
        self._awaits_answer = False
        self._closing_at: float | None = None
        self._ends_at_deadline: list[anyio.CancelScope] = []

    @property
    def pending(self) -> int:
        """Accepted events without an outcome, wherever they are."""
        return self.buffer.counts.pending + self.storage.spilled

    # ---------------------------------------------------------------- run, flush, close

    async def run(self, backend: Backend, on_under_way: Callable[[], object]) -> None:
        """Send until `close` was called and the buffer is empty or the time is over; or until cancelled.

        Args:
            backend: the loop that it runs in.
            on_under_way: called when every worker has begun.
        """
        self._turn = anyio.Lock()
        self._serving = anyio.CancelScope()
        self.reporting.started()
        self._warn_of_access()
        delivery = await self._load_delivery()
        try:
            with anyio.CancelScope() as opening:
                self._end_at_deadline(opening)
                await self.storage.serve(backend)
                await delivery.prepare()
            self._ends_at_deadline.clear()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(backend.protected(self.failures.report))
                tasks.start_soon(backend.protected(self.reporting.report), self.now)
                tasks.start_soon(self._serve_calls, delivery, backend)
                async with anyio.create_task_group() as workers:
                    self._end_at_deadline(workers.cancel_scope)
                    workers.start_soon(backend.protected(self.follower.run), backend)
                    if self.bulk.sends:
                        workers.start_soon(self.bulk.run, delivery, backend)
                    for _ in range(CONNECTIONS):
                        workers.start_soon(backend.protected(self._work), delivery)
                    await anyio.lowlevel.checkpoint()
                    on_under_way()
                self.settlement.give_up(DropReason.CLOSED, CLOSED, self.now())
                self._serving.cancel()
                self.failures.finish()
                self.reporting.finish()
                self._end_at_deadline(tasks.cancel_scope)
            await self.failures.report_without_waiting()
        finally:
            self._ends_at_deadline.clear()
            with anyio.move_on_after(1, shield=True):
                await delivery.aclose()
            if self._closing_at is not None:
                await self.storage.close()
                await self.failures.report_without_waiting()  # of what the disk has refused

    async def _load_delivery(self) -> Delivery:
        """Make the delivery; the first one imports httpx and httpcore, in a thread: it takes a tenth of a second."""
        if self._endpoint.switched_off_by is not None:
            return cast("Delivery", _NoDelivery())
        if f"{__package__}.delivery" in sys.modules:
            return self._make_delivery()

        def load() -> Delivery:
            import_module(".backoff", __package__)  # and tenacity, for the first failure
            return self._make_delivery()

        return await anyio.to_thread.run_sync(load)

    async def _serve_calls(self, delivery: Delivery, backend: Backend) -> None:
        try:
            with self._serving:
                await self.calls.serve(delivery, backend, self.now)
        finally:
            self.calls.end(ClientClosed("the client was closed before this request was sent: make it earlier."))

    def _warn_of_access(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            for warning in self._endpoint.warnings():
                _log.warning(warning, extra=fields("access"))

    def close(self, deadline: float) -> None:
        """Let `run` end: when everything is settled, or at the earliest deadline; linger and backoff are skipped."""
        self._closing_at = deadline if self._closing_at is None else min(deadline, self._closing_at)
        self.settlement.is_ending = True
        self._set_deadlines()
        self._flush_now()
        self.admission.queue.dismiss()

    def _end_at_deadline(self, scope: anyio.CancelScope) -> None:
        """Cancel this scope at the deadline of the close, also of one that is yet to come."""
        self._ends_at_deadline.append(scope)
        self._set_deadlines()

    def _set_deadlines(self) -> None:
        if self._closing_at is not None:
            left = self._closing_at - self.now()
            for scope in self._ends_at_deadline:
                scope.deadline = anyio.current_time() + left

    async def flush(self, timeout: float | None, check: Callable[[], object]) -> None:  # noqa: ASYNC109 the user's
        """Wait until everything accepted so far is settled.

        Args:
            timeout: seconds, or None for no limit.
            check: raises if nothing will be settled any more.
        """
        self.settlement.awaited += 1
        try:
            unsettled = await self._settle_until(timeout, check)
        finally:
            self.settlement.awaited -= 1
        check()
        if unsettled:
            failure = self.settlement.last_failure
            cause = f" (the latest failure: {failure})" if failure else ""
            raise FlushTimeout(
                f"{counted(unsettled, 'event', 'have')} no outcome after {timeout:g} s"
                f"{cause}; nothing is lost, and sending continues: flush again, or look at stats().",
                unsettled=unsettled,
            )

    async def _settle_until(self, timeout: float | None, check: Callable[[], object]) -> int:  # noqa: ASYNC109
        """Wait until everything accepted so far is settled, or the time is over; returns how much is not."""
        epoch, goal, loaded = self._flush_now(), self.storage.latest, self.storage.loaded
        is_in = False
        with anyio.move_on_after(timeout):
            while not self.storage.has_loaded(goal):
                await self._progress_or_error(check)
                if loaded < self.storage.loaded:
                    epoch, loaded = self._flush_now(), self.storage.loaded
            is_in = True
            while self.buffer.pending_until(epoch):
                await self._progress_or_error(check)
        if not is_in:
            epoch = self._flush_now()  # what came into the buffer since the last look counts as well
        return self.buffer.pending_until(epoch) + (0 if is_in else self.storage.spilled)

    async def _progress_or_error(self, check: Callable[[], object]) -> None:
        """Wait until something was settled; raise what prevents it."""
        check()
        self.storage.check()
        if self.settlement.halted is not None:
            raise self.settlement.halted.with_traceback(None)
        await self._progress.wait()

    def wake(self) -> None:
        """Look again what may be sent: a limit or a pause has changed."""
        self._wake.ring()
        self._others_wake.ring()

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts with `error`; None resumes."""
        self.buffer.interrupt(error)
        self.storage.interrupt(error)

    def ring(self) -> None:
        """Wake all tasks that wait for progress."""
        self._progress.ring()
        self.admission.queue.dismiss()

    def _flush_now(self) -> int:
        epoch = self.buffer.flush_now()
        self.follower.look_soon()
        self.breaker.skip_wait()
        self.wake()
        return epoch

    # ---------------------------------------------------------------- a worker

    async def _work(self, delivery: Delivery) -> None:
        task = running_task()
        while (batch := await self._next_batch()) is not None:
            await self._send(batch, delivery, task)

    async def _next_batch(self) -> Batch | None:
        """Wait until a batch may be sent, and take it; None if there will be none."""
        async with self._turn:
            while True:
                now, is_paused = self.now(), self.breaker.state is not _CLOSED
                expires_at = self.settlement.expire(now) if is_paused else math.inf
                if self._closing_at is not None and self._is_finished():
                    return None
                due_at = self.buffer.due_at(now)
                allowed_at = self.breaker.next_request_at() if is_paused else now
                if self._windows is not None:
                    allowed_at = max(allowed_at, self._windows.free_at(now), self._spacing.free_at())
                may_go_at = max(due_at, allowed_at)
                if may_go_at <= now:
                    if self._is_auto:
                        self.bulk.look()
                    return self.buffer.take(now, untried_first=is_paused)
                self._idle_until = due_at if due_at > allowed_at else -math.inf
                self._awaits_answer = allowed_at == math.inf
                with anyio.move_on_after(min(may_go_at, expires_at) - now):
                    await self._wake.wait()
                self._idle_until = -math.inf

    def _is_finished(self) -> bool:
        if not self.sends_new:
            return True
        if self.settlement.halted is not None:
            # a bulk request that is the probe may end the halt, and then these workers have to send what goes alone
            return not (self.bulk.sends and self.breaker.is_probing)
        return not (self.pending or self.storage.is_storing)

    def _has_ended(self) -> bool:
        """Whether the client is closing and nothing is left to do."""
        return self._closing_at is not None and self._is_finished()

    def _on_settled(self) -> None:
        self._progress.ring()
        if self.admission.queue.turns:
            self.admission.queue.room_made()
        if self._closing_at is not None:
            self.wake()  # perhaps that was the last

    def _on_refused(self, events: list[Event], error: DeliveryError) -> None:
        self.settlement.report(events, error)
        self.reporting.log_failed(self.now())

    def _note_call(self, answer: Answer, *, probe: bool, now: float) -> None:
        self.settlement.note_call(answer, probe=probe, now=now)
        if probe or self.breaker.state is not _CLOSED:
            self._wake.ring()

    def _on_due(self, at: float) -> None:
        if at < self._idle_until:
            check_stack()  # an `asyncio.Event` that was set in part could not be set again
            self._idle_until = at
            self._wake.ring()
        if at < self.bulk.idle_until:
            check_stack()
            self.bulk.idle_until = at
            self._others_wake.ring()

    async def _send(self, batch: Batch, delivery: Delivery, task: object) -> None:
        if self._windows is not None:
            self._windows.start()
            self._spacing.start(self.now())
        breaker = self.breaker
        probe = breaker.state is not _CLOSED and breaker.start()
        answer, request = _NOT_SENT, None
        try:
            await self.storage.seal(batch)
            if not self.sends_new:
                return  # `stop_sending` was called during the wait
            if breaker.state is not _CLOSED and (not probe or breaker.until > self.now()):
                return  # it tripped during the wait, or its pause got longer
            if batch.body is None:
                events = batch.events.values()
                batch.body = self._dialect.body(batch.player_unique_id, events, batch.mobile, batch.email)
            if batch.successes_seen is None:
                batch.successes_seen = self.settlement.successes
            self.requests += 1
            self.retries += batch.attempts > 0
            batch.attempts += 1
            answer, request = _INTERRUPTED, self.reporting.request_starts((batch,), batch.body, self.now())
            self.in_flight += 1
            try:
                answer = await delivery.post(request.body, (batch.player_unique_id, batch.mobile, batch.email), task)
            finally:
                self.in_flight -= 1
        finally:
            now = self.now()
            if self._windows is not None:
                self._windows.finish(now)
            self.settlement.note(batch, answer, probe=probe, now=now)
            self.settlement.conclude(batch, answer, now)
            self.storage.refill()
            if probe or self._awaits_answer or self._closing_at is not None or breaker.state is not _CLOSED:
                self.wake()
            self._progress.ring()
            if request is not None:
                self.reporting.request_ends(request, answer, now)
            self.reporting.log_failed(now)

    # ---------------------------------------------------------------- looking

    def stats(self) -> Stats:
        """A snapshot of everything; callable from any thread."""
        now, counts, store = self.now(), self.buffer.counts, self.storage
        pause, halted = self.breaker.until - now, self.settlement.halted
        return Stats(
            accepted=counts.accepted + store.spilled,
            delivered=counts.delivered,
            rejected=counts.rejected,
            dropped=counts.dropped,
            unknown=counts.unknown,
            buffered_events=counts.pending,
            buffered_bytes=counts.pending_bytes,
            journaled_events=store.spilled,
            journal_bytes=store.used_bytes,
            filtered=counts.filtered,
            invalid=counts.invalid,
            oldest_age=self._oldest_age(now),
            in_flight=self.in_flight + self.bulk.in_flight,
            requests=self.requests + self.bulk.requests,
            retries=self.retries + self.bulk.retries,
            ambiguous=self.settlement.ambiguous,
            paused_until=datetime.now(UTC) + timedelta(seconds=pause) if pause > 0 else None,
            halted=None if halted is None else str(halted),
            unconfirmed=counts.unconfirmed,
            jobs=len(self.follower.jobs),
            jobs_accepted=self.bulk.accepted,
            polls=self.follower.polls,
            bulk=self.bulk.is_on,
        )

    def _oldest_age(self, now: float) -> float:
        while True:
            try:
                oldest_at = self.buffer.oldest_at()
            except (RuntimeError, StopIteration):  # another thread asks, and the buffer has changed
                continue
            return 0.0 if oldest_at is None or now == -math.inf else now - oldest_at
