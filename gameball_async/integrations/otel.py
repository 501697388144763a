"""OpenTelemetry: a client's metrics, and a span for each of its requests.

::

    async with AsyncGameball(observer=OpenTelemetry()) as gameball:
        ...

Counts are read from `stats()` when a reader collects, and cost nothing otherwise. Names and attributes follow the
semantic conventions for messaging where these fit. No attribute contains a key, a player's id, a contact, metadata or
an event's name.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from functools import partial
from operator import attrgetter
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

import attrs

from .. import ConfigurationError, ObservedClient, Observer, PauseReason, RequestEnd, RequestStart, Stats, __version__
from . import missing

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    raise missing("otel", error) from error

__all__ = ["OpenTelemetry"]

Value = str | bool | int | float
Attributes = Mapping[str, Value]

_SCOPE = "gameball_async"

_OPERATION: Attributes = {
    "messaging.system": "gameball",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
}

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The buckets that the conventions recommend for `messaging.client.operation.duration`."""

_EVENTS = (1, 2, 3, 5, 10, 20, 50, 100, 1000, 10_000)
"""Buckets up to the default of `Batching(max_events=...)`, and of bulk requests."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class OpenTelemetry(Observer):
    """Reports metrics and spans of clients to OpenTelemetry. One observer may be shared by several clients.

    The counts of clients with the same attributes are added.

    Args:
        meter_provider: where the metrics go; by default the global one.
        tracer_provider: where the spans go; by default the global one.
        attributes: additional attributes of all metrics and spans, for example to distinguish clients. Use few
            different values.

    Raises:
        ConfigurationError: if an attribute has an invalid name or value.
    """

    def __init__(
        self,
        *,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        attributes: Attributes | None = None,
    ) -> None:
        self._instruments = _instruments_of(meter_provider)
        self._tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        self._attributes = _checked(attributes or {})
        self._spans: dict[RequestStart, tuple[Span, Token[context.Context]]] = {}

    def _attributes_of(self, client: ObservedClient) -> dict[str, Value]:
        parts = urlsplit(client.base_url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return {**self._attributes, "server.address": parts.hostname or "", "server.port": port}

    # ---------------------------------------------------------------- counts

    def on_start(self, client: ObservedClient) -> None:
        """Start counting for this client."""
        self._instruments.add(client, self._attributes_of(client))

    def on_close(self, client: ObservedClient) -> None:
        """Keep the client's counts, and release it."""
        self._instruments.remove(client)

    def on_pause(self, client: ObservedClient, reason: PauseReason) -> None:
        """Count a pause."""
        self._instruments.pause(client, reason)
        self._instruments.pauses.add(1, {**self._attributes_of(client), "gameball.pause.reason": reason.value})

    def on_resume(self, client: ObservedClient, reason: PauseReason, seconds: float) -> None:  # noqa: ARG002 the hook's
        """Count the end of a pause."""
        self._instruments.pause(client, None)

    # ---------------------------------------------------------------- requests

    def on_track(self, client: ObservedClient, name: str) -> SpanContext | None:  # noqa: ARG002 the hook's
        """Return the span in which an event is tracked."""
        tracked_in = trace.get_current_span().get_span_context()
        return tracked_in if tracked_in.is_valid else None

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
        """Start a span with links to the spans in which the events were tracked."""
        attributes = self._attributes_of(client)
        span = self._tracer.start_span(
            # without a queue or topic, the conventions use the server's name
            f"send {attributes['server.address']}:{attributes['server.port']}",
            context.Context(),  # no parent: it belongs to several callers or to none
            # not PRODUCER: the events were created in the linked spans
            SpanKind.CLIENT,
            {
                **attributes,
                **_OPERATION,
                "messaging.batch.message_count": len(start.events),
                "http.request.body.size": start.size,
                **({"http.request.resend_count": start.attempt - 1} if start.attempt > 1 else {}),
                **({"gameball.request.players": start.players} if start.players > 1 else {}),
            },
            _links(start),
        )
        # instrumentation of the HTTP client creates its spans below this one
        self._spans[start] = span, context.attach(trace.set_span_in_context(span, context.Context()))

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        """End the span, and record the metrics."""
        failure = _failure(end)
        self._instruments.measure(start, end, {**self._attributes_of(client), **failure})
        span, token = self._spans.pop(start)
        context.detach(token)
        if end.status is not None:
            span.set_attribute("http.response.status_code", end.status)
        if end.code is not None:
            span.set_attribute("gameball.error.code", end.code)
        if failure:
            span.set_attributes(failure)
            span.set_status(StatusCode.ERROR)
        span.end()


def _checked(attributes: Attributes) -> dict[str, Value]:
    for name, value in attributes.items():
        if not isinstance(name, str):
            raise ConfigurationError(f"the attribute name {name!r} is not a string: use a string.")
        if not isinstance(value, (str, bool, int, float)):
            raise ConfigurationError(
                f"the attribute {name!r} is of type {type(value).__name__}: use a string, a number or a bool."
            )
    return dict(attributes)


def _failure(end: RequestEnd) -> Attributes:
    """Return the kind of failure: the status, or the verdict without an answer."""
    if end.verdict == "delivered":
        return {}
    return {"error.type": str(end.status) if end.status is not None else end.verdict}


def _links(start: RequestStart) -> list[Link]:
    """Return a link to each span in which events of this request were tracked."""
    spans = {(mark.trace_id, mark.span_id): mark for mark in start.marks if isinstance(mark, SpanContext)}
    return [Link(span) for span in spans.values()]


# ---------------------------------------------------------------- instruments

_COUNTERS = {
    "gameball.client.accepted.events": ("{event}", "accepted", "Events that track() or send() accepted."),
    "gameball.client.delivered.events": ("{event}", "delivered", "Events that Gameball has accepted."),
    "gameball.client.unconfirmed.events": ("{event}", "unconfirmed", "Delivered events of jobs whose end is unknown."),
    "gameball.client.rejected.events": ("{event}", "rejected", "Events that Gameball rejected."),
    "gameball.client.dropped.events": ("{event}", "dropped", "Events given up: no room, too old, client closed."),
    "gameball.client.filtered.events": ("{event}", "filtered", "Dropped events that were meant to be dropped."),
    "gameball.client.invalid.events": ("{event}", "invalid", "Invalid events that were reported, not accepted."),
    "gameball.client.unknown.events": ("{event}", "unknown", "Events that may have arrived, and are not sent again."),
    "gameball.client.requests": ("{request}", "requests", "Requests sent, retries included."),
    "gameball.client.retries": ("{request}", "retries", "Requests that repeated an earlier one."),
    "gameball.client.ambiguous.requests": ("{request}", "ambiguous", "Requests that may have been applied."),
    "gameball.client.accepted.jobs": ("{job}", "jobs_accepted", "Bulk requests that Gameball has accepted as a job."),
    "gameball.client.polls": ("{request}", "polls", "Requests for the status of jobs."),
}
"""Counters: unit, attribute of `Stats`, description."""

_LEVELS = {
    "gameball.client.buffered.events": ("{event}", "buffered_events", "Events in memory without an outcome."),
    "gameball.client.buffered.size": ("By", "buffered_bytes", "Bytes of memory that the events take."),
    "gameball.client.journaled.events": ("{event}", "journaled_events", "Events only in the journal."),
    "gameball.client.journal.size": ("By", "journal_bytes", "Bytes of the journal's file that are in use."),
    "gameball.client.in_flight.requests": ("{request}", "in_flight", "Requests being sent."),
    "gameball.client.unfinished.jobs": ("{job}", "jobs", "Accepted jobs that have not ended."),
    "gameball.client.bulk": ("{client}", "bulk", "Clients that send bulk requests at present."),
}
"""Gauges; the values of several clients are added."""

_Key = tuple[tuple[str, Value], ...]


@attrs.define
class _Watched:
    """One client: its attributes, the counts that are in the totals, and why it sends nothing."""

    key: _Key
    counted: dict[str, int] = attrs.field(factory=dict[str, int])
    pause: PauseReason | None = None


class _Instruments:
    """The instruments of one meter provider, and the clients whose counts they report.

    Readers collect in their own threads, so everything is under a lock. Clients are not kept
    alive; their counts stay in the totals, so that no counter decreases.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        _all.add(self)
        self._lock = threading.RLock()  # a signal handler may make the reader collect during a change
        self._clients: WeakKeyDictionary[ObservedClient, _Watched] = WeakKeyDictionary()
        self._totals: dict[_Key, dict[str, int]] = {}
        meter = metrics.get_meter(_SCOPE, __version__, provider)
        for name, (unit, source, description) in _COUNTERS.items():
            meter.create_observable_counter(name, [partial(self._observe_total, source)], unit, description)
        for name, (unit, source, description) in _LEVELS.items():
            level = partial(self._observe, sum, attrgetter(source))
            meter.create_observable_up_down_counter(name, [level], unit, description)
        meter.create_observable_gauge(
            "gameball.client.oldest.age",
            [partial(self._observe, max, attrgetter("oldest_age"))],
            "s",
            "Since the oldest event in memory was accepted.",
        )
        meter.create_observable_up_down_counter(
            "gameball.client.paused", [self._observe_pauses], "{client}", "Clients that send nothing at present."
        )
        self.pauses = meter.create_counter("gameball.client.pauses", "{pause}", "Pauses, outages and halts begun.")
        self._duration = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of requests to Gameball.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Events in requests, retries included."
        )
        self._events = meter.create_histogram(
            "gameball.client.request.events",
            "{event}",
            "Events in one request.",
            explicit_bucket_boundaries_advisory=_EVENTS,
        )

    def add(self, client: ObservedClient, attributes: Attributes) -> None:
        """Add a client."""
        key = tuple(sorted(attributes.items()))
        with self._lock:
            self._clients[client] = _Watched(key)
            self._totals.setdefault(key, dict.fromkeys((source for _, source, _ in _COUNTERS.values()), 0))

    def remove(self, client: ObservedClient) -> None:
        """Keep the counts of a client, and remove it."""
        with self._lock:
            if (watched := self._clients.pop(client, None)) is not None:
                self._count(watched, client.stats())

    def pause(self, client: ObservedClient, reason: PauseReason | None) -> None:
        """Set why a client sends nothing, or None."""
        with self._lock:
            if (watched := self._clients.get(client)) is not None:
                watched.pause = reason

    def measure(self, start: RequestStart, end: RequestEnd, attributes: Attributes) -> None:
        """Record a request."""
        conventional = {**attributes, **_OPERATION}
        self._duration.record(end.seconds, conventional)
        self._sent.add(len(start.events), conventional)
        self._events.record(len(start.events), attributes)

    def forget_parent(self) -> None:
        """In a forked child, remove the parent's clients: the parent reports them."""
        self._lock = threading.RLock()  # another thread of the parent may hold the old one
        self._clients.clear()
        self._totals.clear()

    # ---------------------------------------------------------------- collecting

    def _count(self, watched: _Watched, stats: Stats) -> None:
        totals = self._totals[watched.key]
        for name in totals:
            counted, count = watched.counted.get(name, 0), int(getattr(stats, name))
            if count > counted:  # read from another thread, a count may seem to decrease for a moment
                watched.counted[name] = count
                totals[name] += count - counted

    def _observe_total(self, source: str, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            for client, watched in list(self._clients.items()):
                self._count(watched, client.stats())
            return [Observation(totals[source], dict(key)) for key, totals in self._totals.items()]

    def _observe(
        self, combine: Callable[[list[float]], float], read: Callable[[Stats], float], _: CallbackOptions
    ) -> Iterable[Observation]:
        with self._lock:
            values: dict[_Key, list[float]] = {key: [0] for key in self._totals}
            for client, watched in list(self._clients.items()):
                values[watched.key].append(read(client.stats()))
        return [Observation(combine(value), dict(key)) for key, value in values.items()]

    def _observe_pauses(self, _: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            pauses = [(watched.key, watched.pause) for watched in self._clients.values()]
            keys = list(self._totals)
        return [
            Observation(pauses.count((key, reason)), {**dict(key), "gameball.pause.reason": reason.value})
            for key in keys
            for reason in PauseReason
        ]


_lock = threading.Lock()
_of_provider: WeakKeyDictionary[MeterProvider, _Instruments] = WeakKeyDictionary()
_of_global: list[_Instruments] = []
_all: WeakSet[_Instruments] = WeakSet()  # a reader may keep instruments whose provider is gone


def _instruments_of(provider: MeterProvider | None) -> _Instruments:
    """Return the instruments of a provider: the SDK would ignore a second set."""
    with _lock:
        if provider is not None and provider is not metrics.get_meter_provider():
            if provider not in _of_provider:
                _of_provider[provider] = _Instruments(provider)
            return _of_provider[provider]
        if not _of_global:
            _of_global.append(_Instruments(None))
        return _of_global[0]


def _forget_parent() -> None:
    _lock.release()
    for instruments in _all:
        instruments.forget_parent()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_parent)
