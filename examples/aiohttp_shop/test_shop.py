"""The shop's tests: with a recorder instead of the client, and once with a sandbox instead of Gameball."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gameball_async import BufferFull
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.testing import Recorder

from .shop import make_app

CART = {
    "customer": "player123",
    "items": [
        {"name": "Mug", "category": "kitchen", "cents": 1250, "quantity": 2},
        {"name": "Lamp", "category": "home", "cents": 3999},
    ],
}

pytestmark = pytest.mark.asyncio


async def test_a_checkout_is_tracked_with_the_total_and_each_category_once(gameball_recorder: Recorder) -> None:
    async with TestClient(TestServer(make_app(lambda: gameball_recorder))) as shop:
        answer = await shop.post("/checkout", json=CART)
        order = await answer.json()
    assert (answer.status, order["total"]) == (201, "64.99")
    gameball_recorder.assert_tracked(
        "player123",
        "place_order",
        times=1,
        exact=True,
        order_id=order["id"],
        total_amount=64.99,
        category=["home", "kitchen"],
    )
    assert gameball_recorder.closed


async def test_an_order_stands_although_nobody_can_be_told(gameball_recorder: Recorder) -> None:
    gameball_recorder.fail(BufferFull("no room"))
    async with TestClient(TestServer(make_app(lambda: gameball_recorder))) as shop:
        assert (await shop.post("/checkout", json=CART)).status == 201


@pytest.mark.parametrize("flaw", [{"items": []}, {"customer": ""}, {"items": [{"name": "Mug", "cents": -1}]}])
async def test_a_cart_that_cannot_be_paid_is_not_tracked(flaw: dict[str, object], gameball_recorder: Recorder) -> None:
    async with TestClient(TestServer(make_app(lambda: gameball_recorder))) as shop:
        assert (await shop.post("/checkout", json=CART | flaw)).status == 422
    gameball_recorder.assert_nothing_tracked()


async def test_what_the_shop_tracks_survives_a_short_outage(
    gameball_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole app, on a real socket: it ends when everything was delivered."""
    gameball_sandbox.script(Fault.status(503, times=1))
    monkeypatch.setenv("GAMEBALL_API_KEY", "any-key")
    monkeypatch.setenv("GAMEBALL_BASE_URL", gameball_sandbox.url)
    async with TestClient(TestServer(make_app())) as shop:
        await shop.post("/checkout", json=CART)
        assert (await (await shop.get("/health")).json())["pending"] == 1
    assert [event.name for event in gameball_sandbox.holdings()["player123"]] == ["place_order"]
    assert gameball_sandbox.violations == []
