"""Fixtures of the tests of what a client lets others see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gameball_async.sandbox import Sandbox


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked with `anyio` runs on both."""
    return str(request.param)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox without rate limits."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox
