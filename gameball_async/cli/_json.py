"""JSON to rows: NDJSON line by line, and arrays or joined objects value by value; numbers stay exact."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NoReturn, cast

import attrs

from ._fields import EVENT_KEYS, PLAYER_KEYS, Fields, kind
from ._lines import (
    CHUNK,
    LONGEST_LINE,
    UNDECODABLE,
    Draft,
    InputLine,
    InputRow,
    Peekable,
    Readable,
    ReadError,
    RowError,
    SkippedRow,
    WrongFormat,
)
from ._terminal import quoted

_TOO_MANY_DIGITS = "a number has too many digits: send it as a string."
_UNDECODABLE = UNDECODABLE.encode("utf-8", "surrogatepass")
_NO_EVENT = (b"", b",", b"[", b"]", b"],")
_BOM = "\ufeff"  # inside a file: where two were joined
KNOWN_KEYS = frozenset({*PLAYER_KEYS, *EVENT_KEYS, "metadata", "mobile", "email"})
_NO_MAPPING = Fields()
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_BEGIN = re.compile(rb"\s*(?:([^\s\[])|\[\s*(\S))")  # the first character, or the first in an array
_ARRAY_OF_OBJECTS = re.compile(r"\[\s*\{")
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BAD_BYTE = re.compile(r"[\udc80-\udcff]")  # as surrogateescape decodes it
# numbers stay text: their values are not needed here, and int() refuses very long ones
_SYNTAX = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def read_ndjson(
    lines: Iterator[InputLine],
    *,
    file: int,
    encoding: str,
    fields: Fields = _NO_MAPPING,
    on_skipped: Callable[[int], None] = lambda _: None,
) -> Iterator[InputRow]:
    """Yield one row per line, with its event or the reason why it has none; blank lines are skipped.

    The brackets and commas of an array with one event per line are skipped. If a line may have several events, each is
    a row with a number of its own.
    """
    previous = entry = 0
    for line in lines:
        if line.data.strip() in _NO_EVENT:
            continue
        found = _contents(partial(_text_of_line, line, encoding), line.data, "line", fields)
        for raw, content in found:
            entry += 1
            number = entry if fields.bodies else None
            yield InputRow(file, line.number, line.number, previous, raw, content, number)
        if found:
            previous = line.number
        else:
            on_skipped(line.number)


def decoded(line: InputLine, encoding: str) -> str:
    if line.cut:
        raise RowError(f"the line is longer than {LONGEST_LINE:,} bytes: split it, or shorten its texts.")
    try:
        text = line.data.decode(encoding)
    except UnicodeDecodeError as error:
        if line.data.startswith(_UNDECODABLE, error.start):
            raise RowError("the line has bytes that are invalid in the file's encoding: save it as UTF-8.") from None
        byte = line.data[error.start]
        raise RowError(
            f"byte {error.start + 1} of the line (0x{byte:02x}) is not {encoding.upper()}: "
            "save the file as UTF-8, or name its encoding with --encoding."
        ) from None
    if "\0" in text:
        raise RowError("the line has a NUL byte: the file is damaged, binary or UTF-16; save it as UTF-8.")
    return text


def parse_event(text: str, what: str = "line") -> Draft:
    fields = _parse_object(text, what)
    if unknown := fields.keys() - KNOWN_KEYS:
        raise RowError(
            f"unknown key {quoted(min(unknown))}: give {', '.join(sorted(KNOWN_KEYS))}; the rest is metadata."
        )
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise RowError(f"metadata is {kind(metadata)}: give an object of keys and values.")
    return Draft(
        player=_one_of(fields, PLAYER_KEYS),
        name=_one_of(fields, EVENT_KEYS),
        metadata=cast("dict[str, Any] | None", metadata),
        mobile=_text(fields, "mobile"),
        email=_text(fields, "email"),
    )


def _contents(text: Callable[[], str], raw: bytes, what: str, fields: Fields) -> list[tuple[bytes, Draft | str]]:
    """Return the events of one object with their bytes, or the reason why it has none; empty if it is skipped."""
    try:
        if not fields.is_set:
            return [(raw, parse_event(text(), what))]
        found = list(fields.events(_parse_object(text(), what)))
    except SkippedRow:
        return []
    except RowError as error:
        return [(raw, str(error))]
    return [(raw if each.text is None else each.text.encode(), each.draft) for each in found]


def _text_of_line(line: InputLine, encoding: str) -> str:
    return decoded(line, encoding).lstrip(_BOM).rstrip().removesuffix(",")


def not_json(error: json.JSONDecodeError) -> str:
    """Describe a syntax error, with a remedy for the common ones."""
    if error.msg == "Extra data":
        remedy = " Write one event per line."
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


def parse_value(text: str) -> object:
    """Parse one JSON value; numbers stay exact.

    Raises:
        RowError: if it is not JSON, or has what no value can have.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RowError(not_json(error)) from None
    except RecursionError:
        raise RowError("not an event: arrays or objects are nested too deeply.") from None
    except ValueError:  # int() refuses this many digits
        raise RowError(_TOO_MANY_DIGITS) from None


def _parse_object(text: str, what: str) -> dict[str, object]:
    parsed = parse_value(text)
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
    # keep a float that is exactly the number in the file: it is cheaper, and can be 1e-300
    try:
        exact = Decimal(text)
    except InvalidOperation:  # the exponent has too many digits for a Decimal
        raise RowError(_TOO_MANY_DIGITS) from None
    number = float(text)
    return number if Decimal(repr(number)) == exact else exact


def _no_constant(name: str) -> NoReturn:
    raise RowError(f"{name} is not a JSON number: leave the key out.")


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


def is_json(stream: Peekable) -> bool:
    """Whether a file begins with a JSON object or an array of objects; CSV may have names in brackets."""
    begin = _begin(stream)
    return begin is not None and (begin[1] == b"{" or begin[2] in {b"{", b"]"})


def _begin(stream: Peekable) -> re.Match[bytes] | None:
    return _BEGIN.match(stream.peek(lambda head: _BEGIN.match(head) is not None))


def is_document(stream: Peekable, fields: Fields = _NO_MAPPING) -> bool:
    """Whether JSON is other than one event per line; decided by its first two lines.

    A first line that is not JSON is an NDJSON line with a mistake, unless the second line continues it.
    """
    begin = _begin(stream)
    if begin is None or begin[1] != b"{":
        return begin is not None and begin[2] is not None
    head = stream.peek(lambda head: len(_lines(head)) >= 1)
    first = (_lines(head) or [head])[0].strip()
    text = first.decode("utf-8", "replace")
    if _wrapper_of(text, 0, fields) is not None:
        return True
    try:
        _, end = _SYNTAX.raw_decode(text)
    except (ValueError, RecursionError):
        if len(first) > LONGEST_LINE:
            return False
        lines = _lines(stream.peek(lambda head: len(_lines(head)) >= 2), whole=False)  # noqa: PLR2004
        return len(lines) > 1 and not lines[1].lstrip().startswith(b"{")
    return text[end:].lstrip(" \t,").startswith("{")


def _wrapper_of(text: str, at: int, fields: Fields) -> str | None:
    """Return the key of an array of events; objects of other programs may have arrays of objects further inside."""
    if fields.is_set:
        return wrapper_key(text, at, depth=1, known=fields.known)
    return wrapper_key(text, at)


def wrapper_key(text: str, at: int = 0, depth: int = 3, known: frozenset[str] = KNOWN_KEYS) -> str | None:
    """Return the key of an array of events inside an object, in jq's notation; its beginning is enough."""
    at = _after_space(text, at + 1)
    try:
        while text.startswith('"', at):
            key, at = _SYNTAX.raw_decode(text, at)
            at = _after_space(text, text.index(":", at) + 1)
            if key in known:  # an event
                return None
            if _ARRAY_OF_OBJECTS.match(text, at):
                return str(key)
            if (
                depth > 1
                and text.startswith("{", at)
                and (inner := wrapper_key(text, at, depth - 1, known)) is not None
            ):
                return f"{key}.{inner}"
            _, at = _SYNTAX.raw_decode(text, at)
            at = _after_space(text, at)
            if text.startswith(",", at):
                at = _after_space(text, at + 1)
    except (ValueError, RecursionError):
        pass
    return None


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def read_documents(
    source: Readable,
    *,
    file: int,
    encoding: str,
    fields: Fields = _NO_MAPPING,
    on_skipped: Callable[[int], None] = lambda _: None,
) -> Iterator[InputRow]:
    """Yield a row for each event of the values at the top level or in an array, or the reason why one has none."""
    entry = 0
    for value in _Values(source, encoding, fields):
        raw = value.text.encode(encoding, "surrogateescape")
        found = _contents(partial(_text_of_value, value.text, encoding), raw, "entry", fields)
        for each, content in found:
            entry += 1
            yield InputRow(file, value.line, value.last_line, 0, each, content, entry)
        if not found:
            on_skipped(value.line)


def _text_of_value(text: str, encoding: str) -> str:
    if _BAD_BYTE.search(text):
        raise RowError(
            f"a byte of it is not {encoding.upper()}: save the file as UTF-8, or name its encoding with --encoding."
        )
    return text


def _lines(head: bytes, *, whole: bool = True) -> list[bytes]:
    """Return the lines that are not blank; without `whole`, also an incomplete last one."""
    lines = head.splitlines(keepends=True)
    return [line for line in lines if line.strip() and (not whole or line.endswith((b"\r", b"\n")))]


@attrs.frozen
class _Value:
    text: str
    line: int
    last_line: int


class _Values:
    """Iterate over the values of a file, at the top level and in arrays there."""

    def __init__(self, source: Readable, encoding: str, fields: Fields) -> None:
        self._source = source
        self._fields = fields
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._text = ""
        self._at = 0  # offset in the text
        self._line = 1  # line at that offset
        self._is_after_cr = False  # an LF would belong to the CR
        self._is_at_end = False

    def __iter__(self) -> Iterator[_Value]:
        in_array = False
        while char := self._next_char():
            if char == "[" and not in_array:
                in_array = True
                self._at += 1
            elif char == "]" and in_array:
                in_array = False
                self._at += 1
            elif char == ",":
                self._at += 1
            else:
                yield self._value(in_array=in_array)
        if in_array:
            raise ReadError("its array is not closed: the file is truncated, fetch it again.")

    def _next_char(self) -> str:
        """Move to the next character that is not space, and return it; "" at the end."""
        while True:
            self._move(_after_space(self._text, self._at))
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _value(self, *, in_array: bool) -> _Value:
        line = self._line
        try:
            end = self._end_of_value()
        finally:
            if not in_array:
                self._refuse_wrapper()
        value = self._text[self._at : end]
        self._move(end)
        return _Value(value, line, self._line)

    def _refuse_wrapper(self) -> None:
        if not self._text.startswith("{", self._at) or (key := _wrapper_of(self._text, self._at, self._fields)) is None:
            return
        example = f', for example with jq -c ".{key}[]" FILE > events.ndjson' if _NAMES.fullmatch(key) else "."
        raise WrongFormat(f"its events are under the key {quoted(key)}: write one event per line{example}")

    def _end_of_value(self) -> int:
        while True:
            try:
                _, end = _SYNTAX.raw_decode(self._text, self._at)
                # more digits may follow a number
                if end < len(self._text) or self._text[end - 1] in '"}]' or not self._read_on():
                    return int(end)
            except json.JSONDecodeError as error:
                is_too_long = len(self._text) - self._at > LONGEST_LINE
                if is_too_long or not self._read_on():
                    raise self._broken(error, is_too_long=is_too_long) from None
            except RecursionError:
                raise ReadError(f"in line {self._line:,}, arrays or objects are nested too deeply.") from None

    def _broken(self, error: json.JSONDecodeError, *, is_too_long: bool) -> ReadError:
        also = f", or longer than {LONGEST_LINE:,} characters" if is_too_long else ""
        line = self._line + _line_ends(self._text[self._at : error.pos])
        reason = not_json(error)
        return ReadError(
            f"the value that begins in line {self._line:,} is not JSON{also}; in line {line:,}: {reason} "
            "Correct it there, or write one event per line: then a mistake rejects only its own line."
        )

    def _move(self, at: int) -> None:
        passed = self._text[self._at : at]
        if passed:
            self._line += _line_ends(passed) - (self._is_after_cr and passed.startswith("\n"))
            self._is_after_cr = passed.endswith("\r")
        self._at = at

    def _read_on(self) -> bool:
        """Read more text, and drop the consumed part; return False at the end."""
        if self._is_at_end:
            return False
        chunk = self._source.read(CHUNK)
        self._is_at_end = not chunk
        self._text = self._text[self._at :] + self._decoder.decode(chunk, final=not chunk)
        self._at = 0
        return True


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
