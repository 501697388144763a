"""Numbers in messages: with the noun in the singular or the plural."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return `1 event`, `2 events`, `10,000 events`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
