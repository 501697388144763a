"""Lives of a service with a journal, with crashes between them, on both loops; and those that ended badly once."""

from __future__ import annotations

import pytest

from ..loops import BACKENDS
from .seeds import FAILED
from .simulation import simulate_journal

SEEDS = 60
CHUNK = 10


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_happens_nothing_that_was_durable_is_lost(backend: str, first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = simulate_journal(seed, backend)
        assert not result.failures, str(result)


@pytest.mark.parametrize("seed", FAILED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_failed_once_does_not_fail_again(backend: str, seed: int) -> None:
    result = simulate_journal(seed, backend)
    assert not result.failures, f"{FAILED[seed]}\n{result}"
