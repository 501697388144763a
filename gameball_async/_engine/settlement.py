"""What a response means for its batch, the circuit breaker, the storage and the reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from .._config import Retry
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.events import Event
from .._core.outcome import FAILURES, Answer, Decision, ServerHealth, halt_remedy
from .._core.pacing import BreakerState, CircuitBreaker
from .._core.receipts import Delivered, JobId
from .._core.stats import Undelivered
from ..errors import ClientHalted, DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from .callbacks import FailureCallbacks
from .reporting import Reporting
from .storage import Storage

if TYPE_CHECKING:
    from .backoff import Backoff

ACCEPTED = 200
"""The HTTP status of the acceptance of a job, if it is not known: of one that an earlier process has sent."""

_FEW_ITEMS = 8
"""Batches that are sent alone after a bulk request with them was refused or failed; more are divided by two."""

_AT_ONCE = (Decision.REFUSED, Decision.INTERRUPTED, Decision.NOT_SENT)

AWAITED_BACKOFF = 1.0
"""Seconds between two tries of one batch, at most, while a call of flush or a close waits for it."""


class Settlement:
    """Settles batches, splits them, or keeps them for another try.

    Args:
        buffer: where the batches are.
        storage: keeps the events until they have their outcome.
        breaker: gets what each response says about the server.
        failures: gets each event that will not arrive.
        reporting: logs it, and calls the observer.
        retry: the user's settings.
        random: gives numbers from 0 up to 1.

    Attributes:
        halted: why Gameball refuses this client, if it does.
        ambiguous: requests that ended without an answer that settles them.
        awaited: calls of flush that wait for outcomes.
        is_ending: whether the client closes, so that what fails belongs in its report.
        undelivered: the events that failed since then.
        successes: requests that have succeeded.
        on_job_resumed: called with a job that an earlier process has sent, and one of its batches.
        on_jobs_given_up: called when the items of all unfinished jobs have been settled without confirmation.
    """

    on_job_resumed: Callable[[JobId, Batch, float], object]
    on_jobs_given_up: Callable[[], object]

    def __init__(
        self,
        buffer: Buffer,
        storage: Storage,
        breaker: CircuitBreaker,
        failures: FailureCallbacks,
        reporting: Reporting,
        retry: Retry,
        random: Callable[[], float],
    ) -> None:
        self.halted: ClientHalted | None = None
        self.ambiguous = 0
        self.awaited = 0
        self.is_ending = False
        self.undelivered: list[Undelivered] = []
        self._buffer = buffer
        self._storage = storage
        self._breaker = breaker
        self._failures = failures
        self._reporting = reporting
        self._retry = retry
        self._random = random
        self._has_given_up = False
        self.successes = 0
        self._last_failure: str | None = None
        self._resumed_at = -math.inf  # when the last halt ended: while halted nothing grows too old

    @cached_property
    def _backoff(self) -> Backoff:
        from .backoff import Backoff  # noqa: PLC0415 it imports tenacity, see `Flusher._load_delivery`

        return Backoff(self._retry, self._random)

    def note(self, batch: Batch, answer: Answer, *, probe: bool, now: float) -> None:
        """Update the breaker and the counters with what the response says about the server."""
        before, health = self._breaker.state, answer.health
        # nearly every answer needs none, and tenacity takes its time for it
        pause = 0.0 if health is ServerHealth.WORKING else self._backoff.pause(answer, self._breaker.failed_probes)
        # a retry says little about other players, but while it is not slowed down, the breaker must see an outage
        player = batch.player_unique_id if batch.attempts == 1 or self.is_awaited else None
        self._breaker.finish(health, player, probe=probe, now=now, pause=pause)
        self.successes += answer.verdict is Decision.DELIVERED
        if health is ServerHealth.WORKING:
            self._last_failure = None
        else:
            self._note_failure((batch,), answer)
        if answer.status is not None and answer.verdict in (Decision.FAILED, Decision.AMBIGUOUS):
            # only what the server answered may be the batch's own fault; a broken connection says nothing about it
            batch.solo_failures += self.successes > (batch.successes_seen or 0)
            batch.successes_seen = self.successes
        if self._breaker.state is not before:
            self._on_breaker_change(answer, now)
        self._reporting.look_at(self._breaker, answer, health, self.halted, now)

    def note_items(self, batches: Sequence[Batch], answer: Answer, *, probe: bool, may_halt: bool, now: float) -> None:
        """Do the same for a bulk request: its failure is one failure, and no batch is taken to have brought it about.

        Args:
            batches: its items.
            answer: the response.
            probe: whether it was the breaker's probe.
            may_halt: whether a refusal of bulk requests is one of this client.
            now: the present time.
        """
        before, health = self._breaker.state, answer.health
        if health is ServerHealth.HALT and not may_halt and not probe:
            health = ServerHealth.NONE
        pause = 0.0 if health is ServerHealth.WORKING else self._backoff.pause(answer, self._breaker.failed_probes)
        is_first_try = any(batch.attempts == 1 for batch in batches)
        player = batches[0].player_unique_id if is_first_try or self.is_awaited else None
        self._breaker.finish(health, player, probe=probe, now=now, pause=pause)
        self.successes += answer.verdict is Decision.DELIVERED
        if health is ServerHealth.WORKING:
            self._last_failure = None
        else:
            self._note_failure(batches, answer)
        if self._breaker.state is not before:
            self._on_breaker_change(answer, now, is_bulk=True)
        self._reporting.look_at(self._breaker, answer, health, self.halted, now)

    def note_call(self, answer: Answer, *, probe: bool, now: float) -> None:
        """Update the breaker with the answer to a call: only a request for a pause, or a probe, is about events too."""
        if not probe and answer.health is not ServerHealth.PAUSE:
            return
        before = self._breaker.state
        pause = self._backoff.pause(answer, self._breaker.failed_probes)
        health = answer.health
        if health is ServerHealth.HALT and before is not BreakerState.HALTED:
            health = ServerHealth.NONE  # not every account has previews or jobs: events may be welcome
        self._breaker.finish(health, None, probe=probe, now=now, pause=pause)
        if self._breaker.state is not before:
            self._on_breaker_change(answer, now)
        self._reporting.look_at(self._breaker, answer, health, self.halted, now)

    def backoff_of_call(self, answer: Answer, attempts: int) -> float:
        """Seconds until a request beside the events is tried again; 0 if the whole client pauses."""
        return self._backoff.after(answer, attempts=attempts, solo_failures=0) or 0.0

    def pause(self, seconds: float, now: float) -> None:
        """Pause: Gameball asked another process to, which shares the account's limit."""
        answer, before = Answer(verdict=Decision.RATE_LIMITED, words=_ANOTHER_WAITS), self._breaker.state
        self._breaker.finish(ServerHealth.PAUSE, None, probe=False, now=now, pause=seconds)
        if self._breaker.state is not before:
            self._on_breaker_change(answer, now)
        self._reporting.look_at(self._breaker, answer, ServerHealth.PAUSE, self.halted, now)

    def _note_failure(self, batches: Sequence[Batch], answer: Answer) -> None:
        is_failure = answer.verdict in FAILURES or answer.verdict is Decision.RATE_LIMITED
        is_ambiguous = answer.verdict in (Decision.AMBIGUOUS, Decision.INTERRUPTED)
        summary = answer.summary
        for batch in batches:
            batch.last_failure = summary if is_failure else batch.last_failure
            batch.ambiguous = batch.ambiguous or is_ambiguous
        if is_failure:
            self._last_failure = summary
        elif answer.verdict is Decision.INTERRUPTED:
            self._last_failure = self._last_failure or summary
        self.ambiguous += is_ambiguous

    @property
    def last_failure(self) -> str | None:
        """Why the latest request failed, in words; None if it did not."""
        return self._last_failure if self.halted is None else f"HTTP {self.halted.status}"

    @property
    def is_awaited(self) -> bool:
        """Whether a flush or a close waits for outcomes."""
        return self.is_ending or self.awaited > 0

    def _on_breaker_change(self, answer: Answer, now: float, *, is_bulk: bool = False) -> None:
        if self.halted is not None:
            self._resumed_at = now
        self.halted = _halted(answer, is_bulk=is_bulk) if self._breaker.state is BreakerState.HALTED else None
        if self._breaker.state is BreakerState.CLOSED:
            self._buffer.skip_backoff()

    def conclude(self, batch: Batch, answer: Answer, now: float) -> None:
        """Settle the batch, split it, or keep it for another try."""
        match answer.verdict:
            case Decision.DELIVERED:
                attempts = batch.earlier_attempts + batch.attempts
                delivered = Delivered(status=answer.status or 0, attempts=attempts, maybe_duplicate=batch.ambiguous)
                self.deliver(batch, delivered, now)
            case Decision.REFUSED:
                self._refuse(batch, answer, now)
            case Decision.AMBIGUOUS | Decision.INTERRUPTED if self._retry.ambiguous == "report":
                self.fail(batch, _unknown(answer), now)
            case Decision.INTERRUPTED | Decision.NOT_SENT:
                self._requeue(batch, now)
            case _:
                self._try_again(batch, answer, now)

    def deliver(self, batch: Batch, delivered: Delivered, now: float) -> None:
        """Settle a batch as delivered."""
        self._buffer.settle(batch, delivered, now)
        self._storage.ack(batch)
        if self._reporting.is_watched:
            self._reporting.settled(len(batch.events), delivered)

    def deliver_unconfirmed(self, batch: Batch, job: JobId | None, status: int, now: float) -> None:
        """Settle a batch that was accepted as part of a job whose end is unknown."""
        attempts = batch.earlier_attempts + batch.attempts
        delivered = Delivered(
            status=status, attempts=attempts, maybe_duplicate=batch.ambiguous, confirmed=False, job=job
        )
        self.deliver(batch, delivered, now)

    def conclude_items(self, batches: Sequence[Batch], answer: Answer, now: float) -> None:
        """Keep the batches of a bulk request that was not accepted for another try, or fail them."""
        is_answer = answer.status is not None and answer.verdict in (
            Decision.REFUSED,
            Decision.FAILED,
            Decision.AMBIGUOUS,
        )
        most = len(batches) // 2 if len(batches) > _FEW_ITEMS else 1
        wait = 0.0 if answer.verdict in _AT_ONCE else self._item_backoff(batches, answer)
        for batch in batches:
            if is_answer:
                batch.bulk_items = min(batch.bulk_items, most)  # one of them may be at fault, or they are too many
            if self._retry.ambiguous == "report" and answer.verdict in (Decision.AMBIGUOUS, Decision.INTERRUPTED):
                self.fail(batch, _unknown(answer), now)
            elif self._is_too_old(batch, now) and answer.verdict not in _AT_ONCE:
                self._drop_expired(batch, answer.summary, now)
            else:
                self._requeue(batch, now + wait)

    def _item_backoff(self, batches: Sequence[Batch], answer: Answer) -> float:
        """One wait for all, so that they stay together."""
        wait = self._backoff.after(answer, attempts=min(batch.attempts for batch in batches), solo_failures=0) or 0.0
        return min(wait, AWAITED_BACKOFF) if self.is_awaited else wait

    @property
    def resends(self) -> bool:
        """Whether what may have been applied is sent again."""
        return self._retry.ambiguous == "resend"

    def fail_item(self, batch: Batch, job: JobId, words: str, now: float) -> None:
        """Send a batch singly whose item has failed in a job; it may have been applied, at least in part."""
        said = f" ({words})" if words else ""
        batch.job, batch.bulk_items = None, 1
        batch.is_recorded = False  # it is sealed again, without the job, before it is sent
        batch.ambiguous = True
        batch.last_failure = f"it failed in job {job}{said}"
        self.ambiguous += 1
        if self.resends:
            self._buffer.requeue(batch, now)
        else:
            reason = f"its item of job {job} failed{said}, perhaps after it was applied: {_ASK}"
            self.fail(batch, OutcomeUnknown(reason, job=job), now)

    def _is_too_old(self, batch: Batch, now: float) -> bool:
        return self.halted is None and now - max(batch.opened_at, self._resumed_at) > self._retry.give_up_after

    def _try_again(self, batch: Batch, answer: Answer, now: float) -> None:
        wait = self._backoff.after(answer, attempts=batch.attempts, solo_failures=batch.solo_failures)
        if wait is None:
            self._refuse(batch, answer, now)
        elif self._is_too_old(batch, now):
            self._drop_expired(batch, answer.summary, now)
        else:
            self._reporting.log.retries(batch, answer, now)
            # long waits are for a server in trouble, which the breaker handles
            self._requeue(batch, now + (min(wait, AWAITED_BACKOFF) if self.is_awaited else wait))

    def _requeue(self, batch: Batch, at: float) -> None:
        if self._retry.ambiguous == "report" and not batch.ambiguous:
            self._storage.retry(batch)  # it was not applied: should the process end now, the next one may send it
        self._buffer.requeue(batch, at)

    def _refuse(self, batch: Batch, answer: Answer, now: float) -> None:
        if len(batch.events) > 1:
            self._buffer.split(batch)
            self._storage.retry(batch)
        else:
            self.fail(batch, _rejected(answer, may_have_arrived=batch.ambiguous), now)

    def _drop_expired(self, batch: Batch, why: str, now: float) -> None:
        error = Dropped(
            f"its request was not delivered within Retry(give_up_after={self._retry.give_up_after:g}) s ({why}): "
            f"{_AGAIN}",
            reason=DropReason.EXPIRED,
            may_have_arrived=batch.ambiguous,
            last_failure=batch.last_failure or self._last_failure,
        )
        self.fail(batch, error, now)

    def fail(self, batch: Batch, error: DeliveryError, now: float) -> None:
        """Settle a batch with an error, and report its events."""
        events = batch.as_events()
        self._buffer.settle(batch, error, now)
        self._storage.dead_letter(batch, error)
        self.report(events, error)

    def report(self, events: list[Event], error: DeliveryError) -> None:
        """Report accepted events that will not arrive."""
        self._failures.add(events, error)
        if self.is_ending:
            self.undelivered.extend(Undelivered(event, error) for event in events)
        self._reporting.failed([event.name for event in events], error)

    def take_over(self, batch: Batch, now: float) -> None:
        """A batch comes from the journal that an earlier process had sealed: it may have been sent, or is in a job."""
        if batch.job is not None:
            self.on_job_resumed(batch.job, batch, now)
            return
        self.ambiguous += 1
        if self._retry.ambiguous == "report":
            error = OutcomeUnknown(f"the process ended while the request was being sent: {_ASK}")
            self.fail(batch, error, batch.opened_at)

    # ---------------------------------------------------------------- giving up

    def expire(self, now: float) -> float:
        """Drop what an outage has kept for too long; returns when the next batch is that old."""
        if self._breaker.state not in (BreakerState.OUTAGE, BreakerState.PAUSED):
            return math.inf
        if now < self._resumed_at + self._retry.give_up_after:
            return self._resumed_at + self._retry.give_up_after
        before = self._buffer.counts.dropped
        for batch in self._buffer.expired(now, self._retry.give_up_after):
            self._drop_expired(batch, batch.last_failure or self._last_failure or "Gameball could not be reached", now)
        if self._buffer.counts.dropped > before:
            self._storage.refill()
        return self._buffer.expires_at(self._retry.give_up_after)

    def give_up(self, reason: DropReason, why: str, now: float) -> None:
        """Settle everything that is left as dropped, or as unknown if it may have arrived; a journal keeps it."""
        self.is_ending = True
        if not self._storage.is_persistent:
            self._settle_the_rest(reason, why, now)
        elif self._storage.kept_where and not self._has_given_up:
            self._reporting.log.kept(_because(why, self.last_failure), self._storage.kept_where)
        self._has_given_up = True
        self._reporting.log.log_all(now)

    def _settle_the_rest(self, reason: DropReason, why: str, now: float) -> None:
        if self.halted is not None:
            why = _refused(why, self.halted)
        unconfirmed = 0
        for batch in self._buffer.unsettled():
            if batch.job is not None:
                unconfirmed += len(batch.events)
                self.deliver_unconfirmed(batch, batch.job, ACCEPTED, now)
            elif batch.ambiguous:
                lost = _because(f"{why}, after an attempt whose answer got lost", batch.last_failure)
                self.fail(batch, OutcomeUnknown(f"{lost}: {_ASK}"), now)
            else:
                failure = self.last_failure if self.halted is not None else batch.last_failure or self._last_failure
                reason_text = why if self.halted is not None else _because(why, failure)
                self.fail(batch, Dropped(f"{reason_text}: {_AGAIN}", reason=reason, last_failure=failure), now)
        if unconfirmed:
            self.on_jobs_given_up()
            self._reporting.log.unconfirmed(unconfirmed)


def drop_message(halted: ClientHalted | None) -> str:
    """Return the message for an event that a close drops."""
    return f"{CLOSED if halted is None else _refused(CLOSED, halted)}: {_AGAIN}"


def _refused(why: str, halted: ClientHalted) -> str:
    """Add to the reason for dropping an event that the client is halted."""
    return f"{why}: Gameball refused this client (HTTP {halted.status})"


CLOSED = "the client was closed before delivery"
_ANOTHER_WAITS = "another relay was asked to wait"
_AGAIN = "track it again if it still matters."
_ASK = "look in Gameball's dashboard before you track it again."


def _because(why: str, failure: str | None) -> str:
    return why if failure is None else f"{why} ({failure})"


def _rejected(answer: Answer, *, may_have_arrived: bool) -> Rejected:
    return Rejected(
        f"Gameball refused the event ({answer.summary}). Correct the event, or ask Gameball about it.",
        status=answer.status,
        code=answer.code,
        may_have_arrived=may_have_arrived,
    )


def _unknown(answer: Answer) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the request was sent and it is unknown whether it was applied ({answer.summary}): {_ASK}",
        status=answer.status,
        code=answer.code,
    )


def _halted(answer: Answer, *, is_bulk: bool) -> ClientHalted:
    hint = " It was a bulk request: Batching(mode='single') does without them." if is_bulk else ""
    return ClientHalted(
        f"Gameball refuses this client ({answer.summary}). {halt_remedy(answer)}; `gameball-async doctor` checks it. "
        f"Events are kept.{hint}",
        status=answer.status or 0,
        code=answer.code,
    )
