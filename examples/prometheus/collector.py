"""A Prometheus collector for a client. It reads `stats()` at each scrape, and costs nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gameball_async import AsyncGameball

COUNTERS = {
    "accepted_events": ("accepted", "Events that track() or send() accepted."),
    "delivered_events": ("delivered", "Events that Gameball has accepted."),
    "unconfirmed_events": ("unconfirmed", "Delivered events of jobs whose end is unknown."),
    "rejected_events": ("rejected", "Events that Gameball rejected."),
    "dropped_events": ("dropped", "Events given up: no room, too old, client closed."),
    "unknown_events": ("unknown", "Events that may have arrived, and are not sent again."),
    "requests": ("requests", "Requests sent, retries included."),
    "retries": ("retries", "Requests that repeated an earlier one."),
    "ambiguous_requests": ("ambiguous", "Requests that may have been applied."),
    "accepted_jobs": ("jobs_accepted", "Bulk requests that Gameball has accepted as a job."),
    "polls": ("polls", "Requests for the status of jobs."),
}
GAUGES = {
    "buffered_events": ("buffered_events", "Events in memory without an outcome."),
    "buffered_bytes": ("buffered_bytes", "Encoded bytes of the events in memory."),
    "journaled_events": ("journaled_events", "Events only in the journal."),
    "journal_bytes": ("journal_bytes", "Bytes of the journal's file that are in use."),
    "in_flight_requests": ("in_flight", "Requests being sent."),
    "unfinished_jobs": ("jobs", "Accepted jobs that have not ended."),
    "bulk": ("bulk", "1 while bulk requests are sent."),
    "oldest_age_seconds": ("oldest_age", "Since the oldest event in memory was accepted."),
}


class GameballCollector(Collector):
    """Give it to a registry: ``REGISTRY.register(GameballCollector(gameball))``."""

    def __init__(self, gameball: AsyncGameball) -> None:
        self._gameball = gameball

    def collect(self) -> Iterator[Metric]:
        """One scrape; Prometheus' own server calls it in a thread, which `stats` allows."""
        stats = self._gameball.stats()
        for name, (field, description) in COUNTERS.items():
            yield CounterMetricFamily(f"gameball_client_{name}", description, value=getattr(stats, field))
        for name, (field, description) in GAUGES.items():
            yield GaugeMetricFamily(f"gameball_client_{name}", description, value=getattr(stats, field))
        yield GaugeMetricFamily("gameball_client_paused", "1 while no request may go.", stats.paused_until is not None)
        yield GaugeMetricFamily("gameball_client_halted", "1 while Gameball refuses us.", stats.halted is not None)
