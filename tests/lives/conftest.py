"""Fixtures of the lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from gameball_async.sandbox import Sandbox

from .support import KEY, Figures, Process


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY, limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """The file that a life's processes write down what they accepted in."""
    return tmp_path / "book"


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while Process.started:
        Process.started.pop().kill()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[Figures], Figures]:
    """Hand a life's figures on to the report of the run, `--junitxml`."""

    def note(figures: Figures) -> Figures:
        request.node.user_properties.extend(attrs.asdict(figures).items())
        return figures

    return note
