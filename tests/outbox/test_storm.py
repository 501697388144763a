"""A few rounds of the storm; `python -m tests.outbox.storm` runs many."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .postgres import PostgresServer
from .storm import Storm


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_under_random_faults_every_committed_event_arrives_in_order(
    new_server: Callable[[], PostgresServer], seed: int
) -> None:
    assert Storm(new_server(), seed, faults=8).run().events
