"""Following the jobs of bulk requests: what became of each item, found out by asking for their status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

import anyio
import anyio.lowlevel

from .._config import JobOptions
from .._core.batch import Batch
from .._core.bulk_jobs import PROOF_ITEMS, BulkJob, EndedJob, FollowedJobs, ItemOutcome, JobStatus, read_status
from .._core.outcome import Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, PacedPart
from .._core.receipts import Delivered, JobId, Notifier
from .._core.stats import JobReport, JobState
from .._core.wire import Call
from .._endpoint import Endpoint
from .._log import LogThrottle, counted, fields, logger
from ..errors import JobError, LifecycleError, OutcomeUnknown
from .backends import Backend
from .calls import CallQueue
from .reporting import Reporting
from .settlement import Settlement
from .storage import Storage

_log = logger("gameball_async")

_LONGEST_STATUS = 16 * 1024 * 1024
"""Bytes of a job's status that are read: with an id and a message for each of 1,000 items it exceeds 64 KiB."""

_AT_ONCE = 50
"""Items that are settled without a break: they take the loop about a millisecond."""

_MISSES = 2
"""Looks in a row at which no path shows a job's status, until the job counts as lost."""

_NO_SUCH_PATH = frozenset({400, 404, 405, 410, 501})
"""Answers of a path that does not show a job's status."""

_NOT_SENT = Answer(verdict=Decision.NOT_SENT)


class JobFollower:
    """Looks at accepted jobs until they end, and settles their items.

    Args:
        options: paths, intervals, and patience.
        endpoint: where requests go.
        storage: keeps the events until they have their outcome.
        breaker: says whether Gameball can be asked.
        settlement: settles the items.
        reporting: logs, and calls the observer.
        calls: asks for the status.
        pacing: the part of the limits for bulk requests, which is told how many looks a job costs.
        wake: rings when something has changed.
        now: returns the seconds of the loop's clock.
        is_finished: whether the client is ending and nothing is left to do.

    Attributes:
        jobs: the jobs that are followed.
        polls: requests for the status of jobs.
        on_ended: called when a job has ended or is lost, with whether that shows that bulk requests work, and the time.
    """

    on_ended: Callable[[bool, float], object]

    def __init__(  # noqa: PLR0913 parts of the flusher
        self,
        *,
        options: JobOptions,
        endpoint: Endpoint,
        storage: Storage,
        breaker: CircuitBreaker,
        settlement: Settlement,
        reporting: Reporting,
        calls: CallQueue,
        pacing: PacedPart,
        wake: Notifier,
        now: Callable[[], float],
        is_finished: Callable[[], bool],
    ) -> None:
        self.jobs = FollowedJobs(options.poll_interval)
        self.polls = 0
        self._options = options
        self._endpoint = endpoint
        self._storage = storage
        self._breaker = breaker
        self._settlement = settlement
        self._reporting = reporting
        self._calls = calls
        self._pacing = pacing
        self._wake = wake
        self._now = now
        self._is_finished = is_finished
        self._status_paths = list(options.status)
        self._lost = LogThrottle()
        settlement.on_job_resumed = self._resume
        settlement.on_jobs_given_up = self.jobs.clear

    async def run(self, backend: Backend) -> None:
        """Look at each job when it is time, until the client is ending and nothing is left, or until cancelled."""
        self.jobs.look_soon(self._now(), at_all=True)  # at those that an earlier run has left
        async with anyio.create_task_group() as looks:
            while not self._is_finished():
                for job in self.jobs.due(self._now()):
                    looks.start_soon(backend.protected(self._look_at), job)
                with anyio.move_on_after(self.jobs.next_look_at() - self._now()):
                    await self._wake.wait()
            looks.cancel_scope.cancel()

    def _resume(self, number: JobId, batch: Batch, now: float) -> None:
        """Follow a job that an earlier process has sent."""
        self.jobs.resume(number, batch, now)
        self._wake.ring()

    def look_soon(self) -> None:
        """Look at all jobs soon: someone waits for the outcomes."""
        self.jobs.look_soon(self._now())

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
        if self._breaker.state is BreakerState.CLOSED:  # else a failed request says nothing about the job
            job.note_answer(self._now())
        await self._act_on(job, status)

    async def _act_on(self, job: BulkJob, status: JobStatus | None) -> None:
        now = self._now()
        if status is not None:
            job.misses = 0
            if status.progress != job.progress:
                job.progress, job.stalled_for = status.progress, 0.0
            if status.state is not None:
                await self._end(job, status, status.state)
                return
        if job.misses >= _MISSES:
            self._lose(job, "its status cannot be found")
        elif job.stalled_for >= self._options.patience:
            self._lose(job, f"it made no progress for {self._options.patience:g} s")
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
            self.jobs.remove(job)
        failed, unnamed = outcomes[ItemOutcome.FAILED], outcomes[ItemOutcome.UNNAMED]
        self._reporting.job(job_report(job.number, state, len(players), failed, now - job.accepted_at))
        if unnamed:
            self._log_lost(job.number, unnamed, "some of its items failed, and its status does not say which", now)
        works = state is JobState.COMPLETED and not unnamed and (failed < len(players) or failed > PROOF_ITEMS)
        self.on_ended(works, now)
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
        self.report_lost(job.number, len(job.batches), why, now)
        self._after_settling(now)

    def report_lost(self, number: JobId | None, players: int, why: str, now: float) -> None:
        """Log and report that the end of a job will not be known."""
        self._log_lost(number, players, why, now)
        self._reporting.job(job_report(number or "", JobState.LOST, players))
        self.on_ended(False, now)

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

    async def stop(self, number: JobId) -> None:
        """Ask Gameball to stop a job, in the documented ways.

        Raises:
            JobError: if none of them was confirmed.
        """
        answer = _NOT_SENT
        for method, path in zip(("POST", "DELETE"), self._options.stop, strict=False):
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


def job_report(job: JobId, state: JobState, players: int, failed: int = 0, seconds: float = 0.0) -> JobReport:
    """Return what the observer gets."""
    return JobReport(job=job, state=state, players=players, failed=failed, seconds=seconds)


def _quoted(job: JobId) -> str:
    return quote(str(job), safe="")


def _stopped(job: JobId) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"job {job} was stopped, and its status does not say that this event was processed: look in Gameball's "
        "dashboard before you track it again."
    )
