"""The observer interface: one method for each thing that happens in a client."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import attrs

from ..errors import DeliveryError
from .receipts import Delivered
from .stats import Stats


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
        marks: what `Observer.on_track` returned for its events, in order, without None. An event
            that was read back from a journal may have lost its mark.
    """

    events: tuple[str, ...]
    size: int
    attempt: int
    marks: tuple[object, ...] = attrs.field(repr=False)


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


class Observer:
    """Watches clients: derive from it, and override what you want to know.

    Every method does nothing by itself. They are plain functions, called in the thread of the
    client's loop, during its work: be quick, and do not block. What one raises is
    logged once and ignored. What a method does with the client is not reported to the observer
    again, so that it may call `track_nowait`.

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
            A mark, which comes back in `RequestStart.marks` with each request that holds this
            event; or None.
        """

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
        """A request is about to be sent, in the task and context that this method is called in."""

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        """That request has ended, in the same task; what it means for its events is settled already."""

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
