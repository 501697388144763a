"""The oracle of the outbox bites: each broken relay is caught, for the right reason."""

from __future__ import annotations

import pytest

from ..mutants import Mutant
from . import test_outbox_seeds
from .mutants import MUTANTS
from .seeds import FAILED
from .simulation import simulate_outbox

SEEDS = range(60)

CAUGHT_BY = {
    "renews after its death": 3,
    "does not check its lease before a request": 2,
    "counts its lease too long": 13,
    "tails by seq": 6,
    "reads past what its first page saw": 10,
    "uses new shards at once": 5,
    "leaves no quiet time": 5,
    "forgets events before their deletion": 7,
    "hands over before its deletions": 15,
    "owns shards that it cannot send": 50,
    "lets a late statement remove a seal": 377,
}
"""The seeds that caught mutants which few seeds catch; they are tried first."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    mutant.caught_by(simulate_outbox, SEEDS, first=CAUGHT_BY.get(mutant.name))


def test_the_relay_itself_has_to_pass_the_same_seeds() -> None:
    assert SEEDS.stop <= test_outbox_seeds.SEEDS
    assert {*CAUGHT_BY.values()} <= {*SEEDS, *FAILED}


def test_every_mutant_has_a_name_of_its_own() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 10
    assert names >= CAUGHT_BY.keys()
