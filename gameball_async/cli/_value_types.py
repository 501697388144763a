"""The types of values: from the text of a cell to what is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from ._lines import RowError, Value
from ._terminal import quoted

_INT = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}([.' \u00a0\u202f\u2019][0-9]{3})+)(,[0-9]+)?")
_THOUSANDS = re.compile(r"[.' \u00a0\u202f\u2019]")
_LONGEST_NUMBER = 400  # characters: Gameball takes no longer number, and int() is quadratic
_DATE = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})(?:[ T,]+(.+))?")
_ZONE_AFTER_SPACE = re.compile(r"(.*\S)\s+(Z|UTC|[+-][0-9]{2}:?[0-9]{2})")
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), 1),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), 0),
}


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise RowError(f"{quoted(text)} is not a whole number.")
    return int(text)


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        hint = ", or use the type decimal-comma" if _DECIMAL_COMMA.fullmatch(text) else ""
        raise RowError(f"{quoted(text)} is not a number: write it with a point, such as 12.50{hint}.")
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent has too many digits for a Decimal
        raise RowError(_too_many_digits(text)) from None


def _decimal_comma(text: str) -> Decimal:
    if not _DECIMAL_COMMA.fullmatch(text):
        raise RowError(f"{quoted(text)} is not a number with a decimal comma, such as 1.234,50.")
    return Decimal(_THOUSANDS.sub("", text).replace(",", "."))


def _float(text: str) -> float:
    number = float(_decimal(text))
    if not math.isfinite(number):
        raise RowError(f"{quoted(text)} is too large for a float: use the type decimal, or string.")
    return number


def _too_many_digits(text: str) -> str:
    return f"{quoted(text)} has too many digits: use the type string."


def _number(convert: Callable[[str], Value]) -> Callable[[str], Value]:
    def converted(text: str) -> Value:
        if len(text) > _LONGEST_NUMBER:
            raise RowError(_too_many_digits(text))
        return convert(text.strip())

    return converted


def _bool(text: str) -> int:
    number = _BOOLEANS.get(text.strip().casefold())
    if number is None:
        raise RowError(f"{quoted(text)} is neither true nor false: the words are {', '.join(_BOOLEANS)}.")
    return number


def _iso_date(text: str) -> str:
    """Return a date, or a date and time, as ISO 8601 has it; its zone may follow after a space."""
    match = _ZONE_AFTER_SPACE.fullmatch(text.strip())
    joined = text.strip() if match is None else match[1] + match[2].replace("UTC", "Z")
    try:
        is_day = len(joined) == len("2026-01-31")
        return (date.fromisoformat(joined) if is_day else datetime.fromisoformat(joined)).isoformat()
    except ValueError:
        raise RowError(
            f"{quoted(text)} is not a date such as 2026-01-31: use date-dmy or date-mdy if the year is at its end."
        ) from None


def _numeric_date(example: str, *, day_at: int, month_at: int) -> Callable[[str], Value]:
    def converted(text: str) -> str:
        match = _DATE.fullmatch(text.strip())
        if match is None:
            raise RowError(f"{quoted(text)} is not a date such as {example}.")
        day = f"{match[4]}-{match[month_at]:0>2}-{match[day_at]:0>2}"
        hour, colon, rest = (match[5] or "").partition(":")
        try:
            return _iso_date(f"{day} {hour:0>2}{colon}{rest}" if match[5] else day)
        except RowError:
            raise RowError(f"{quoted(text)} is not a date such as {example}.") from None

    return converted


TYPES: dict[str, Callable[[str], Value]] = {
    "string": str,
    "int": _number(_int),
    "decimal": _number(_decimal),
    "decimal-comma": _number(_decimal_comma),
    "float": _number(_float),
    "bool": _bool,
    "date": _iso_date,
    "date-dmy": _numeric_date("31.1.2026 or 31/01/2026 12:30", day_at=1, month_at=3),
    "date-mdy": _numeric_date("1/31/2026 or 01/31/2026 12:30", day_at=3, month_at=1),
}
