"""What kind of file this is: refuse what is not text, and convert UTF-16 and its like to UTF-8 while reading."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

import attrs

from ._lines import LONGEST_LINE, UNDECODABLE, WrongFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._lines import Readable

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
