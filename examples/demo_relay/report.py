"""The demo's closing table: what was committed, and what arrived, event by event."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gameball_async._log import counted
from gameball_async.cli._terminal import duration


@attrs.frozen
class Held:
    """What the sandbox holds.

    Attributes:
        lines: the order lines whose events arrived, by player, in order of arrival.
        requests: the requests that it answered.
        too_fast: those of them that broke the rate limit.
        violations: rules of the API that were broken.
    """

    lines: Mapping[str, Sequence[int]]
    requests: int = 0
    too_fast: int = 0
    violations: int = 0


@attrs.frozen
class Incident:
    """What happened to a relay.

    Attributes:
        what: in words.
        sealed: the order lines whose events it may have sent without having noted the answer.
        seconds: after which another relay had taken over.
    """

    what: str
    sealed: Collection[int]
    seconds: float


@attrs.frozen(kw_only=True)
class Outcome:
    """The comparison of what was committed with what arrived.

    Attributes:
        committed: events whose order was committed.
        rolled_back: events whose order was rolled back.
        missing: committed events that did not arrive.
        twice: events that arrived more than once, by incident in which they were sealed.
        unexplained: events that arrived more than once without having been sealed in an incident.
        phantoms: events that arrived though their order was rolled back.
        misordered: customers whose events did not arrive in order, first arrivals counting.
        held: what the sandbox holds.
        incidents: what happened to the relays.
        dead_letters: events that will not arrive.
        exit_codes: of the relays that were stopped at the end.
        seconds: the whole time.
    """

    committed: int
    rolled_back: int
    missing: int
    twice: Sequence[int]
    unexplained: int
    phantoms: int
    misordered: int
    held: Held
    incidents: Sequence[Incident]
    dead_letters: int = 0
    exit_codes: Sequence[int] = ()
    seconds: float = 0.0

    @property
    def is_as_promised(self) -> bool:
        """Whether everything arrived in order, and twice only what was sealed in an incident."""
        faults = (self.missing, self.unexplained, self.phantoms, self.misordered, self.dead_letters)
        held = self.held
        return self.committed > 0 and not any((*faults, held.too_fast, held.violations, *self.exit_codes))


def compare(
    committed: Mapping[str, Sequence[int]], rolled_back: Collection[int], held: Held, incidents: Sequence[Incident]
) -> Outcome:
    """Compare event by event."""
    arrived = Counter(line for lines in held.lines.values() for line in lines)
    expected = {line for lines in committed.values() for line in lines}
    twice = {line for line, count in arrived.items() if count > 1}
    sealed_before = set[int]()
    by_incident: list[int] = []
    for incident in incidents:
        sealed = twice & set(incident.sealed) - sealed_before
        by_incident.append(len(sealed))
        sealed_before |= sealed
    misordered = 0
    for player in committed.keys() | held.lines.keys():
        first_arrivals = [line for line in dict.fromkeys(held.lines.get(player, ())) if line in expected]
        misordered += first_arrivals != [line for line in committed.get(player, ()) if line in arrived]
    return Outcome(
        committed=len(expected),
        rolled_back=len(rolled_back),
        missing=len(expected - arrived.keys()),
        twice=by_incident,
        unexplained=len(twice - sealed_before),
        phantoms=len(arrived.keys() - expected),
        misordered=misordered,
        held=held,
        incidents=incidents,
    )


def print_outcome(outcome: Outcome) -> None:
    """Print a table of questions and answers."""
    table = Table(title=Text("Orders in PostgreSQL, delivered by two relays"), title_justify="left", show_header=False)
    table.box = box.ROUNDED if sys.stdout.isatty() else None
    for _ in ("question", "answer"):
        table.add_column(overflow="fold")
    for question, answer in answers(outcome):
        table.add_row(Text(question), Text(answer))
    Console(highlight=False).print(table)


def answers(outcome: Outcome) -> list[tuple[str, str]]:
    """Answer what a shop owner would ask."""
    held = outcome.held
    return [
        ("How many events?", f"{outcome.committed:,} committed, {outcome.rolled_back:,} rolled back"),
        (
            "Did every event arrive?",
            f"no, {outcome.missing:,} are missing" if outcome.missing else f"yes, all {outcome.committed:,}",
        ),
        ("Was any counted twice?", _twice(outcome)),
        ("Did any of a rolled back order?", f"yes, {outcome.phantoms:,}" if outcome.phantoms else "no"),
        (
            "Are they in order?",
            f"no, not for {counted(outcome.misordered, 'customer')}"
            if outcome.misordered
            else "yes, for every customer",
        ),
        (
            "What happened to the relays?",
            "; ".join(
                f"{incident.what} while it sent {counted(len(incident.sealed), 'event')}"
                for incident in outcome.incidents
            ),
        ),
        ("How long did the takeovers take?", ", ".join(f"{incident.seconds:.1f} s" for incident in outcome.incidents)),
        ("How many requests?", f"{held.requests:,}"),
        ("Were the limits kept?", f"no, {counted(held.too_fast, 'request')} came too fast" if held.too_fast else "yes"),
        ("How long did it take?", duration(outcome.seconds)),
    ]


def _twice(outcome: Outcome) -> str:
    explained = [
        f"{count:,} that had been sent when {incident.what}"
        for incident, count in zip(outcome.incidents, outcome.twice, strict=True)
        if count
    ]
    unexplained = [f"{outcome.unexplained:,} without a reason"] if outcome.unexplained else []
    return "; ".join(explained + unexplained) or "no"
