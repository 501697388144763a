"""What these tests share: a client that loses no time, and a look at what a reader collects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric, NumberDataPoint

from gameball_async import AsyncGameball, Batching, Observer, Retry
from gameball_async.sandbox import Sandbox

_P = TypeVar("_P")


def client(sandbox: Sandbox, observer: Observer | None, **settings: Any) -> AsyncGameball:
    """A client of the sandbox that loses no time."""
    known: dict[str, Any] = {
        "batching": Batching(linger=0.01),
        "retry": Retry(initial=0.01, maximum=0.05),
        "rate": None,
    }
    return AsyncGameball("test-key", base_url=sandbox.url, observer=observer, **(known | settings))


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until something is true; the test's timeout is the limit."""
    for _ in range(1000):
        if condition():
            return
        await checkpoint()
    while not condition():  # noqa: ASYNC110 what is waited for sets no event
        await anyio.sleep(0.001)  # other threads must get the interpreter too


class Meters:
    """A meter provider whose reader collects when it is asked."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Metric]:
        """All metrics by name; each name only once."""
        data = self._reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        by_name = {metric.name: metric for metric in found}
        assert len(by_name) == len(found)
        return by_name

    def numbers(self, name: str) -> list[NumberDataPoint]:
        """The points of a counter or gauge."""
        return self._points(name, NumberDataPoint)

    def number(self, name: str) -> float:
        """The one number of a counter or gauge."""
        (point,) = self.numbers(name)
        return point.value

    def histograms(self, name: str) -> list[HistogramDataPoint]:
        """The points of a histogram."""
        return self._points(name, HistogramDataPoint)

    def _points(self, name: str, kind: type[_P]) -> list[_P]:
        collected = self.collect()
        points: list[object] = [*collected[name].data.data_points] if name in collected else []
        assert all(isinstance(point, kind) for point in points)
        return [point for point in points if isinstance(point, kind)]
