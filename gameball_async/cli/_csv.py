"""CSV lines to rows: an unclosed quote, a bad byte or an endless record rejects only its own line."""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import attrs

from .._log import counted
from ._columns import Bound
from ._json import decoded
from ._lines import LONGEST_LINE, Draft, InputLine, InputRow, MappingError, RowError, SkippedRow, WrongFormat
from ._terminal import quoted

_MOST_LINES = 1000  # of one record; a description may have paragraphs, but a file must not become one cell
_MOST_ABOVE_HEADER = 20  # lines searched for a header, to name it in a message
_DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(rb'"?sep=([^"\r\n])"?[ \t]*[\r\n]*', re.IGNORECASE)
_UNCLOSED = "a quote is opened and not closed in its record: close it, or double it if it is part of the text."
_MIXED_LINE_ENDS = "a carriage return (CR) is in the middle of the line: save the file with one kind of line ends."
_PADDED = "the cells are padded with spaces, as in a table for people: export it as CSV (psql --csv, mysql --batch)."
_UNKNOWN_DELIMITER = " If another character separates its cells, name it with --delimiter."
_JSON = "the line is a JSON object, and the file began as CSV: send both parts as separate files."

Cells = list[str]
Bind = Callable[[Cells], Bound]


def read_csv(
    lines: Iterator[InputLine],
    *,
    file: int,
    encoding: str,
    delimiter: str | None,
    bind: Bind,
    on_repeated_header: Callable[[int], None] = lambda _: None,
    on_skipped: Callable[[int], None] = lambda _: None,
) -> Iterator[InputRow]:
    """Yield one row per record below the header, with its event or the reason why it has none.

    A repeated header is not an event; it applies to the records below it. `bind` binds the mapping to a header;
    without a delimiter, the header decides.
    """
    pushback = _Pushback(lines)
    delimiter = _after_sep_line(pushback, delimiter)
    found = _find_header(pushback, encoding, delimiter, bind)
    if found is None:
        return
    bound = found.bound
    records = _Records(pushback, encoding, found.delimiter, bound)
    previous = found.record.lines[-1].number
    for record in records:
        line, last_line = record.lines[0].number, record.lines[-1].number
        if not isinstance(record.content, str) and bound.is_header(record.content):
            on_repeated_header(line)
            records.bound = bound = _bound_below(record.content, line, bound, bind)
            continue
        raw = b"".join(part.data for part in record.lines)
        try:
            content = _draft(record.content, raw, bound)
        except SkippedRow:
            on_skipped(line)
            continue
        yield InputRow(file, line, last_line, previous, raw, content)
        previous = last_line


def _draft(content: Cells | str, raw: bytes, bound: Bound) -> Draft | str:
    if raw.startswith(b"{") and _is_json_object(raw):
        return _JSON
    if isinstance(content, str):
        return content
    try:
        return bound.to_draft(content)
    except (RowError, MappingError) as error:
        return str(error)


def _is_json_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):
        return False


def _bound_below(header: Cells, line: int, before: Bound, bind: Bind) -> Bound:
    """Bind the mapping to a further header; if it does not fit, all records below it are rejected."""
    try:
        return bind(header)
    except MappingError as error:
        return before.refusing(header, f"the header above it, in line {line:,}, does not fit: {error}")


@attrs.frozen
class _Record:
    lines: list[InputLine]
    content: Cells | str


class _Pushback:
    """Lines that can be pushed back, to be read again."""

    def __init__(self, lines: Iterator[InputLine]) -> None:
        self._lines = lines
        self._pushed_back: deque[InputLine] = deque()

    def __iter__(self) -> Iterator[InputLine]:
        return self

    def __next__(self) -> InputLine:
        return self._pushed_back.popleft() if self._pushed_back else next(self._lines)

    def push_back(self, lines: list[InputLine]) -> None:
        self._pushed_back.extendleft(reversed(lines))


def _after_sep_line(lines: _Pushback, delimiter: str | None) -> str | None:
    """Skip the line that names the delimiter for Excel; return the delimiter to use, or None."""
    for line in lines:
        if not line.data.strip():
            continue
        if (match := _SEP_LINE.fullmatch(line.data)) is None:
            lines.push_back([line])
            break
        return delimiter or match[1].decode("latin-1")
    return delimiter


@attrs.frozen
class _Found:
    """A header that has all mapped columns."""

    record: _Record
    delimiter: str
    bound: Bound


@attrs.frozen
class _Misfit:
    """Why a header does not fit, and how many cells it has."""

    error: Exception
    cells: int


def _find_header(lines: _Pushback, encoding: str, delimiter: str | None, bind: Bind) -> _Found | None:
    """Read the header, below comments; return None for an empty file.

    Without a given delimiter, commas are tried first.
    """
    delimiters = [delimiter] if delimiter else _DELIMITERS
    misfits: list[_Misfit] = []
    while isinstance(found := _header(lines, encoding, delimiters, bind), _Misfit):
        misfits.append(found)
        first = next(lines)
        if not first.data.startswith(b"#"):
            lines.push_back([first])
            nearest = max(misfits, key=attrgetter("cells"))
            kind = MappingError if isinstance(nearest.error, MappingError) else WrongFormat
            hint = _hint(lines, encoding, bind) or (_UNKNOWN_DELIMITER if nearest.cells == 1 else "")
            raise kind(f"{nearest.error}{hint}") from None
    return found


def _header(lines: _Pushback, encoding: str, delimiters: Sequence[str], bind: Bind) -> _Found | _Misfit | None:
    """Read the next record as a header; one that does not fit is pushed back."""
    misfits: list[_Misfit] = []
    for delimiter in delimiters:
        record = next(iter(_Records(lines, encoding, delimiter)), None)
        if record is None:
            return None
        if isinstance(record.content, str):
            misfits.append(_Misfit(WrongFormat(f"the header cannot be read: {record.content}"), 0))
        else:
            try:
                is_padded = all(not cell or cell.startswith(" ") for cell in record.content)
                if delimiter == "|" and len(delimiters) > 1 and is_padded:
                    raise MappingError(_PADDED)  # noqa: TRY301 handled like a header that does not fit
                return _Found(record, delimiter, bind(record.content))
            except MappingError as error:
                misfits.append(_Misfit(error, len(record.content)))
        lines.push_back(record.lines)
    return max(misfits, key=attrgetter("cells"))


def _hint(lines: _Pushback, encoding: str, bind: Bind) -> str:
    """Suggest another delimiter, or to delete the lines above the header; return "" if neither helps."""
    for count in range(_MOST_ABOVE_HEADER):
        found = _header(lines, encoding, _DELIMITERS, bind)
        if isinstance(found, _Found):
            line = found.record.lines[0].number
            name = "tab" if found.delimiter == "\t" else quoted(found.delimiter)
            return f" Line {line:,} is the header: delete what is above it." if count else f" Give --delimiter {name}."
        if next(lines, None) is None:
            break
    return ""


class _Records:
    """Parse lines into records; a malformed record rejects only its first line."""

    def __init__(self, lines: _Pushback, encoding: str, delimiter: str, bound: Bound | None = None) -> None:
        self._lines = lines
        self._encoding = encoding
        self._delimiter = delimiter
        self.bound = bound
        # lines have a limit already, and a cell that is not sent may be long
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))

    def __iter__(self) -> Iterator[_Record]:
        while True:
            taken: list[InputLine] = []
            content = _parse(_texts(self._lines, taken, self._encoding), self._delimiter)
            if content is None:
                return
            if not content:  # a blank line
                continue
            content = self._checked(content, len(taken))
            if isinstance(content, str):
                self._lines.push_back(taken[1:])
                del taken[1:]
            yield _Record(taken, content)

    def _checked(self, content: Cells | str, lines: int) -> Cells | str:
        """Report a malformed record of several lines as an unclosed quote in its first line."""
        bound = self.bound
        if not isinstance(content, str) and (bound is None or bound.fits(content) or bound.is_header(content)):
            return content
        if lines > 1:
            return _UNCLOSED
        if isinstance(content, str) or bound is None:
            return content
        width = len(bound.header)
        cells = counted(len(content), "cell")
        return f"{cells} where the header has {width}: add missing cells, or quote a cell that contains the delimiter."


def _texts(lines: _Pushback, taken: list[InputLine], encoding: str) -> Iterator[str]:
    """Yield the text of one line after the other, as many as the current record needs."""
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
        return _MIXED_LINE_ENDS if "new-line" in str(error) else f"not CSV: {error}."
