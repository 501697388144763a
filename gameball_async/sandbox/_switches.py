"""The faults that the page offers as switches, one row each, in the order in which it shows them; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from ._faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class FaultToggle:
    """A fault with a name for people.

    Args:
        title: the name.
        detail: what happens while it is on.
        fault: put into the script when it is switched on, taken out when it is switched off.
    """

    title: str
    detail: str
    fault: Fault


SWITCHES: Mapping[str, FaultToggle] = {
    "outage": FaultToggle("Outage", "503 to every request.", Fault.status(503)),
    "limit": FaultToggle("Too many requests", "429, Retry-After: 5 s.", Fault.status(429, retry_after=5)),
    "slow": FaultToggle("Slow", "0.5 to 2 s an answer.", Fault.latency(0.5, 2.0)),
    "flaky": FaultToggle("Flaky", "500 to one in five.", Fault.status(500, probability=0.2)),
    "reset": FaultToggle("Connection reset", "Nothing is applied.", Fault.reset_before()),
    "lost": FaultToggle("Answer lost", "Applied, then reset.", Fault.reset_after()),
    "silent": FaultToggle("Silence", "No answer ever comes.", Fault.hang()),
    "refused": FaultToggle(
        "Events refused", "422, code 3003.", Fault.status(422, code=3003, words="The value is invalid.")
    ),
}


def in_words(fault: Fault) -> str:
    """A fault that is none of the switches: its kind, and what differs from what the kind is made of by itself."""
    kind = f"status {fault.http_status}" if fault.kind == "status" else fault.kind
    values: dict[str, object] = attrs.asdict(fault, value_serializer=_plain)
    usual: dict[str, object] = attrs.asdict(_usual(fault), value_serializer=_plain)
    details = ", ".join(f"{name} {value}" for name, value in values.items() if value != usual[name])
    return f"{kind}: {details}" if details else kind


def _usual(fault: Fault) -> Fault:
    if fault.kind == "status":
        return Fault.status(fault.http_status)
    if fault.kind == "latency":
        return Fault.latency(0.0)
    made: Fault = getattr(Fault, fault.kind)()
    return made


def _plain(_: object, __: object, value: object) -> object:
    return " or ".join(sorted(cast("frozenset[str]", value))) if isinstance(value, frozenset) else value
