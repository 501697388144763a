"""An expectation of one event, and in what a recorded one differs from it. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import EllipsisType

import attrs

from .. import Event
from ._plain import plain

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
