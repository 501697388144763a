"""What the page about seeing lists in tables is what the code has: metrics, attributes, log lines, methods."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from docs.pages import DOCS, code_in
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Metric, Sum
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gameball_async
from gameball_async import Batching, JobOptions, Observer, PauseReason, Stats
from gameball_async.integrations.otel import OpenTelemetry
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

PAGE = DOCS["observability"].tables()
METRICS = PAGE["Metrics/Metric"]
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in Path(gameball_async.__file__).parent.rglob("*.py"))

BULK = Batching(mode="bulk", linger=0.01, jobs=JobOptions(poll_interval=0.01))

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@attrs.frozen
class Seen:
    """All that a client in trouble tells OpenTelemetry."""

    metrics: list[Metric]
    span_attributes: set[str]


@pytest.fixture
async def seen(sandbox: Sandbox) -> Seen:
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OpenTelemetry(meter_provider=MeterProvider([reader], shutdown_on_exit=False), tracer_provider=tracers)
    sandbox.script(Fault.status(429, retry_after=0, times=1), Fault.status(422, code=3003, events={"bad"}))
    async with client(sandbox, observer) as gameball:
        await gameball.track("player123", "good")
        await gameball.track("player123", "bad")
        await until(lambda: gameball.stats().delivered)
        await gameball.flush()
    async with client(sandbox, observer, api_version="v4.0", secret_key="any", batching=BULK) as gameball:
        await gameball.track("player123", "good")
        await gameball.track("player456", "good")
        await gameball.flush()
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [
        metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    ]
    attributes = {name for span in exporter.get_finished_spans() for name in span.attributes or ()}
    return Seen(metrics, attributes)


def kind(metric: Metric) -> str:
    match metric.data:
        case Sum(is_monotonic=True):
            return "counter"
        case Sum():
            return "up-down counter"
        case Gauge():
            return "gauge"
        case Histogram():
            return "histogram"
        case _:
            pytest.fail(f"{metric.name} is of no documented kind")


@pytest.mark.anyio
@on_asyncio
async def test_every_metric_stands_with_its_kind_and_unit_and_no_other(seen: Seen) -> None:
    documented = {code_in(row["Metric"])[0]: (row["Kind"], code_in(row["Unit"])[0]) for row in METRICS}
    assert documented == {metric.name: (kind(metric), metric.unit) for metric in seen.metrics}


@pytest.mark.anyio
@on_asyncio
async def test_every_attribute_of_a_metric_stands(seen: Seen) -> None:
    documented = {name for row in PAGE["Metrics/Attribute"] for name in code_in(row["Attribute"])}
    assert documented == {
        name for metric in seen.metrics for point in metric.data.data_points for name in point.attributes or ()
    }


@pytest.mark.anyio
@on_asyncio
async def test_every_attribute_of_a_span_stands(seen: Seen) -> None:
    documented = {name for row in PAGE["Spans/Attribute of a span"] for name in code_in(row["Attribute of a span"])}
    assert documented == seen.span_attributes


def test_every_field_of_stats_has_its_metric() -> None:
    documented = {name for row in METRICS for name in code_in(row["`stats()`"])}
    assert documented == {field.name for field in attrs.fields(Stats)}


def test_the_reasons_of_a_pause_are_all_named() -> None:
    (row,) = [row for row in PAGE["Metrics/Attribute"] if code_in(row["Attribute"]) == ["gameball.pause.reason"]]
    assert {reason.value for reason in PauseReason} <= {*code_in(row["Values"])}


def test_every_line_of_the_log_is_one_of_the_code() -> None:
    for row in PAGE["The log/Level"]:
        (words,) = code_in(row["The line holds"])
        assert words in SOURCES.replace('"\n                "', ""), words


def test_every_method_of_an_observer_stands() -> None:
    documented = [name for row in PAGE["Your own observer/Method"] for name in code_in(row["Method"])]
    assert documented == [name for name in vars(Observer) if name.startswith("on_")]


def test_an_alert_looks_at_a_metric_that_exists() -> None:
    names = {code_in(row["Metric"])[0] for row in METRICS}
    assert {code_in(row["Look at"])[0] for row in PAGE["Alerting/Look at"]} <= names


def test_the_words_are_those_of_stats() -> None:
    words = {row["Word"].replace("in flight", "in_flight") for row in PAGE["Observability/Word"]}
    fields = {field.name.removesuffix("_events") for field in attrs.fields(Stats)}
    assert words <= fields
