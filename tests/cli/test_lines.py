"""Bytes become lines, in bounded memory, whatever the file holds."""

from __future__ import annotations

import gzip
import io
import os
import re
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._lines import LONGEST_LINE, ByteSource, InputLine, ReadError, read_lines

if TYPE_CHECKING:
    from pathlib import Path


class Bytes:
    """Bytes handed out in pieces, as a pipe does."""

    def __init__(self, data: bytes, piece: int = 1 << 16) -> None:
        self._data = io.BytesIO(data)
        self._piece = piece

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._piece))


def lines_of(data: bytes, piece: int = 1 << 16) -> list[InputLine]:
    return list(read_lines(Bytes(data, piece)))


@given(st.binary(), st.integers(1, 10))
def test_lines_are_the_file_cut_at_its_line_ends_however_it_arrives(data: bytes, piece: int) -> None:
    lines = lines_of(data, piece)
    assert b"".join(line.data for line in lines) == data
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    first_end = re.search(rb"\r?\n|\r(?=[^\n])", data)
    if first_end is not None and first_end.group() == b"\r":
        assert [line.data for line in lines] == data.splitlines(keepends=True)
    else:
        assert all(line.data.count(b"\n") == line.data.endswith(b"\n") for line in lines)


@pytest.mark.parametrize("piece", [1, 2, 3, 1 << 16])
def test_a_carriage_return_ends_lines_if_it_ends_the_first(piece: int) -> None:
    assert [line.data for line in lines_of(b"a\rb\r\nc\nd\r\re", piece)] == [
        b"a\r",
        b"b\r\n",
        b"c\n",
        b"d\r",
        b"\r",
        b"e",
    ]
    assert [line.data for line in lines_of(b"a\r\nb\rc\n", piece)] == [b"a\r\n", b"b\rc\n"]


@pytest.mark.parametrize("surplus", range(-2, 3))
def test_a_line_that_is_too_long_costs_only_itself_with_carriage_returns_too(surplus: int) -> None:
    # its end is around the end of a piece that is read
    lines = lines_of(b"a\r" + b"x" * (LONGEST_LINE + (1 << 16) - 3 + surplus) + b"\rb\rc")
    assert [(line.number, line.data[:2], line.cut) for line in lines] == [
        (1, b"a\r", False),
        (2, b"xx", True),
        (3, b"b\r", False),
        (4, b"c", False),
    ]


def test_a_line_that_is_too_long_costs_only_itself_and_keeps_its_beginning() -> None:
    first, second, third = lines_of(b"a\n" + b"x" * (LONGEST_LINE + 1) + b"\nb\n")
    assert (first, third) == (InputLine(1, b"a\n"), InputLine(3, b"b\n"))
    assert second.cut
    assert second.data == b"x" * 1000


def test_a_line_of_the_greatest_length_is_whole() -> None:
    (line,) = lines_of(b"x" * LONGEST_LINE)
    assert not line.cut


def test_a_file_without_line_ends_does_not_fill_the_memory() -> None:
    class Endless:
        left = 256

        def read(self, _size: int = -1, /) -> bytes:
            self.left -= 1
            return b"x" * 65536 if self.left > 0 else b""

    tracemalloc.start()
    try:
        (line,) = read_lines(Endless())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert line.cut
    assert peak < 8 * LONGEST_LINE


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_gzip_is_known_by_its_content_and_may_have_several_members(
    tmp_path_factory: pytest.TempPathFactory, members: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("gzip") / "plain.name"
    path.write_bytes(b"".join(gzip.compress(member) for member in [b"first", *members]))
    source = ByteSource(str(path))
    assert b"".join(line.data for line in read_lines(source)) == b"first" + b"".join(members)
    source.close()


def test_a_gzip_file_that_was_cut_off_gives_the_lines_before_and_says_so(tmp_path: Path) -> None:
    text = b"".join(b"%d %s\n" % (n, os.urandom(8).hex().encode()) for n in range(10_000))
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(text)[:-2000])
    lines: list[InputLine] = []
    source = ByteSource(str(path))
    with pytest.raises(ReadError, match="truncated"):
        lines.extend(read_lines(source))
    source.close()


@pytest.mark.parametrize(
    "spoil", [b"\x1f\x8bnonsense", gzip.compress(b"a\n", mtime=0) + b"trailing"], ids=["header", "end"]
)
def test_damaged_gzip_is_named(tmp_path: Path, spoil: bytes) -> None:
    path = tmp_path / "damaged.gz"
    path.write_bytes(spoil)
    source = ByteSource(str(path))
    with pytest.raises(ReadError, match="gzip"):
        list(read_lines(source))
    source.close()


@pytest.mark.parametrize("compress", [False, True])
def test_a_pipe_hands_over_its_lines_before_it_ends(tmp_path: Path, *, compress: bool) -> None:
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    read = threading.Event()

    def write() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            if compress:
                with gzip.GzipFile(fileobj=pipe, mode="wb") as packed:
                    packed.write(b"first\n")
                    packed.flush()
                    read.wait(30)
            else:
                pipe.write(b"first\n")
                read.wait(30)

    writer = threading.Thread(target=write)
    writer.start()
    source = ByteSource(str(fifo))
    lines = read_lines(source)
    assert next(lines).data == b"first\n"
    read.set()
    assert list(lines) == []
    writer.join()
    source.close()
    assert source.size is None


def test_a_source_knows_how_far_it_has_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12\n" * 50_000)
    source = ByteSource(str(path))
    assert source.size == 150_000
    next(read_lines(source))
    assert 0 < source.position < 150_000
    list(read_lines(source))
    assert source.position == 150_000
    source.close()
