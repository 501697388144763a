"""One event: what it may hold, and its JSON. Encoded at the call, so later changes change nothing."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import attrs
import msgspec

from ..errors import InvalidEvent
from . import remedies
from .remedies import is_missing, kind, leave_out, quoted

Number = int | float | Decimal
Scalar = str | Number | date | UUID | Enum
"""What one metadata value may be. `datetime` is a `date`."""

Metadata = Mapping[str, Scalar | Sequence[Scalar]]
"""An event's metadata: numbers, strings, or arrays of these, by key."""

_LEAST_INT, _GREATEST_INT = -(2**63), 2**63 - 1
_DECIMAL_DIGITS = 28  # the precision of Decimal's default context, and what a .NET decimal holds

PLAYER = "player_unique_id"
NAME = "the event's name"

_GUESTS = " A guest has no player id: do not track guests."
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing, although Unicode counts them as letters, marks or symbols: fillers and the like."""

_PARTS_OF_EMOJI = frozenset(map(chr, [0x200D, 0xE007F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""Joiners and variation selectors: they show nothing, but a text may well end with one."""

OnPadded = Callable[[str, str], object]
"""Called with what a text is for, and the characters around it that cannot be seen."""

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
        player_unique_id: the player's id, a string that is not blank. A guest has none: do not track guests.
        name: the event's name, a string that is not blank.
        metadata: numbers, strings, or lists and tuples of these, by string keys that are not blank.
        mobile: the player's mobile number, if the account merges channels by it.
        email: the player's e-mail address, likewise.

    Raises:
        InvalidEvent: if `track` would refuse it; the message names the event, the key and the remedy.
            The size of a request is a client's own setting, `Batching(max_bytes=...)`, and not looked at.
    """
    encode_event(text(NAME, name), metadata)
    text(PLAYER, player_unique_id)
    contact("mobile", mobile)
    contact("email", email)


def encode(
    player: str, name: str, metadata: Metadata | None, mobile: str | None, email: str | None, on_padded: OnPadded
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
    encoded = encode_event(name, metadata)
    if mobile is None and email is None:  # nearly always
        return EncodedEvent(player, name, encoded, None, None)
    mobile, email = contact("mobile", mobile, on_padded), contact("email", email, on_padded)
    return EncodedEvent(player, name, encoded, mobile, email)


def encode_request(
    player: str, events: Mapping[str, Metadata | None], mobile: str | None, email: str | None, on_padded: OnPadded
) -> list[EncodedEvent]:
    """Check and encode the events of one request.

    Raises:
        InvalidEvent: if one of them cannot be sent as it is, or there is none.
    """
    mobile, email = contact("mobile", mobile, on_padded), contact("email", email, on_padded)
    player = text(PLAYER, player, on_padded)
    if not isinstance(events, Mapping) or not events:
        raise InvalidEvent("send() takes a dict of at least one event: metadata or None by event name.")
    named = [(text(NAME, name, on_padded), metadata) for name, metadata in events.items()]
    encoded = {name: encode_event(name, metadata) for name, metadata in named}
    if len(encoded) != len(events):
        raise InvalidEvent("two event names are equal as strings: send one of them in a request of its own.")
    return [EncodedEvent(player, name, member, mobile, email) for name, member in encoded.items()]


def text(what: str, value: object, on_padded: OnPadded | None = None) -> str:
    """Return `value` as a plain string, if it is one that can be seen and that UTF-8 can carry.

    Args:
        what: what the value is for.
        value: the value.
        on_padded: called if there are spaces around it.

    Raises:
        InvalidEvent: otherwise; the message says what the value is for, never the value.
    """
    if type(value) is str and value.isascii() and value >= "!" and value[-1] > " ":  # nearly always
        return value
    if not isinstance(value, str):
        remedy = remedies.for_text(value, "value")
        raise InvalidEvent(f"{what} is {kind(value)}: {remedy}{_guests(what) if is_missing(value) else ''}")
    if not value:
        raise InvalidEvent(f"{what} is an empty string: give a non-empty one.{_guests(what)}")
    plain = str.__str__(value)
    if (advice := remedies.for_surrogates(plain, "value")) is not None:
        raise InvalidEvent(f"{what} holds a lone surrogate, which {advice}")
    if is_blank(plain):
        raise InvalidEvent(
            f"{what} is blank, it has only white space or invisible characters: give one that can be seen."
            f"{_guests(what)}"
        )
    if on_padded is not None and (padding := _padding(plain)):
        on_padded(what, padding)
    return plain


def _guests(what: str) -> str:
    return _GUESTS if what == PLAYER else ""


def contact(what: str, value: object, on_padded: OnPadded | None = None) -> str | None:
    """Return a mobile number or an e-mail address as a plain string; None stays None."""
    return None if value is None else text(f"{what} (omit it if unknown)", value, on_padded)


def is_blank(value: str) -> bool:
    """Whether nothing of a string can be seen."""
    is_plain = value.isascii() and value >= "!"  # nearly always
    return not is_plain and not any(map(_is_visible, value))


def _is_visible(character: str) -> bool:
    if character.isspace() or (unicodedata.category(character) in ("Cc", "Cf") and character != "\x7f"):
        return False  # DEL is let through: to look for it would cost every event more than it is worth
    return character not in _INVISIBLE and character not in _PARTS_OF_EMOJI


def _padding(value: str) -> str:
    """The characters at both ends of a string that cannot be seen, each once."""
    first = next(at for at, character in enumerate(value) if _is_visible(character))
    last = next(at for at in range(len(value) - 1, -1, -1) if _is_visible(value[at]))
    return "".join(sorted(set(value[:first] + value[last + 1 :]) - _PARTS_OF_EMOJI))


def encode_event(name: object, metadata: object) -> bytes:
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
        metadata = _converted(name, metadata)
    try:
        encoded = _encode({name: metadata})[1:-1]
    except UnicodeEncodeError:
        text(NAME, name)
        _converted(name, metadata)  # one of both raises, for the text that UTF-8 refused
        raise
    if not encoded.isascii():  # only then may a key be blank that `_is_plain` has let through
        for key in cast("Mapping[str, object]", metadata):
            _check_key(name, key)
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
            is_plain = _LEAST_INT <= value <= _GREATEST_INT
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


def _converted(name: str, metadata: object) -> dict[str, object]:
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"event {quoted(name)}: metadata is {kind(metadata)}: {remedies.for_metadata(metadata)}")
    converted: dict[str, object] = {}
    for key, value in cast("Mapping[object, object]", metadata).items():
        plain_key = _check_key(name, key)
        if plain_key in converted:
            raise InvalidEvent(f"event {quoted(name)}: key {quoted(plain_key)} occurs twice: use a list of values.")
        converted[plain_key] = _converted_value(name, plain_key, value)
    return converted


def _check_key(name: str, key: object) -> str:
    """Return a key as a plain string, if it is a string that can be seen."""
    if not isinstance(key, str):
        problem = f"is {kind(key)}: {remedies.for_text(key, 'key')}"
    elif (remedy := remedies.for_surrogates(key, "key")) is not None:
        problem = f"holds a lone surrogate, which {remedy}"
    elif is_blank(key):
        problem = f"is {'blank' if key else 'an empty string'}: give a non-empty string that can be seen."
    else:
        return str.__str__(key)
    raise InvalidEvent(f"event {quoted(name)}: a metadata key {problem}")


def _converted_value(name: str, key: str, value: object) -> object:
    if not isinstance(value, (list, tuple)):
        return _converted_scalar(_ValuePath(name, key), value)
    items = cast("Sequence[object]", value)
    place = _ValuePath(name, key, items)
    converted: list[object] = []
    for index, item in enumerate(items):
        place.index = index
        converted.append(_converted_scalar(place, item))
    return converted


@attrs.define
class _ValuePath:
    """Where a value is, for messages.

    Attributes:
        name: the event's name.
        key: the key of its metadata.
        array: the array that it is an item of.
        index: where in it.
    """

    name: str
    key: str
    array: Sequence[object] | None = None
    index: int = 0

    def expression(self, member: str) -> str:
        """The value, as a suggestion calls it; `member` is what leads from there into an Enum."""
        return ("value" if self.array is None else f"value[{self.index}]") + member

    def error(self, problem: str) -> InvalidEvent:
        what = "the value" if self.array is None else "an item of the array"
        return InvalidEvent(f"event {quoted(self.name)}, key {quoted(self.key)}: {what} is {problem}")


def _converted_scalar(place: _ValuePath, value: object, member: str = "") -> object:
    match value:
        case Enum():
            return _converted_scalar(place, value.value, f"{member}.value")
        case Decimal():
            return _converted_decimal(place, value, member)
        case bool():
            pass
        case str() | int() | float() | date() | UUID():
            return _converted_common(place, value, member)
        case _:
            pass
    remedy = remedies.for_value(place.key, value, place.expression(member), place.array)
    raise place.error(f"{kind(value)}; Gameball takes numbers, strings and arrays of these: {remedy}")


def _converted_common(place: _ValuePath, value: str | float | date | UUID, member: str) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise place.error(f"NaN or infinite, which JSON cannot carry: {leave_out(place.array)}")
    if is_missing(value):
        raise place.error(f"{kind(value)} that is not equal to itself, a missing value: {leave_out(place.array)}")
    match value:
        case str():
            if not value.isascii() and (remedy := remedies.for_surrogates(value, place.expression(member))):
                raise place.error(f"a text with a lone surrogate, which {remedy}")
            return str.__str__(value)
        case int():
            if _LEAST_INT <= (number := int.__int__(value)) <= _GREATEST_INT:
                return number
            raise place.error(f"an int beyond 64 bits: {remedies.for_int(number, place.expression(member))}")
        case float():
            return float.__float__(value)
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _converted_decimal(place: _ValuePath, value: Decimal, member: str) -> msgspec.Raw:
    if not value.is_finite():
        raise place.error(f"NaN or infinite, which JSON cannot carry: {leave_out(place.array)}")
    _, digits, exponent = value.as_tuple()
    longest = max(len(digits), abs(int(exponent)), abs(value.adjusted()))
    if longest > _DECIMAL_DIGITS:
        raise place.error(
            f"a Decimal of more than {_DECIMAL_DIGITS} digits: quantize it, or send it as a string, for example "
            f"str({place.expression(member)})."
        )
    return msgspec.Raw(Decimal.__format__(value, "f").encode())
