"""What users and the server see of a seed stays the same when only the code changes.

All 500 recorded seeds are compared by `python -m tests.simulation --trace-hash --seeds 500`; here is a sample of them.
"""

from __future__ import annotations

import attrs
import pytest

from .loops import BACKENDS
from .plan import make_plan
from .simulation import simulate
from .soak import CLIENT_KINDS
from .traces import BLOCK, blocks, fingerprint, recorded

SEEDS = 500
SAMPLE = [*blocks(list(CLIENT_KINDS)[:1], BACKENDS, 3 * BLOCK), *blocks(list(CLIENT_KINDS)[1:], BACKENDS, BLOCK)]


@pytest.mark.parametrize("block", SAMPLE, ids=lambda block: "-".join(map(str, block)).replace(" ", "_"))
def test_the_traces_of_a_block_of_seeds_are_those_that_are_recorded(block: tuple[str, str, int]) -> None:
    assert fingerprint(block) == recorded()[block], (
        "the client does something else than before: compare `python -m tests.simulation --seed N` before and after; "
        "if that is meant, run `python -m tests.simulation --trace-hash --seeds 500 --write`"
    )


def test_all_blocks_are_recorded_and_differ() -> None:
    assert set(recorded()) == set(blocks(CLIENT_KINDS, BACKENDS, SEEDS))
    assert len(set(recorded().values())) == len(recorded())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_client_that_sends_a_millisecond_later_has_another_fingerprint(backend: str) -> None:
    plan = make_plan(0)
    later = attrs.evolve(plan, batching=attrs.evolve(plan.batching, linger=plan.batching.linger + 0.001))
    before, after = simulate(0, backend, plan), simulate(0, backend, later)
    assert not before.failures + after.failures
    assert before.trace.observed != after.trace.observed
