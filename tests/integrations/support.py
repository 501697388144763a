"""What the integrations' tests share."""

from __future__ import annotations

from gameball_async.sandbox import Sandbox


def names(sandbox: Sandbox) -> list[str]:
    """The names of player123's events, in order."""
    return [event.name for event in sandbox.holdings().get("player123", [])]
