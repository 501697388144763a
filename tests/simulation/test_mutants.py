"""The oracle bites: each broken core is caught, for the right reason, by seeds which the core itself passes."""

from __future__ import annotations

import re
from itertools import product

import pytest

from . import test_seeds
from .loops import BACKENDS
from .mutants import MUTANTS, Mutant
from .simulation import simulate

SEEDS = range(200)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    others: list[str] = []
    for seed, backend in product(SEEDS, BACKENDS):
        with mutant.applied():
            failures = simulate(seed, backend).failures
        if failures and re.search(mutant.finding, failures[0]):
            return
        others += failures[:1]
    pytest.fail(f"no seed says {mutant.finding!r} of a core that {mutant.name}, but {others[:3]}")


def test_the_core_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_seeds.SEEDS


def test_every_mutant_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 10
