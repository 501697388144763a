"""The ledger of events: what was accepted is delivered, rejected, dropped, unknown or pending, at every instant."""

from __future__ import annotations

import attrs

from .._receipt import Delivered, Outcome
from ..errors import Dropped, OutcomeUnknown, Rejected


@attrs.define
class Counters:
    """The ledger: accepted = delivered + rejected + dropped + unknown + pending."""

    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    unknown: int = 0
    pending: int = 0
    pending_bytes: int = 0

    def settle(self, events: int, size: int, outcome: Outcome) -> None:
        """Move events from pending to where their outcome belongs."""
        self.pending -= events
        self.pending_bytes -= size
        match outcome:
            case Delivered():
                self.delivered += events
            case Rejected():
                self.rejected += events
            case Dropped():
                self.dropped += events
            case OutcomeUnknown():
                self.unknown += events
            case _:  # pragma: no cover
                raise AssertionError(f"no account for {outcome!r}")
