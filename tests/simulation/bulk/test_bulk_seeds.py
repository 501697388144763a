"""Lives of a client that sends bulk requests, on both loops, with jobs that go well and jobs that do not."""

from __future__ import annotations

import pytest

from ..loops import BACKENDS
from ..simulation import simulate_bulk
from .seeds import FAILED

SEEDS = 80
CHUNK = 20


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_becomes_of_jobs_every_promise_is_kept(backend: str, first: int) -> None:
    for seed in range(first, first + CHUNK):
        result = simulate_bulk(seed, backend)
        assert not result.failures, str(result)


@pytest.mark.parametrize("seed", FAILED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_failed_once_does_not_fail_again(backend: str, seed: int) -> None:
    result = simulate_bulk(seed, backend)
    assert not result.failures, f"{FAILED[seed]}\n{result}"
