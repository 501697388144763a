"""What the sandbox's tests share: a running sandbox, a plain HTTP client and bare sockets at its address."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest

from gameball_async.sandbox import Sandbox

from .support import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def calls(sandbox: Sandbox) -> Iterator[Calls]:
    with contextlib.ExitStack() as stack:
        yield Calls(sandbox, stack)


@pytest.fixture(scope="module")
def module_sandbox() -> Iterator[Sandbox]:
    """One for a whole module of cheap tests, which reset it: starting and stopping takes a tenth of a second."""
    with Sandbox(limits=None) as running:
        yield running


@pytest.fixture(scope="module")
def module_http(module_sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=module_sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as client:
        yield client
