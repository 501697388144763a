"""From bytes to lines: open, decompress and recognize a text file, convert it to UTF-8 and split it into lines."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO, Protocol, cast

import attrs

from ._terminal import UsageProblem

Value = str | int | float | Decimal
MetadataValue = Value | list[Value]


class RowError(Exception):
    """This row cannot be sent; the message names the reason and the fix, in the file's terms."""


class SkippedRow(Exception):
    """This row has no event of its own, according to the preset."""


class ReadError(Exception):
    """The rest of the file cannot be read; the message says why."""


class WrongFormat(ReadError):
    """`send` cannot read the file with these options; the message says what it is and how to fix it."""


class MappingError(UsageProblem):
    """The options do not match the file's columns, so no row can be sent."""


@attrs.frozen
class Draft:
    """The event of a row, not validated yet."""

    player: str = attrs.field(repr=False)
    name: str
    metadata: Mapping[str, MetadataValue] | None = attrs.field(default=None, repr=False)
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class InputRow:
    """One row of a file."""

    file: int  # index of its file
    line: int  # its first line, counted from 1 as in editors
    last_line: int  # its last line; a quoted CSV cell may contain line ends
    previous: int  # the last line of the row before, 0 for the first: blank lines belong to the next row
    raw: bytes = attrs.field(repr=False)  # its bytes, as in the file
    content: Draft | str  # the event, or the reason why it has none
    entry: int | None = (
        None  # its number among the file's events, where several may share a line; None in line-based files
    )

    @property
    def position(self) -> tuple[int, int]:
        """The range that identifies the row in a checkpoint: its lines and the blank ones before, or its entry."""
        return (self.previous + 1, self.last_line) if self.entry is None else (self.entry, self.entry)


LONGEST_LINE = 1024 * 1024
"""Bytes of one line, at most. An event may have 256 KiB; a line may have columns that are not sent."""

UNDECODABLE = "\udcff"
"""Replacement for undecodable bytes: a lone surrogate, which valid text never contains."""

CHUNK = 64 * 1024
"""Bytes per read; a pipe returns what it has."""

_KEPT_OF_LONG_LINE = 1000  # bytes, enough to recognize it in the rejects file
_GZIP = b"\x1f\x8b"
_FIRST_LINE_END = re.compile(rb"\r?\n|\r(?=[^\n])")


@attrs.frozen
class InputLine:
    """One physical line."""

    number: int
    data: bytes
    cut: bool = False  # it was longer than LONGEST_LINE; `data` is then only its beginning


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes as soon as there are any; b"" at the end."""
        ...


class ByteSource:
    """A file or standard input, decompressed if its content is gzip.

    Attributes:
        size: bytes of the file on disk; None if unknown, as for a pipe.
        position: bytes read so far, before decompression.
    """

    def __init__(self, path: str) -> None:
        # a separate FileIO: a thread blocked in sys.stdin's buffer aborts the interpreter at exit
        self._raw = io.FileIO(0, "rb", closefd=False) if path == "-" else io.FileIO(path, "rb")
        self.size = Path(path).stat().st_size if path != "-" and Path(path).is_file() else None
        self.position = 0
        self._head = b""
        while len(self._head) < len(_GZIP) and (more := self._raw.read(CHUNK)):
            self._head += more
        is_gzip = self._head.startswith(_GZIP)
        self._gzip = gzip.GzipFile(fileobj=cast("IO[bytes]", _Compressed(self))) if is_gzip else None

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` decompressed bytes; b"" at the end."""
        try:
            return self.read_raw(size) if self._gzip is None else self._gzip.read1(size)
        except EOFError:
            raise ReadError("the gzip data is truncated: fetch the file again.") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ReadError(f"the gzip data is damaged ({error}): fetch the file again.") from None
        except OSError as error:
            raise ReadError(f"reading failed: {error.strerror or error}.") from None

    def read_raw(self, size: int) -> bytes:
        """Return up to `size` bytes as they are on disk."""
        head, self._head = self._head, b""
        data = head or self._raw.read(size) or b""
        self.position += len(data)
        return data

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._raw.close()


class _Compressed:
    """The compressed bytes of a source, as `GzipFile` reads them."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._ahead = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._ahead or self._source.read_raw(CHUNK)
        self._ahead = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data


def read_lines(source: Readable) -> Iterator[InputLine]:
    """Split bytes into lines; a line that is too long affects no other.

    Lines end with LF or CRLF. If the first one ends with CR only, as in "CSV (Macintosh)" of Excel, CR ends all others
    too; in other files a CR in a cell is text.
    """
    number, rest, cut, cr_ends_lines = 0, b"", False, None
    while chunk := source.read(CHUNK):
        searched = max(0, len(rest) - 1)  # a CR at its end was not decided
        rest += chunk
        if cr_ends_lines is None and (end := _FIRST_LINE_END.search(rest, searched)):
            cr_ends_lines = end.group() == b"\r"
        ended, rest = _split(rest, cr_ends_lines=bool(cr_ends_lines))
        for data in ended:
            number += 1
            yield _line(number, data, cut=cut)
            cut = False
        if len(rest) > LONGEST_LINE:
            # a CR at its end may be its line end
            rest, cut = rest[:_KEPT_OF_LONG_LINE] + (b"\r" if rest.endswith(b"\r") else b""), True
    if rest:
        yield _line(number + 1, rest, cut=cut)


def _split(data: bytes, *, cr_ends_lines: bool) -> tuple[list[bytes], bytes]:
    """Return the complete lines, and the beginning of the next."""
    if not cr_ends_lines:
        *ended, rest = data.split(b"\n")
        return [line + b"\n" for line in ended], rest
    lines = data.splitlines(keepends=True)
    # an LF may follow a CR at the end
    rest = b"" if data.endswith(b"\n") else lines.pop()
    return lines, rest


def _line(number: int, data: bytes, *, cut: bool) -> InputLine:
    if cut or len(data) > LONGEST_LINE:
        return InputLine(number, data[:_KEPT_OF_LONG_LINE], cut=True)
    return InputLine(number, data)


_ENOUGH = 512  # bytes that identify the kind of file, if no line ends before
_SAVE_AS_CSV = 'open it in its program, save it as "CSV UTF-8", and send that file.'
_CONVERT = "convert it to CSV or NDJSON, for example with pandas: to_json(..., orient='records', lines=True)."
_DECOMPRESS = "decompress it, or compress it with gzip instead."

# signatures as regular expressions, and the message; formats: https://en.wikipedia.org/wiki/List_of_file_signatures
_NOT_TEXT = tuple(
    (re.compile(begin, re.DOTALL | re.IGNORECASE), message)
    for begin, message in (
        (
            rb"PK\x03\x04.*(xl/|\[Content_Types\])",
            f"an Excel workbook (.xlsx) or another document of Office: {_SAVE_AS_CSV}",
        ),
        (rb"PK\x03\x04.*opendocument\.spreadsheet", f"an OpenDocument spreadsheet (.ods): {_SAVE_AS_CSV}"),
        (
            rb"PK(\x03\x04|\x05\x06)",
            f"a ZIP archive: unpack it, and send the files in it. If it is a workbook (.xlsx, .ods), {_SAVE_AS_CSV}",
        ),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook of the old format (.xls): {_SAVE_AS_CSV}"),
        (rb"PAR1[\x00-\x1f]", f"a Parquet file: {_CONVERT}"),
        (rb"ARROW1\x00|FEA1|Obj\x01|\x89HDF", f"an Arrow, Feather, Avro or HDF5 file: {_CONVERT}"),
        (
            rb"SQLite format 3\x00",
            'an SQLite database: export a table, for example with sqlite3 -header -csv FILE "SELECT ..." > events.csv',
        ),
        (rb"\x1f\x8b", "compressed twice: decompress it once with gunzip."),
        (rb"\x1f\x9d|BZh[1-9]1AY&SY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18", f"compressed: {_DECOMPRESS}"),
        (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive: unpack it, and send the files in it."),
        (rb"[^\n]{257}ustar", "a tar archive: unpack it, and send the files in it."),
        (rb"%PDF-", "a PDF document: export the data behind it as CSV, and send that file."),
        (rb"\{\\rtf", f"an RTF document: {_SAVE_AS_CSV}"),
        (
            rb"\s*<(!doctype|html|head|body|table|meta|!--)",
            "an HTML page: download the data itself (a login page may have come instead), or save it as CSV.",
        ),
        (rb"\s*<\?xml|\s*<[a-z]+:", f"an XML file: {_CONVERT}"),
    )
)

_BOMS = (  # UTF-32 before UTF-16, whose mark begins the same
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Peekable:
    """Bytes that can be inspected before they are read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self._is_at_end = False

    def peek(self, is_enough: Callable[[bytes], bool]) -> bytes:
        """Return the next bytes: until they are enough, `LONGEST_LINE` of them, or all there are."""
        while not self._is_at_end and len(self._ahead) <= LONGEST_LINE and not is_enough(self._ahead):
            chunk = self._source.read(CHUNK)
            self._ahead += chunk
            self._is_at_end = not chunk
        return self._ahead

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes as soon as there are any; b"" at the end."""
        if not self._ahead:
            return self._source.read(size)
        taken = self._ahead if size < 0 else self._ahead[:size]
        self._ahead = self._ahead[len(taken) :]
        return taken


def open_text(source: Readable, encoding: str) -> tuple[Peekable, str]:
    """Recognize the encoding, skip a byte order mark, and refuse binary files.

    A byte order mark takes precedence over `encoding`. The line ends of the returned stream are those of ASCII.
    """
    stream = Peekable(source)
    head = stream.peek(_is_conclusive)
    for signature, message in _NOT_TEXT:
        if signature.match(head.removeprefix(codecs.BOM_UTF8)):
            raise WrongFormat(f"it is {message}")
    for bom, marked in _BOMS:
        if head.startswith(bom):
            encoding = marked
            break
    else:
        encoding = _without_bom(head, encoding)
    if must_be_converted(encoding):
        return Peekable(_Converted(stream, encoding)), "utf-8"
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream, encoding


def must_be_converted(encoding: str) -> bool:
    """Whether line ends are several bytes in this encoding."""
    return encoding.startswith(("utf-16", "utf-32"))


def _is_conclusive(head: bytes) -> bool:
    # four bytes distinguish UTF-16 from UTF-8; a pipe may provide only its first line for hours
    return len(head) >= _ENOUGH or (len(head) >= 4 and b"\n" in head.removeprefix(codecs.BOM_UTF8).lstrip())  # noqa: PLR2004


def _without_bom(head: bytes, encoding: str) -> str:
    """Recognize UTF-16 by the zero bytes in its ASCII characters, which UTF-8 text does not have."""
    zeros = [byte == 0 for byte in head[:4]]
    if encoding in {"utf-8", "utf-16"} and zeros == [False, True, False, True]:
        return "utf-16-le"
    if encoding in {"utf-8", "utf-16"} and zeros == [True, False, True, False]:
        return "utf-16-be"
    return encoding


class _Converted:
    """Text of any encoding as UTF-8; undecodable bytes become `UNDECODABLE`, which rejects only their line."""

    def __init__(self, stream: Peekable, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(_HANDLER)

    def read(self, _size: int = -1, /) -> bytes:
        while True:
            chunk = self._stream.read(CHUNK)
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeError:  # the byte order mark is missing
                raise WrongFormat(f"it is not {self._encoding.upper()}: name its encoding with --encoding.") from None
            if text or not chunk:
                return text.encode("utf-8", "surrogatepass")


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


_HANDLER = "gameball_async.undecodable"
codecs.register_error(_HANDLER, _mark_undecodable)
