"""The same events for all: what a shop's backend says about its customers, five keys of metadata each."""

from __future__ import annotations

from collections.abc import Iterator

Body = dict[str, float | str | list[str]]

METADATA: Body = {
    "total_amount": 100.5,
    "currency": "EUR",
    "items": 3,
    "category": ["electronics", "cosmetics"],
    "coupon": "SPRING",
}

NAMES = (
    "place_order",
    "review",
    "view_product",
    "add_to_cart",
    "share_product",
    "write_comment",
    "join_campaign",
    "visit_branch",
)
"""So many events of a player merge into one request: eight."""

ENCODED = (
    b'"place_order":{"total_amount":100.5,"currency":"EUR","items":3,"category":["electronics","cosmetics"],'
    b'"coupon":"SPRING"}'
)
"""One event as the client keeps it."""

UNREACHABLE = "http://127.0.0.1:9"
"""Nothing listens at the port of the `discard` service."""


def events(count: int, players: int | None = None, names: tuple[str, ...] = NAMES) -> Iterator[tuple[str, str]]:
    """Players and names of so many events: one of each name for one player, then for the next.

    Args:
        count: how many events.
        players: after so many players it begins again with the first; by default it does not.
        names: how many of one player's events merge.
    """
    players = players or count
    for number in range(count):
        yield f"player{number // len(names) % players}", names[number % len(names)]


def many_names(count: int) -> tuple[str, ...]:
    """So many different names of events."""
    return (*NAMES, *(f"event{number}" for number in range(len(NAMES), count)))[:count]


def metadata(number: int) -> Body:
    """Metadata of its own for one event, as a handler would make it."""
    body = dict(METADATA)
    body["total_amount"] = number + 0.5
    body["category"] = ["electronics", "cosmetics"]
    return body
