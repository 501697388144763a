"""Fixtures of the tests of what users' tests use."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every test marked with `anyio` runs on both."""
    return str(request.param)
