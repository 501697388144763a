"""One line of NDJSON to one event: strict about names, exact about numbers."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._lines import LONGEST_LINE, Line
from ._rows import Draft, Row, RowError
from ._words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAYER = ("player_unique_id", "player")
_EVENT = ("event", "name")
_TOO_MANY_DIGITS = "a number has too many digits: send it as a string."
_KNOWN = frozenset({*_PLAYER, *_EVENT, "metadata", "mobile", "email"})


def read_ndjson(lines: Iterator[Line], *, file: int, encoding: str) -> Iterator[Row]:
    """Read one event per line; a line that holds none costs only itself. Blank lines are skipped.

    Args:
        lines: the physical lines.
        file: the file's number, for the rows.
        encoding: the encoding of the text.

    Yields:
        One row per line, with its event or the reason why there is none.
    """
    previous = 0
    for line in lines:
        if not line.data.strip():
            continue
        yield Row(file, line.number, line.number, previous, line.data, _content(line, encoding))
        previous = line.number


def decoded(line: Line, encoding: str) -> str:
    """Return the text of a line.

    Raises:
        RowError: if it is too long or has a byte that does not belong to the encoding.
    """
    if line.cut:
        raise RowError(f"the line is longer than {LONGEST_LINE:,} bytes: split it, or shorten its texts.")
    try:
        return line.data.decode(encoding)
    except UnicodeDecodeError as error:
        byte = line.data[error.start]
        raise RowError(
            f"byte {error.start + 1} of the line (0x{byte:02x}) is not {encoding.upper()}: "
            "save the file as UTF-8, or name its encoding with --encoding."
        ) from None


def parse_event(text: str) -> Draft:
    """Return the event that one line of NDJSON holds.

    Raises:
        RowError: if it is not JSON, or not an event; the message names the key.
    """
    fields = _parse_object(text)
    if unknown := fields.keys() - _KNOWN:
        raise RowError(f"unknown key {quoted(min(unknown))}: give {', '.join(sorted(_KNOWN))}; the rest is metadata.")
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise RowError(f"metadata is {_kind(metadata)}: give an object of keys and values.")
    return Draft(
        player=_one_of(fields, _PLAYER),
        name=_one_of(fields, _EVENT),
        metadata=cast("dict[str, Any] | None", metadata),
        mobile=_text(fields, "mobile"),
        email=_text(fields, "email"),
    )


def _content(line: Line, encoding: str) -> Draft | str:
    try:
        return parse_event(decoded(line, encoding))
    except RowError as error:
        return str(error)


def _parse_object(text: str) -> dict[str, object]:
    try:
        parsed: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON at column {error.colno}: {error.msg}.") from None
    except RecursionError:
        raise RowError("not an event: arrays or objects are nested too deeply.") from None
    except ValueError:  # what int() says to more digits than it would ever convert
        raise RowError(_TOO_MANY_DIGITS) from None
    if not isinstance(parsed, dict):
        raise RowError(f"the line is {_kind(parsed)}: give one JSON object per line.")
    return cast("dict[str, object]", parsed)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
    raise RowError(f"key {quoted(twice)} occurs twice: keep one, or use an array of values.")


def _exact_number(text: str) -> float | Decimal:
    # a float is kept where it says exactly what the file says; it costs less and knows 1e-300
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of more digits than a Decimal's may have
        raise RowError(_TOO_MANY_DIGITS) from None
    number = float(text)
    return number if Decimal(repr(number)) == exact else exact


def _no_constant(name: str) -> NoReturn:
    raise RowError(f"{name} is not a number that JSON knows: leave the key out.")


def _one_of(fields: dict[str, object], names: tuple[str, ...]) -> str:
    given = [name for name in names if name in fields]
    if len(given) == 1 and (value := _text(fields, given[0])) is not None:
        return value
    choice = " or ".join(quoted(name) for name in names)
    raise RowError(f"both {choice.replace(' or ', ' and ')}: keep one." if len(given) > 1 else f"no {choice}: add it.")


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise RowError(f"{name} is {_kind(value)}: put it in quotes, it must be a string.")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return "a number"


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_float=_exact_number, parse_constant=_no_constant
)
