"""The assertions of a recorder, and what they say when they fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import EllipsisType

from .. import Event
from ._expected import Contact, Expected

_MOST_LISTED = 10
"""Recorded events in one message: the latest."""

_LONGEST_LINE = 160
"""Characters of one of them."""


class Assertions(ABC):
    """What can be asserted of the recorded events. All of them raise `AssertionError`."""

    @property
    @abstractmethod
    def events(self) -> list[Event]:
        """Every event accepted, in order. A snapshot."""

    def assert_tracked(
        self,
        player_unique_id: str,
        name: str,
        metadata: Mapping[str, object] | None = None,
        /,
        *,
        times: int | None = None,
        exact: bool = False,
        mobile: Contact = ...,
        email: Contact = ...,
        **more_metadata: object,
    ) -> None:
        """Assert that an event was tracked.

        Values are compared as Gameball would receive them: ``Decimal("9.50")`` equals ``9.5``, a date its
        ISO 8601 string, a tuple a list. Whatever compares by itself may be expected too, such as
        ``pytest.approx(9.5)`` or ``unittest.mock.ANY``.

        Args:
            player_unique_id: the player's id.
            name: the event's name.
            metadata: keys and values that it holds; for keys which are no Python names, or which are
                named like the options here.
            times: how often such an event was tracked; by default at least once.
            exact: whether it holds no other keys than the given ones.
            mobile: the mobile number it was tracked with, or None for none; by default any or none.
            email: the e-mail address, likewise.
            **more_metadata: further keys and values that it holds.

        Raises:
            AssertionError: if it was not, or not so often; with the nearest event and its differences.
        """
        __tracebackhide__ = True
        expected = _expected(player_unique_id, name, metadata, more_metadata, exact=exact, mobile=mobile, email=email)
        events = self.events
        found = sum(map(expected.matches, events))
        if (found == 0) if times is None else (found != times):
            raise AssertionError(_not_so_often(expected, events, found, times))

    def assert_not_tracked(
        self,
        player_unique_id: str,
        name: str | EllipsisType = ...,
        metadata: Mapping[str, object] | None = None,
        /,
        *,
        exact: bool = False,
        mobile: Contact = ...,
        email: Contact = ...,
        **more_metadata: object,
    ) -> None:
        """Assert that no such event was tracked; without a name, that nothing was tracked for the player.

        Args:
            player_unique_id: the player's id.
            name: the event's name; by default any.
            metadata: as for `assert_tracked`, and so are the others: the more is given, the less is excluded.
            exact: as for `assert_tracked`.
            mobile: as for `assert_tracked`.
            email: as for `assert_tracked`.
            **more_metadata: as for `assert_tracked`.

        Raises:
            AssertionError: if one was; with all that were.
        """
        __tracebackhide__ = True
        expected = _expected(player_unique_id, name, metadata, more_metadata, exact=exact, mobile=mobile, email=email)
        if found := [(number, event) for number, event in enumerate(self.events, 1) if expected.matches(event)]:
            raise AssertionError(f"{expected} should not have been tracked.{_listed(found)}")

    def assert_nothing_tracked(self) -> None:
        """Assert that no event at all was tracked.

        Raises:
            AssertionError: if one was; with all that were.
        """
        __tracebackhide__ = True
        if events := self.events:
            raise AssertionError(f"nothing should have been tracked.{_listed(enumerate(events, 1))}")


def _expected(
    player_unique_id: str,
    name: str | EllipsisType,
    metadata: Mapping[str, object] | None,
    more_metadata: Mapping[str, object],
    *,
    exact: bool,
    mobile: Contact,
    email: Contact,
) -> Expected:
    return Expected(
        player_unique_id=player_unique_id,
        name=name,
        metadata={**(metadata or {}), **more_metadata},
        exact=exact,
        mobile=mobile,
        email=email,
    )


def _not_so_often(expected: Expected, events: list[Event], found: int, times: int | None) -> str:
    """What `assert_tracked` says: how often it was, the nearest other if that is too seldom, and all there is."""
    if not events:
        return f"{expected} was not tracked, and nothing else was: does the code under test use this recorder?"
    was = f"tracked {_times(found)}" if found else "not tracked"
    wanted = "" if times is None else f", expected {_times(times)}"
    nearest = _nearest(expected, events) if times is None or found < times else ""
    return f"{expected} was {was}{wanted}.{nearest}{_listed(enumerate(events, 1), expected)}"


def _nearest(expected: Expected, events: list[Event]) -> str:
    nearest = expected.nearest(event for event in events if not expected.matches(event))
    if nearest is None:
        return ""
    number = next(number for number, event in enumerate(events, 1) if event is nearest)
    differences = "".join(f"\n  {difference}" for difference in expected.differences(nearest))
    return f"\nThe nearest, number {number}, differs:{differences}"


def _listed(numbered: Iterable[tuple[int, Event]], expected: Expected | None = None) -> str:
    """The events, or the latest of many; those that match have a star."""
    lines = [
        f"\n{'*' if expected is not None and expected.matches(event) else ' '} {number}. {_shortened(event)}"
        for number, event in numbered
    ]
    left_out = len(lines) - _MOST_LISTED
    return f"\nTracked{f', after {left_out} more' if left_out > 0 else ''}:{''.join(lines[-_MOST_LISTED:])}"


def _shortened(event: Event) -> str:
    words = f"event {event.name!r} of player {event.player_unique_id!r} with {event.metadata!r}"
    return words if len(words) <= _LONGEST_LINE else words[: _LONGEST_LINE - 1] + "…"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
