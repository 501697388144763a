"""Relays that share an outbox, in every kind of trouble; and those that ended badly once."""

from __future__ import annotations

import pytest

from .seeds import FAILED
from .simulation import simulate_outbox

SEEDS = 60
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_each_event_that_committed_arrives_in_turn(first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = simulate_outbox(seed)
        assert not result.failures, str(result)


@pytest.mark.parametrize("seed", FAILED)
def test_what_failed_once_does_not_fail_again(seed: int) -> None:
    result = simulate_outbox(seed)
    assert not result.failures, f"{FAILED[seed]}\n{result}"
