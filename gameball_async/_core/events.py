"""One event: what it may hold, and its JSON. Encoded at the call, so later changes change nothing."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Protocol, cast
from uuid import UUID

import attrs
import msgspec

from .._config import REJECTING, Conversion
from ..errors import InvalidEvent
from .conversion import GREATEST_INT, LEAST_INT, check_key, converted, sendable_values
from .remedies import quoted
from .texts import NAME, PLAYER, OnPadded, contact, text, without_surrogates

Number = int | float | Decimal
Scalar = str | Number | date | UUID | Enum
"""What one metadata value may be. `datetime` is a `date`."""

Metadata = Mapping[str, Scalar | Sequence[Scalar]]
"""An event's metadata: numbers, strings, or arrays of these, by key."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _AttrsClass(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _Struct(Protocol):
    __struct_fields__: ClassVar[tuple[str, ...]]


class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


class _Model(Protocol):
    def model_dump(self) -> dict[str, Any]: ...


MetadataRecord = _Dataclass | _AttrsClass | _Struct | _NamedTuple | _Model
"""Metadata as an object with fields: of a dataclass, attrs, msgspec, a named tuple or pydantic."""


_encode = msgspec.json.Encoder().encode


class EncodedEvent(msgspec.Struct, frozen=True, gc=False):  # a tenth of the cost of a NamedTuple, and no cycles
    """One event from `track` to the buffer, the storage, the disk and the wire.

    Attributes:
        player: the player's id.
        name: the event's name.
        encoded: its JSON member `"name":{...}`.
        mobile: the player's mobile number, if it was given.
        email: the player's e-mail address, if it was given.
    """

    player: str
    name: str
    encoded: bytes
    mobile: str | None
    email: str | None


@attrs.frozen
class Event:
    """One event as `on_failure` and `CloseReport` hand it back; its `repr` shows the name alone.

    Attributes:
        player_unique_id: the player it belongs to.
        name: the event's name.
        mobile: the player's mobile number, if it was given or merged from an event of the same batch.
        email: the player's e-mail address, likewise.
    """

    player_unique_id: str = attrs.field(repr=False)
    name: str
    mobile: str | None = attrs.field(repr=False)
    email: str | None = attrs.field(repr=False)
    _encoded: bytes = attrs.field(repr=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata as it was encoded: decimals as numbers, dates and UUIDs as strings."""
        decoded: dict[str, dict[str, Any]] = msgspec.json.decode(b"{" + self._encoded + b"}")
        return decoded[self.name]


def as_event(event: EncodedEvent) -> Event:
    """Return an encoded event as users get it back."""
    return Event(event.player, event.name, event.mobile, event.email, event.encoded)


def metadata_json(event: EncodedEvent) -> bytes:
    """Return the metadata of an encoded event as JSON, without the name before it."""
    return event.encoded[len(_encode(event.name)) + 1 :]


class RawEvent(msgspec.Struct):
    """One event as it was passed to `track`: nothing is checked yet, so anything may be in it."""

    player: str
    name: str
    metadata: Metadata | MetadataRecord | None
    mobile: str | None
    email: str | None

    def encode(self, on_padded: OnPadded, conversion: Conversion) -> EncodedEvent:
        """Check and encode it, as the function `encode` does."""
        return encode(self.player, self.name, self.metadata, self.mobile, self.email, on_padded, conversion)

    def sendable_part(self, conversion: Conversion) -> Event:
        """Return what of it can be sent; an id or a name that is no text is empty."""
        name, player = without_surrogates(self.name) or "", without_surrogates(self.player) or ""
        encoded = _encode({name: sendable_values(self.metadata, conversion)})[1:-1]
        return Event(player, name, without_surrogates(self.mobile), without_surrogates(self.email), encoded)


def validate_event(
    player_unique_id: str,
    name: str,
    metadata: Metadata | MetadataRecord | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
    conversion: Conversion = REJECTING,
) -> None:
    """Check an event as `track` would, without a client.

    Args:
        player_unique_id: the player's id, a string that is not blank. A guest has none: do not track guests.
        name: the event's name, a string that is not blank.
        metadata: numbers, strings, or lists and tuples of these, by string keys that are not blank.
        mobile: the player's mobile number, if the account merges channels by it.
        email: the player's e-mail address, likewise.
        conversion: that of the client.

    Raises:
        InvalidEvent: if `track` would refuse it; the message names the event, the key and the remedy.
            The size of a request is a client's own setting, `Batching(max_bytes=...)`, and not looked at.
    """
    encode_event(text(NAME, name), metadata, conversion)
    text(PLAYER, player_unique_id)
    contact("mobile", mobile)
    contact("email", email)


def encode(
    player: str,
    name: str,
    metadata: Metadata | MetadataRecord | None,
    mobile: str | None,
    email: str | None,
    on_padded: OnPadded,
    conversion: Conversion = REJECTING,
) -> EncodedEvent:
    """Check and encode one event.

    Raises:
        InvalidEvent: if it cannot be sent as it is.
    """
    # the fast path of `text`, inlined because this runs for every event
    if not (type(player) is str and player.isascii() and player >= "!" and player[-1] > " "):
        player = text(PLAYER, player, on_padded)
    if not (type(name) is str and name.isascii() and name >= "!" and name[-1] > " "):
        name = text(NAME, name, on_padded)
    encoded = encode_event(name, metadata, conversion)
    if mobile is None and email is None:  # nearly always
        return EncodedEvent(player, name, encoded, None, None)
    mobile, email = contact("mobile", mobile, on_padded), contact("email", email, on_padded)
    return EncodedEvent(player, name, encoded, mobile, email)


_StoredMetadata = dict[str, str | int | float | list[str | int | float]]
_decode_stored = msgspec.json.Decoder(_StoredMetadata).decode


def stored_event(
    player: str, name: str, metadata: bytes, mobile: str | None, email: str | None, *, check: bool = True
) -> EncodedEvent:
    """Return an event that was stored as text and JSON, perhaps by another program.

    Args:
        player: the player's id.
        name: the event's name.
        metadata: a JSON object; it is sent as it is.
        mobile: the player's mobile number, if it was given.
        email: the player's e-mail address, if it was given.
        check: whether to check all of it.

    Raises:
        InvalidEvent: if it cannot be sent.
    """
    if check:
        text(PLAYER, player)
        text(NAME, name)
        contact("mobile", mobile)
        contact("email", email)
        try:
            for key in _decode_stored(metadata):
                if key < "!" or not key.isascii():  # else it is not blank
                    check_key(name, key)
        except msgspec.ValidationError:
            raise InvalidEvent(
                f"event {quoted(name)}: its metadata is no JSON object of numbers, strings, or arrays of these; insert "
                "events with gameball_async.outbox, which checks them."
            ) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidEvent(f"event {quoted(name)}: its metadata is no JSON that can be sent.") from None
    return EncodedEvent(player, name, _encode(name) + b":" + metadata, mobile, email)


def named_events(
    events: Mapping[str, Metadata | MetadataRecord | None],
) -> ItemsView[str, Metadata | MetadataRecord | None]:
    """Return the events of one request as pairs.

    Raises:
        InvalidEvent: if it is not a dict of at least one event.
    """
    if not isinstance(events, Mapping) or not events:
        raise InvalidEvent("send() takes a dict of at least one event: metadata or None by event name.")
    return events.items()


def encode_event(name: object, metadata: object, conversion: Conversion = REJECTING) -> bytes:
    """Encode one event as the JSON member `"name":{...}`.

    Values that are plain already, nearly all of them, are encoded as they are; the others are
    converted without loss: `Decimal` to a number with its exact digits, `datetime` and `date` to
    ISO 8601 strings, `UUID` to its canonical string, `Enum` to its value, tuples to arrays.

    Raises:
        InvalidEvent: naming the event, the key, the type of the value and the remedy.
    """
    if type(name) is not str or not name:
        name = text(NAME, name)
    if metadata is None:
        metadata = {}
    elif not _is_plain(metadata):
        metadata = converted(name, metadata, conversion)
    try:
        encoded = _encode({name: metadata})[1:-1]
    except UnicodeEncodeError:
        text(NAME, name)
        converted(name, metadata, conversion)  # one of both raises, for the text that UTF-8 refused
        raise
    if not encoded.isascii():  # only then may a key be blank that `_is_plain` has let through
        for key in cast("Mapping[str, object]", metadata):
            check_key(name, key)
    return encoded


def _is_plain(metadata: object) -> bool:
    """Whether msgspec would encode this metadata to exactly what was meant, with nothing to refuse.

    It writes NaN as null, and ints of any length. One loop without a call for each value: nearly
    every event passes here, and the calls would cost more than all the rest.
    """
    if type(metadata) is not dict:
        return False
    for key, value in cast("dict[object, Any]", metadata).items():
        if type(key) is not str or key < "!":  # empty, or begins with a space or a control character
            return False
        of = type(value)  # pyright: ignore[reportUnknownVariableType] of anything, and a cast costs a call
        if of is str:
            continue
        if of is int:
            is_plain = LEAST_INT <= value <= GREATEST_INT
        elif of is float:
            is_plain = math.isfinite(value)
        else:
            is_plain = of is list and _are_plain(value)
        if not is_plain:
            return False
    return True


def _are_plain(items: list[object]) -> bool:
    for item in items:
        of = type(item)
        if of is not str and not ((of is int or of is float) and _is_plain({"item": item})):
            return False
    return True
