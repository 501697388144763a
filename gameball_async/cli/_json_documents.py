"""JSON that is not one event per line: arrays, pretty-printed or joined objects, read value by value."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING

import attrs

from ._lines import LONGEST_LINE, Draft, InputRow, ReadError, RowError, WrongFormat
from ._ndjson import KNOWN_KEYS, not_json, parse_event
from ._terminal import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._lines import Readable
    from ._text import Peekable

_CHUNK = 64 * 1024  # bytes per read
_SPACE = re.compile(r"[ \t\r\n\ufeff]*")
_BEGIN = re.compile(rb"\s*(?:([^\s\[])|\[\s*(\S))")  # the first character, or the first in an array
_ARRAY_OF_OBJECTS = re.compile(r"\[\s*\{")
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BAD_BYTE = re.compile(r"[\udc80-\udcff]")  # what surrogateescape makes of it
# numbers stay text: they are not looked at here, and int() refuses very long ones
_SYNTAX = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def is_json(stream: Peekable) -> bool:
    """Whether a file begins with a JSON object, or with an array of objects; CSV may have names in brackets."""
    begin = _begin(stream)
    return begin is not None and (begin[1] == b"{" or begin[2] in {b"{", b"]"})


def _begin(stream: Peekable) -> re.Match[bytes] | None:
    return _BEGIN.match(stream.peek(lambda head: _BEGIN.match(head) is not None))


def is_document(stream: Peekable) -> bool:
    """Whether JSON has its events elsewhere than one on each line; decided by its first two lines.

    A first line that is no JSON is an NDJSON line with a mistake, unless the second goes on with it.
    """
    begin = _begin(stream)
    if begin is None or begin[1] != b"{":
        return begin is not None and begin[2] is not None
    head = stream.peek(lambda head: len(_lines(head)) >= 1)
    first = (_lines(head) or [head])[0].strip()
    text = first.decode("utf-8", "replace")
    if wrapper_key(text) is not None:
        return True
    try:
        _, end = _SYNTAX.raw_decode(text)
    except (ValueError, RecursionError):
        if len(first) > LONGEST_LINE:
            return False
        lines = _lines(stream.peek(lambda head: len(_lines(head)) >= 2), whole=False)  # noqa: PLR2004
        return len(lines) > 1 and not lines[1].lstrip().startswith(b"{")
    return text[end:].lstrip(" \t,").startswith("{")


def wrapper_key(text: str, at: int = 0, depth: int = 3) -> str | None:
    """Return the key under which an object holds an array of events, as jq writes it; its beginning is enough.

    Args:
        text: what holds the object.
        at: where the object begins.
        depth: how many objects may be around the array.
    """
    at = _after_space(text, at + 1)
    try:
        while text.startswith('"', at):
            key, at = _SYNTAX.raw_decode(text, at)
            at = _after_space(text, text.index(":", at) + 1)
            if key in KNOWN_KEYS:  # it is an event itself
                return None
            if _ARRAY_OF_OBJECTS.match(text, at):
                return str(key)
            if depth > 1 and text.startswith("{", at) and (inner := wrapper_key(text, at, depth - 1)) is not None:
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


def read_documents(source: Readable, *, file: int, encoding: str) -> Iterator[InputRow]:
    """Read one event per object, at the top level or in an array; an object that is no event costs only itself.

    Args:
        source: the bytes.
        file: the file's number, for the rows.
        encoding: the encoding of the text.

    Yields:
        One row per value, with its event or the reason why there is none.

    Raises:
        WrongFormat: if the events are deeper in the file.
        ReadError: if the file fails, or is not JSON from some place on.
    """
    for entry, value in enumerate(_Values(source, encoding), 1):
        raw = value.text.encode(encoding, "surrogateescape")
        yield InputRow(file, value.line, value.last_line, 0, raw, _content(value.text, encoding), entry)


def _content(text: str, encoding: str) -> Draft | str:
    if _BAD_BYTE.search(text):
        return f"a byte of it is not {encoding.upper()}: save the file as UTF-8, or name its encoding with --encoding."
    try:
        return parse_event(text, "entry")
    except RowError as error:
        return str(error)


def _lines(head: bytes, *, whole: bool = True) -> list[bytes]:
    """Return the lines that are not blank; without `whole`, also one that has not ended."""
    lines = head.splitlines(keepends=True)
    return [line for line in lines if line.strip() and (not whole or line.endswith((b"\r", b"\n")))]


@attrs.frozen
class _Value:
    text: str
    line: int
    last_line: int


class _Values:
    """The values of a file: those at the top level, and those in arrays there."""

    def __init__(self, source: Readable, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._text = ""
        self._at = 0  # in the text
        self._line = 1  # there
        self._is_after_cr = False  # an LF belongs to it
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
            raise ReadError("its array has no end: the file was cut off, fetch it again.")

    def _next_char(self) -> str:
        """Move to the next character that is not space, and return it; at the end, none."""
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
        if not self._text.startswith("{", self._at) or (key := wrapper_key(self._text, self._at)) is None:
            return
        example = f', for example with jq -c ".{key}[]" FILE > events.ndjson' if _NAMES.fullmatch(key) else "."
        raise WrongFormat(f"it holds its events under the key {quoted(key)}: write them one on each line{example}")

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
            "Correct it there, or write one event on each line: then a mistake costs only its own line."
        )

    def _move(self, at: int) -> None:
        passed = self._text[self._at : at]
        if passed:
            self._line += _line_ends(passed) - (self._is_after_cr and passed.startswith("\n"))
            self._is_after_cr = passed.endswith("\r")
        self._at = at

    def _read_on(self) -> bool:
        """Take in more text, and forget what was read; False at the end."""
        if self._is_at_end:
            return False
        chunk = self._source.read(_CHUNK)
        self._is_at_end = not chunk
        self._text = self._text[self._at :] + self._decoder.decode(chunk, final=not chunk)
        self._at = 0
        return True


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
