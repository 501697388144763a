"""The oracle of the journal bites: each broken core is caught, for the right reason."""

from __future__ import annotations

import pytest

from ..loops import BACKENDS
from ..mutants import Mutant
from . import test_journal_seeds
from .mutants import MUTANTS
from .simulation import simulate_journal

SEEDS = range(60)

CAUGHT_BY = {
    "admits before it is stored": 11,
    "restores a sealed batch as events that merge": 13,
    "writes the dead letter of the first event alone": 19,
    "cuts a request when it reads": 10,
}
"""The seeds that caught mutants which few seeds catch; they are tried first."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    mutant.caught_by(simulate_journal, SEEDS, BACKENDS, first=CAUGHT_BY.get(mutant.name))


def test_the_core_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_journal_seeds.SEEDS


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 10
    assert names >= CAUGHT_BY.keys()
