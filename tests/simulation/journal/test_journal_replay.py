"""A seed is a whole series of lives: the same again, step for step, in this process and in any other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ..loops import BACKENDS
from ..test_replay import ROOT
from .mutants import MUTANTS
from .simulation import simulate_journal


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_takes_the_same_steps_again(backend: str, seed: int) -> None:
    first, second = simulate_journal(seed, backend), simulate_journal(seed, backend)
    assert first.trace.lines() == second.trace.lines()
    assert first.trace.digest() == second.trace.digest()


def test_seeds_differ() -> None:
    assert len({simulate_journal(seed, "asyncio").trace.digest() for seed in range(10)}) == 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_replays_a_seed_in_another_process(backend: str) -> None:
    outputs = {_replayed(3, backend, hash_seed) for hash_seed in ("1", "2")}
    assert outputs == {simulate_journal(3, backend).trace.digest()}


def _replayed(seed: int, backend: str, hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--backend", backend, "--journal"]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return finished.stdout.splitlines()[-1].removeprefix("trace ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failure_says_what_happened_and_how_to_see_it_again(backend: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "seals nothing")
    with mutant.applied():
        failed = simulate_journal(0, backend)
    assert "before its seal is durable" in str(failed)
    assert f"replay: python -m tests.simulation --seed 0 --backend {backend} --journal" in str(failed)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lives_end_in_every_way(backend: str) -> None:
    notes = {line.split()[1] for seed in range(20) for line in simulate_journal(seed, backend).trace.lines()}
    assert {"crash", "kill", "closed", "found", "failed", "full", "abandoned", "told"} <= notes
