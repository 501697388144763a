"""Fixtures: a sandbox, and an SDK that keeps what it is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gameball_async.sandbox import Sandbox

from .support import Meters


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked with `anyio` runs on both."""
    return str(request.param)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without rate limits."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def meters() -> Iterator[Meters]:
    """A meter provider, and what it has collected."""
    meters = Meters()
    yield meters
    meters.provider.shutdown()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans end."""
    return InMemorySpanExporter()


@pytest.fixture
def tracers(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """A tracer provider for the exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()
