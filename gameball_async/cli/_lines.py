"""What one row of a file is once it was read: an event to be sent, or a reason why not; knows no format."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


Value = str | int | float | Decimal
MetadataValue = Value | list[Value]


class RowError(Exception):
    """This row cannot be sent; the message says why and what would help, in the words of the file."""


class ReadError(Exception):
    """The file cannot be read any further; the message names what is wrong with it."""


class WrongFormat(ReadError):
    """The file is not what `send` can read with these options; the message says what it is and what to do."""


class MappingError(Exception):
    """The options do not fit the file's columns, so no row of it can be sent; a matter of usage."""


@attrs.frozen
class Draft:
    """The event a row asks for; whether Gameball would take it, the client says.

    Attributes:
        player: the player's unique id.
        name: the event's name.
        metadata: what the row says about the event.
        mobile: the player's mobile number, if the row has one.
        email: the player's e-mail address, if the row has one.
    """

    player: str = attrs.field(repr=False)
    name: str
    metadata: Mapping[str, MetadataValue] | None = attrs.field(default=None, repr=False)
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class InputRow:
    """One row of a file.

    Attributes:
        file: which of the files it stands in, counted from 0.
        line: the line it starts on, counted from 1 as editors do.
        last_line: the line it ends on; a quoted CSV cell may hold line ends.
        previous: the line the row before it ended on, 0 for the first: blank lines belong to the next row.
        raw: its bytes, as they stand in the file.
        content: the event, or the reason why there is none.
        entry: its number among the file's events, where several may start on one line; None in files of lines.
    """

    file: int
    line: int
    last_line: int
    previous: int
    raw: bytes = attrs.field(repr=False)
    content: Draft | str
    entry: int | None = None

    @property
    def position(self) -> tuple[int, int]:
        """The range by which a run remembers the row: its lines and the blank ones before them, or its entry."""
        return (self.previous + 1, self.last_line) if self.entry is None else (self.entry, self.entry)


LONGEST_LINE = 1024 * 1024
"""Bytes of one line, at most. An event may have 256 KiB; a line may hold columns that are not sent."""

UNDECODABLE = "\udcff"
"""What stands for bytes that cannot be decoded; a lone surrogate, which no valid text has."""

_KEPT_OF_LONG_LINE = 1000  # bytes, enough to recognise it in the rejects file
_CHUNK = 64 * 1024  # bytes per read; a pipe hands over what it has
_GZIP = b"\x1f\x8b"
_FIRST_LINE_END = re.compile(rb"\r?\n|\r(?=[^\n])")


@attrs.frozen
class InputLine:
    """One physical line.

    Attributes:
        number: its number in the file, counted from 1.
        data: its bytes, the line end included.
        cut: True if it was longer than `LONGEST_LINE`; `data` is then only its beginning.
    """

    number: int
    data: bytes
    cut: bool = False


class Readable(Protocol):
    """What hands out bytes: some as soon as there are any, none at the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; at the end, none."""
        ...


class ByteSource:
    """A file, or standard input, decompressed if its content says gzip.

    Args:
        path: the file, or `-` for standard input.

    Attributes:
        size: bytes of the file on disk; None where nobody can know, as for a pipe.
        position: bytes of it read so far, before decompression.
    """

    def __init__(self, path: str) -> None:
        # a FileIO of our own: a thread blocked in sys.stdin's buffer aborts the interpreter at exit
        self._raw = io.FileIO(0, "rb", closefd=False) if path == "-" else io.FileIO(path, "rb")
        self.size = Path(path).stat().st_size if path != "-" and Path(path).is_file() else None
        self.position = 0
        self._head = b""
        while len(self._head) < len(_GZIP) and (more := self._raw.read(_CHUNK)):
            self._head += more
        self._gzip = gzip.GzipFile(fileobj=cast("IO[bytes]", _Compressed(self))) if self._is_gzip() else None

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` decompressed bytes; at the end, none.

        Raises:
            ReadError: if the disk, the pipe or the compression fails.
        """
        try:
            return self.read_raw(size) if self._gzip is None else self._gzip.read1(size)
        except EOFError:
            raise ReadError("the gzip data ends before its end: the file was cut off, fetch it again.") from None
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

    def _is_gzip(self) -> bool:
        return self._head.startswith(_GZIP)


class _Compressed:
    """The compressed bytes of a source, as `GzipFile` wants to read them."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._ahead = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._ahead or self._source.read_raw(_CHUNK)
        self._ahead = data[size:] if size >= 0 else b""
        return data[:size] if size >= 0 else data


def read_lines(source: Readable) -> Iterator[InputLine]:
    """Cut bytes into lines; a line that is too long costs only itself.

    Lines end with LF or CRLF. If the first one ends with CR alone, as in "CSV (Macintosh)" of Excel, CR ends all
    others too. So a CR in the cells of an ordinary file is text.

    Raises:
        ReadError: if the source fails; after all lines before it.
    """
    number, rest, cut, cr_ends_lines = 0, b"", False, None
    while chunk := source.read(_CHUNK):
        rest += chunk
        if cr_ends_lines is None and (end := _FIRST_LINE_END.search(rest)):
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
    """Return the lines that have ended, and the beginning of the next."""
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


_CHUNK = 64 * 1024  # bytes per read
_ENOUGH = 512  # bytes that decide what kind of file this is, if no line ends before
_SAVE_AS_CSV = 'open it in its program, save it as "CSV UTF-8", and send that file.'
_CONVERT = "convert it to CSV or NDJSON, for example with pandas: to_json(..., orient='records', lines=True)."
_DECOMPRESS = "decompress it, or compress it with gzip instead."

# what a file begins with, as a regular expression; formats: https://en.wikipedia.org/wiki/List_of_file_signatures
_NOT_TEXT = tuple(
    (re.compile(begin, re.DOTALL | re.IGNORECASE), words)
    for begin, words in (
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
    """Bytes that can be looked at before they are read.

    Args:
        source: what hands out the bytes.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self._is_at_end = False

    def peek(self, is_enough: Callable[[bytes], bool]) -> bytes:
        """Return the next bytes: until they are enough, `LONGEST_LINE` of them, or all there are."""
        while not self._is_at_end and len(self._ahead) <= LONGEST_LINE and not is_enough(self._ahead):
            chunk = self._source.read(_CHUNK)
            self._ahead += chunk
            self._is_at_end = not chunk
        return self._ahead

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes as soon as there are any; at the end, none."""
        if not self._ahead:
            return self._source.read(size)
        taken = self._ahead if size < 0 else self._ahead[:size]
        self._ahead = self._ahead[len(taken) :]
        return taken


@attrs.frozen
class Text:
    """A text file whose line ends are those of ASCII.

    Attributes:
        stream: its bytes.
        encoding: their encoding.
    """

    stream: Peekable
    encoding: str


def open_text(source: Readable, encoding: str) -> Text:
    """Recognize the encoding, skip a byte order mark, and refuse what is not text.

    Args:
        source: the bytes.
        encoding: the encoding if the file does not show another one; a byte order mark goes first.

    Raises:
        WrongFormat: if the bytes are not text; the message says what they are.
        ReadError: if the source fails.
    """
    stream = Peekable(source)
    head = stream.peek(_decides)
    for begin, words in _NOT_TEXT:
        if begin.match(head.removeprefix(codecs.BOM_UTF8)):
            raise WrongFormat(f"it is {words}")
    for bom, marked in _BOMS:
        if head.startswith(bom):
            encoding = marked
            break
    else:
        encoding = _without_mark(head, encoding)
    if must_be_converted(encoding):
        return Text(Peekable(_Converted(stream, encoding)), "utf-8")
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return Text(stream, encoding)


def must_be_converted(encoding: str) -> bool:
    """Whether line ends are several bytes in this encoding."""
    return encoding.startswith(("utf-16", "utf-32"))


def _decides(head: bytes) -> bool:
    # four bytes tell UTF-16 from UTF-8; a pipe may hold nothing but its first line for hours
    return len(head) >= _ENOUGH or (len(head) >= 4 and b"\n" in head.removeprefix(codecs.BOM_UTF8).lstrip())  # noqa: PLR2004


def _without_mark(head: bytes, encoding: str) -> str:
    """Recognize UTF-16 by the zero bytes in its ASCII characters, which UTF-8 text does not have."""
    zeros = [byte == 0 for byte in head[:4]]
    if encoding in {"utf-8", "utf-16"} and zeros == [False, True, False, True]:
        return "utf-16-le"
    if encoding in {"utf-8", "utf-16"} and zeros == [True, False, True, False]:
        return "utf-16-be"
    return encoding


class _Converted:
    """Bytes of any text encoding, as UTF-8.

    What cannot be decoded becomes `UNDECODABLE`, which is not UTF-8 either: it costs its own line.
    """

    def __init__(self, stream: Peekable, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(_HANDLER)

    def read(self, _size: int = -1, /) -> bytes:
        while True:
            chunk = self._stream.read(_CHUNK)
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeError:  # there is no byte order mark
                raise WrongFormat(f"it is not {self._encoding.upper()}: name its encoding with --encoding.") from None
            if text or not chunk:
                return text.encode("utf-8", "surrogatepass")


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


_HANDLER = "gameball_async.undecodable"
codecs.register_error(_HANDLER, _mark_undecodable)
