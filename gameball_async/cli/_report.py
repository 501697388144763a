"""The final table of a run, and the comparison of a sandbox's events with what was sent."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

import attrs

from .._log import counted
from ._terminal import duration, print_wrapped, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .. import Stats
    from ..sandbox import HeldEvent, Sandbox
    from ._files import Findings, ReadFailure
    from ._lines import Draft
    from ._tracker import Rejects, RowCounts

_TOO_MANY = 429

Shape = tuple[str, dict[str, object], str | None, str | None]
Lines = list[tuple[str, str]]


@attrs.frozen
class Comparison:
    """What a sandbox received compared with what was sent."""

    players: int
    sent: int
    held: int
    differences: list[str]


class Sent:
    """The delivered events per player, in order; memory grows with every event, as in a sandbox."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[Shape]] = {}

    def add(self, draft: Draft) -> None:
        """Add a delivered event."""
        shape = (draft.name, _as_json(draft.metadata or {}), draft.mobile, draft.email)
        self.shapes.setdefault(draft.player, []).append(shape)

    def compare(self, holdings: Mapping[str, Sequence[HeldEvent]]) -> Comparison:
        """Compare with a sandbox's events."""
        held = {player: [shape_of(event) for event in events] for player, events in holdings.items()}
        players = {**self.shapes, **held}
        return Comparison(
            players=len(players),
            sent=sum(map(len, self.shapes.values())),
            held=sum(map(len, held.values())),
            differences=[
                _difference(player, self.shapes.get(player, []), held.get(player, []))
                for player in players
                if self.shapes.get(player) != held.get(player)
            ],
        )


def shape_of(event: HeldEvent) -> Shape:
    return (event.name, _as_json(event.metadata), event.mobile, event.email)


def _as_json(metadata: Mapping[str, object]) -> dict[str, object]:
    # JSON readers have no Decimal: 2.550 in the file arrives as 2.55
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in metadata.items()}


def _difference(player: str, sent: Sequence[Shape], held: Sequence[Shape]) -> str:
    place, (wanted, found) = next(
        (place, pair) for place, pair in enumerate(zip_longest(sent, held), 1) if pair[0] != pair[1]
    )
    return f"player {quoted(player)}, event {place}: {_described(wanted)} was sent, {_described(found)} is held"


def _described(shape: Shape | None) -> str:
    return "nothing" if shape is None else f"{quoted(shape[0])} {shape[1]}"


def figures(lines: Iterable[tuple[str, int, bool]]) -> Lines:
    """Format labels and counts; a count of zero is omitted unless it is marked with True."""
    return [(label, f"{count:,}") for label, count, always in lines if count or always]


def row_figures(counts: RowCounts, left: int) -> Lines:
    """Return the outcomes of rows."""
    return figures(
        [
            ("Rows read", counts.settled + left, True),
            ("accepted by Gameball", counts.delivered, True),
            ("not valid, so not sent", counts.invalid, True),
            ("refused by Gameball", counts.refused, True),
            ("given up, could not be delivered", counts.given_up, False),
            ("sent once, answer lost", counts.unknown, False),
            ("read, but not sent yet", left, False),
            ("may have been counted twice", counts.maybe_twice, False),
        ]
    )


def request_figures(stats: Stats, seconds: float) -> Lines:
    """Return the number of requests and the duration."""
    successes = stats.requests - stats.retries
    merged = stats.delivered / successes if successes > 0 else 0.0
    return [
        ("Requests", f"{stats.requests:,}"),
        ("events per request", f"{merged:.1f}"),
        ("repeated after a failure", f"{stats.retries:,}"),
        ("Time", duration(seconds)),
    ]


def sandbox_figures(comparison: Comparison, sandbox: Sandbox) -> Lines:
    """Return what the sandbox received, and how it compares with what was sent."""
    too_many = sum(record.status == _TOO_MANY and record.fault is None for record in sandbox.requests)
    return [
        ("The sandbox holds", counted(comparison.held, "event")),
        ("of customers", f"{comparison.players:,}"),
        ("rules broken", f"{len(sandbox.violations):,}"),
        ("requests that came too fast", f"{too_many:,}"),
        ("customers whose events differ", f"{len(comparison.differences):,}"),
    ]


def print_problems(
    names: Sequence[str], counts: RowCounts, rejects: Rejects, failures: Iterable[ReadFailure], findings: Findings
) -> None:
    """Print the reasons of rejected rows, the files that could not be read completely, and oddities."""
    if counts.rejected:
        for reason, first in rejects.first.items():
            where = f"{first.file}, line" if len(names) > 1 else "Line"
            further = f" (and {counted(first.further, 'further row')})" if first.further else ""
            print_wrapped(f"{where} {first.line:,}: {reason}{further}", indent="  ")
        number = counted(counts.rejected, "row")
        print_wrapped(f"{number} will not arrive: see {rejects.path}, with line numbers and reasons.")
    for failure in failures:
        print_wrapped(f"{names[failure.file]} was not read to its end: {failure.reason}")
    for message in findings.messages(names):
        print_wrapped(message)
