"""Every mutant of bulk requests is caught, and for the right reason; the unbroken client passes the same seeds."""

from __future__ import annotations

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
    "gives a job up too early": 16,
    "does not divide what was refused": 12,
}
"""The seeds that caught mutants which few seeds catch; they are tried first."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    mutant.caught_by(simulate_bulk, SEEDS, BACKENDS, first=CAUGHT_BY.get(mutant.name))


def test_the_client_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_bulk_seeds.SEEDS


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 12
    assert names >= CAUGHT_BY.keys()
