"""What the page is told: the sandbox's memory as JSON values, bounded in number and length; pure."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING

import attrs

from ._switches import SWITCHES, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._faults import Fault
    from ._ledger import HeldEvent, LatestChanges, PlayerSummary, RequestRecord
    from ._windows import Use

MOST_RECORDS = 100
"""As many requests as the page lists."""

MOST_PLAYERS = 50
MOST_HELD = 200
_MOST_NAMES = 12
_LONGEST_TEXT = 200  # characters
_LONGEST_PLAYER = 1000  # characters, beyond which no player can be looked up
_LONGEST_METADATA = 1000  # characters

_OUTCOMES: Mapping[str, str] = {
    "applied": "",
    "lost": "applied, answer lost",
    "refused": "not applied",
    "unanswered": "not applied",
}

_SCRIPTED: Mapping[str, str] = {
    "success_false": ": no success",
    "html": ": a gateway's page",
    "redirect": ": sent elsewhere",
    "reset_before": ": reset",
    "reset_after": ": reset",
    "hang": ": never answered",
    "truncate": ": cut short",
    "drip": ": byte by byte",
    "huge": ": a huge answer",
}
"""What a fault adds to what the status says; the others add nothing."""

_LOSING = frozenset({"reset_after", "fail_after_applying", "truncate"})
"""Faults after which a client cannot know that its events were applied."""


def news(told: LatestChanges, use: Sequence[Use], *, since_1970: float) -> dict[str, object]:
    """What was added since the page last heard.

    Args:
        told: by the ledger.
        use: of the rate windows.
        since_1970: what added to the ledger's seconds makes them those since 1970.
    """
    tally = told.tally
    return {
        "events": tally.events,
        "players": tally.players,
        "requests": tally.arrived,
        "inFlight": tally.in_flight,
        "applied": told.ended.applied,
        "unapplied": told.ended.unapplied,
        "violations": tally.violations,
        "windows": [attrs.asdict(window) for window in use],
        "seconds": [[second, counts.applied, counts.unapplied] for second, counts in told.seconds],
        "rows": [_row(record, since_1970) for record in told.records],
    }


def _row(record: RequestRecord, since_1970: float) -> dict[str, object]:
    return {
        "number": record.number,
        "time": round((record.end + since_1970) * 1000),
        "took": round((record.end - record.start) * 1000),
        "player": None if record.player is None else clipped(record.player, _LONGEST_PLAYER),
        "events": [clipped(name) for name in record.events[:_MOST_NAMES]],
        "more": max(0, len(record.events) - _MOST_NAMES),
        "status": record.status,
        "outcome": _outcome(record),
        "words": clipped(_words(record)),
    }


def _outcome(record: RequestRecord) -> str:
    if not record.applied:
        return "refused" if record.status is not None else "unanswered"
    return "lost" if record.fault in _LOSING or record.status is None or record.left else "applied"


def _words(record: RequestRecord) -> str:
    code = "" if record.code is None else f"code {record.code}"
    what = ", ".join(filter(None, [_OUTCOMES[_outcome(record)], code]))
    why = ": ".join(filter(None, [what, record.reason]))
    asides = [] if record.fault is None else [f"as scripted{_SCRIPTED.get(record.fault, '')}"]
    asides += ["the client has left"] if record.left else []
    return " ".join(filter(None, [why, *(f"({aside})" for aside in asides)]))


def faults(script: Sequence[Fault], struck: Callable[[Fault], int | None]) -> dict[str, object]:
    """The switches with what they have struck, None for those that are off, and the script's other faults in words."""
    known = [switch.fault for switch in SWITCHES.values()]
    others = [fault for fault in script if fault not in known and struck(fault) is not None]
    return {
        "switches": [
            {"name": name, "title": switch.title, "detail": switch.detail, "struck": struck(switch.fault)}
            for name, switch in SWITCHES.items()
        ],
        "others": [clipped(in_words(fault)) for fault in others[:_MOST_NAMES]],
    }


def standings(players: Sequence[PlayerSummary]) -> list[dict[str, object]]:
    """The players in numbers."""
    return [
        {
            "player": clipped(standing.player, _LONGEST_PLAYER),
            "events": standing.events,
            "applied": standing.requests.applied,
            "unapplied": standing.requests.unapplied,
        }
        for standing in players
    ]


def player(count: int, held: Sequence[HeldEvent]) -> dict[str, object]:
    """A player's events by request, the latest request first, and in each as they stood in it.

    Args:
        count: all events that are held.
        held: the last of them, in order.
    """
    groups = [list(events) for _, events in groupby(held, key=lambda event: event.request)]
    return {"count": count, "shown": len(held), "requests": [_request(events) for events in reversed(groups)]}


def _request(events: Sequence[HeldEvent]) -> dict[str, object]:
    first = events[0]
    return {
        "number": first.request,
        "contact": ", ".join(clipped(value) for value in (first.mobile, first.email) if value is not None),
        "events": [{"name": clipped(event.name), "metadata": _metadata(event)} for event in events],
    }


def _metadata(event: HeldEvent) -> str:
    text = json.dumps(event.metadata, ensure_ascii=False)[1:-1]
    return clipped(text, _LONGEST_METADATA)


def clipped(text: str, longest: int = _LONGEST_TEXT) -> str:
    """A text that a page can show, however long it is."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
