"""The kind of a file is recognized by its content: text is read in its encoding, and all else is named."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._json import decoded
from gameball_async.cli._lines import RowError, WrongFormat, open_text, read_lines

from .test_lines import Bytes

if TYPE_CHECKING:
    from pathlib import Path


def texts(data: bytes, encoding: str = "utf-8", piece: int = 1 << 16) -> list[str]:
    stream, encoding = open_text(Bytes(data, piece), encoding)
    return [decoded(line, encoding) for line in read_lines(stream)]


lines = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff"), min_size=1), min_size=1)


@given(
    lines, st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]), st.integers(1, 9), st.sampled_from(["utf-8", "cp1252"])
)
def test_a_byte_order_mark_goes_before_the_option_and_is_no_text(
    table: list[str], encoding: str, piece: int, option: str
) -> None:
    expected = [*(line + "\n" for line in table[:-1]), table[-1]]
    assert texts("\n".join(table).encode(encoding), option, piece) == expected


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_BE + "id\r\nä".encode("utf-16-be"), "id\r\nä".encode("utf-16-le")])
@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
def test_utf_16_is_read_with_either_byte_order_and_without_a_mark(mark: bytes, piece: int) -> None:
    assert texts(mark, piece=piece) == ["id\r\n", "ä"]
    assert texts("id\r\nä".encode("utf-16-be"), "utf-16", piece) == ["id\r\n", "ä"]


def test_what_is_not_utf_16_costs_its_own_line() -> None:
    data = "a\n\ud800b\nc".encode("utf-16", "surrogatepass") + b"x"
    stream, encoding = open_text(Bytes(data), "utf-8")
    first, second, third = read_lines(stream)
    assert decoded(first, encoding) == "a\n"
    for line in (second, third):
        with pytest.raises(RowError, match="bytes that are invalid in the file's encoding: save it as UTF-8"):
            decoded(line, encoding)


def test_utf_16_that_has_no_mark_and_looks_like_nothing_is_refused() -> None:
    with pytest.raises(WrongFormat, match="it is not UTF-16: name its encoding with --encoding"):
        texts(b"id,note\n", "utf-16")


@given(st.binary(max_size=600), st.integers(1, 600), st.sampled_from(["utf-8", "cp1252", "utf-16", "utf-32-be"]))
def test_any_bytes_are_lines_or_refused_however_they_arrive(data: bytes, piece: int, encoding: str) -> None:
    def lines_of(piece: int) -> list[bytes] | str:
        try:
            return [line.data for line in read_lines(open_text(Bytes(data, piece), encoding)[0])]
        except WrongFormat as error:
            return str(error)

    assert lines_of(piece) == lines_of(1 << 16)


def zipped(name: str, text: str = "id,note") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("orders.csv"))
    return file.getvalue()


def database(folder: Path) -> bytes:
    connection = sqlite3.connect(folder / "orders.db")
    connection.execute("CREATE TABLE orders (id)")
    connection.close()
    return (folder / "orders.db").read_bytes()


KINDS = {
    "xlsx": (
        zipped("[Content_Types].xml"),
        'an Excel workbook (.xlsx) or another document of Office: open it in its program, save it as "CSV UTF-8"',
    ),
    "ods": (zipped("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument spreadsheet (.ods)"),
    "zip": (zipped("orders.csv"), "a ZIP archive: unpack it, and send the files in it"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an Excel workbook of the old format (.xls)"),
    "parquet": (b"PAR1\x15\x04\x15\x00", "a Parquet file: convert it to CSV or NDJSON"),
    "arrow": (b"ARROW1\x00\x00", "an Arrow, Feather, Avro or HDF5 file"),
    "bz2": (bz2.compress(b"id\n"), "compressed: decompress it, or compress it with gzip"),
    "xz": (lzma.compress(b"id\n"), "compressed: decompress it"),
    "zst": (b"\x28\xb5\x2f\xfd\x04\x00", "compressed: decompress it"),
    "gz": (gzip.compress(b"id\n", mtime=0), "compressed twice: decompress it once with gunzip"),
    "tar": (tarred(), "a tar archive: unpack it"),
    "pdf": (b"%PDF-1.7\n", "a PDF document"),
    "html": (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>", "an HTML page: download the data itself"),
    "table": (b"<table><tr>", "an HTML page"),
    "xml": (b'<?xml version="1.0"?>\n', "an XML file"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_what_is_no_text_is_named_with_what_to_do(kind: str, piece: int) -> None:
    data, words = KINDS[kind]
    with pytest.raises(WrongFormat) as error:
        open_text(Bytes(data, piece), "utf-8")
    assert str(error.value).startswith(f"it is {words}")


def test_a_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WrongFormat, match="it is an SQLite database: export a table, for example with sqlite3 -header"):
        open_text(Bytes(database(tmp_path)), "utf-8")


@pytest.mark.parametrize(
    "text", ["PARTY,id\n", "PAR1,id\n", "Obj,id\n", "ORC\n", "BZh1,id\n", "Rar!,id\n", "PK,id\n", "<,>\n"]
)
def test_a_header_that_begins_like_another_format_is_text(text: str) -> None:
    assert texts(text.encode()) == [text]
