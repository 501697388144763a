"""A client's counts as metrics of several workers: an observer writes them for prometheus_client's multiprocess mode.

In that mode a scrape reaches one worker, which adds up the files that all workers write. So `GameballCollector`, which
reads the client of its own process at each scrape, cannot be used there.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, generate_latest, multiprocess

from gameball_async import (
    Delivered,
    DeliveryError,
    JobReport,
    ObservedClient,
    Observer,
    PauseReason,
    RequestEnd,
    RequestStart,
)

from .collector import COUNTERS, GAUGES


class PrometheusObserver(Observer):
    """Writes the counts of one client whenever a request ends, an event has its outcome, or a pause begins or ends.

    Counts are added over all workers, those that have ended included; gauges over those that live, and of the ages the
    highest counts. While nothing happens, as in a long pause, they are up to a minute old.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._counters = {
            field: Counter(f"gameball_client_{name}", description, registry=registry)
            for name, (field, description) in COUNTERS.items()
        }
        self._gauges = {
            field: Gauge(
                f"gameball_client_{name}",
                description,
                multiprocess_mode="livemax" if field == "oldest_age" else "livesum",
                registry=registry,
            )
            for name, (field, description) in GAUGES.items()
        }
        self._paused = Gauge(
            "gameball_client_paused", "Workers that may not send.", multiprocess_mode="livesum", registry=registry
        )
        self._halted = Gauge(
            "gameball_client_halted", "Workers that Gameball refuses.", multiprocess_mode="livesum", registry=registry
        )
        self._counted: dict[str, int] = {}

    def on_start(self, client: ObservedClient) -> None:
        """A client starts to count at 0."""
        self._counted.clear()
        self._write(client)

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        """Requests and retries."""
        del start, end
        self._write(client)

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:
        """Events have their outcome."""
        del events, outcome
        self._write(client)

    def on_job(self, client: ObservedClient, report: JobReport) -> None:
        """A job was accepted, or has ended."""
        del report
        self._write(client)

    def on_pause(self, client: ObservedClient, reason: PauseReason) -> None:
        """No request may go."""
        del reason
        self._write(client)

    def on_resume(self, client: ObservedClient, reason: PauseReason, seconds: float) -> None:
        """Requests may go again."""
        del reason, seconds
        self._write(client)

    def on_close(self, client: ObservedClient) -> None:
        """The last counts."""
        self._write(client)

    def _write(self, client: ObservedClient) -> None:
        stats = client.stats()
        for field, counter in self._counters.items():
            count: int = getattr(stats, field)
            counter.inc(count - self._counted.get(field, 0))
            self._counted[field] = count
        for field, gauge in self._gauges.items():
            gauge.set(getattr(stats, field))
        self._paused.set(stats.paused_until is not None)
        self._halted.set(stats.halted is not None)


def scrape() -> bytes:
    """Return the metrics of all workers; the environment's PROMETHEUS_MULTIPROC_DIR is where they write them."""
    _forget_dead_workers(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_dead_workers(folder: Path) -> None:
    """Remove the gauges of killed workers; gunicorn has a hook for this, and other servers have none."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue
