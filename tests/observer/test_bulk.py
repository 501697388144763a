"""What an observer, the counts and the log show of bulk requests and their jobs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from examples.prometheus.collector import GameballCollector
from examples.prometheus.observer import PrometheusObserver
from gameball_async import AsyncGameball, Batching, JobOptions, JobReport, JobState, ObservedClient, Observer, RateLimit
from gameball_async.integrations.otel import OpenTelemetry
from gameball_async.sandbox import Fault, JobSettings, Sandbox

from .support import Notebook, client, until

pytestmark = pytest.mark.anyio

JOBS = JobOptions(poll_interval=0.01)


def bulk(sandbox: Sandbox, observer: Observer | None = None, **settings: Any) -> AsyncGameball:
    """A client that sends bulk requests."""
    known: dict[str, Any] = {"batching": Batching(mode="bulk", linger=0.01, jobs=JOBS)}
    return client(sandbox, observer, api_version="v4.0", secret_key="test-secret", **(known | settings))


async def track(gameball: AsyncGameball, players: int) -> None:
    for number in range(players):
        gameball.track_nowait(f"player{number}", "review")
    await gameball.flush()


class JobNotebook(Notebook):
    """Keeps the reports of jobs too."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[JobReport] = []

    def on_job(self, client: ObservedClient, report: JobReport) -> None:
        del client
        self.told.append(f"job {report.state}")
        self.jobs.append(report)


async def test_an_observer_is_told_of_a_jobs_acceptance_and_its_end(sandbox: Sandbox) -> None:
    notebook = JobNotebook()
    sandbox.set_jobs(JobSettings(failing_players=frozenset({"player3"})))
    async with bulk(sandbox, notebook) as gameball:
        await track(gameball, 10)
    accepted, completed = notebook.jobs
    assert (accepted.state, accepted.players, accepted.failed) == (JobState.ACCEPTED, 10, 0)
    assert (completed.state, completed.players, completed.failed) == (JobState.COMPLETED, 10, 1)
    assert accepted.job == completed.job == sandbox.jobs[0].id
    assert completed.seconds > 0
    (first, *_) = notebook.starts
    assert (first.players, first.events) == (10, ("review",) * 10)
    assert notebook.told.index("job accepted") < notebook.told.index("job completed")


async def test_stats_count_jobs_while_they_run_and_after(sandbox: Sandbox) -> None:
    sandbox.set_jobs(JobSettings(latency=3600.0))
    async with bulk(sandbox) as gameball:
        for number in range(10):
            gameball.track_nowait(f"player{number}", "review")
        await until(lambda: gameball.stats().polls)
        stats = gameball.stats()
        assert (stats.bulk, stats.jobs, stats.jobs_accepted) == (True, 1, 1)
        assert (stats.requests, stats.pending, stats.delivered, stats.unconfirmed) == (1, 10, 0, 0)
        await gameball.aclose(timeout=0)
        stats = gameball.stats()
        assert (stats.jobs_accepted, stats.delivered, stats.unconfirmed, stats.pending) == (1, 10, 10, 0)


async def test_a_job_that_cannot_be_followed_is_reported_logged_and_counted(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = JobNotebook()
    sandbox.set_jobs(JobSettings(lost_jobs=1.0))
    async with bulk(sandbox, notebook) as gameball:
        await track(gameball, 10)
        assert (gameball.stats().delivered, gameball.stats().unconfirmed) == (10, 10)
    assert [(report.state, report.players) for report in notebook.jobs] == [
        (JobState.ACCEPTED, 10),
        (JobState.LOST, 10),
    ]
    (record,) = [record for record in caplog.records if vars(record).get("gameball_kind") == "job_lost"]
    assert record.levelno == logging.WARNING
    assert vars(record)["gameball_players"] == 10
    assert f"job {sandbox.jobs[0].id}" in record.getMessage()


async def test_a_refused_bulk_request_is_logged_without_whom_it_was_about(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.status(400, code=3000, times=1))
    async with bulk(sandbox) as gameball:
        await track(gameball, 10)
        assert gameball.stats().delivered == 10
    (record,) = [record for record in caplog.records if vars(record).get("gameball_kind") == "bulk"]
    assert (vars(record)["gameball_cause"], vars(record)["gameball_status"], vars(record)["gameball_code"]) == (
        "refused",
        400,
        3000,
    )
    assert "10 players" in record.getMessage()


async def test_auto_logs_that_it_tries_bulk_requests_and_that_they_are_on(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gameball_async")
    batching = Batching(mode="auto", linger=0.01, jobs=JOBS)
    async with bulk(sandbox, batching=batching, rate=RateLimit()) as gameball:
        assert not gameball.stats().bulk
        await track(gameball, 3000)
        assert gameball.stats().delivered == 3000
    records = [vars(record) for record in caplog.records if vars(record).get("gameball_kind") == "bulk"]
    assert [record["gameball_cause"] for record in records][:2] == ["proving", "on"]
    assert records[0]["gameball_players"] > 400


async def test_the_span_of_a_bulk_request_has_the_number_of_its_players(sandbox: Sandbox) -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    async with bulk(sandbox, OpenTelemetry(tracer_provider=tracers)) as gameball:
        await track(gameball, 10)
    (span,) = exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert (attributes["gameball.request.players"], attributes["messaging.batch.message_count"]) == (10, 10)


async def test_prometheus_is_told_of_jobs_by_both_examples(sandbox: Sandbox) -> None:
    collector, observed = CollectorRegistry(), CollectorRegistry()
    sandbox.set_jobs(JobSettings(lost_jobs=1.0))
    async with bulk(sandbox, PrometheusObserver(observed)) as gameball:
        collector.register(GameballCollector(gameball))
        await track(gameball, 10)
        await gameball.aclose()
        for registry in (collector, observed):
            lines = generate_latest(registry).decode().splitlines()
            assert "gameball_client_accepted_jobs_total 1.0" in lines
            assert "gameball_client_unconfirmed_events_total 10.0" in lines
            assert f"gameball_client_polls_total {float(gameball.stats().polls)}" in lines
            assert "gameball_client_unfinished_jobs 0.0" in lines
