"""A user's tests with pytest-asyncio: the client is a fixture that yields, for a function and for a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gameball_async import AsyncGameball

from . import book


@pytest_asyncio.fixture(loop_scope="function")
async def gameball() -> AsyncIterator[AsyncGameball]:
    async with book.client() as gameball:
        yield gameball
    book.closed(await gameball.aclose(), gameball.stats())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[AsyncGameball]:
    gameball = book.client()
    await gameball.start()
    yield gameball
    book.closed(await gameball.aclose(), gameball.stats())


@pytest.mark.asyncio
@pytest.mark.parametrize("test", range(3))
async def test_with_a_client_of_its_own(gameball: AsyncGameball, test: int) -> None:
    for number in range(10 * test, 10 * test + 10):
        await gameball.track(f"function{test}", *book.event(number))
        book.accepted(f"function{test}", number)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("test", range(3))
async def test_with_a_client_of_the_module(shared: AsyncGameball, test: int) -> None:
    for number in range(10 * test, 10 * test + 10):
        await shared.track("module", *book.event(number))
        book.accepted("module", number)
