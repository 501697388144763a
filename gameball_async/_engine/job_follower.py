"""Following the jobs of bulk requests: what became of each item, found out by asking for their status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

import anyio
import anyio.lowlevel

from .._config import JobOptions
from .._core.batch import Batch
from .._core.bulk_jobs import PROOF_ITEMS, BulkJob, FollowedJobs
from .._core.job_answers import EndedJob, ItemOutcome, JobStatus, read_status
from .._core.outcome import Answer, Decision
from .._core.pacing import BreakerState, CircuitBreaker, PacedPart
from .._core.receipts import Delivered, JobId, Notifier
from .._core.redaction import redact_message
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

LONGEST_STATUS = 16 * 1024 * 1024
"""Bytes of an answer about a job that are read: with an id and a message for each of 1,000 items it exceeds 64 KiB."""

_AT_ONCE = 50
"""Items that are settled without a break: they take the loop about a millisecond."""

_MISSES = 2
"""Looks in a row at which no path shows a job's status, until the job counts as lost."""

_UNLISTED = "it ended, and its status does not say what became of these items"

_UNREADABLE = 3
"""Looks in a row without a readable status, from which on that is logged."""

_NO_SUCH_PATH = frozenset({400, 404, 405, 410, 501})
"""Answers of a path that does not show a job's status."""

_NOT_SENT = Answer(verdict=Decision.NOT_SENT)


_STOP_REMEDIES: dict[int | None, str] = {
    401: "Compare the keys with those",
    403: "Compare the keys with those",
    404: "It may have ended, or have another id: look",
    409: "It may have ended: look",
    410: "It may have ended: look",
}
"""What to do if a job cannot be stopped, before "in Gameball's dashboard", by the answer."""


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
        pacing: the part of the limits for bulk requests, which learns how many looks a job costs.
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
        self._unreadable = LogThrottle()
        self._failed = LogThrottle()
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
                answer = await self._calls.request(Call(method="GET", url=url, longest_answer=LONGEST_STATUS))
            except LifecycleError:
                return
            job.looked_at, job.problem = self._now(), answer.summary
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
            job.note_answer(self._now(), self._breaker.closed_since)
        await self._act_on(job, status)

    async def _act_on(self, job: BulkJob, status: JobStatus | None) -> None:
        now = self._now()
        if status is not None:
            job.note_status(status, now)
            job.problem = self._problem_of(status)
            if status.state is not None:
                await self._end(job, status, status.state)
                return
        job.problems = job.problems + 1 if job.problem else 0
        if job.misses >= _MISSES:
            self._lose(job, "its status cannot be found")
        elif job.stalled_for >= self._options.patience:
            lately = f", lately {job.problem}" if job.problem else ""
            self._lose(job, f"it made no progress for {self._options.patience:g} s{lately}")
        else:
            if job.problems >= _UNREADABLE and self._breaker.state is BreakerState.CLOSED:
                self._log_unreadable(job, now)
            self.jobs.look_again(job, now, is_awaited=self._settlement.is_awaited)
            self._wake.ring()

    async def _end(self, job: BulkJob, status: JobStatus, state: JobState) -> None:
        """Give each item of a job that has ended its outcome, and other tasks of the loop their turn in between."""
        now, players = self._now(), list(job.batches)
        words = redact_message(status.message, self._endpoint.secrets)
        ended, outcomes = EndedJob(status, players, is_whole=job.is_ours), Counter[ItemOutcome]()
        with anyio.CancelScope(shield=True):
            for position, player in enumerate(players):
                if position % _AT_ONCE == _AT_ONCE - 1:
                    await anyio.lowlevel.checkpoint()
                outcome = ended.of(player)
                outcomes[outcome] += 1
                self._settle_item(job, job.batches.pop(player), outcome, words, now)
        if job.batches:  # Gameball has used its id again since
            self.jobs.look_again(job, now)
        else:
            self.jobs.remove(job)
        failed, unnamed = outcomes[ItemOutcome.FAILED], outcomes[ItemOutcome.UNNAMED]
        if failed:
            self._log_failed(job, failed, words, now)
        self._reporting.job(job_report(job.number, state, len(players), failed, now - job.accepted_at))
        if unnamed:
            is_counted = status.failed_count > len(status.failed)
            why = "some of its items failed, and its status does not say which" if is_counted else _UNLISTED
            self._log_lost(job.number, unnamed, why, now)
        shows_nothing = failed == len(players) <= PROOF_ITEMS  # a few bad items, or no item works
        self.on_ended(state is JobState.COMPLETED and not unnamed and not shows_nothing, now)
        self._after_settling(now)

    def _settle_item(self, job: BulkJob, batch: Batch, outcome: ItemOutcome, words: str, now: float) -> None:
        match outcome:
            case ItemOutcome.CONFIRMED:
                attempts = max(batch.earlier_attempts + batch.attempts, 1)  # those of an earlier process are not known
                maybe_duplicate = batch.ambiguous
                delivered = Delivered(
                    status=job.status, attempts=attempts, maybe_duplicate=maybe_duplicate, job=job.number
                )
                self._settlement.deliver(batch, delivered, now)
            case ItemOutcome.FAILED:
                self._settlement.fail_item(batch, job.number, words, now)
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

    def _problem_of(self, status: JobStatus) -> str:
        """What prevents that a status is understood; empty if nothing does."""
        if status.is_known:
            return ""
        return f"its status is {redact_message(status.word, self._endpoint.secrets)!r}, which is no documented word"

    def _log_unreadable(self, job: BulkJob, now: float) -> None:
        self._unreadable.count = sum(len(each.batches) for each in self.jobs if each.problems >= _UNREADABLE)
        if players := self._unreadable.take(now):
            left = max(self._options.patience - job.stalled_for, 0.0)
            _log.warning(
                "the status of a job cannot be read (job %s: %s): the events of %s wait for it, and count as delivered "
                "without confirmation after %.0f s. Check the keys and JobOptions(status=...) with "
                "`gameball-async doctor --bulk`.",
                job.number,
                job.problem,
                counted(players, "player"),
                left,
                extra=fields("bulk", cause="unreadable", players=players, seconds=left),
            )

    def _log_failed(self, job: BulkJob, failed: int, words: str, now: float) -> None:
        """Log items that are sent again; those that are not are reported with their events."""
        if not self._settlement.resends:
            return
        self._failed.count += failed
        if players := self._failed.take(now):
            _log.warning(
                "%s failed, lately in job %s%s: their events are sent again, alone, and may count twice. "
                "Correct the events if Gameball refuses them again.",
                counted(players, "item"),
                job.number,
                f" ({words})" if words else "",
                extra=fields("bulk", cause="items failed", players=players),
            )

    def _log_lost(self, number: JobId | None, players: int, why: str, now: float) -> None:
        self._lost.count += players
        if lost := self._lost.take(now):
            _log.warning(
                "the end of a job is unknown (%s%s): the events of %s count as delivered without confirmation, "
                "and are not sent again. Look in Gameball's dashboard, and check with `gameball-async doctor --bulk`.",
                "" if number is None else f"job {number}: ",
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
            f"job {number} may continue: Gameball did not confirm that it stops ({answer.summary}). "
            f"{_STOP_REMEDIES.get(answer.status, 'Try again, or look')} in Gameball's dashboard.",
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
        "dashboard before you track it again.",
        job=job,
    )
