"""What a sandbox holds against what was sent: event by event, per player and in order."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

import attrs

from ._terminal import counted, duration, print_line, print_wrapped, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..sandbox import HeldEvent
    from ._lines import Draft


_Shape = tuple[str, dict[str, object], str | None, str | None]


@attrs.frozen
class Comparison:
    """The result.

    Attributes:
        players: players who sent or hold events.
        sent: events sent and answered with success.
        held: events held.
        differences: the first difference of each player who has one.
    """

    players: int
    sent: int
    held: int
    differences: list[str]


@attrs.frozen
class Match:
    """How far what is held matches what was sent.

    Attributes:
        missing: events sent and not held.
        extra: events held and not sent, or held more often than sent.
        misordered: players whose events are held in another order.
    """

    missing: int
    extra: int
    misordered: int


class Sent:
    """What was delivered, per player and in order; grows with every event, as a sandbox does."""

    def __init__(self) -> None:
        self._shapes: dict[str, list[_Shape]] = {}

    def add(self, draft: Draft) -> None:
        """Note an event that was delivered."""
        shape = (draft.name, _plain(draft.metadata or {}), draft.mobile, draft.email)
        self._shapes.setdefault(draft.player, []).append(shape)

    def compare(self, holdings: Mapping[str, Sequence[HeldEvent]]) -> Comparison:
        """Compare it with what a sandbox holds."""
        held = {player: [_shape(event) for event in events] for player, events in holdings.items()}
        players = {**self._shapes, **held}
        return Comparison(
            players=len(players),
            sent=sum(map(len, self._shapes.values())),
            held=sum(map(len, held.values())),
            differences=[
                _difference(player, self._shapes.get(player, []), held.get(player, []))
                for player in players
                if self._shapes.get(player) != held.get(player)
            ],
        )

    def match(self, holdings: Mapping[str, Sequence[HeldEvent]]) -> Match:
        """Count what a sandbox lacks, holds too often, and holds in another order."""
        missing = extra = misordered = 0
        for player in {**self._shapes, **holdings}:
            sent, held = self._shapes.get(player, []), [_shape(event) for event in holdings.get(player, ())]
            if sent == held:
                continue
            arrived, expected = _common(sent, held), _common(held, sent)
            missing += len(sent) - len(arrived)
            extra += len(held) - len(expected)
            misordered += arrived != expected
        return Match(missing, extra, misordered)


def _common(shapes: Sequence[_Shape], others: Sequence[_Shape]) -> list[_Shape]:
    """Return the shapes that others have too, each as often as they have it."""
    left, common = list(others), list[_Shape]()
    for shape in shapes:
        if shape in left:
            left.remove(shape)
            common.append(shape)
    return common


def _shape(event: HeldEvent) -> _Shape:
    return (event.name, _plain(event.metadata), event.mobile, event.email)


def _plain(metadata: Mapping[str, object]) -> dict[str, object]:
    # a JSON reader knows no Decimal: 2.550 in the file is 2.55 there
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in metadata.items()}


def _difference(player: str, sent: Sequence[_Shape], held: Sequence[_Shape]) -> str:
    place, (wanted, found) = next(
        (place, pair) for place, pair in enumerate(zip_longest(sent, held), 1) if pair[0] != pair[1]
    )
    return f"player {quoted(player)}, event {place}: {_told(wanted)} was sent, {_told(found)} is held"


def _told(shape: _Shape | None) -> str:
    return "nothing" if shape is None else f"{quoted(shape[0])} {shape[1]}"


if TYPE_CHECKING:
    from collections.abc import Sequence

    from .. import Stats
    from ..sandbox import Sandbox
    from ._files import Findings, ReadFailure
    from ._tracker import Rejects, RowCounts, Unfinished

_TOO_MANY = 429

Lines = list[tuple[str, str]]


def rows_in_words(counts: RowCounts, left: Unfinished) -> Lines:
    """Return what became of the rows; what did not happen is left out."""
    possible = [
        ("Rows read", counts.settled + left.rows, True),
        ("accepted by Gameball", counts.delivered, True),
        ("not valid, so not sent", counts.invalid, True),
        ("refused by Gameball", counts.refused, True),
        ("given up, could not be delivered", counts.given_up, False),
        ("sent once, answer lost", counts.unknown, False),
        ("read, but not sent yet", left.rows, False),
        ("may have been counted twice", counts.maybe_twice, False),
    ]
    return [(words, f"{count:,}") for words, count, always in possible if count or always]


def requests_in_words(stats: Stats, seconds: float) -> Lines:
    """Return what it took."""
    successes = stats.requests - stats.retries
    merged = stats.delivered / successes if successes > 0 else 0.0
    return [
        ("Requests", f"{stats.requests:,}"),
        ("events per request", f"{merged:.1f}"),
        ("repeated after a failure", f"{stats.retries:,}"),
        ("Time", duration(seconds)),
    ]


def sandbox_in_words(comparison: Comparison, sandbox: Sandbox) -> Lines:
    """Return what the sandbox has seen, and how it compares with what was sent."""
    too_many = sum(record.status == _TOO_MANY and record.fault is None for record in sandbox.requests)
    return [
        ("The sandbox holds", counted(comparison.held, "event")),
        ("of customers", f"{comparison.players:,}"),
        ("rules broken", f"{len(sandbox.violations):,}"),
        ("requests that came too fast", f"{too_many:,}"),
        ("customers whose events differ", f"{len(comparison.differences):,}"),
    ]


def print_rejects(counts: RowCounts, rejects: Rejects, *, name_files: bool) -> None:
    """Say why rows will not arrive, if there are any, and where they are.

    Args:
        counts: rows by outcome.
        rejects: the rejects file.
        name_files: whether there are several files, so that a line's number alone does not say where it is.
    """
    if not counts.rejected:
        return
    for reason, first in rejects.first.items():
        where = f"{first.file}, line" if name_files else "Line"
        further = f" (and {counted(first.further, 'further row')})" if first.further else ""
        print_wrapped(f"{where} {first.line:,}: {reason}{further}", indent="  ")
    print_line(f"{counted(counts.rejected, 'row')} will not arrive: see {rejects.path}, with line numbers and reasons.")


def print_troubles(names: Sequence[str], troubles: Sequence[ReadFailure]) -> None:
    """Name the files that could not be read to their end."""
    for trouble in troubles:
        print_line(f"{names[trouble.file]} was not read to its end: {trouble.reason}")


def print_findings(names: Sequence[str], findings: Findings) -> None:
    """Say what is odd in the files."""
    for message in findings.messages(names):
        print_line(message)
