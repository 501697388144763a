"""Fixtures of the crashes: how many rounds, which seeds, and no process that outlives its test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import attrs
import pytest

from .children import Child
from .oracle import Figures

CRASHES = int(os.environ.get("GAMEBALL_CRASHES", "30"))
"""How many rounds with kill -9 are run; 60 in `make test`."""

SEED = int(os.environ.get("GAMEBALL_SEED", "1"))
"""The seed of the first round; each further round takes the next one."""


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    for child in list(Child.started):
        child.kill()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[Figures], Figures]:
    """Hand figures on to the report of the run, `--junitxml`."""

    def note(figures: Figures) -> Figures:
        request.node.user_properties.extend(attrs.asdict(figures).items())
        return figures

    return note
