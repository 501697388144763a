"""What the oracle says about bulk requests and polls when they start."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import httpx
import msgspec

from ..ledger import Ledger, Trace
from ..plan import Plan
from ..replies import RETRIABLE, UNSETTLED, Meaning
from ..requests import _FIELDS, EPSILON, Attempt, Requests
from .attempts import MOST_ITEMS, Accepted, BulkRequest, Envelope, Item, Poll
from .auto import AutoRules
from .jobs import Job, Jobs

MOST_SENDERS = 8
"""Bulk requests in flight at once, at most."""


class BulkStarts(Requests):
    """Checks bulk requests and polls too.

    Attributes:
        jobs: those of the server.
        accepted: the jobs that the client knows of.
    """

    jobs: Jobs

    def __init__(
        self, plan: Plan, ledger: Ledger, trace: Trace, now: Callable[[], float], fail: Callable[[str], None]
    ) -> None:
        super().__init__(plan, ledger, trace, now, fail)
        self.now = now
        self.accepted: dict[Job, Accepted] = {}
        self._open: list[Attempt] = []
        self._other_starts: list[float] = []
        self._other_ends: list[float] = []
        self._most_items: dict[int, int] = {}
        self._may_be_divided: set[int] = set()
        self.auto = AutoRules(now, fail)
        paths = zip(("batches", "batch"), plan.batching.jobs.status, strict=True)
        self._statuses = [(kind, re.compile(re.escape(path).replace(r"\{job\}", "([^/]+)"))) for kind, path in paths]

    # ---------------------------------------------------------------- what is under way

    @property
    def on_the_wire(self) -> Sequence[Attempt]:
        """The requests that have no answer yet."""
        return self._open

    @property
    def in_flight_count(self) -> int:
        """Requests with events that have no answer yet."""
        return sum(not isinstance(request, Poll) for request in self._open)

    @property
    def _bulk_in_flight(self) -> int:
        return sum(isinstance(request, BulkRequest) for request in self._open)

    @property
    def singles_in_flight(self) -> int:
        """Requests for one player that have no answer yet."""
        return sum(type(request) is Attempt for request in self._open)

    @property
    def numbers(self) -> dict[str, int]:
        """What the client has to say in its stats about requests and jobs."""
        polls = sum(isinstance(request, Poll) for request in self.all)
        return {
            "in_flight": self.in_flight_count,
            "requests": len(self.all) - polls,
            "retries": sum(
                request.is_retry if isinstance(request, BulkRequest) else request.tries > 1 for request in self.all
            ),
            "jobs": sum(not accepted.is_settled for accepted in self.accepted.values()),
            "jobs_accepted": sum(isinstance(request, BulkRequest) and request.is_accepted for request in self.all),
        }

    # ---------------------------------------------------------------- start

    def start(self, request: httpx.Request, body: bytes) -> Attempt:
        """Check a request that starts now, of whatever kind."""
        path = request.url.path.removeprefix(f"/api/{self._plan.api_version}/integrations/")
        attempt: Attempt
        if path == self._plan.batching.jobs.submit:
            attempt = self._start_bulk(request, body)
        elif (match := self._status_path(path)) is not None:
            attempt = self._start_poll(request, *match)
        else:
            attempt = super().start(request, body)
            self._check_is_single(attempt)
        self._open.append(attempt)
        if type(attempt) is not Attempt:
            self._other_starts.append(attempt.started)
        return attempt

    def _status_path(self, path: str) -> tuple[str, str] | None:
        for kind, pattern in self._statuses:
            if match := pattern.fullmatch(path):
                return kind, match[1]
        return None

    def _check_is_single(self, attempt: Attempt) -> None:
        """In bulk mode only what was refused or failed goes alone."""
        mode, most = self._plan.batching.mode, self._most_items.get(attempt.numbers[0], MOST_ITEMS)
        if mode == "bulk" and most > 1:
            self._fail(f"#{attempt.number} goes alone in bulk mode")

    def _check_method(self, request: httpx.Request, method: str) -> None:
        if request.method != method:
            self._fail(f"a request went to {request.method} {request.url}")
        if request.headers.get("APIKey") != "key" or request.headers.get("SecretKey") != "secret":
            self._fail("a request came without both keys")
        if self.is_over:
            self._fail("a request started after the close")

    def _new(self, made: type[Any], body: bytes, **fields: Any) -> Any:
        breaker = self.flusher.breaker if self.flusher else None
        return made(
            number=len(self.all),
            body=body,
            started=self._now(),
            is_probe=breaker is not None and breaker.state is not type(breaker.state).CLOSED,
            **fields,
        )

    def _start_bulk(self, request: httpx.Request, body: bytes) -> BulkRequest:
        self._check_method(request, "POST")
        if request.headers.get("Content-Type") != "application/json":
            self._fail("a bulk request came without content type")
        bulk: BulkRequest = self._new(BulkRequest, body, player=f"bulk request {len(self.all)}", placed=[])
        bulk.items = [self._item(bulk, bytes(raw)) for raw in msgspec.json.decode(body, type=Envelope).body]
        bulk.placed = [placed for item in bulk.items for placed in item.placed]
        self._trace.note("request", f"#{bulk.number}", "bulk", *(item.numbers for item in bulk.items))
        self._trace.observe(request.method, str(request.url), body)
        self._check_bulk(bulk)
        self._check_pause(bulk)
        self.all.append(bulk)
        for item in bulk.items:
            self.in_flight[item.player] = item
            for event in item.placed:
                event.last = item
                event.attempts += 1
        return bulk

    def _item(self, bulk: BulkRequest, raw: bytes) -> Item:
        fields = self._parsed(raw)
        item: Item = self._new(
            Item,
            raw,
            player=fields[_FIELDS[self._plan.api_version][1]],
            placed=self._placed(fields["events"]),
            bulk=bulk,
        )
        if fields.keys() != {"events", _FIELDS[self._plan.api_version][1]}:
            self._fail(f"#{bulk.number} has an item with the fields {sorted(fields)}")
        if any(placed.asked.mobile or placed.asked.email for placed in item.placed):
            self._fail(f"#{bulk.number} has an item whose contact is dropped")
        return item

    def _check_bulk(self, bulk: BulkRequest) -> None:
        batching = self._plan.batching
        players = [item.player for item in bulk.items]
        if not 0 < len(players) <= batching.bulk_items:
            self._fail(f"#{bulk.number} has {len(players)} items")
        if len(set(players)) != len(players):
            self._fail(f"#{bulk.number} has two items of one player")
        if self._bulk_in_flight >= MOST_SENDERS:
            self._fail(f"#{bulk.number}: more than {MOST_SENDERS} bulk requests in flight")
        if batching.mode == "auto":
            is_other = bool(self._bulk_in_flight) or any(not each.is_settled for each in self.accepted.values())
            self.auto.check(bulk, is_other=is_other)
        for item in bulk.items:
            if not 0 < len(item.placed) <= batching.max_events or len(item.body) > batching.max_bytes:
                self._fail(f"#{bulk.number} has an item of {len(item.placed)} events and {len(item.body)} bytes")
            if (other := self.in_flight.get(item.player)) is not None:
                where = "an unfinished job" if isinstance(other, Item) else "flight"
                self._fail(f"#{bulk.number} has an item of {item.player}, of whom another is in {where}")
            self._check_order(item)
            self._check_retry(item)
            if len(bulk.items) > (most := self._most_items.get(item.numbers[0], MOST_ITEMS)):
                self._fail(f"#{bulk.number} has {len(bulk.items)} items, and {item.player} may be with {most}")
            last: Attempt | None = item.placed[0].last
            if last is not None and bulk.started < self.earliest_retry(last) - EPSILON:
                self._fail(f"#{bulk.number} starts before the backoff of #{last.number} is over")

    def _check_limits(self, attempt: Attempt) -> None:
        other = self.in_flight.get(attempt.player)
        if isinstance(other, Item) and other.bulk.accepted is not None:
            self._fail(f"#{attempt.number}: {attempt.player} is in an unfinished job")
        super()._check_limits(attempt)

    def _check_repeat(self, attempt: Attempt, last: Attempt, meaning: Meaning) -> None:
        if not isinstance(last, Item):
            super()._check_repeat(attempt, last, meaning)
            return
        if attempt.body != last.body:
            self._fail(f"#{attempt.number} is no repetition of an item of #{last.number} ({meaning.name})")
        attempt.tries, attempt.solo_failures = last.tries + 1, last.solo_failures
        if last.is_stopped or meaning is Meaning.DELIVERED:
            self._fail(f"#{attempt.number} repeats an item of #{last.number}, which is done")
        if meaning is not Meaning.REFUSED and meaning not in RETRIABLE:
            self._fail(f"#{attempt.number} repeats an item of #{last.number}, which was {meaning.name}")
        if not last.is_failed and meaning is not Meaning.REFUSED and self._is_too_old(last, meaning):
            self._fail(f"#{attempt.number} repeats #{last.number} although its events are too old")
        if self._plan.retry.ambiguous == "report" and meaning in UNSETTLED:
            self._fail(f"#{attempt.number} sends again what may have been applied by #{last.number}")

    def earliest_retry(self, last: Attempt) -> float:
        """When an attempt may be repeated at the earliest; what has failed in a job goes at once."""
        return -1.0 if isinstance(last, Item) and last.is_failed else super().earliest_retry(last)

    def _backoff(self, last: Attempt) -> float:
        """The backoff without jitter; the items of a request wait together, as long as the one that was tried least."""
        if isinstance(last, Item):
            last = attrs.evolve(last, tries=min(item.tries for item in last.bulk.items))
        return super()._backoff(last)

    # ---------------------------------------------------------------- polls

    def _start_poll(self, request: httpx.Request, kind: str, job_id: str) -> Poll:
        self._check_method(request, "GET")
        job = self.jobs.find(job_id)
        poll: Poll = self._new(Poll, b"", player=f"poll {len(self.all)}", placed=[], job=job, kind=kind)
        self._trace.note("request", f"#{poll.number}", "poll", kind, job_id)
        self._trace.observe(request.method, str(request.url))
        accepted = self.accepted.get(job) if job is not None else None
        if accepted is None:
            self._fail(f"#{poll.number} asks for a job that the client cannot know")
        else:
            self._check_poll(poll, accepted)
            accepted.polls.append(poll)
        self._check_pause(poll)
        self.all.append(poll)
        return poll

    def _check_poll(self, poll: Poll, accepted: Accepted) -> None:
        if accepted.is_settled:
            self._fail(f"#{poll.number} asks for a job that is finished")
        if not accepted.polls:
            return
        last = accepted.polls[-1]
        if last.ended is None:
            self._fail(f"#{poll.number} asks for a job while #{last.number} does")
        elif (
            last.told is not None or last.meaning not in (Meaning.REFUSED, Meaning.DELIVERED) or last.kind == poll.kind
        ):
            interval = self._poll_interval(accepted, last)
            if self.hurried_at >= last.ended or last.meaning is Meaning.INTERRUPTED:
                interval = 0.0  # someone waits for the outcomes, or the flusher has ended and begins anew
            if poll.started < last.ended + interval - EPSILON:
                self._fail(f"#{poll.number} asks for a job sooner than {interval:.4f} s after #{last.number}")

    def _poll_interval(self, accepted: Accepted, last: Poll) -> float:
        """Seconds between two looks at a job, at least; while a flush or a close waits, its age makes them no rarer."""
        assert last.ended is not None
        is_awaited = last.is_awaited or last.ended in self._awaiting_changed
        share = 0.0 if is_awaited else 0.05 * (last.ended - accepted.accepted_at)
        return max(self._plan.batching.jobs.poll_interval, share)
