"""The oracle bites: each broken core is caught, for the right reason, by seeds which the core itself passes."""

from __future__ import annotations

import re

import pytest

from .loops import BACKENDS
from .mutants import MUTANTS, Mutant
from .simulation import simulate

SEEDS = range(100)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    others: list[str] = []
    for seed in SEEDS:
        with mutant.applied():
            failures = simulate(seed, BACKENDS[seed % 2]).failures
        if failures and re.search(mutant.finding, failures[0]):
            return
        others += failures[:1]
    pytest.fail(f"no seed says {mutant.finding!r} of a core that {mutant.name}, but {others}")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_core_itself_passes_the_same_seed(seed: int) -> None:
    assert simulate(seed, BACKENDS[seed % 2]).failures == []
