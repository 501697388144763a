"""One event: what it may hold, and its JSON. Encoded at the call, so later changes change nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import attrs
import msgspec

from .errors import InvalidEvent

Number = int | float | Decimal
Scalar = str | Number | date | UUID | Enum
"""What one metadata value may be. `datetime` is a `date`."""

Metadata = Mapping[str, Scalar | Sequence[Scalar]]
"""An event's metadata: numbers, strings, or arrays of these, by key."""

_LEAST_INT, _GREATEST_INT = -(2**63), 2**63 - 1
_DECIMAL_DIGITS = 28  # the precision of Decimal's default context, and what a .NET decimal holds
_LONGEST_QUOTE = 60  # characters of a name or key in a message

_encode = msgspec.json.Encoder().encode


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


def validate_event(
    player_unique_id: str,
    name: str,
    metadata: Metadata | None = None,
    *,
    mobile: str | None = None,
    email: str | None = None,
) -> None:
    """Check an event as `track` would, without a client.

    Args:
        player_unique_id: the player's id, a non-empty string.
        name: the event's name, a non-empty string.
        metadata: numbers, strings, or lists and tuples of these, by non-empty string keys.
        mobile: the player's mobile number, if the account merges channels by it.
        email: the player's e-mail address, likewise.

    Raises:
        InvalidEvent: if `track` would refuse it; the message names the event, the key and the remedy.
            The size of a request is a client's own setting, `Batching(max_bytes=...)`, and not looked at.
    """
    encode_event(name, metadata)
    text("player_unique_id", player_unique_id)
    contact("mobile", mobile)
    contact("email", email)


def text(what: str, value: object) -> str:
    """Return `value` as a plain string, if it is a non-empty one that UTF-8 can carry.

    Raises:
        InvalidEvent: otherwise; the message says what the value is for, never the value.
    """
    if type(value) is str and value and value.isascii():  # nearly always
        return value
    if not isinstance(value, str):
        raise InvalidEvent(f"{what} is {_kind(value)}: give a non-empty string, for example str(value).")
    if not value:
        raise InvalidEvent(f"{what} is an empty string: give a non-empty one.")
    try:
        return value.encode().decode() if type(value) is not str or not value.isascii() else value
    except UnicodeEncodeError:
        raise InvalidEvent(f"{what} holds a lone surrogate, which {_SURROGATE_REMEDY}") from None


def contact(what: str, value: object) -> str | None:
    """Return a mobile number or an e-mail address as a plain string, or None if there is none."""
    return None if value is None else text(f"{what} (leave it out if there is none)", value)


def encode_event(name: object, metadata: object) -> bytes:
    """Encode one event as the JSON member `"name":{...}`.

    Values that are plain already, nearly all of them, are encoded as they are; the others are
    converted without loss: `Decimal` to a number with its exact digits, `datetime` and `date` to
    ISO 8601 strings, `UUID` to its canonical string, `Enum` to its value, tuples to arrays.

    Raises:
        InvalidEvent: naming the event, the key, the type of the value and the remedy.
    """
    if type(name) is not str or not name:
        name = text("the event's name", name)
    if metadata is None:
        metadata = {}
    elif not _is_plain(metadata):
        metadata = _converted(name, metadata)
    try:
        return _encode({name: metadata})[1:-1]
    except UnicodeEncodeError:
        raise _surrogate_error(name, metadata) from None


def _is_plain(metadata: object) -> bool:
    """Whether msgspec would encode this metadata to exactly what was meant, with nothing to refuse.

    It writes NaN as null, and ints of any length. One loop without a call for each value: nearly
    every event passes here, and the calls would cost more than all the rest.
    """
    if type(metadata) is not dict:
        return False
    for key, value in cast("dict[object, Any]", metadata).items():
        if type(key) is not str or not key:
            return False
        kind = type(value)  # pyright: ignore[reportUnknownVariableType] of anything, and a cast costs a call
        if kind is str:
            continue
        if kind is int:
            is_plain = _LEAST_INT <= value <= _GREATEST_INT
        elif kind is float:
            is_plain = math.isfinite(value)
        else:
            is_plain = kind is list and all(map(_is_plain_item, value))
        if not is_plain:
            return False
    return True


def _is_plain_item(value: object) -> bool:
    kind = type(value)
    return kind is str or ((kind is int or kind is float) and _is_plain({"item": value}))


def _converted(name: str, metadata: object) -> dict[str, object]:
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"event {_quoted(name)}: metadata is {_kind(metadata)}: give a dict of keys and values.")
    converted: dict[str, object] = {}
    for key, value in cast("Mapping[object, object]", metadata).items():
        plain_key = _converted_key(name, key)
        if plain_key in converted:
            raise InvalidEvent(f"event {_quoted(name)}: key {_quoted(plain_key)} occurs twice: use a list of values.")
        converted[plain_key] = _converted_value(_Place(name, plain_key), value)
    return converted


def _converted_key(name: str, key: object) -> str:
    if isinstance(key, str) and key:
        return str.__str__(key)
    described = "an empty string" if isinstance(key, str) else _kind(key)
    raise InvalidEvent(f"event {_quoted(name)}: a metadata key is {described}: give a non-empty string.")


@attrs.frozen
class _Place:
    """Where in which event a value stands, for messages."""

    name: str
    key: str

    def error(self, problem: str) -> InvalidEvent:
        return InvalidEvent(f"event {_quoted(self.name)}, key {_quoted(self.key)}: {problem}")


def _converted_value(place: _Place, value: object) -> object:
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[object]", value)
        return [_converted_scalar(place, item, inside="an item of the array") for item in items]
    return _converted_scalar(place, value, inside="the value")


def _converted_scalar(place: _Place, value: object, *, inside: str) -> object:  # noqa: C901, PLR0911 one table of types
    match value:
        case Enum():
            return _converted_scalar(place, value.value, inside=inside)
        case bool():
            pass
        case str():
            return str.__str__(value)
        case int():
            if _LEAST_INT <= (number := int.__int__(value)) <= _GREATEST_INT:
                return number
            raise place.error(f"{inside} is an int beyond 64 bits: send it as a string.")
        case float():
            if math.isfinite(value):
                return float.__float__(value)
            raise place.error(f"{inside} is NaN or infinite, which JSON cannot carry: leave the key out.")
        case Decimal():
            return _converted_decimal(place, value, inside=inside)
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            pass
    raise place.error(
        f"{inside} is {_kind(value)}; Gameball takes numbers, strings and arrays of these: {_remedy(value)}"
    )


def _converted_decimal(place: _Place, value: Decimal, *, inside: str) -> msgspec.Raw:
    if not value.is_finite():
        raise place.error(f"{inside} is NaN or infinite, which JSON cannot carry: leave the key out.")
    _, digits, exponent = value.as_tuple()
    longest = max(len(digits), abs(int(exponent)), abs(value.adjusted()))
    if longest > _DECIMAL_DIGITS:
        raise place.error(
            f"{inside} is a Decimal of more than {_DECIMAL_DIGITS} digits: quantize it, or send it as a string."
        )
    return msgspec.Raw(format(value, "f").encode())


_SURROGATE_REMEDY = "UTF-8 cannot carry: replace it, for example value.encode('utf-8', 'replace').decode()."

_REMEDIES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "send 0 or 1, or a word such as 'yes'."),
    (type(None), "leave the key out."),
    (Mapping, "give each of its entries a key of its own, such as 'address_city'."),
    ((bytes, bytearray, memoryview), "decode it to a string."),
    ((set, frozenset), "sort it into a list."),
    ((list, tuple), "flatten it into one array."),
)


def _remedy(value: object) -> str:
    for types, remedy in _REMEDIES:
        if isinstance(value, types):
            return remedy
    return "convert it to a string or a number."


def _surrogate_error(name: str, metadata: object) -> InvalidEvent:
    """Find the text that UTF-8 refused: the name, a key, or a value."""
    text("the event's name", name)
    for key, value in cast("Mapping[str, object]", metadata).items():
        text(f"event {_quoted(name)}: a metadata key", key)
        for item in cast("list[object]", value) if isinstance(value, list) else [value]:
            if isinstance(item, str) and item:
                text(f"event {_quoted(name)}, key {_quoted(key)}: the value", item)
    raise AssertionError("UTF-8 refused a text that cannot be found")  # pragma: no cover


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[:1] in tuple("aeioAEIO") else f"a {name}"


def _quoted(value: str) -> str:
    shortened = value if len(value) <= _LONGEST_QUOTE else value[: _LONGEST_QUOTE - 1] + "…"
    return ascii(shortened) if not shortened.isprintable() else repr(shortened)
