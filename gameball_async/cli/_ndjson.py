"""One line of NDJSON to one event: strict about names, exact about numbers."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._lines import LONGEST_LINE, UNDECODABLE, Draft, InputLine, InputRow, RowError
from ._terminal import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAYER = ("player_unique_id", "player")
_EVENT = ("event", "name")
_TOO_MANY_DIGITS = "a number has too many digits: send it as a string."
_UNDECODABLE = UNDECODABLE.encode("utf-8", "surrogatepass")
_NO_EVENT = (b"", b",", b"[", b"]", b"],")
_BOM = "\ufeff"  # inside a file: where two were joined
KNOWN_KEYS = frozenset({*_PLAYER, *_EVENT, "metadata", "mobile", "email"})


def read_ndjson(lines: Iterator[InputLine], *, file: int, encoding: str) -> Iterator[InputRow]:
    """Read one event per line; a line that holds none costs only itself. Blank lines are skipped.

    Of an array with one event per line, its brackets are skipped and the commas after the events ignored.

    Args:
        lines: the physical lines.
        file: the file's number, for the rows.
        encoding: the encoding of the text.

    Yields:
        One row per line, with its event or the reason why there is none.
    """
    previous = 0
    for line in lines:
        if line.data.strip() in _NO_EVENT:
            continue
        yield InputRow(file, line.number, line.number, previous, line.data, _content(line, encoding))
        previous = line.number


def decoded(line: InputLine, encoding: str) -> str:
    """Return the text of a line.

    Raises:
        RowError: if it is too long or has a byte that does not belong to the encoding.
    """
    if line.cut:
        raise RowError(f"the line is longer than {LONGEST_LINE:,} bytes: split it, or shorten its texts.")
    try:
        text = line.data.decode(encoding)
    except UnicodeDecodeError as error:
        if line.data.startswith(_UNDECODABLE, error.start):
            raise RowError("the line has bytes that do not belong to the file's encoding: save it as UTF-8.") from None
        byte = line.data[error.start]
        raise RowError(
            f"byte {error.start + 1} of the line (0x{byte:02x}) is not {encoding.upper()}: "
            "save the file as UTF-8, or name its encoding with --encoding."
        ) from None
    if "\0" in text:
        raise RowError("the line has a NUL byte: the file is damaged, no text, or UTF-16; save it as UTF-8.")
    return text


def parse_event(text: str, what: str = "line") -> Draft:
    """Return the event that one line of NDJSON holds.

    Args:
        text: the JSON text.
        what: what the text is, for messages.

    Raises:
        RowError: if it is not JSON, or not an event; the message names the key.
    """
    fields = _parse_object(text, what)
    if unknown := fields.keys() - KNOWN_KEYS:
        raise RowError(
            f"unknown key {quoted(min(unknown))}: give {', '.join(sorted(KNOWN_KEYS))}; the rest is metadata."
        )
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise RowError(f"metadata is {kind(metadata)}: give an object of keys and values.")
    return Draft(
        player=_one_of(fields, _PLAYER),
        name=_one_of(fields, _EVENT),
        metadata=cast("dict[str, Any] | None", metadata),
        mobile=_text(fields, "mobile"),
        email=_text(fields, "email"),
    )


def _content(line: InputLine, encoding: str) -> Draft | str:
    try:
        return parse_event(decoded(line, encoding).lstrip(_BOM).rstrip().removesuffix(","))
    except RowError as error:
        return str(error)


def not_json(error: json.JSONDecodeError) -> str:
    """Describe a syntax error, with a remedy for the common ones."""
    if error.msg == "Extra data":
        remedy = " Put each event on a line of its own."
    elif error.doc.startswith("'", error.pos):
        remedy = " JSON needs double quotes: Python's json.dumps writes them."
    elif (
        error.msg.startswith("Illegal trailing comma")
        or (  # as Python 3.13 finds it, and older ones
            error.doc.startswith(("}", "]"), error.pos) and error.doc[: error.pos].rstrip().endswith(",")
        )
    ):
        remedy = " Remove the comma before the closing bracket."
    else:
        remedy = ""
    return f"not JSON at column {error.colno}: {error.msg}.{remedy}"


def kind(value: object) -> str:
    """Name the kind of a JSON value."""
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


def _parse_object(text: str, what: str) -> dict[str, object]:
    try:
        parsed: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowError(not_json(error)) from None
    except RecursionError:
        raise RowError("not an event: arrays or objects are nested too deeply.") from None
    except ValueError:  # what int() says to more digits than it would ever convert
        raise RowError(_TOO_MANY_DIGITS) from None
    if not isinstance(parsed, dict):
        raise RowError(f"the {what} is {kind(parsed)}: give one JSON object per {what}.")
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
    raise RowError(f"{name} is {kind(value)}: put it in quotes, it must be a string.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_float=_exact_number, parse_constant=_no_constant
)
