"""A seed of an outbox is a whole history: the same again, step for step, in this process and in any other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .simulation import simulate_outbox

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("seed", range(2))
def test_a_seed_takes_the_same_steps_again(seed: int) -> None:
    first, second = simulate_outbox(seed), simulate_outbox(seed)
    assert first.trace.lines() == second.trace.lines()


def test_the_command_replays_a_seed_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--outbox", "--seed", "6"]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == f"trace {simulate_outbox(6).trace.digest()}"
