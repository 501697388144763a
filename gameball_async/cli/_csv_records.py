"""Lines to CSV records: an unclosed quote, a bad byte or an endless record costs its own line and no other."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator

import attrs

from ._lines import LONGEST_LINE, Line
from ._ndjson import decoded
from ._rows import Draft, MappingError, ReadError, Row, RowError

_MOST_LINES = 1000  # of one record; a description may have paragraphs, a file must not become one cell
_UNCLOSED = "a quote is opened and not closed in its record: close it, or double it if it belongs to the text."

Cells = list[str]
ToDraft = Callable[[Cells], Draft]
Bind = Callable[[Cells], ToDraft]


def read_csv(lines: Iterator[Line], *, file: int, encoding: str, delimiter: str, bind: Bind) -> Iterator[Row]:
    """Read one event per record below a header; a record that holds none costs only its first line.

    Args:
        lines: the physical lines.
        file: the file's number, for the rows.
        encoding: the encoding of the text.
        delimiter: the character between two cells.
        bind: makes, from the header, the function that makes a record an event.

    Yields:
        One row per record, with its event or the reason why there is none.

    Raises:
        MappingError: if the header lacks a column that is mapped.
        ReadError: if there is no header that could be read.
    """
    records = _records(_Pushback(lines), encoding=encoding, delimiter=delimiter)
    header = next(records, None)
    if header is None:
        return
    if isinstance(header.content, str):
        raise ReadError(f"the header cannot be read: {header.content}")
    to_draft, previous = bind(header.content), header.lines[-1].number
    for record in records:
        content = _draft(record.content, to_draft)
        raw = b"".join(line.data for line in record.lines)
        yield Row(file, record.lines[0].number, record.lines[-1].number, previous, raw, content)
        previous = record.lines[-1].number


def _draft(content: Cells | str, to_draft: ToDraft) -> Draft | str:
    if isinstance(content, str):
        return content
    try:
        return to_draft(content)
    except (RowError, MappingError) as error:
        return str(error)


@attrs.frozen
class _Record:
    lines: list[Line]
    content: Cells | str


class _Pushback:
    """Lines that can be given back, to be read again."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._given_back: deque[Line] = deque()

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        return self._given_back.popleft() if self._given_back else next(self._lines)

    def give_back(self, lines: list[Line]) -> None:
        self._given_back.extendleft(reversed(lines))


def _records(lines: _Pushback, *, encoding: str, delimiter: str) -> Iterator[_Record]:
    width = None
    while True:
        taken: list[Line] = []
        texts = _texts(lines, taken, encoding)
        content = _parse(texts, delimiter)
        if content is None:
            return
        if not content:  # a blank line
            continue
        content = _checked(content, width, taken)
        if width is None and not isinstance(content, str):
            width = len(content)
        if isinstance(content, str):
            lines.give_back(taken[1:])
            del taken[1:]
        yield _Record(taken, content)


def _texts(lines: _Pushback, taken: list[Line], encoding: str) -> Iterator[str]:
    """Hand out the text of one line after the other, as many as the record at hand asks for."""
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.data)
        if len(taken) > _MOST_LINES or size > LONGEST_LINE:
            raise RowError(_UNCLOSED)
        yield decoded(line, encoding)


def _parse(texts: Iterator[str], delimiter: str) -> Cells | str | None:
    try:
        # strict: a closing quote must be followed by a delimiter, which is how an unclosed one shows
        return next(csv.reader(texts, delimiter=delimiter, strict=True), None)
    except RowError as error:
        return str(error)
    except csv.Error as error:
        return f"not CSV: {error}."


def _checked(content: Cells | str, width: int | None, taken: list[Line]) -> Cells | str:
    """Blame the quote for what went wrong after it: a record that runs over its line and comes out wrong."""
    wrong_width = not isinstance(content, str) and width is not None and len(content) != width
    if len(taken) > 1 and (wrong_width or isinstance(content, str)):
        return _UNCLOSED
    if wrong_width:
        return f"{len(content)} cells where the header has {width}: add or quote what is missing or too much."
    return content
