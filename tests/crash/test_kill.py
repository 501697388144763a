"""Rounds of kill -9 at random moments under load and faults: whatever was acknowledged reaches Gameball."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from .conftest import CRASHES, SEED
from .oracle import Figures
from .rounds import Round

GROUP = 10
AT_ONCE = 3  # a round waits most of the time

_AGAIN = "GAMEBALL_SEED={seed} GAMEBALL_CRASHES=1 .venv/bin/python -m pytest tests/crash/test_kill.py"


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEED, SEED + CRASHES, GROUP))
def test_whatever_was_acknowledged_survives_kill_9(
    first: int, tmp_path: Path, note: Callable[[Figures], Figures]
) -> None:
    """Killed under load, while files are adopted and read back, and during the close; some again and again.

    None is lost, each player's arrive in order, unchanged and under that player's name, and what arrives twice has
    its reason: its answer got lost, or its removal was not on disk yet.
    """
    seeds = range(first, min(first + GROUP, SEED + CRASHES))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        figures = note(sum(pool.map(partial(_round, tmp_path), seeds), Figures(rounds=0)))
    assert figures.kills >= figures.rounds == len(seeds)


def _round(tmp_path: Path, seed: int) -> Figures:
    folder = tmp_path / str(seed)
    folder.mkdir()
    try:
        return Round(seed, folder).run()
    except BaseException as error:
        error.add_note(f"That was the round of seed {seed}. To repeat it: {_AGAIN.format(seed=seed)}")
        raise
