"""`Recorder`: a client that records events instead of sending them, with assertions and scripted failures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from types import EllipsisType
from typing import Any, cast
from uuid import UUID

import attrs

from .. import AsyncGameball, Conversion, Event, EventPreview, Metadata
from .._arguments import OnInvalid, checked_before_send, checked_on_invalid, checked_type
from .._core.draft import BeforeSend, Preparation
from .._endpoint import switched_off_by
from .._engine.callbacks import OnFailure
from .._engine.lifecycle import ClientState
from ._recording import Failure, RecorderLifecycle, RecorderPreviews, RecordingEngine, Rule


def plain(value: object) -> Any:  # noqa: ANN401, PLR0911 one table of types, to any JSON value
    """Convert one value as the client does; other values, such as matchers, stay as they are."""
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


Contact = str | EllipsisType | None
"""An expected mobile number or e-mail address: None for none, `...` for any or none."""

_ABSENT = object()


@attrs.frozen
class Difference:
    """A difference between an expected and a tracked value.

    Attributes:
        where: `player`, `event`, `mobile`, `email`, or a key of the metadata.
        expected: the expected value.
        tracked: the tracked value.
    """

    where: str
    expected: object
    tracked: object

    @property
    def is_none(self) -> bool:
        """Whether the values are equal; a matcher never matches a missing value."""
        return self.tracked is not _ABSENT and self.expected is not _ABSENT and plain(self.expected) == self.tracked

    def __str__(self) -> str:
        if self.tracked is _ABSENT:
            return f"{self.where}: expected {self.expected!r}, but it is missing"
        if self.expected is _ABSENT:
            return f"{self.where}: tracked {self.tracked!r}, but not expected"
        return f"{self.where}: expected {self.expected!r}, tracked {self.tracked!r}"


@attrs.frozen
class Expected:
    """An expected event; `exact` allows no other keys than those of `metadata`, and the name `...` is any."""

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
        return not self.differences(event)

    def differences(self, event: Event) -> list[Difference]:
        expected = {"player": self.player_unique_id, **self._name, **_by_key(self.metadata), **self._contact}
        keys = _by_key(event.metadata)
        contact = {"mobile": event.mobile, "email": event.email}
        tracked = {"player": event.player_unique_id, "event": event.name, **keys, **contact}
        compared = dict.fromkeys([*expected, *(keys if self.exact else ())])
        pairs = [Difference(each, expected.get(each, _ABSENT), tracked.get(each, _ABSENT)) for each in compared]
        return [each for each in pairs if not each.is_none]

    def nearest(self, events: Iterable[Event]) -> Event | None:
        """Return the event that differs least: one with this name, or one of this player with a similar name."""
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
"""The number of recorded events in one message, the latest ones."""

_LONGEST_LINE = 160
"""The maximum length of an event in a message."""


class Recorder(AsyncGameball):
    """Replaces the client in tests: it records events, and has assertions. No network, no thread, no task.

    ::

        recorder = Recorder()
        await checkout(recorder, player="player123", total=100)
        recorder.assert_tracked("player123", "place_order", total_amount=100)

    It is an `AsyncGameball` with another engine, so all calls have the client's arguments, checks and errors. Events
    are delivered at once, unless `fail` makes them fail.

    Args:
        enabled: as for the client: False drops every event, and none is recorded. ``GAMEBALL_ENABLED`` has no effect.
        on_invalid: as for the client.
        on_failure: as for the client; called before the next `track`, `send`, `flush` or
            `aclose` returns. While one task is in it, the calls of other tasks do not wait.
        defaults: as for the client.
        before_send: as for the client; events are recorded as it returns them.
        conversion: as for the client.
        started: True creates a recorder that is started already, in any loop; by
            default `send`, `flush` and `track_threadsafe` need `start`, `run` or `async with` first.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        on_invalid: OnInvalid = "raise",
        on_failure: OnFailure | None = None,
        defaults: Metadata | None = None,
        before_send: BeforeSend | None = None,
        conversion: Conversion = Conversion(),  # noqa: B008 frozen
        started: bool = False,
    ) -> None:
        # the client's constructor is not called: a recorder has no key and no address, and its engine is another one
        self._recording = RecordingEngine(on_failure)
        self._lifecycle = RecorderLifecycle(self._recording, started=started)
        engine: Any = self._recording
        self._admission = self._storage = self._flusher = engine
        switch = switched_off_by(enabled=enabled)
        previews: Any = RecorderPreviews(self._recording, self._lifecycle, switch)
        self._previews = previews
        self._preparation = Preparation(
            defaults,
            checked_before_send(before_send),
            reports_invalid=checked_on_invalid(on_invalid) == "report",
            switched_off_by=switch,
            conversion=checked_type("conversion", conversion, Conversion),
        )
        self._encode = self._preparation.encode
        self._on_padded = _ignore

    @property
    def events(self) -> list[Event]:
        """Every accepted event, in order, with any outcome. A snapshot."""
        return list(self._recording.events)

    @property
    def closed(self) -> bool:
        """Whether it was closed, as a service must close its client before it ends."""
        return self._lifecycle.state is ClientState.CLOSED

    def reset(self) -> None:
        """Clear the recorded events, so that later assertions see only new ones; everything else stays."""
        self._recording.events.clear()

    def fail(
        self, error: Failure, *, player_unique_id: str | None = None, name: str | None = None, times: int | None = None
    ) -> None:
        """Make events fail with an error from now on; if several calls match an event, the first one applies.

        - `Rejected`, `Dropped` and `OutcomeUnknown` are the event's outcome: its receipt and `send` raise
          it, and `on_failure` gets it.
        - `BufferFull` and `JournalError` are raised by `track`, `track_nowait`, `track_threadsafe` and
          `send`; the event is not accepted.
        - `PreviewError`, `CustomerNotFound` and `PreviewTimeout` are raised by `preview`, which no other error affects.
        - `ClientHalted` and `FlushTimeout` keep the event pending: `flush` raises the error, `recover`
          delivers the event, and `aclose` drops it.

        Args:
            error: the error, as the client would raise it.
            player_unique_id: only for this player; by default for all.
            name: only for events with this name; by default for all.
            times: for how many events; by default for any number, until `recover`.

        Raises:
            TypeError: if the client does not raise such an error there.
            ValueError: if `times` is below 1.
        """
        self._recording.rules.append(Rule(error, player_unique_id, name, times))

    def recover(self) -> None:
        """Stop all failures, and deliver pending events; callable from any thread."""
        self._recording.recover()

    def rewards(self, points: Mapping[str, float | EventPreview]) -> None:
        """Set what `preview` returns for events from now on: ``recorder.rewards({"place_order": 100})``.

        Args:
            points: the points by the event's name; or an `EventPreview`, for a coupon or an invalid event.
        """
        self._recording.rewards.update(points)

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

        Values are compared as Gameball would receive them: ``Decimal("9.50")`` equals ``9.5``, a date its ISO 8601
        string, a tuple a list. Matchers work too, such as ``pytest.approx(9.5)`` or ``unittest.mock.ANY``.

        Args:
            player_unique_id: the player's id.
            name: the event's name.
            metadata: expected keys and values; for keys that are not Python names, or have the name of an option.
            times: the expected number of such events; by default at least one.
            exact: whether other keys are not allowed.
            mobile: the expected mobile number, or None for none; by default any or none.
            email: the expected e-mail address, likewise.
            **more_metadata: more expected keys and values.

        Raises:
            AssertionError: if it was not tracked this often; with the nearest event and its differences.
        """
        __tracebackhide__ = True
        expected = Expected(player_unique_id, name, {**(metadata or {}), **more_metadata}, exact, mobile, email)
        events = self.events
        found = sum(map(expected.matches, events))
        if (found == 0) if times is None else (found != times):
            raise AssertionError(_wrong_count(expected, events, found, times))

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
        """Assert that no such event was tracked; without a name, that no event of the player was tracked.

        Args:
            player_unique_id: the player's id.
            name: the event's name; by default any.
            metadata: as for `assert_tracked`; every expected value makes the assertion weaker.
            exact: as for `assert_tracked`.
            mobile: as for `assert_tracked`.
            email: as for `assert_tracked`.
            **more_metadata: as for `assert_tracked`.

        Raises:
            AssertionError: if one was tracked; with all such events.
        """
        __tracebackhide__ = True
        expected = Expected(player_unique_id, name, {**(metadata or {}), **more_metadata}, exact, mobile, email)
        if found := [(number, event) for number, event in enumerate(self.events, 1) if expected.matches(event)]:
            raise AssertionError(f"{expected} should not have been tracked.{_listed(found)}")

    def assert_nothing_tracked(self) -> None:
        """Assert that no event was tracked.

        Raises:
            AssertionError: if one was tracked; with all events.
        """
        __tracebackhide__ = True
        if events := self.events:
            raise AssertionError(f"nothing should have been tracked.{_listed(enumerate(events, 1))}")

    def __repr__(self) -> str:
        return f"<Recorder {self._lifecycle.state.name.lower()}, {len(self._recording.events)} tracked>"

    def __del__(self) -> None:
        """Do not warn: nothing is lost with a recorder."""


def _wrong_count(expected: Expected, events: list[Event], found: int, times: int | None) -> str:
    """Return the message of `assert_tracked`: the count, the nearest other event, and all events."""
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
    """Return the latest events; those that match have a star."""
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


def _ignore(what: str, padding: str) -> None:
    """Ignore the spaces around a text, which the client logs."""
