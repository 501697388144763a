"""Whatever happens to the files of a journal, clients start, and what was durable arrives or is reported."""

from __future__ import annotations

import os

import pytest

from .soak import run

ROUNDS = int(os.environ.get("GAMEBALL_FUZZ", "100"))
"""How many rounds are run; 100 in `make test`."""

GROUP = 20


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, ROUNDS, GROUP))
def test_what_was_durable_arrives_or_is_reported_whatever_happens_to_the_files(first: int) -> None:
    """No event is sent twice, altered, or to another player, each player's arrive in order, and no alarm is false."""
    summary = run(range(first, min(first + GROUP, ROUNDS)))
    assert not summary.failures, "\n".join(summary.failures)
    assert sum(result.missing > 0 for result in summary.passed) < len(summary.passed) / 2
