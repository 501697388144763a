"""A user's tests with the standard library's `IsolatedAsyncioTestCase`."""

from __future__ import annotations

from unittest import IsolatedAsyncioTestCase

from . import book


class TestShop(IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.gameball = book.client()
        await self.gameball.start()
        self.number = 0

    async def asyncTearDown(self) -> None:
        book.closed(await self.gameball.aclose(), self.gameball.stats())

    async def track_ten(self, player: str) -> None:
        for number in range(10):
            await self.gameball.track(player, *book.event(number))
            book.accepted(player, number)

    async def test_one(self) -> None:
        await self.track_ten("one")

    async def test_another(self) -> None:
        await self.track_ten("another")
        await self.gameball.flush()
        assert self.gameball.stats().delivered == 10
