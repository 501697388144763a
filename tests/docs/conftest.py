"""Fixtures of the tests of the pages."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _requests_are_logged_no_longer() -> Iterator[None]:
    """An example asks for a line for each request; no later test did."""
    yield
    logging.getLogger("gameball_async.requests").setLevel(logging.NOTSET)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with Gameball's own limits."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def gameball_is_the_sandbox(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """What `docs/index.md` tells: a key in the environment, and another default for `base_url`; no more."""
    monkeypatch.setenv("GAMEBALL_API_KEY", "test-key")
    defaults = AsyncGameball.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "base_url", sandbox.url)
    return sandbox


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
