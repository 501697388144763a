"""Clients with a journal that are killed while bulk requests and jobs are under way: no accepted job is sent again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from gameball_async import Delivered, DeliveryError, Event, ObservedClient, Observer, OutcomeUnknown, Stats
from gameball_async.sandbox import Fault, JobSettings, Sandbox

from .bulk_client import client
from .conftest import CRASHES, SEED

PLAYERS = 40
FOREVER = 3600.0

JOBS = JobSettings(latency=1.0)
"""A job ends while the next client follows it."""

NO_ANSWER = Fault.drip(FOREVER, routes={"batch"})
"""The job is accepted, and the client does not learn that."""


class Victim:
    """A client in a process of its own."""

    def __init__(self, sandbox: Sandbox, folder: Path, backend: str, **settings: Any) -> None:
        options = {"url": sandbox.url, "folder": str(folder), "backend": backend, "first": 0, "events": PLAYERS}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.bulk_client", json.dumps(options | settings)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._jobs: list[tuple[int, int]] = []

    def wait_for_items(self, items: int) -> None:
        """Wait until jobs with so many items are on disk."""
        assert self._process.stdout is not None
        while sum(players for _, players in self._jobs) < items:
            line = self._process.stdout.readline()
            assert line, "the process has ended"
            self._add(line)

    def _add(self, line: str) -> None:
        job, players = line.split()
        self._jobs.append((int(job), int(players)))

    def kill(self) -> list[int]:
        """Kill it, if it lives; returns the jobs that it had on disk."""
        self._process.kill()
        assert self._process.stdout is not None
        rest = "" if self._process.stdout.closed else self._process.communicate()[0]
        for line in rest.splitlines(keepends=True):
            if line.endswith("\n"):
                self._add(line)
        return [job for job, _ in self._jobs]


@contextmanager
def victim(sandbox: Sandbox, folder: Path, backend: str = "asyncio", **settings: Any) -> Generator[Victim]:
    process = Victim(sandbox, folder, backend, **settings)
    try:
        yield process
    finally:
        process.kill()


class Outcomes(Observer):
    """Keeps how many events have which outcome."""

    def __init__(self) -> None:
        self.settled = Counter[str]()

    def on_settled(self, client: ObservedClient, events: int, outcome: Delivered | DeliveryError) -> None:  # noqa: ARG002 there is one
        if isinstance(outcome, Delivered):
            kind = "duplicate" if outcome.maybe_duplicate else "delivered"
            self.settled[kind if outcome.confirmed else "unconfirmed"] += events
        else:
            self.settled[type(outcome).__name__] += events


def successor(
    sandbox: Sandbox, folder: Path, backend: str, *, first: int = PLAYERS, **settings: Any
) -> tuple[Stats, Outcomes]:
    """Start the next client, track one more event of each player, and flush."""
    outcomes = Outcomes()

    async def run() -> Stats:
        async with client(sandbox.url, folder, observer=outcomes, **settings) as gameball:
            for number in range(PLAYERS):
                await gameball.track(f"player{number}", "review", {"number": first + number})
            await gameball.flush(timeout=60)
            return gameball.stats()

    return anyio.run(run, backend=backend), outcomes


def arrivals(sandbox: Sandbox) -> Counter[int]:
    """How often each event was applied."""
    return Counter(int(str(event.metadata["number"])) for events in sandbox.holdings().values() for event in events)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_job_that_is_on_disk_is_followed_by_the_next_client(tmp_path: Path, backend: str) -> None:
    folder = tmp_path / "journal"
    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        with victim(sandbox, folder, backend, poll_interval=FOREVER) as process:
            process.wait_for_items(PLAYERS)
            jobs = process.kill()

        stats, outcomes = successor(sandbox, folder, backend)

        assert [job.id for job in sandbox.jobs][: len(jobs)] == jobs
        assert arrivals(sandbox) == dict.fromkeys(range(2 * PLAYERS), 1)
        assert all([event.name for event in events][-1] == "review" for events in sandbox.holdings().values())
        assert outcomes.settled == {"delivered": 2 * PLAYERS}
        assert (stats.accepted, stats.delivered, stats.unconfirmed, stats.ambiguous) == (2 * PLAYERS, 2 * PLAYERS, 0, 0)
        assert sum(job.items for job in sandbox.jobs) == 2 * PLAYERS
        assert sandbox.violations == []


def test_a_job_whose_id_was_not_on_disk_is_sent_again_and_may_be_a_duplicate(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        sandbox.script(NO_ANSWER)
        with victim(sandbox, folder) as process:
            until(lambda: sum(job.items for job in sandbox.jobs) == PLAYERS)
            assert process.kill() == []
        sandbox.script()

        stats, outcomes = successor(sandbox, folder, "asyncio")

        assert outcomes.settled == {"duplicate": PLAYERS, "delivered": PLAYERS}
        assert (stats.delivered, stats.ambiguous) == (2 * PLAYERS, PLAYERS)
        until(lambda: all(job.state == "completed" for job in sandbox.jobs))
        assert arrivals(sandbox) == {
            **dict.fromkeys(range(PLAYERS), 2),
            **dict.fromkeys(range(PLAYERS, 2 * PLAYERS), 1),
        }


def test_a_job_whose_id_was_not_on_disk_is_reported_and_not_sent_again(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    failed: list[tuple[int, type[DeliveryError]]] = []

    def on_failure(event: Event, error: DeliveryError) -> None:
        failed.append((int(str(event.metadata["number"])), type(error)))

    with Sandbox(limits=None, jobs=JOBS) as sandbox:
        sandbox.script(NO_ANSWER)
        with victim(sandbox, folder) as process:
            until(lambda: sum(job.items for job in sandbox.jobs) == PLAYERS)
            process.kill()
        sandbox.script()

        _, outcomes = successor(sandbox, folder, "asyncio", ambiguous="report", on_failure=on_failure)

        assert sorted(failed) == [(number, OutcomeUnknown) for number in range(PLAYERS)]
        assert outcomes.settled == {"OutcomeUnknown": PLAYERS, "delivered": PLAYERS}
        until(lambda: all(job.state == "completed" for job in sandbox.jobs))
        assert arrivals(sandbox) == dict.fromkeys(range(2 * PLAYERS), 1)


@pytest.mark.parametrize("seed", range(SEED, SEED + max(CRASHES // 15, 1)))
def test_whenever_clients_are_killed_nothing_of_a_recorded_job_is_sent_again(seed: int, tmp_path: Path) -> None:
    random, folder, lives = Random(seed), tmp_path / "journal", 4
    recorded = set[int]()
    with Sandbox(limits=None, jobs=JobSettings(latency=(0.05, 0.6)), seed=seed) as sandbox:
        for life in range(lives):
            with victim(sandbox, folder, first=life * PLAYERS) as process:
                process.wait_for_items(1)
                time.sleep(random.random() * 0.4)  # at any moment from then on
                recorded.update(process.kill())
        stats, _ = successor(sandbox, folder, "asyncio", first=lives * PLAYERS)
        until(lambda: all(job.state == "completed" for job in sandbox.jobs))

        requests = defaultdict[int, list[int]](list)
        for events in sandbox.holdings().values():
            for event in events:
                requests[int(str(event.metadata["number"]))].append(event.request)
        of_recorded = {job.request for job in sandbox.jobs if job.id in recorded}
        assert of_recorded
        for number, carried_by in requests.items():
            for request in of_recorded.intersection(carried_by):
                assert request == max(carried_by), number
        assert requests.keys() >= set(range(PLAYERS))
        assert stats.pending == 0
