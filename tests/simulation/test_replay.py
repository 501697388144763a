"""A seed is a whole life: the same again, step for step, in this process and in any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .loops import BACKENDS
from .mutants import MUTANTS
from .simulation import simulate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_takes_the_same_steps_again(backend: str, seed: int) -> None:
    first, second = simulate(seed, backend), simulate(seed, backend)
    assert first.trace.lines() == second.trace.lines()
    assert first.trace.digest() == second.trace.digest()


def test_seeds_differ() -> None:
    assert len({simulate(seed, "asyncio").trace.digest() for seed in range(10)}) == 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_replays_a_seed_in_another_process(backend: str) -> None:
    outputs = {_replayed(3, backend, hash_seed) for hash_seed in ("1", "2")}
    assert outputs == {simulate(3, backend).trace.digest()}


def _replayed(seed: int, backend: str, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--backend", backend]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return finished.stdout.splitlines()[-1].removeprefix("trace ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failure_says_what_happened_and_how_to_see_it_again(backend: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "swaps two batches")
    with mutant.applied():
        seed, failed = next((seed, r) for seed in range(20) if (r := simulate(seed, backend)).failures)
    assert "carries" in str(failed)
    assert f"replay: python -m tests.simulation --seed {seed} --backend {backend}" in str(failed)
