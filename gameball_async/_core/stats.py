"""What a client shows of itself: its counters as one immutable snapshot, and the observer interface."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

import attrs

from ..errors import DeliveryError
from .events import Event
from .receipts import Delivered, JobId


@attrs.frozen(kw_only=True)
class Stats:
    """A snapshot of one client's counters.

    At every instant ``accepted == delivered + rejected + dropped + unknown + pending``.

    Attributes:
        accepted: events that `track` or `send` took over, or that were found in the journal.
        delivered: events in requests that Gameball answered with success.
        rejected: events that Gameball refused for good.
        dropped: events given up here: buffer full, expired, client closed, filtered.
        unknown: events whose request was sent and whose answer got lost, and that are not sent
            again: `Retry(ambiguous="report")`, or the client was closed.
        buffered_events: events in memory without an outcome yet, those in flight included.
        buffered_bytes: what they count with in `Batching(buffer_bytes=...)`: each event's encoding and name, its
            player's id, and 450 bytes for the rest; and each batch's mobile number and e-mail address.
        oldest_age: seconds since the oldest of them was accepted; 0.0 without any.
        in_flight: requests being sent right now.
        requests: requests sent, retries included.
        retries: requests that repeated an earlier one.
        ambiguous: requests that ended without an answer that settles whether they were applied;
            with `Retry(ambiguous="resend")` each of them may have counted twice.
        paused_until: when requests may go again, in UTC, if they are paused now.
        halted: why Gameball refuses this client, if it does.
        journaled_events: events without an outcome that are not in memory: they are in the journal,
            or being written to it.
        journal_bytes: bytes of this process's journal file that are in use.
        filtered: those of the dropped events that were meant to be dropped: by `before_send`, or because the client is
            switched off.
        invalid: events that could not be sent, and were reported because of ``on_invalid="report"``; not accepted.
        unconfirmed: those of the delivered events that Gameball accepted as part of a job whose end is unknown.
        jobs: jobs that Gameball has accepted and not completed yet.
        jobs_accepted: jobs that Gameball has accepted.
        polls: requests for the status of jobs; they do not count as `requests`.
        bulk: whether bulk requests are sent at present, see ``Batching(mode=...)``.
    """

    accepted: int
    delivered: int
    rejected: int
    dropped: int
    unknown: int
    buffered_events: int
    buffered_bytes: int
    oldest_age: float
    in_flight: int
    requests: int
    retries: int
    ambiguous: int
    paused_until: datetime | None
    halted: str | None
    journaled_events: int = 0
    journal_bytes: int = 0
    filtered: int = 0
    invalid: int = 0
    unconfirmed: int = 0
    jobs: int = 0
    jobs_accepted: int = 0
    polls: int = 0
    bulk: bool = False

    @property
    def pending(self) -> int:
        """Events without an outcome yet, in memory or in the journal alone."""
        return self.buffered_events + self.journaled_events


@attrs.frozen
class Undelivered:
    """An event that did not arrive, or may not have, and why.

    Attributes:
        event: the event; its `repr` shows the name alone.
        error: a `Dropped`, `Rejected` or `OutcomeUnknown`.
    """

    event: Event
    error: DeliveryError


@attrs.frozen
class CloseReport:
    """What `aclose` could not deliver.

    Attributes:
        undelivered: every event that failed since the close began, in order per player.
        kept: events without an outcome that are kept in the journal for the next client.
        last_failure: why the latest request failed, such as "HTTP 503", if anything is undelivered
            or kept; None if none did.
    """

    undelivered: tuple[Undelivered, ...] = ()
    kept: int = 0
    last_failure: str | None = None


# ---------------------------------------------------------------- the observer


class PauseReason(StrEnum):
    """Why no request goes, except for a probe from time to time."""

    REQUESTED = "requested"
    """Gameball asked for it: a 429, or any `Retry-After`."""
    OUTAGE = "outage"
    """Requests of several players failed in a row."""
    HALT = "halt"
    """Gameball refuses this client: key, plan, version or account."""


@attrs.frozen(kw_only=True, eq=False)
class ObservedClient:
    """A client as its observer knows it. Keeping it keeps no `AsyncGameball` alive.

    Attributes:
        base_url: where it sends.
        api_version: the version of the API that it speaks.
        stats: its `AsyncGameball.stats`, callable from any thread.
    """

    base_url: str
    api_version: str
    stats: Callable[[], Stats] = attrs.field(repr=False)


@attrs.frozen(kw_only=True, eq=False)
class RequestStart:
    """A request that is about to be sent. The same object is given to its end.

    Attributes:
        events: the names of its events, in order.
        size: bytes of its body.
        attempt: 1 for the first request with this batch, and one more for each retry.
        players: whose events these are; 1 unless it is a bulk request.
        marks: what `Observer.on_track` returned for its events, in order, without None. An event
            that was read back from a journal may have lost its mark.
    """

    events: tuple[str, ...]
    size: int
    attempt: int
    marks: tuple[object, ...] = attrs.field(repr=False)
    players: int = 1


@attrs.frozen(kw_only=True, eq=False)
class RequestEnd:
    """How a request ended.

    Attributes:
        verdict: what its answer means, in the words of the delivery semantics: ``"delivered"``,
            ``"refused"``, ``"busy"``, ``"failed"``, ``"ambiguous"``, ``"rate limited"``,
            ``"halt"``; or ``"interrupted"``, if it was cancelled here on its way.
        status: the HTTP status; None if there was no answer.
        code: Gameball's own error code, if the answer had one.
        seconds: from its first byte to its end.
    """

    verdict: str
    status: int | None
    code: int | None
    seconds: float


class JobState(StrEnum):
    """What became of a job."""

    ACCEPTED = "accepted"
    """Gameball has accepted a bulk request."""
    COMPLETED = "completed"
    """It is completed; some of its items may have failed."""
    FAILED = "failed"
    """It has failed; what it did not list as successful is sent again, one player at a time."""
    STOPPED = "stopped"
    """It was stopped; what it did not list as successful is unknown."""
    LOST = "lost"
    """Its status cannot be found, or did not progress: its events count as delivered without confirmation."""


@attrs.frozen(kw_only=True, eq=False)
class JobReport:
    """What became of a job.

    Attributes:
        job: how Gameball identifies it.
        state: what has happened.
        players: its items; each has the events of one player.
        failed: those of them that have failed.
        seconds: since it was accepted.
    """

    job: JobId
    state: JobState
    players: int
    failed: int
    seconds: float


class Observer:
    """Watches clients: derive from it, and override what you want to know.

    Every method does nothing by itself. They are plain functions, called in the thread of the client's loop, during its
    work: be quick, and do not block. What one raises is logged once and ignored. What a method does with the client is
    not reported to the observer again, so that it may call `track_nowait`.

    For counts read `ObservedClient.stats` whenever you need them; that costs the client nothing
    in between. One observer may watch several clients.
    """

    def on_start(self, client: ObservedClient) -> None:
        """The client starts; also in a forked child, where it starts again."""

    def on_track(self, client: ObservedClient, name: str) -> object:
        """A call of `track` or `send` hands over an event; called in the caller's context.

        With a journal the event is on its way to the disk, and not accepted before it is there:
        count with `Stats.accepted`.

        Args:
            client: who takes it over.
            name: the event's name.

        Returns:
            A mark, which comes back in `RequestStart.marks` with each request that holds this event; or None.
        """

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
        """A request is about to be sent, in the task and context that this method is called in."""

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        """That request has ended, in the same task; what it means for its events is settled already."""

    def on_job(self, client: ObservedClient, report: JobReport) -> None:
        """A job was accepted, or has ended."""

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:
        """This number of events have this outcome; a `Rejected`, `Dropped` or `OutcomeUnknown` if they failed."""

    def on_pause(self, client: ObservedClient, reason: PauseReason) -> None:
        """No request goes from now on, but for a probe from time to time."""

    def on_resume(self, client: ObservedClient, reason: PauseReason, seconds: float) -> None:
        """That pause is over after this number of seconds; another may follow at once, for another reason.

        If the client is closed before, only `on_close` is called.
        """

    def on_close(self, client: ObservedClient) -> None:
        """The client is closed: its counts do not change any more."""
