"""Three hundred lives of a client, on both loops, in every kind of weather; and those that ended badly once."""

from __future__ import annotations

import pytest

from .loops import BACKENDS
from .seeds import FAILED
from .simulation import simulate

SEEDS = 300
CHUNK = 20


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_happens_every_promise_is_kept(backend: str, first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = simulate(seed, backend)
        assert not result.failures, str(result)


@pytest.mark.parametrize("seed", FAILED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_failed_once_does_not_fail_again(backend: str, seed: int) -> None:
    result = simulate(seed, backend)
    assert not result.failures, f"{FAILED[seed]}\n{result}"
