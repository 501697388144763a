"""The oracle bites: each broken core is caught, for the right reason, by seeds which the core itself passes."""

from __future__ import annotations

import pytest

from . import test_seeds
from .loops import BACKENDS
from .mutants import MUTANTS, Mutant
from .simulation import simulate

SEEDS = range(200)

CAUGHT_BY = {
    "accepts events of cancelled calls": 122,
    "drops what is being retried": 64,
    "flushes without skipping the backoff": 95,
    "lets producers overtake": 61,
    "flushes what came later": 40,
    "never gives up": 25,
    "forgets a lost answer on a split": 29,
    "takes a written request for unsent": 35,
    "drops a batch on cancel": 19,
    "loses the tail on a split": 16,
    "changes a sealed batch": 16,
}
"""The seeds that caught mutants which few seeds catch; they are tried first."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    mutant.caught_by(simulate, SEEDS, BACKENDS, first=CAUGHT_BY.get(mutant.name))


def test_one_that_changes_nothing_is_not_caught() -> None:
    with pytest.raises(AssertionError, match="no seed says 'pending' of one that changes nothing"):
        Mutant("changes nothing", "pending", ()).caught_by(simulate, range(2), BACKENDS, first=None)


def test_the_core_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_seeds.SEEDS


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 10
    assert names >= CAUGHT_BY.keys()
