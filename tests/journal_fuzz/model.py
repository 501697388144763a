"""What the rounds know: which events exist, which of them were acknowledged as durable, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple, Self

import attrs

REFUSED, STUCK, LOST = "refused", "stuck", "lost"
"""Names of events that the sandbox refuses, does not take yet, and applies without an answer."""

_TOKEN = re.compile(rb"token:(\w+):(\d+):(\d+);")


class Key(NamedTuple):
    """Which event it is; a player's events were placed in this order.

    Attributes:
        player: whose it is; begins with the name of the account.
        life: the client that it was tracked with; later ones are greater.
        serial: counts the events of a player and a life.
    """

    player: str
    life: int
    serial: int

    @property
    def token(self) -> str:
        """Text that is in this event alone."""
        return f"token:{self.player}:{self.life}:{self.serial};"


@lru_cache(4096)
def metadata_of(key: Key) -> dict[str, Any]:
    """The metadata of an event, the same for every caller."""
    random = Random(key.token)
    size = random.choice([0, 0, 20, 80, 80, 700, 3000, 9000] if random.random() < 0.2 else [0, 20, 80])
    return {"token": key.token, "text": (f"{random.random()} äöü €" * (size // 20 + 1))[:size]}


def key_of(metadata: dict[str, Any]) -> Key:
    """The key of an event."""
    (key,) = keys_in(str(metadata["token"]).encode())
    return key


def keys_in(content: bytes) -> set[Key]:
    """The events whose token is found in some bytes."""
    return {Key(player.decode(), int(life), int(serial)) for player, life, serial in _TOKEN.findall(content)}


@attrs.define
class Ledger:
    """What clients were told about their events.

    Attributes:
        names: the names of all events that were placed, in the order of the calls.
        durable: those that were acknowledged as durable.
        reported: those whose failure was reported: to `on_failure`, by a receipt, or at the close.
        settled: those whose outcome was known before another event became durable: their removal is durable too.
        doubtful: those that were sent without an answer that settles the matter.
    """

    names: dict[Key, str] = attrs.field(factory=dict[Key, str])
    durable: set[Key] = attrs.field(factory=set[Key])
    reported: set[Key] = attrs.field(factory=set[Key])
    settled: set[Key] = attrs.field(factory=set[Key])
    doubtful: set[Key] = attrs.field(factory=set[Key])

    def __iadd__(self, other: Ledger) -> Self:
        self.names |= other.names
        self.durable |= other.durable
        self.reported |= other.reported
        self.settled |= other.settled
        self.doubtful |= other.doubtful
        return self


class Arrival(NamedTuple):
    """An event that the sandbox has applied.

    Attributes:
        phase: counts the parts of a round.
        player: who got it.
        name: the event's name.
        metadata: its metadata.
    """

    phase: int
    player: str
    name: str
    metadata: dict[str, Any]


# ---------------------------------------------------------------- what the log reports

_UNKNOWN = 10**9
_COUNTS = (
    re.compile(r"up to (\d+) (?:is|are) lost or may have been sent"),
    re.compile(r"(\d+) events? (?:is|are) damaged and will not be sent"),
    re.compile(r", (\d+) could not be saved, and are lost unless they are in memory"),
    re.compile(r"lost or may have been sent, (\d+) at most"),
)
_UNCOUNTED = re.compile(r"it is unknown how many are lost|its events are lost or may have been sent;")


def reported_losses(lines: Iterable[str]) -> int:
    """How many lost events log lines report, at most."""
    total = 0
    for line in lines:
        total += sum(int(found[1]) for pattern in _COUNTS for found in pattern.finditer(line))
        total += _UNKNOWN if _UNCOUNTED.search(line) else 0
    return total
