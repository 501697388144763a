"""What a well-behaved client sees: its events are held, per player and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox import HeldEvent

from .support import V3, V4, V41, track

if TYPE_CHECKING:
    import httpx

    from gameball_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("path", "id_field", "body"),
    [
        (V3, "playerUniqueId", {}),
        (V4, "customerId", {"success": True, "message": "Events processed"}),
        (V41, "customerId", {"success": True, "message": "Events processed"}),
    ],
)
def test_each_version_applies_events_and_answers_its_own_success(
    sandbox: Sandbox, http: httpx.Client, path: str, id_field: str, body: object
) -> None:
    events = {"place_order": {"total_amount": 100, "category": ["electronics", "cosmetics"]}, "review": {}}

    answer = http.post(path, json={id_field: "player123", "events": events}, headers={"SecretKey": "secret"})

    assert (answer.status_code, answer.json()) == (200, body)
    assert sandbox.holdings() == {
        "player123": [
            HeldEvent("place_order", {"total_amount": 100, "category": ["electronics", "cosmetics"]}, request=1),
            HeldEvent("review", {}, request=1),
        ]
    }
    assert sandbox.violations == []


def test_events_are_held_per_player_in_the_order_of_their_requests(sandbox: Sandbox, http: httpx.Client) -> None:
    for player, name in [("a", "one"), ("b", "two"), ("a", "three"), ("b", "one")]:
        track(http, player, name)

    held = {player: [event.name for event in events] for player, events in sandbox.holdings().items()}
    assert held == {"a": ["one", "three"], "b": ["two", "one"]}


def test_mobile_and_email_are_held_with_every_event_of_their_request(sandbox: Sandbox, http: httpx.Client) -> None:
    http.post(
        V3,
        json={
            "events": {"reserve": {"rooms": 2}},
            "playerUniqueId": "player123",
            "mobile": "+1234567",
            "email": "jon.snow@example.com",
        },
    )

    assert sandbox.holdings() == {
        "player123": [HeldEvent("reserve", {"rooms": 2}, "+1234567", "jon.snow@example.com", 1)]
    }


def test_mobile_and_email_are_not_shown_by_repr(sandbox: Sandbox, http: httpx.Client) -> None:
    contact = {"mobile": "+1234567", "email": "jon.snow@example.com"}
    http.post(V3, json={"playerUniqueId": "p", "events": {"e": {}}, **contact})

    shown = repr(sandbox.holdings()) + repr(sandbox.requests)

    assert "1234567" not in shown
    assert "jon.snow" not in shown
