"""The simulated Gameball that takes bulk requests too, and answers questions for the status of their jobs."""

from __future__ import annotations

import json

import attrs

from ..gameball import _CALM, SimulatedGameball
from ..plan import JobPlan, Plan, Span
from ..replies import REPLIES, Meaning, Reply
from ..requests import Attempt
from .attempts import NAMELESS, BulkRequest, Poll
from .jobs import Jobs
from .requests import BulkRequests

_FAULTS = (
    "limited", "limited_2", "unavailable", "unavailable_later", "error_5000", "gateway", "bare_500", "reset",
    "read_timeout", "hang", "connect_error", "unauthorized", "forbidden",
)  # fmt: skip

POLL_REPLIES = {
    "status": Reply(meaning=Meaning.DELIVERED, applies=True, status=200),
    "status_later": Reply(meaning=Meaning.DELIVERED, applies=True, status=200, retry_after="2", pause=2),
    "missing": Reply(meaning=Meaning.REFUSED, status=404),
    "missing_code": Reply(meaning=Meaning.REFUSED, status=404, body=b'{"code":3017,"message":"no"}'),
    "empty": Reply(meaning=Meaning.DELIVERED, status=200, body=b"{}"),
    "no_words": Reply(meaning=Meaning.DELIVERED, status=200, body=b'{"status":"thinking","processedItems":"some"}'),
    "cut": Reply(meaning=Meaning.DELIVERED, status=200, body=b'{"status":"completed"}', cut=True),
    "list": Reply(meaning=Meaning.DELIVERED, status=200, body=b'["completed"]'),
    **{label: REPLIES[label] for label in _FAULTS},
}
"""What a question for a status can be answered, beside what is drawn for the client's other requests."""


class BulkGameball(SimulatedGameball):
    """Answers single requests, bulk requests, and questions for the status of jobs.

    Args:
        plan: the weather, and how jobs go.
        requests: checks and keeps the requests.
    """

    def __init__(self, plan: Plan, requests: BulkRequests) -> None:
        super().__init__(plan, requests)
        assert plan.jobs is not None
        self._jobs_plan: JobPlan = plan.jobs
        self._bulk_requests = requests
        self.jobs = requests.jobs = Jobs(plan.jobs, plan.seed + 6, requests.apply_item)

    @property
    def _now(self) -> float:
        return self._bulk_requests.now()

    def _drawn(self, span: Span, attempt: Attempt) -> str:
        if isinstance(attempt, Poll):
            return self._drawn_for_poll(span, attempt)
        if not isinstance(attempt, BulkRequest):
            return super()._drawn(span, attempt)
        label = self._random.choices([label for label, _ in span.odds], [share for _, share in span.odds])[0]
        if not REPLIES[label].applies:
            return label
        marks = {mark for placed in attempt.placed for mark in placed.asked.metadata}
        if self._jobs_plan.is_strict and "poison" in marks:
            return "bad"
        return "error_5000" if span is not _CALM and "toxic" in marks else label

    def _drawn_for_poll(self, span: Span, poll: Poll) -> str:
        odds = (("status", 1.0),) if span is _CALM else self._jobs_plan.polls
        label = self._random.choices([label for label, _ in odds], [share for _, share in odds])[0]
        if POLL_REPLIES[label].applies and poll.kind not in self._jobs_plan.live:
            return self._random.choice(["missing", "missing_code"])
        return label

    def _reply(self, attempt: Attempt) -> Reply:
        return POLL_REPLIES[attempt.label] if isinstance(attempt, Poll) else super()._reply(attempt)

    def _with_content(self, attempt: Attempt, reply: Reply) -> Reply:
        if not reply.applies:
            return reply
        if isinstance(attempt, BulkRequest):
            attempt.job = self.jobs.accept(attempt.items, self._now, is_calm=self._weather() is _CALM)
            is_told = reply.meaning is Meaning.DELIVERED and attempt.label not in NAMELESS
            return attrs.evolve(reply, body=json.dumps({"jobId": attempt.job.job_id}).encode()) if is_told else reply
        if isinstance(attempt, Poll):
            self.jobs.advance(self._now)
            job = attempt.job
            attempt.told = told = job.told(self._now) if job is not None else None
            if job is None or told is None:
                return POLL_REPLIES["missing"]
            return attrs.evolve(reply, body=self.jobs.body(job, told))
        return reply
