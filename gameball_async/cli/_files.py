"""A file's name and the options to an iterator of rows: chooses decompression and format by content."""

from __future__ import annotations

import codecs
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from ._columns import Columns
from ._csv import read_csv
from ._lines import Line, Source, read_lines
from ._ndjson import read_ndjson
from ._rows import ReadError, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_INPUT = "-"
Format = Literal["auto", "ndjson", "csv"]


@attrs.frozen(kw_only=True)
class Reading:
    """How files are read.

    Args:
        format: `ndjson` or `csv`; `auto` takes NDJSON for a file that begins with a brace.
        columns: which column becomes what, for CSV.
        delimiter: the character between two cells, for CSV.
        encoding: the encoding of the text.
    """

    format: Format = "auto"
    columns: Columns = attrs.field(factory=Columns)
    delimiter: str = ","
    encoding: str = "utf-8"


class OpenFile:
    """One file being read.

    Args:
        path: the file, or `-` for standard input.
        index: the file's number, for its rows.
        reading: how it is read.
    """

    def __init__(self, path: str, index: int, reading: Reading) -> None:
        self._source = Source(path)
        self._index = index
        self._reading = reading

    def rows(self) -> Iterator[Row]:
        """Read the rows, one after the other.

        Raises:
            ReadError: if the file cannot be read any further.
            MappingError: if its header does not fit the options.
        """
        lines = read_lines(self._source)
        first = next((line for line in lines if not line.data.isspace()), None)
        if first is None:
            return iter(())
        return self._read(chain([first], lines), is_json=first.data.lstrip().startswith(b"{"))

    def progress(self) -> float | None:
        """Return the share of the file read so far, 0 to 1; None for a pipe."""
        size = self._source.size
        return None if size is None else min(1.0, self._source.position / size) if size else 1.0

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    def _read(self, lines: Iterator[Line], *, is_json: bool) -> Iterator[Row]:
        how = self._reading
        if how.format == "ndjson" or (how.format == "auto" and is_json):
            return read_ndjson(lines, file=self._index, encoding=how.encoding)
        return read_csv(lines, file=self._index, encoding=how.encoding, delimiter=how.delimiter, bind=how.columns.bind)


def is_regular(path: str) -> bool:
    """Whether this is a file that can be read again, unlike a pipe."""
    return path != STANDARD_INPUT and Path(path).is_file()


def check_header(path: str, reading: Reading) -> None:
    """Read a file's first row, so that a mapping that does not fit shows before anything is sent.

    Raises:
        OSError: if the file cannot be opened.
        MappingError: if its header does not fit the options.
    """
    file = OpenFile(path, 0, reading)
    try:
        next(file.rows(), None)
    except ReadError:
        pass  # it is told when the rows before it have been read
    finally:
        file.close()


def check_encoding(name: str) -> str:
    """Return the encoding's name as Python spells it.

    Raises:
        ValueError: if it is unknown, or has line ends that bytes cannot tell.
    """
    try:
        codec = codecs.lookup(name)
        ascii_bytes = '\n,"{'.encode(codec.name)
    except (LookupError, UnicodeError):
        raise ValueError(f"{name!r} is not a text encoding that Python knows") from None
    if codec.name == "utf-8-sig":
        return "utf-8"
    if ascii_bytes != b'\n,"{':
        raise ValueError(f"{name!r} does not write line ends as ASCII does: convert the file to UTF-8")
    return codec.name
