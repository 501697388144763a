"""What each value of metadata is sent as: converted without loss, or refused with a remedy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any, cast
from uuid import UUID

import msgspec

from .._config import REJECTING, Conversion
from ..errors import InvalidEvent
from . import remedies
from .remedies import is_missing, kind, leave_out, quoted
from .texts import is_blank

LEAST_INT, GREATEST_INT = -(2**63), 2**63 - 1
MOST_DEPTH = 20  # of nested dicts, which may contain themselves
_DECIMAL_DIGITS = 28  # the precision of Decimal's default context, and what a .NET decimal holds


def converted(name: str, metadata: object, conversion: Conversion = REJECTING) -> dict[str, object]:
    """Convert the metadata of an event.

    Raises:
        InvalidEvent: naming the event, the key, the type of the value and the remedy.
    """
    if (entries := entries_of(metadata)) is None:
        raise InvalidEvent(f"event {quoted(name)}: metadata is {kind(metadata)}: {remedies.for_metadata(metadata)}")
    source = "metadata" if isinstance(metadata, Mapping) else remedies.as_dict(metadata, "metadata") or "metadata"
    place = _ValuePath(name, "", "", source)
    plain: dict[str, object] = {}
    _add_entries(plain, entries, place, conversion, 0)
    return plain


def _add_entries(
    plain: dict[str, object], entries: Mapping[object, object], parent: _ValuePath, conversion: Conversion, depth: int
) -> None:
    for key, value in entries.items():
        place = parent.below(check_key(parent.name, key))
        if conversion.none == "omit" and (value.value if isinstance(value, Enum) else value) is None:
            continue
        is_array = issubclass(type(value), (list, tuple)) and not hasattr(type(value), "_asdict")
        is_scalar = conversion.nested == "reject" or is_array
        if not is_scalar and (below := entries_of(value)) is not None:
            if depth == MOST_DEPTH:
                raise place.error(f"nested deeper than {MOST_DEPTH} levels: flatten it before.")
            _add_entries(plain, below, place, conversion, depth + 1)
            continue
        if place.key in plain:
            raise InvalidEvent(
                f"event {quoted(parent.name)}: key {quoted(place.shown)} occurs twice: use a list of values."
            )
        plain[place.key] = _converted_value(place, value, conversion)


def entries_of(value: object) -> Mapping[object, object] | None:
    """The entries of a mapping, or the fields of a record of a common kind; None if it is neither.

    Raises:
        InvalidEvent: if the record's own code raises.
    """
    try:
        return _entries_of(value)
    except Exception as error:
        raise InvalidEvent(
            f"the fields of {kind(value)} cannot be read, it raised {type(error).__name__}: correct it, or pass a dict."
        ) from error


def _entries_of(value: object) -> Mapping[object, object] | None:
    if isinstance(value, Mapping):
        return cast("Mapping[object, object]", value)
    record = cast("type[Any]", type(value))
    if callable(getattr(record, "model_dump", None)):  # pydantic
        dumped: object = cast("Any", value).model_dump()
        return cast("Mapping[object, object]", dumped) if isinstance(dumped, Mapping) else None
    names: Iterable[str] = getattr(record, "__struct_fields__", ())  # msgspec
    if dataclasses.is_dataclass(record):
        names = [field.name for field in dataclasses.fields(record)]
    elif hasattr(record, "__attrs_attrs__"):
        names = [field.name for field in record.__attrs_attrs__]
    elif callable(getattr(record, "_asdict", None)):  # a named tuple, or a row of SQLAlchemy
        names = cast("Any", value)._asdict()
    elif not hasattr(record, "__struct_fields__"):
        return None
    return {name: getattr(value, name) for name in names}


def plain_values(metadata: Mapping[object, object], conversion: Conversion) -> dict[str, object]:
    """Convert once what is encoded often; decimals stay as they are, because their digits are made while encoding.

    Raises:
        InvalidEvent: as `converted` does, for an event named "defaults".
    """
    plain = converted("defaults", metadata, conversion)
    for key, value in list(plain.items()):
        items = cast("list[object]", value) if isinstance(value, list) else [value]
        decimals = [Decimal(bytes(item).decode()) if isinstance(item, msgspec.Raw) else item for item in items]
        plain[key] = decimals if isinstance(value, list) else decimals[0]
    return plain


def sendable_values(metadata: object, conversion: Conversion = REJECTING) -> dict[str, object]:
    """Convert those entries that can be sent; what the others raise is ignored."""
    converted_entries: dict[str, object] = {}
    with suppress(Exception):
        for key, value in (entries_of(metadata) or {}).items():
            with suppress(Exception):
                converted_entries |= converted("", {key: value}, conversion)
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


def _converted_value(place: _ValuePath, value: object, conversion: Conversion) -> object:
    if not isinstance(value, (list, tuple)):
        return _converted_scalar(place, value, conversion)
    items = place.array = cast("Sequence[object]", value)
    plain: list[object] = []
    for index, item in enumerate(items):
        place.index = index
        if item is not None or conversion.none == "reject":
            plain.append(_converted_scalar(place, item, conversion))
    return plain


class _ValuePath(msgspec.Struct):
    """Where a value is, for messages.

    Attributes:
        name: the event's name.
        key: the key that it is sent with.
        shown: the key for messages, without the nested keys that may be data.
        source: the expression for the dict that it is from.
        array: the array that it is an item of.
        index: where in it.
    """

    name: str
    key: str
    shown: str
    source: str
    array: Sequence[object] | None = None
    index: int = 0

    def below(self, key: str) -> _ValuePath:
        """The place of one of its entries."""
        if not self.key:
            return _ValuePath(self.name, key, key, self.source)
        shown = key if remedies.FIELD_NAME.fullmatch(key) else "…"
        return _ValuePath(self.name, f"{self.key}.{key}", f"{self.shown}.{shown}", "")

    def expression(self, member: str) -> str:
        """The value, as a suggestion calls it; `member` is what leads from there into an Enum."""
        return ("value" if self.array is None else f"value[{self.index}]") + member

    def error(self, problem: str) -> InvalidEvent:
        what = "the value" if self.array is None else "an item of the array"
        return InvalidEvent(f"event {quoted(self.name)}, key {quoted(self.shown)}: {what} is {problem}")


def _converted_scalar(place: _ValuePath, value: object, conversion: Conversion, member: str = "") -> object:
    match value:
        case Enum():
            return _converted_scalar(place, value.value, conversion, f"{member}.value")
        case Decimal():
            return _converted_decimal(place, value, member)
        case bool():
            pass
        case str() | int() | float() | date() | UUID():
            return _converted_common(place, value, member)
        case _:
            if (number := _exact_number(value)) is not None:
                return _converted_common(place, number, member)
    if conversion.booleans == "0/1" and remedies.is_bool(value):
        return int(cast("bool", value))
    if value is None and not place.source:  # in a nested dict
        remedy = leave_out(place.array)
    else:
        remedy = remedies.for_value(place.shown, value, place.expression(member), place.array)
        remedy = remedy.replace(" in metadata.items()", f" in {place.source}.items()")
    raise place.error(f"{kind(value)}; Gameball takes numbers, strings and arrays of these: {remedy}")


def _exact_number(value: object) -> float | None:
    """The int or float that is equal to a number of another type, such as one of numpy, or None."""
    if not isinstance(value, Real) or getattr(getattr(value, "dtype", None), "kind", "") == "m":
        return None  # numpy registers its timedelta64 as an Integral
    try:
        number = int(value) if isinstance(value, Integral) else float(value)
    except (OverflowError, ValueError):
        return None
    return number if number == value or math.isnan(number) else None


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
