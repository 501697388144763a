"""Many rounds: in this process, or in several."""

from __future__ import annotations

import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from traceback import format_exception
from typing import Self
from unittest.mock import patch

import anyio
import attrs
import httpx

from gameball_async._journal import disk_reserve, segment
from gameball_async.sandbox import Sandbox

from .rounds import ROUNDS_PER_FOLDER, Result, Rounds

GROUP = 5 * ROUNDS_PER_FOLDER
# no loss of power is tested here, so no disk need be waited for
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
AGAIN = ".venv/bin/python -m tests.journal_fuzz --seed {seed}"


@attrs.define
class Summary:
    """What came of some rounds.

    Attributes:
        passed: the rounds that passed.
        failures: what went wrong in the others, with the command that repeats them.
    """

    passed: list[Result] = attrs.field(factory=list[Result])
    failures: list[str] = attrs.field(factory=list[str])

    def __iadd__(self, other: Summary) -> Self:
        self.passed += other.passed
        self.failures += other.failures
        return self

    def __str__(self) -> str:
        rounds = len(self.passed) + len(self.failures)
        durable, missing = sum(one.durable for one in self.passed), sum(one.missing for one in self.passed)
        damaging = sum(one.missing > 0 for one in self.passed)
        needless = sum(one.reported > 0 and not one.missing for one in self.passed)
        return (
            f"{rounds} rounds, {len(self.failures)} failed: {durable} events were durable, {missing} lost and reported "
            f"in {damaging} rounds, losses reported without any in {needless}"
        )


def run(seeds: Iterable[int], *, verbose: bool = False) -> Summary:
    """Run rounds in this process."""
    with (
        tempfile.TemporaryDirectory(prefix="journal-fuzz-", dir=_IN_MEMORY) as folder,
        Sandbox(limits=None) as sandbox,
        patch.object(segment, "RETRY_AFTER", 0.01),  # files that fail are tried again at once
        patch.object(disk_reserve, "CHECK_AFTER", 0.01),
    ):
        return anyio.run(_run, list(seeds), Path(folder), sandbox, verbose)


async def _run(seeds: Sequence[int], folder: Path, sandbox: Sandbox, verbose: bool) -> Summary:  # noqa: FBT001
    summary = Summary()
    async with httpx.AsyncClient(trust_env=False, verify=False) as http_client:
        rounds = Rounds(folder, sandbox, http_client)
        for seed in seeds:
            try:
                result = await rounds.run(seed)
            except Exception as error:  # noqa: BLE001 every failed round is shown, whatever failed
                text = "".join(format_exception(error))
                summary.failures.append(f"{text}\nTo repeat this round: {AGAIN.format(seed=seed)}")
                if verbose:
                    say(summary.failures[-1])
            else:
                summary.passed.append(result)
                if verbose:
                    say(str(result))
    gc.collect()
    return summary


def soak(seeds: range, jobs: int) -> int:
    """Run rounds in several processes; returns how many failed."""
    began, total = time.monotonic(), Summary()
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        groups = [pool.submit(run, seeds[at : at + GROUP]) for at in range(0, len(seeds), GROUP)]
        for group in as_completed(groups):
            summary = group.result()
            say(*summary.failures)
            total += summary
    say(f"{total}; {(len(seeds)) / (time.monotonic() - began):.1f} rounds a second")
    return len(total.failures)


def say(*lines: str) -> None:
    """Print lines at once."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
