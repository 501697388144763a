"""Values as Gameball would receive them: what `track` was given, after JSON. Pure functions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from types import EllipsisType
from typing import Any, cast
from uuid import UUID

import attrs

from .. import Event


def plain(value: object) -> Any:  # noqa: ANN401, PLR0911 one table of types, to whatever JSON can hold
    """Convert one value as the client does; what no event can hold, such as a matcher, stays as it is."""
    match value:
        case Enum():
            return plain(value.value)
        case str():
            return str.__str__(value)
        case Decimal() if value.is_finite():
            return json.loads(format(value, "f"))
        case date() if value == value:  # noqa: PLR0124 pandas.NaT is a datetime, and not equal to itself
            return value.isoformat()
        case UUID():
            return str(value)
        case list() | tuple():
            return [plain(item) for item in cast("Sequence[object]", value)]
        case _:
            return value


def event_of(
    player_unique_id: str, name: str, metadata: Mapping[str, object] | None, mobile: str | None, email: str | None
) -> Event:
    """A valid event, as `on_failure` would get it; later changes of its metadata change nothing."""
    converted = {str.__str__(key): plain(value) for key, value in (metadata or {}).items()}
    encoded = json.dumps({name: converted}, ensure_ascii=False)[1:-1].encode()
    return Event(plain(player_unique_id), plain(name), plain(mobile), plain(email), encoded)


Contact = str | EllipsisType | None
"""An expected mobile number or e-mail address: None for none at all, `...` for any."""

_ABSENT = object()


@attrs.frozen
class Difference:
    """One thing that an event has otherwise than expected.

    Attributes:
        where: `player`, `event`, `mobile`, `email`, or a key of the metadata.
        expected: what was expected there.
        tracked: what was tracked.
    """

    where: str
    expected: object
    tracked: object

    @property
    def is_none(self) -> bool:
        """Whether there is none after all; a matcher matches what is there, never what is missing."""
        return self.tracked is not _ABSENT and self.expected is not _ABSENT and plain(self.expected) == self.tracked

    def __str__(self) -> str:
        if self.tracked is _ABSENT:
            return f"{self.where}: expected {self.expected!r}, but it is missing"
        if self.expected is _ABSENT:
            return f"{self.where}: tracked {self.tracked!r}, but not expected"
        return f"{self.where}: expected {self.expected!r}, tracked {self.tracked!r}"


@attrs.frozen(kw_only=True)
class Expected:
    """What an event should look like.

    Attributes:
        player_unique_id: the player's id.
        name: the event's name; `...` for any.
        metadata: the keys and values that it holds.
        exact: whether it holds no others.
        mobile: the mobile number.
        email: the e-mail address.
    """

    player_unique_id: str
    name: str | EllipsisType
    metadata: Mapping[str, object]
    exact: bool
    mobile: Contact
    email: Contact

    def __str__(self) -> str:
        event = "an event" if self.name is ... else f"event {self.name!r}"
        exactly = "exactly " if self.exact else ""
        metadata = f" with {exactly}{dict(self.metadata)!r}" if self.exact or self.metadata else ""
        contact = [f", {where} {value!r}" for where, value in self._contact.items()]
        return f"{event} of player {self.player_unique_id!r}{metadata}{''.join(contact)}"

    def matches(self, event: Event) -> bool:
        """Whether the event is as expected."""
        return not self.differences(event)

    def differences(self, event: Event) -> list[Difference]:
        """In what the event differs; empty if it matches."""
        expected = {"player": self.player_unique_id, **self._name, **_by_key(self.metadata), **self._contact}
        keys = _by_key(event.metadata)
        contact = {"mobile": event.mobile, "email": event.email}
        tracked = {"player": event.player_unique_id, "event": event.name, **keys, **contact}
        compared = dict.fromkeys([*expected, *(keys if self.exact else ())])
        pairs = [Difference(each, expected.get(each, _ABSENT), tracked.get(each, _ABSENT)) for each in compared]
        return [each for each in pairs if not each.is_none]

    def nearest(self, events: Iterable[Event]) -> Event | None:
        """The event that differs least, of those with this name, and of this player's with a similar one."""
        return min(filter(self._is_related, events), key=self._distance, default=None)

    def _is_related(self, event: Event) -> bool:
        if self.name == event.name:
            return True
        return self.player_unique_id == event.player_unique_id and bool(get_close_matches(str(self.name), [event.name]))

    def _distance(self, event: Event) -> tuple[int, bool]:
        return len(self.differences(event)), self.name != event.name

    @property
    def _name(self) -> dict[str, object]:
        return {} if self.name is ... else {"event": self.name}

    @property
    def _contact(self) -> dict[str, object]:
        return {where: value for where, value in (("mobile", self.mobile), ("email", self.email)) if value is not ...}


def _by_key(metadata: Mapping[str, object]) -> dict[str, object]:
    return {f"key {key!r}": value for key, value in metadata.items()}


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
