"""Every mutant of bulk requests is caught, and for the right reason; the unbroken client passes the same seeds."""

from __future__ import annotations

import re
from itertools import product

import pytest

from ..loops import BACKENDS
from ..mutants import Mutant
from ..simulation import simulate_bulk
from . import test_bulk_seeds
from .mutants import MUTANTS

SEEDS = range(80)

CAUGHT_BY = {
    "counts each item of a failed request": 68,
    "takes unnamed failures for success": 46,
    "trusts bulk requests after a lost job": 40,
    "sends an accepted job again": 38,
    "follows a lost job forever": 38,
    "sends failed items in bulk": 24,
    "gives failed items up": 20,
    "takes a failed item for certain": 19,
    "takes a running job for completed": 19,
}
"""The seeds that caught mutants which few seeds catch; they are tried first."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    others: list[str] = []
    seeds = sorted(SEEDS, key=lambda seed: seed != CAUGHT_BY.get(mutant.name))
    for seed, backend in product(seeds, BACKENDS):
        with mutant.applied():
            failures = simulate_bulk(seed, backend).failures
        if failures and re.search(mutant.finding, failures[0]):
            return
        others += failures[:1]
    pytest.fail(f"no seed says {mutant.finding!r} of a client that {mutant.name}, but {others[:3]}")


def test_the_client_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_bulk_seeds.SEEDS


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 12
    assert names >= CAUGHT_BY.keys()
