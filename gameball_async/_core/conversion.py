"""What each value of metadata is sent as: converted without loss, or refused with a remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import cast
from uuid import UUID

import msgspec

from ..errors import InvalidEvent
from . import remedies
from .remedies import is_missing, kind, leave_out, quoted
from .texts import is_blank

LEAST_INT, GREATEST_INT = -(2**63), 2**63 - 1
_DECIMAL_DIGITS = 28  # the precision of Decimal's default context, and what a .NET decimal holds


def converted(name: str, metadata: object) -> dict[str, object]:
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"event {quoted(name)}: metadata is {kind(metadata)}: {remedies.for_metadata(metadata)}")
    converted: dict[str, object] = {}
    for key, value in cast("Mapping[object, object]", metadata).items():
        plain_key = check_key(name, key)
        if plain_key in converted:
            raise InvalidEvent(f"event {quoted(name)}: key {quoted(plain_key)} occurs twice: use a list of values.")
        converted[plain_key] = converted_value(name, plain_key, value)
    return converted


def plain_values(metadata: Mapping[object, object]) -> dict[str, object]:
    """Convert once what is encoded often; decimals stay as they are, because their digits are made while encoding.

    Raises:
        InvalidEvent: as `converted` does, for an event named "defaults".
    """
    plain = converted("defaults", metadata)
    for key, value in zip(list(plain), metadata.values(), strict=True):
        items = plain[key] if isinstance(plain[key], list) else [plain[key]]
        if any(isinstance(item, msgspec.Raw) for item in cast("list[object]", items)):
            plain[key] = list(cast("Sequence[object]", value)) if isinstance(value, (list, tuple)) else value
    return plain


def sendable_values(metadata: object) -> dict[str, object]:
    """Convert those entries that can be sent; what the others raise is ignored."""
    converted_entries: dict[str, object] = {}
    with suppress(Exception):
        for key, value in cast("Mapping[object, object]", metadata).items():
            with suppress(Exception):
                converted_entries |= converted("", {key: value})
    return converted_entries


def check_key(name: str, key: object) -> str:
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


def converted_value(name: str, key: str, value: object) -> object:
    if not isinstance(value, (list, tuple)):
        return _converted_scalar(_ValuePath(name, key), value)
    items = cast("Sequence[object]", value)
    place = _ValuePath(name, key, items)
    converted: list[object] = []
    for index, item in enumerate(items):
        place.index = index
        converted.append(_converted_scalar(place, item))
    return converted


class _ValuePath(msgspec.Struct):
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
            if LEAST_INT <= (number := int.__int__(value)) <= GREATEST_INT:
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
