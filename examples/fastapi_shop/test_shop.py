"""The shop's tests: with a recorder instead of the client, and once with a sandbox instead of Gameball."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from gameball_async import BufferFull
from gameball_async.integrations.fastapi import get_gameball
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.testing import Recorder

from .shop import app

CART = {
    "customer": "player123",
    "items": [
        {"name": "Mug", "category": "kitchen", "cents": 1250, "quantity": 2},
        {"name": "Lamp", "category": "home", "cents": 3999},
    ],
}


@pytest.fixture
def shop(gameball_recorder: Recorder) -> Iterator[TestClient]:
    """The app, with a recorder instead of its client. Its lifespan is not entered, so it needs no key."""
    app.dependency_overrides[get_gameball] = lambda: gameball_recorder
    yield TestClient(app)
    app.dependency_overrides.clear()


def test_a_checkout_is_tracked_with_the_total_and_each_category_once(
    shop: TestClient, gameball_recorder: Recorder
) -> None:
    answer = shop.post("/checkout", json=CART)
    assert (answer.status_code, answer.json()["total"]) == (201, "64.99")
    gameball_recorder.assert_tracked(
        "player123",
        "place_order",
        times=1,
        exact=True,
        order_id=answer.json()["id"],
        total_amount=64.99,
        category=["home", "kitchen"],
    )


def test_an_order_stands_although_nobody_can_be_told(shop: TestClient, gameball_recorder: Recorder) -> None:
    gameball_recorder.fail(BufferFull("no room"))
    assert shop.post("/checkout", json=CART).status_code == 201


@pytest.mark.parametrize("flaw", [{"items": []}, {"customer": ""}, {"items": [{"name": "Mug", "cents": -1}]}])
def test_a_cart_that_cannot_be_paid_is_not_tracked(
    flaw: dict[str, object], shop: TestClient, gameball_recorder: Recorder
) -> None:
    assert shop.post("/checkout", json=CART | flaw).status_code == 422
    gameball_recorder.assert_nothing_tracked()


def test_a_review_is_tracked_from_its_thread(shop: TestClient, gameball_recorder: Recorder) -> None:
    assert shop.post("/reviews", json={"customer": "player123", "rating": 5}).status_code == 202
    gameball_recorder.assert_tracked("player123", "review", rating=5)


def test_what_the_shop_tracks_survives_a_short_outage(
    gameball_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole app, on a real socket: it ends when everything was delivered."""
    gameball_sandbox.script(Fault.status(503, times=1))
    monkeypatch.setenv("GAMEBALL_API_KEY", "any-key")
    monkeypatch.setenv("GAMEBALL_BASE_URL", gameball_sandbox.url)
    with TestClient(app) as shop:
        shop.post("/checkout", json=CART)
        shop.post("/reviews", json={"customer": "player123", "rating": 5})
        assert shop.get("/health").json()["pending"] == 2
    assert [event.name for event in gameball_sandbox.holdings()["player123"]] == ["place_order", "review"]
    assert gameball_sandbox.violations == []
