"""Fixtures of the integrations' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def outlet() -> Iterator[Sandbox]:
    """A second account's sandbox."""
    with Sandbox(limits=None) as sandbox:
        yield sandbox


@pytest.fixture
def make_client(sandbox: Sandbox) -> Callable[[], AsyncGameball]:
    return lambda: AsyncGameball("test-key", base_url=sandbox.url)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Literal["asyncio", "trio"]:
    """The loop that Starlette's TestClient runs the app on."""
    backend: Literal["asyncio", "trio"] = request.param
    return backend


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp knows asyncio alone."""
    return "asyncio"
