"""Many seeds: on every core, counted by the second, each failure printed with the command that replays it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType

from .journal.simulation import simulate_journal
from .outbox.simulation import simulate_outbox
from .simulation import Result, simulate, simulate_bulk

CHUNK = 20
"""Seeds that a process takes at once."""

LONGEST = 60
"""Seconds of real time for one seed, of which most take a fortieth of one: more is a loop without an await."""


CLIENT_KINDS: dict[str, Callable[[int, str], Result]] = {
    "without a journal": simulate,
    "with a journal": simulate_journal,
}
"""The simulations, by what a client in them is."""

OUTBOX = "of an outbox"

BULK = {
    "any": "with bulk requests",
    "bulk": "in bulk mode",
    "auto": "in auto mode",
}
"""The simulations of clients that send bulk requests, by what the command line calls them."""

KINDS = (
    CLIENT_KINDS
    | {OUTBOX: simulate_outbox, BULK["any"]: simulate_bulk}
    | {BULK["bulk"]: partial(simulate_bulk, mode="bulk"), BULK["auto"]: partial(simulate_bulk, mode="auto")}
)
"""All simulations."""


def soak(seeds: range, backends: Sequence[str], jobs: int, kinds: Sequence[str] = tuple(CLIENT_KINDS)) -> bool:
    """Run the seeds of each kind on each of the loops; returns whether all passed."""
    passed = [_soak_kind(kind, seeds, backends, jobs) for kind in kinds]
    return all(passed)


def _soak_kind(kind: str, seeds: range, backends: Sequence[str], jobs: int) -> bool:
    began, done, events, requests, failed = time.monotonic(), 0, 0, 0, 0
    for found in _results(kind, seeds, backends, jobs):
        done, events, requests = done + found.done, events + found.events, requests + found.requests
        failed += len(found.failures)
        for failure in found.failures:
            say(failure, "")
        rate = done / (time.monotonic() - began)
        sys.stderr.write(f"\r{done} runs, {failed} failed, {rate:.0f} seeds/s ")
    rate = done / (time.monotonic() - began)
    sys.stderr.write("\n")
    say(
        f"{done} runs of {len(seeds)} seeds {kind} on {' and '.join(backends)}: {failed} failed, {rate:.1f} seeds/s,",
        f"{events} events accepted, {requests} requests sent",
    )
    return not failed


def say(*lines: str) -> None:
    """Print lines at once."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


class _Found:
    """What came of a chunk of seeds."""

    def __init__(self) -> None:
        self.done = self.events = self.requests = 0
        self.failures: list[str] = []

    def add(self, result: Result) -> None:
        self.done += 1
        self.events += result.events
        self.requests += result.requests
        if result.failures:
            self.failures.append(str(result))


def _results(kind: str, seeds: range, backends: Sequence[str], jobs: int) -> Iterator[_Found]:
    chunks = [(kind, backend, seeds[at : at + CHUNK]) for at in range(0, len(seeds), CHUNK) for backend in backends]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_run_chunk, chunks)


def _run_chunk(chunk: tuple[str, str, range]) -> _Found:
    kind, backend, seeds = chunk
    found = _Found()
    for seed in seeds:
        try:
            found.add(run_timed(seed, backend, kind))
        except Exception:  # noqa: BLE001 a failed seed is shown, whatever failed, and the others go on
            found.done += 1
            found.failures.append(f"seed {seed} {kind} on {backend}:\n{traceback.format_exc()}")
    return found


def run_timed(seed: int, backend: str, kind: str) -> Result:
    """Run a seed; if it loops without an await, the alarm ends it with a traceback of where."""
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(LONGEST)
    try:
        return KINDS[kind](seed, backend)
    finally:
        signal.alarm(0)


def _on_alarm(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no end after {LONGEST} s of real time")
