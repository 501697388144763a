"""What happens to an event between `track` and the buffer: defaults, the user's hook, encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import attrs

from .._config import REJECTING, Conversion
from ..errors import ConfigurationError, Dropped, DropReason, InvalidEvent, PreviewError
from .conversion import MOST_DEPTH, entries_of, plain_values
from .events import (
    EncodedEvent,
    Event,
    Metadata,
    MetadataRecord,
    RawEvent,
    as_event,
    encode,
    encode_event,
    named_events,
)
from .remedies import kind, quoted
from .texts import NAME, PLAYER, OnPadded, contact, text


@attrs.define
class EventDraft:
    """One event before it is checked and encoded, as `before_send` gets it; its `repr` shows the name alone.

    Attributes:
        name: the event's name.
        metadata: the event's own copy, with the defaults: change it, or set another dict.
        mobile: the player's mobile number, if it was given.
        email: the player's e-mail address, if it was given.
    """

    _player_unique_id: str = attrs.field(repr=False)
    name: str
    metadata: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    _is_used: bool = attrs.field(default=False, init=False, repr=False, eq=False)

    @property
    def player_unique_id(self) -> str:
        """The player it belongs to; read-only."""
        return self._player_unique_id


BeforeSend = Callable[[EventDraft], EventDraft | None]
"""The user's hook: returns the draft, perhaps changed, or None to drop the event."""


LONGEST_PREVIEWED_PLAYER = 100
"""Characters of a player's id in a preview, at most ("Event reward preview" in Gameball's API reference)."""

_MEANT = (DropReason.FILTERED, DropReason.DISABLED)


class NotSent(Exception):
    """An event that has its outcome before it reaches the buffer.

    Attributes:
        event: the event, or as much of it as can be encoded.
        error: its outcome.
    """

    def __init__(self, event: Event, error: Dropped) -> None:
        super().__init__()
        self.event = event
        self.error = error

    @property
    def is_meant(self) -> bool:
        """Whether the user has asked for it, so that it is not reported."""
        return self.error.reason in _MEANT

    @property
    def is_accepted(self) -> bool:
        """Whether it counts as accepted; an invalid event does not."""
        return self.error.reason is not DropReason.INVALID


def without_contact(event: EncodedEvent) -> EncodedEvent:
    """Return the event.

    Raises:
        InvalidEvent: if it has a contact, which an item of a bulk request cannot have.
    """
    if event.mobile is None and event.email is None:
        return event
    contact = "mobile number" if event.mobile is not None else "e-mail address"
    raise InvalidEvent(
        f"event {quoted(event.name)} has the player's {contact}, which a bulk request cannot carry: leave it out, or "
        "use Batching(mode='auto'), which sends such events in single requests."
    )


def encode_item(
    player: str,
    name: str,
    metadata: Metadata | MetadataRecord | None,
    mobile: str | None,
    email: str | None,
    on_padded: OnPadded,
) -> EncodedEvent:
    """Encode an event as `encode` does, for a client that only sends bulk requests.

    Raises:
        InvalidEvent: if it cannot be sent as it is.
    """
    return without_contact(encode(player, name, metadata, mobile, email, on_padded))


class Preparation:
    """Adds the defaults, calls the hook, and encodes.

    Args:
        defaults: metadata for every event; the event's own values win.
        before_send: the user's hook.
        reports_invalid: whether an event that cannot be sent is a `NotSent`, and not an error of the call.
        switched_off_by: what switches the client off; None if it is on.
        check: raises `InvalidEvent` if these events do not fit into one request.
        conversion: what is converted beside what always is.
        takes_contact: whether events may have a mobile number or an e-mail address.

    Attributes:
        is_needed: whether it does anything but encode.

    Raises:
        ConfigurationError: if the defaults cannot be sent.
    """

    def __init__(
        self,
        defaults: Metadata | None = None,
        before_send: BeforeSend | None = None,
        *,
        reports_invalid: bool = False,
        switched_off_by: str | None = None,
        check: Callable[[Sequence[EncodedEvent]], object] = len,
        conversion: Conversion = REJECTING,
        takes_contact: bool = True,
    ) -> None:
        self._conversion = conversion
        self._defaults = {} if defaults is None else _checked_defaults(defaults, conversion)
        self._before_send = before_send
        self._reports_invalid = reports_invalid
        self._switched_off_by = switched_off_by
        self._check = check
        self._takes_contact = takes_contact
        self._ends_here = reports_invalid or switched_off_by is not None
        changes = bool(self._defaults) or before_send is not None or conversion != REJECTING
        self.is_needed = changes or self._ends_here

    def encode(
        self,
        player: str,
        name: str,
        metadata: Metadata | MetadataRecord | None,
        mobile: str | None,
        email: str | None,
        on_padded: OnPadded,
    ) -> EncodedEvent:
        """Prepare one event.

        Raises:
            InvalidEvent: if it cannot be sent as it is.
            NotSent: if it has its outcome already.
        """
        try:
            event = self._reported(RawEvent(player, name, metadata, mobile, email), on_padded)
        except NotSent as not_sent:
            raise self._unless_off(not_sent) from None
        if self._switched_off_by is not None:
            raise self._off(as_event(event))
        return event

    def encode_request(
        self,
        player: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        mobile: str | None,
        email: str | None,
        on_padded: OnPadded,
    ) -> list[EncodedEvent | NotSent]:
        """Prepare the events of one request; one that has its outcome already is a `NotSent` in its place.

        Raises:
            InvalidEvent: if one of them cannot be sent as it is, there is none, or they do not fit together.
        """
        try:
            prepared: list[EncodedEvent | NotSent] = []
            for name, metadata in named_events(events):
                try:
                    prepared.append(self._reported(RawEvent(player, name, metadata, mobile, email), on_padded))
                except NotSent as not_sent:
                    prepared.append(self._unless_off(not_sent))
            if together := [event for event in prepared if isinstance(event, EncodedEvent)]:
                _check_together(together)
                if self._ends_here:
                    self._check(together)
        except Exception as error:
            if not self._reports_invalid:
                raise
            what = "the events cannot be read, the mapping"
            return [
                self._invalid(RawEvent(player, name, metadata, mobile, email), _as_invalid(error, what))
                for name, metadata in _readable(events)
            ]
        if self._switched_off_by is not None:
            return [self._off(as_event(event)) if isinstance(event, EncodedEvent) else event for event in prepared]
        return prepared

    def encode_preview(
        self,
        player: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        mobile: str | None,
        email: str | None,
        on_padded: OnPadded,
    ) -> list[EncodedEvent]:
        """Prepare the events of a preview, without those that the hook drops.

        Raises:
            InvalidEvent: if one of them cannot be sent as it is, there is none, they do not fit together, or the
                player's id is too long for a preview. There is no outcome that could be reported instead.
            PreviewError: if the hook fails.
        """
        prepared: list[EncodedEvent] = []
        for name, metadata in named_events(events):
            try:
                prepared.append(self._encoded(RawEvent(player, name, metadata, mobile, email), on_padded))
            except NotSent as not_sent:
                if not not_sent.is_meant:
                    raise PreviewError(str(not_sent.error)) from not_sent.error.__cause__
        if prepared:
            if len(prepared[0].player) > LONGEST_PREVIEWED_PLAYER:
                raise InvalidEvent(
                    f"player_unique_id is longer than {LONGEST_PREVIEWED_PLAYER} characters, the most that a preview "
                    "takes: track the events without a preview."
                )
            _check_together(prepared)
            self._check(prepared)
        return prepared

    def _reported(self, raw: RawEvent, on_padded: OnPadded) -> EncodedEvent:
        if not self._ends_here:
            event = self._encoded(raw, on_padded)
            return event if self._takes_contact else without_contact(event)
        try:
            event = self._encoded(raw, on_padded)
            if not self._takes_contact:
                without_contact(event)
            self._check((event,))
        except Exception as error:
            if not self._reports_invalid or isinstance(error, NotSent):
                raise
            what = "the event cannot be read, its metadata"
            raise self._invalid(raw, _as_invalid(error, what)) from None
        return event

    def _encoded(self, raw: RawEvent, on_padded: OnPadded) -> EncodedEvent:
        raw.metadata = self._with_defaults(raw.metadata)
        if self._before_send is None:
            return raw.encode(on_padded, self._conversion)
        draft = EventDraft(
            text(PLAYER, raw.player, on_padded),
            text(NAME, raw.name, on_padded),
            _copied(raw.name, raw.metadata),
            contact("mobile", raw.mobile, on_padded),
            contact("email", raw.email, on_padded),
        )
        try:
            changed: object = self._before_send(draft)
            is_new = isinstance(changed, EventDraft) and not changed._is_used  # noqa: SLF001 the same module's own
        except Exception as raised:  # noqa: BLE001 the user's hook may raise anything
            raise NotSent(raw.sendable_part(self._conversion), _failed(raised)) from None
        finally:
            draft._is_used = True  # noqa: SLF001 likewise
        if changed is None:
            raw.metadata = raw.mobile = raw.email = None
            error = Dropped("before_send dropped the event.", reason=DropReason.FILTERED)
            raise NotSent(raw.sendable_part(self._conversion), error)
        if not isinstance(changed, EventDraft) or not is_new or changed.player_unique_id != draft.player_unique_id:
            raise NotSent(raw.sendable_part(self._conversion), _misused(changed))
        changed._is_used = True  # noqa: SLF001 likewise
        changed_event = RawEvent(raw.player, changed.name, changed.metadata, changed.mobile, changed.email)
        return changed_event.encode(on_padded, self._conversion)

    def _unless_off(self, not_sent: NotSent) -> NotSent:
        """A failure of the hook is none if nothing is sent anyway."""
        is_off = self._switched_off_by is not None and not_sent.error.reason is DropReason.BEFORE_SEND_FAILED
        return self._off(not_sent.event) if is_off else not_sent

    def _off(self, event: Event) -> NotSent:
        error = Dropped(
            f"the client is switched off by {self._switched_off_by}, so the event is not sent.",
            reason=DropReason.DISABLED,
        )
        return NotSent(event, error)

    def _invalid(self, raw: RawEvent, invalid: InvalidEvent) -> NotSent:
        error = Dropped(str(invalid), reason=DropReason.INVALID)
        error.__cause__ = invalid.with_traceback(None)  # which holds the event
        try:
            raw.metadata = self._with_defaults(raw.metadata)
        except Exception:  # noqa: BLE001 of the user's objects
            raw.metadata = self._defaults
        return NotSent(raw.sendable_part(self._conversion), error)

    def _with_defaults(self, metadata: Metadata | MetadataRecord | None) -> Metadata | MetadataRecord | None:
        if not self._defaults:
            return metadata
        if metadata is None:
            return self._defaults
        entries = cast("Metadata | None", entries_of(metadata))
        if entries is None:
            return metadata
        defaults = self._defaults
        if self._conversion.nested == "flatten":  # an event's own dict takes the place of that of the defaults
            defaults = {key: value for key, value in defaults.items() if key.partition(".")[0] not in entries}
        return {**defaults, **entries}


def _checked_defaults(defaults: object, conversion: Conversion) -> dict[str, Any]:
    if not isinstance(defaults, Mapping):
        raise ConfigurationError(f"defaults is {kind(defaults)}: give a dict of keys and values.")
    try:
        return plain_values(cast("Mapping[object, object]", defaults), conversion)
    except InvalidEvent as error:
        raise ConfigurationError(str(error).replace("event 'defaults'", "defaults", 1)) from None


def _copied(name: str, metadata: object) -> dict[str, Any]:
    """A copy that the hook may change, nested dicts and arrays included."""
    if metadata is None:
        return {}
    if (entries := entries_of(metadata)) is None:
        encode_event(name, metadata)  # raises
    return {key: _copied_value(value, MOST_DEPTH) for key, value in cast("Mapping[str, Any]", entries).items()}


def _copied_value(value: object, depth: int) -> object:
    """A copy of nested dicts and lists, down to where they are refused as too deep."""
    if depth and isinstance(value, dict):
        entries = cast("dict[object, object]", value).items()
        return {key: _copied_value(item, depth - 1) for key, item in entries}
    if depth and isinstance(value, list):
        return [_copied_value(item, depth - 1) for item in cast("list[object]", value)]
    return value


def _as_invalid(error: Exception, what: str) -> InvalidEvent:
    """The error itself, or one that says what the user's own object raised; without its text, which may quote it."""
    if isinstance(error, InvalidEvent):
        return error
    return InvalidEvent(f"{what} raised {type(error).__name__}: correct it.")


def _readable(events: object) -> list[tuple[Any, Any]]:
    """The events of a request as pairs, or a nameless one if they cannot be read."""
    with suppress(Exception):
        if isinstance(events, Mapping) and events:
            return [(name, metadata) for name, metadata in cast("Mapping[object, object]", events).items()]
    return [("", None)]


def _failed(raised: Exception) -> Dropped:
    """The outcome if the hook raised; without the error's text, which may quote the event."""
    error = Dropped(
        f"before_send raised {type(raised).__name__}, so the event is not sent: correct it.",
        reason=DropReason.BEFORE_SEND_FAILED,
    )
    error.__cause__ = raised
    return error


def _misused(returned: object) -> Dropped:
    what = "the draft of another event" if isinstance(returned, EventDraft) else kind(returned)
    return Dropped(
        f"before_send returned {what}, so the event is not sent: return the draft, or None to drop the event.",
        reason=DropReason.BEFORE_SEND_FAILED,
    )


def _check_together(events: list[EncodedEvent]) -> None:
    """Raise InvalidEvent if these events cannot be one request."""
    if len({event.name for event in events}) < len(events):
        raise InvalidEvent("two event names are equal as strings: send one of them in a request of its own.")
    for what in ("mobile", "email"):
        if len({getattr(event, what) for event in events} - {None}) > 1:
            raise InvalidEvent(f"before_send gave the events of one request different values of {what}: give one.")
