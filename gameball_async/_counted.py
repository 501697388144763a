"""Numbers in messages, with noun and verb in the singular or the plural."""

from __future__ import annotations

from typing import Literal

_SINGULAR = {"are": "is", "have": "has", "were": "was"}


def counted(count: int, noun: str, verb: Literal["are", "have", "were", ""] = "") -> str:
    """Return `1 event`, `2 events`, `10,000 events`; with a verb, `1 event is`, `2 events are`."""
    words = [f"{count:,}", noun if count == 1 else f"{noun}s", _SINGULAR.get(verb, "") if count == 1 else verb]
    return " ".join(filter(None, words))
