"""What a sandbox holds against what was sent: event by event, per player and in order."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

import attrs

from ._words import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gameball_async.sandbox import HeldEvent

    from ._rows import Draft

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
