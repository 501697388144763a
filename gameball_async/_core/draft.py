"""What happens to an event between `track` and the buffer: defaults, the user's hook, encoding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from ..errors import ConfigurationError, Dropped, DropReason, InvalidEvent
from .conversion import plain_values
from .events import EncodedEvent, Event, Metadata, encode, encode_event, named_events, sendable_part
from .remedies import kind
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

    @property
    def player_unique_id(self) -> str:
        """The player it belongs to; read-only."""
        return self._player_unique_id


BeforeSend = Callable[[EventDraft], EventDraft | None]
"""The user's hook: returns the draft, perhaps changed, or None to drop the event."""


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


class Preparation:
    """Adds the defaults, calls the hook, and encodes.

    Args:
        defaults: metadata for every event; the event's own values win.
        before_send: the user's hook.

    Attributes:
        is_needed: whether it does anything but encode.

    Raises:
        ConfigurationError: if the defaults cannot be sent.
    """

    def __init__(self, defaults: Metadata | None, before_send: BeforeSend | None) -> None:
        self._defaults = {} if defaults is None else _checked_defaults(defaults)
        self._before_send = before_send
        self.is_needed = bool(self._defaults) or before_send is not None

    def encode(
        self,
        player: str,
        name: str,
        metadata: Metadata | None,
        mobile: str | None,
        email: str | None,
        on_padded: OnPadded,
    ) -> EncodedEvent:
        """Prepare one event.

        Raises:
            InvalidEvent: if it cannot be sent as it is.
            NotSent: if the hook drops it, or fails.
        """
        merged = self._with_defaults(metadata)
        if self._before_send is None:
            return encode(player, name, merged, mobile, email, on_padded)
        draft = EventDraft(
            text(PLAYER, player, on_padded),
            text(NAME, name, on_padded),
            _copied(name, merged),
            contact("mobile", mobile, on_padded),
            contact("email", email, on_padded),
        )
        try:
            changed: object = self._before_send(draft)
        except Exception as raised:  # noqa: BLE001 the user's hook may raise anything
            raise NotSent(sendable_part(player, name, merged, mobile, email), _failed(raised)) from None
        if changed is None:
            error = Dropped("before_send dropped the event.", reason=DropReason.FILTERED)
            raise NotSent(sendable_part(player, name, None, None, None), error)
        if not isinstance(changed, EventDraft) or changed.player_unique_id != draft.player_unique_id:
            raise NotSent(sendable_part(player, name, merged, mobile, email), _misused(changed))
        return encode(player, changed.name, changed.metadata, changed.mobile, changed.email, on_padded)

    def encode_request(
        self,
        player: str,
        events: Mapping[str, Metadata | None],
        mobile: str | None,
        email: str | None,
        on_padded: OnPadded,
    ) -> list[EncodedEvent | NotSent]:
        """Prepare the events of one request; one that the hook drops is a `NotSent` in its place.

        Raises:
            InvalidEvent: if one of them cannot be sent as it is, there is none, or they do not fit together.
        """
        prepared: list[EncodedEvent | NotSent] = []
        for name, metadata in named_events(events):
            try:
                prepared.append(self.encode(player, name, metadata, mobile, email, on_padded))
            except NotSent as not_sent:
                prepared.append(not_sent)
        _check_together([event for event in prepared if isinstance(event, EncodedEvent)])
        return prepared

    def _with_defaults(self, metadata: Metadata | None) -> Metadata | None:
        if not self._defaults:
            return metadata
        if metadata is None:
            return self._defaults
        return {**self._defaults, **metadata} if isinstance(metadata, Mapping) else metadata


def _checked_defaults(defaults: object) -> dict[str, Any]:
    if not isinstance(defaults, Mapping):
        raise ConfigurationError(f"defaults is {kind(defaults)}: give a dict of keys and values.")
    try:
        return plain_values(cast("Mapping[object, object]", defaults))
    except InvalidEvent as error:
        raise ConfigurationError(str(error).replace("event 'defaults'", "defaults", 1)) from None


def _copied(name: str, metadata: object) -> dict[str, Any]:
    """A copy that the hook may change, arrays included."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        encode_event(name, metadata)  # raises
    values = cast("Mapping[str, Any]", metadata)
    return {key: value.copy() if type(value) is list else value for key, value in values.items()}


def _failed(raised: Exception) -> Dropped:
    """The outcome if the hook raised; without the error's text, which may quote the event."""
    error = Dropped(
        f"before_send raised {type(raised).__name__}, so the event is not sent: correct it.",
        reason=DropReason.BEFORE_SEND_FAILED,
    )
    error.__cause__ = raised
    return error


def _misused(returned: object) -> Dropped:
    what = "the draft of another player" if isinstance(returned, EventDraft) else kind(returned)
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
