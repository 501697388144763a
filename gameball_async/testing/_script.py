"""What a recorder was told to let fail: which error strikes which events, and where it shows."""

from __future__ import annotations

import attrs

from .. import BufferFull, ClientHalted, Dropped, Event, FlushTimeout, JournalError, OutcomeUnknown, Rejected

Fatal = Rejected | Dropped | OutcomeUnknown
"""The event is accepted; this is its outcome."""

Failure = Fatal | BufferFull | JournalError | ClientHalted | FlushTimeout
"""What can be scripted; `Recorder.fail` tells what each of them does."""


@attrs.define
class Rule:
    """One error, and the events that it strikes.

    Attributes:
        error: the error.
        player_unique_id: the only player it strikes; None for all.
        name: the only event name it strikes; None for all.
        left: how many events it still strikes; None for any number.
    """

    error: Failure
    player_unique_id: str | None
    name: str | None
    left: int | None

    def matches(self, event: Event) -> bool:
        """Whether it strikes this event."""
        return (
            self.left != 0
            and self.player_unique_id in (None, event.player_unique_id)
            and self.name in (None, event.name)
        )


class FailureScript:
    """The rules, asked in the order in which they were given."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule behind the others.

        Raises:
            TypeError: if its error cannot be scripted.
            ValueError: if its count is below 1.
        """
        if not isinstance(rule.error, Failure):
            given = rule.error.__name__ if isinstance(rule.error, type) else type(rule.error).__name__
            raise TypeError(
                f"fail() was given {given}: give an instance of Rejected, Dropped, OutcomeUnknown, BufferFull, "
                "JournalError, ClientHalted or FlushTimeout."
            )
        if rule.left is not None and rule.left < 1:
            raise ValueError(f"fail(times={rule.left}) strikes nothing: give at least 1, or None for every event.")
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()

    def strike(self, event: Event) -> Failure | None:
        """The error that strikes this event, if one does; it counts as one of the rule's times."""
        rule = next((rule for rule in self._rules if rule.matches(event)), None)
        if rule is None:
            return None
        if rule.left is not None:
            rule.left -= 1
        return rule.error
