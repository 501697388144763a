"""One span for each request, with links to the spans in which its events were tracked."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gameball_async.integrations.otel import OpenTelemetry
from gameball_async.sandbox import Fault, Sandbox

from .support import Meters, client, until

pytestmark = pytest.mark.anyio


def requests(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name.startswith("send ")]


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


async def test_a_request_is_a_span_of_the_conventions_for_a_batch(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        await gameball.send("player123", {"place_order": {"total_amount": 100}, "review": None})
    (span,) = requests(exporter)
    host, port = sandbox.url.removeprefix("http://").split(":")
    assert span.name == f"send {host}:{port}"
    assert span.kind is SpanKind.CLIENT
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "server.address": host,
        "server.port": int(port),
        "messaging.system": "gameball",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 2,
        "http.request.body.size": 88,
        "http.response.status_code": 200,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "gameball_async"


async def test_it_links_to_each_span_in_which_its_events_were_tracked_once(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    tracer = tracers.get_tracer("shop")
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        with tracer.start_as_current_span("checkout") as checkout:
            await gameball.track("player123", "place_order")
            await gameball.track("player123", "use_voucher")
        with tracer.start_as_current_span("review") as review:
            await gameball.track("player123", "review")
        await gameball.track("player123", "visit")  # in no span
        await gameball.flush()
    (span,) = requests(exporter)
    assert links(span) == [checkout.get_span_context().span_id, review.get_span_context().span_id]
    assert span.parent is None
    assert (span.attributes or {})["messaging.batch.message_count"] == 4


async def test_a_track_in_a_thread_is_linked_too(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        with tracers.get_tracer("shop").start_as_current_span("checkout") as checkout:
            await anyio.to_thread.run_sync(gameball.track_threadsafe, "player123", "place_order")
        await gameball.flush()
    assert links(requests(exporter)[0]) == [checkout.get_span_context().span_id]


async def test_a_journals_events_are_linked_too(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider, tmp_path: Path
) -> None:
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers), journal=tmp_path) as gameball:
        with tracers.get_tracer("shop").start_as_current_span("checkout") as checkout:
            await gameball.track("player123", "place_order")
        await gameball.flush()
    assert links(requests(exporter)[0]) == [checkout.get_span_context().span_id]


async def test_each_attempt_is_a_span_that_says_how_it_failed(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    sandbox.script(Fault.status(503, times=1), Fault.reset_before(times=1), Fault.status(422, code=3003, times=1))
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        with tracers.get_tracer("shop").start_as_current_span("checkout") as checkout:
            await gameball.track("player123", "place_order")
        await gameball.flush()
    told = [
        {
            name: value
            for name, value in (span.attributes or {}).items()
            if name.startswith(("error", "http.response", "http.request.resend", "gameball"))
        }
        for span in requests(exporter)
    ]
    assert told == [
        {"error.type": "503", "http.response.status_code": 503},
        {"error.type": "ambiguous", "http.request.resend_count": 1},
        {
            "error.type": "422",
            "http.request.resend_count": 2,
            "http.response.status_code": 422,
            "gameball.error.code": 3003,
        },
    ]
    for span in requests(exporter):
        assert span.status.status_code is StatusCode.ERROR
        assert links(span) == [checkout.get_span_context().span_id]


async def test_a_request_that_is_cut_short_ends_its_span(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().in_flight)
        await gameball.aclose(timeout=0)
    (span,) = requests(exporter)
    assert (span.attributes or {})["error.type"] == "interrupted"


async def test_what_instruments_the_http_client_makes_its_spans_below(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    async def instrument(request: httpx.Request) -> None:
        del request
        tracers.get_tracer("http").start_span("POST").end()

    observer = OpenTelemetry(tracer_provider=tracers)
    async with (
        httpx.AsyncClient(event_hooks={"request": [instrument]}, trust_env=False, verify=False) as http_client,
        client(sandbox, observer, http_client=http_client) as gameball,
    ):
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        await gameball.flush()
    posts = [span for span in exporter.get_finished_spans() if span.name == "POST"]
    parents = [post.parent.span_id for post in posts if post.parent is not None]
    assert sorted(parents) == sorted(span.context.span_id for span in requests(exporter) if span.context)
    assert len(set(parents)) == 20


async def test_a_client_that_runs_in_a_span_is_nobodys_child(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider
) -> None:
    """Its task group's context would make every request a part of the service's start."""
    with tracers.get_tracer("shop").start_as_current_span("start"):
        async with anyio.create_task_group() as tasks:
            gameball = client(sandbox, OpenTelemetry(tracer_provider=tracers))
            await tasks.start(gameball.run)
            await gameball.send("player123", {"event": None})
            await gameball.aclose()
    (span,) = requests(exporter)
    assert span.parent is None


async def test_no_attribute_holds_anything_of_a_person_or_a_key(
    sandbox: Sandbox, exporter: InMemorySpanExporter, tracers: TracerProvider, meters: Meters
) -> None:
    echo = "test-key player-of-the-north jon.snow@example.com +20 100 123 4567"
    sandbox.script(Fault.status(422, code=3001, words=echo, times=1), Fault.status(401, words=echo, times=1))
    observer = OpenTelemetry(tracer_provider=tracers, meter_provider=meters.provider)
    async with client(sandbox, observer) as gameball:
        for name in ("secret-event", "other-event"):
            await gameball.track(
                "player-of-the-north",
                name,
                {"town": "Winterfell"},
                email="jon.snow@example.com",
                mobile="+20 100 123 4567",
            )
        await until(lambda: gameball.stats().requests > 1)
        await gameball.aclose(timeout=1)
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    told += "".join(metric.to_json() for metric in meters.collect().values())
    assert told
    for private in ("test-key", "player-of", "jon.snow", "123 4567", "Winterfell", "secret-event", "town"):
        assert private not in told


async def test_without_a_tracer_nothing_is_kept(sandbox: Sandbox) -> None:
    assert not trace.get_current_span().get_span_context().is_valid
    async with client(sandbox, OpenTelemetry()) as gameball:
        receipt = await gameball.track("player123", "event")
        assert receipt._shared.marks is None
        await receipt
