"""The truth about events of the outbox: what was inserted, what committed when, where it was sent, what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from ..ledger import Trace
from .plan import Append
from .tables import DeadRow

if TYPE_CHECKING:
    from .attempts import Attempt


@attrs.define(eq=False, kw_only=True)
class Truth:
    """One event that an application inserted.

    Attributes:
        seq: its place in the table.
        inserted_at: when it was inserted.
        committed: the place of its transaction among all that have committed; None if it did not commit.
        committed_at: when it did.
        attempts: the requests that carried it, in order.
        arrived: when the server first counted it; None if it never did.
        applied: how often the server counted it.
        is_deleted: whether its row is gone.
        buried: its row among the dead letters.
        buried_at: when it got there.
    """

    append: Append
    seq: int
    inserted_at: float
    committed: int | None = None
    committed_at: float = 0.0
    attempts: list[Attempt] = attrs.Factory(list["Attempt"])
    arrived: float | None = None
    applied: int = 0
    is_deleted: bool = False
    buried: DeadRow | None = None
    buried_at: float = 0.0

    @property
    def metadata(self) -> dict[str, Any]:
        """What was inserted with it."""
        return self.append.metadata

    def precedes(self, other: Truth) -> bool:
        """Whether it has to arrive before another event of its player."""
        if self.committed is None or other.committed is None:
            return False
        return self.seq < other.seq and self.committed <= other.committed


class Truths:
    """All events.

    Args:
        now: the virtual time.
        fail: takes what is wrong.
        trace: takes what happened.
    """

    def __init__(self, now: Callable[[], float], fail: Callable[[str], None], trace: Trace) -> None:
        self.writing = 0  # transactions that have not ended
        self.by_seq: dict[int, Truth] = {}
        self.by_number: dict[int, Truth] = {}
        self.by_player: dict[str, list[Truth]] = {}
        self._now = now
        self._fail = fail
        self._trace = trace
        self._commits = 0

    @property
    def committed(self) -> list[Truth]:
        """The events whose transactions have committed."""
        return [truth for truth in self.by_seq.values() if truth.committed is not None]

    def insert(self, append: Append, seq: int) -> Truth:
        """Note that an event was inserted."""
        truth = Truth(append=append, seq=seq, inserted_at=self._now())
        self.by_seq[seq] = self.by_number[append.number] = truth
        self.by_player.setdefault(append.player, []).append(truth)
        return truth

    def commit(self, truths: list[Truth]) -> None:
        """Note that a transaction has committed."""
        self._commits += 1
        for truth in truths:
            truth.committed, truth.committed_at = self._commits, self._now()
        self._trace.note("committed", [f"{truth.append.number}={truth.seq}" for truth in truths])

    def find(self, name: str, metadata: dict[str, Any], player: str) -> Truth:
        """The event that a request carries."""
        truth = self.by_number[metadata["n"]]
        append = truth.append
        if (append.player, append.name, append.metadata) != (player, name, metadata):
            self._fail(f"event {append.number} changed on its way: {player} {name} {metadata}")
        return truth

    def check_buried(self, truth: Truth, give_up_after: float, ambiguous: str) -> None:
        """Check the reason why an event is among the dead letters."""
        assert truth.buried is not None
        number, letter, event = truth.append.number, truth.buried.letter, truth.buried.event
        append = truth.append
        stored = (event.player, event.name, json.loads(event.metadata), event.mobile, event.email)
        if stored != (append.player, append.name, append.metadata, append.mobile, append.email):
            self._fail(f"the dead letter of event {number} has changed")
        is_true = {
            "Rejected": any(attempt.speaks_against for attempt in truth.attempts),
            "OutcomeUnknown": ambiguous == "report",
            "Dropped": self._age(truth) > give_up_after - 0.1,
        }
        if not is_true.get(letter.kind, False):
            self._fail(f"event {number} is dead: {letter}, after {[str(attempt) for attempt in truth.attempts]}")
        if truth.applied and not any(attempt.is_unclear for attempt in truth.attempts):
            self._fail(f"event {number} arrived, and is a dead letter: {letter}")

    def _age(self, truth: Truth) -> float:
        """How long the player's oldest event had waited: a batch is as old as its first event."""
        return truth.buried_at - min(other.inserted_at for other in self.by_player[truth.append.player])
