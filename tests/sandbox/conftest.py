"""What the sandbox's tests share: a running sandbox and a plain HTTP client at its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from gameball_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False) as client:
        yield client
