"""Fixtures of the chaos: the sandbox, the seed, and how long it lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import attrs
import pytest

from gameball_async.sandbox import Sandbox

from .storm import Figures

SOAK = float(os.environ.get("GAMEBALL_SOAK", "0"))
"""By how much the storms last longer than in `make test`; 0, the default, leaves them short."""

SEED = int(os.environ.get("GAMEBALL_SEED", "1"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked with `anyio` runs on both."""
    return str(request.param)


@pytest.fixture
def seed() -> int:
    """Decides all that is random, but the time that sockets and threads take: GAMEBALL_SEED=1 by default."""
    return SEED


@pytest.fixture
def seconds() -> float:
    """How long a storm rages; GAMEBALL_SOAK=30 makes it a minute."""
    return 2 * max(SOAK, 1)


@pytest.fixture
def sandbox(seed: int) -> Iterator[Sandbox]:
    with Sandbox(limits=None, seed=seed) as sandbox:
        yield sandbox


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[Figures], Figures]:
    """Hand a storm's figures on to the report of the run, `--junitxml`."""

    def note(figures: Figures) -> Figures:
        request.node.user_properties.extend(attrs.asdict(figures).items())
        return figures

    return note
