"""Read the pages of a database and its `-wal` without SQLite and without changing either.

SQLite drops all frames after the first damaged one of a `-wal`, and the whole `-wal` if its header or its database is
damaged. This module reads everything: https://sqlite.org/fileformat2.html describes both formats.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

import attrs

from .._platform import O_BINARY

MAGIC = b"SQLite format 3\0"
PAGE_SIZE = 4096

_HEADER, _FRAME_HEADER = 32, 24
_WAL_VERSION = 3007000
_WAL_MAGIC = b"\x37\x7f\x06"  # the fourth byte is 0x82 or 0x83
_INNER, _LEAF = b"\x05", b"\x0d"
_MAX_DEPTH = 20  # of a tree
_MAX_ROW_SIZE = 2**30  # SQLite's own limit
_SIZES = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value by its serial type
_MASK = 0xFFFFFFFF

Values = tuple[Any, ...]


@attrs.frozen
class Frame:
    """A page of a `-wal`.

    Attributes:
        index: its number in the `-wal`, from 0.
        page: the page's number, from 1; 0 if the frame's header is unreadable.
        size: pages of the database after a commit that ends with this frame; 0 within a transaction.
        data: the page.
        is_whole: whether page, size and data are known to be intact.
        is_valid: whether SQLite would read it if it reads the previous one.
    """

    index: int
    page: int
    size: int
    data: bytes
    is_whole: bool
    is_valid: bool


@attrs.frozen
class Wal:
    """The frames of a `-wal` since SQLite last restarted it.

    Attributes:
        frames: all frames, including damaged ones.
        readable: how many of them SQLite would read: up to the last commit before the first damaged frame.
        synced: how many of them were certainly committed.
    """

    frames: Sequence[Frame] = ()
    readable: int = 0
    synced: int = 0

    @property
    def committed(self) -> int:
        """The number of frames up to the last one that ends a transaction."""
        return max((frame.index + 1 for frame in self.frames if frame.size), default=0)


def read_wal(path: Path) -> Wal:
    """Read a `-wal`; a missing one has no frames."""
    try:
        content = _content_of(path)
    except FileNotFoundError:
        return Wal()
    if not content.strip(b"\0"):
        return Wal()
    order, page_size, is_header_whole = _wal_header(content)
    frames = list(_frames(content, order, page_size))
    readable, is_intact = 0, is_header_whole
    for frame in frames:
        is_intact &= frame.is_valid
        if is_intact and frame.size:
            readable = frame.index + 1
    synced = begin = 0
    for frame in frames:
        if frame.size:
            # a transaction starts after the previous one was synced; only the last may be torn
            if frame.index + 1 < len(frames) or all(other.is_whole for other in frames[begin:]):
                synced = frame.index + 1
            begin = frame.index + 1
    return Wal(frames, readable, max(readable, synced))


def _content_of(path: Path) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read()


def _wal_header(content: bytes) -> tuple[str, int, bool]:
    """Return the byte order of the checksums, the page size, and whether the header is intact."""
    magic, version, page_size = struct.unpack_from(">3I", content.ljust(_HEADER, b"\0"))
    order = ">" if magic & 1 else "<"
    is_whole = (
        len(content) >= _HEADER
        and content.startswith(_WAL_MAGIC)
        and version == _WAL_VERSION
        and checksum((0, 0), content[:24], order) == struct.unpack_from(">2I", content, 24)
    )
    if is_whole:
        return order, page_size, True
    return "<" if sys.byteorder == "little" else ">", PAGE_SIZE, False


def checksum(before: tuple[int, int], data: bytes, order: str) -> tuple[int, int]:
    """Continue the checksum of a `-wal` over more data."""
    first, second = before
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second


def _before(after: tuple[int, int], data: bytes, order: str) -> tuple[int, int]:
    """Return the checksum before this data."""
    first, second = after
    words = reversed(struct.unpack(f"{order}{len(data) // 4}I", data))
    for other, one in zip(words, words, strict=True):
        second = (second - other - first) & _MASK
        first = (first - one - second) & _MASK
    return first, second


def _frames(content: bytes, order: str, page_size: int) -> Iterator[Frame]:
    """Yield the frames with the salts of the first one, and damaged frames in between.

    Each checksum continues the previous one. A frame is therefore intact, even after damaged ones, if its checksum
    continues the one stored in the previous frame, or the one that should be stored there.
    """
    step = _FRAME_HEADER + page_size
    starts = range(_HEADER, len(content) - step + 1, step)
    salts = _salts(content, starts)
    last = max((at for at in starts if content[at + 8 : at + 16] == salts), default=-1)
    followers = {content[at - step + 16 : at - step + 24]: at for at in starts[1:]}
    followers[content[24:32]] = _HEADER
    stored = expected = struct.unpack_from(">2I", content, 24)
    for index, at in enumerate(starts):
        head, data = content[at : at + 8], content[at + _FRAME_HEADER : at + step]
        found = struct.unpack_from(">2I", content, at + 16)
        computed = checksum(stored, head + data, order)
        is_whole = computed == found
        is_valid = is_whole and content[at + 8 : at + 16] == salts
        if not is_whole and expected != stored and (other := checksum(expected, head + data, order)) == found:
            computed, is_whole = other, True
        if at > last and not is_whole:
            return
        page, size = struct.unpack(">2I", head)
        if not is_whole and followers.get(struct.pack(">2I", *_before(found, head + data, order)), at) != at:
            page = size = 0  # a copy of another frame: it would restore deleted events
        elif not is_whole:
            page, size, is_whole = _recomputed(stored, found, content[at : at + 16], salts, data, order)
        yield Frame(index, page, size, data, is_whole, is_valid)
        stored, expected = found, computed


def _salts(content: bytes, starts: range) -> bytes:
    """Return the salts of the current frames: those of the header, unless it is damaged."""
    of_header = content[16:24]
    found = [content[at + 8 : at + 16] for at in starts]
    if not found or of_header in found or _wal_header(content)[2]:
        return of_header
    return found[0] if any(found[0]) else max(found, key=found.count)


def _recomputed(
    stored: tuple[int, int], found: tuple[int, int], head: bytes, salts: bytes, data: bytes, order: str
) -> tuple[int, int, bool]:
    """Recompute the page number and the size of a frame with a wrong checksum, and whether its page is intact.

    If the page is intact, its checksum determines the page number and the size in the header. If neither matches the
    header, or they make no sense, the page is damaged.
    """
    first, second = _before(found, data, order)
    one = (first - stored[0] - stored[1]) & _MASK
    other = (second - stored[1] - first) & _MASK
    page, size = struct.unpack(">2I", struct.pack(f"{order}2I", one, other))
    stated_page, stated_size = struct.unpack_from(">2I", head)
    is_likely = page == stated_page or size == stated_size
    if is_likely and 0 < page < 2**24 and size < 2**24:
        return page, size, True
    if head[8:16] != salts:
        return 0, 0, False
    return stated_page, stated_size, False


# ---------------------------------------------------------------- pages


class DatabaseImage:
    """The pages of a database with its `-wal` applied.

    Args:
        path: the database; None or a missing file has no pages.
        wal: its `-wal`.
        frames: how many frames are applied.
    """

    def __init__(self, path: Path | None, wal: Wal, frames: int) -> None:
        self._versions: dict[int, list[Frame]] = {}
        self._main = _opened(path)
        try:
            self._main_size = 0 if self._main is None else os.fstat(self._main).st_size
            self.page_size = self._page_size(wal)
        except BaseException:
            self.close()
            raise
        self.pages = -(-self._main_size // self.page_size)
        for frame in wal.frames[:frames]:
            self._versions.setdefault(frame.page, []).append(frame)
            if frame.is_whole:
                self.pages = frame.size or max(self.pages, frame.page)

    def close(self) -> None:
        """Close the file."""
        if self._main is not None:
            os.close(self._main)
            self._main = None

    def _page_size(self, wal: Wal) -> int:
        if wal.frames:
            return len(wal.frames[0].data)
        stated = int.from_bytes(self._read(16, 2), "big")
        return stated if stated in (512, 1024, 2048, 4096, 8192, 16384, 32768) and self.is_database else PAGE_SIZE

    def _read(self, at: int, size: int) -> bytes:
        if self._main is None:
            return b""
        os.lseek(self._main, at, os.SEEK_SET)
        return os.read(self._main, size)

    @property
    def is_database(self) -> bool:
        """Whether the file has the header of a database."""
        return self._read(0, len(MAGIC)) == MAGIC

    @property
    def is_blank(self) -> bool:
        """Whether the file is missing, or contains only zeros."""
        for at in count(0, 2**20):
            chunk = self._read(at, 2**20)
            if chunk.strip(b"\0"):
                return False
            if not chunk:
                return True
        raise AssertionError

    def page(self, number: int) -> bytes:
        """Return the newest version of a page; it may be incomplete."""
        return self.versions(number)[0][1]

    def versions(self, number: int) -> list[tuple[int, bytes]]:
        """Return the versions of a page and their frames, newest first: more than one if the newest is damaged."""
        found: list[tuple[int, bytes]] = []
        for frame in reversed(self._versions.get(number, ())):
            found.append((frame.index, frame.data))
            if frame.is_whole:
                return found
        found.append((-1, self._read((number - 1) * self.page_size, self.page_size)))
        return found

    @property
    def size(self) -> int:
        """Bytes of all pages."""
        return self.pages * self.page_size

    def content(self) -> bytes:
        """Return all pages, as a database without `-wal`."""
        content = bytearray(b"".join(self.page(number) for number in range(1, self.pages + 1)))
        content[18:20] = b"\1\1"
        return bytes(content)

    def first_row(self, root: int) -> Values | None:
        """Return the values of the first readable row of the table with this root page, or None."""
        page = self.page(root)
        for _ in range(_MAX_DEPTH):
            if page[:1] == _LEAF:
                return next((values for _, values in self.rows_of(page)), None)
            if page[:1] != _INNER:
                return None
            first = int.from_bytes(page[12:14], "big")
            page = self.page(int.from_bytes(page[first : first + 4], "big"))
        return None

    def _numbers(self) -> list[int]:
        """Return the numbers of the pages with content; damage can make `pages` much larger."""
        in_file = range(1, -(-self._main_size // self.page_size) + 1)
        return [number for number in sorted({*in_file, *self._versions}) if 0 < number <= self.pages]

    def rows(self) -> Iterator[tuple[int, bool, int, Values]]:
        """Yield each row of each table: the frame of its page, whether that is the newest, its number, its values."""
        for number in self._numbers():
            newest = -1
            for index, page in self.versions(number):
                newest = max(newest, index)
                for row, values in self.rows_of(page, is_first=number == 1):
                    yield index, index == newest, row, values

    def rows_of(self, page: bytes, *, is_first: bool = False) -> Iterator[tuple[int, Values]]:
        """Yield the number and the values of each intact row in a page of a table."""
        start = 100 if is_first else 0
        if len(page) != self.page_size or page[start : start + 1] != _LEAF:
            return
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        for at in range(start + 8, min(start + 8 + 2 * cells, self.page_size - 1), 2):
            with suppress(IndexError, struct.error, ValueError):  # caused by damage
                yield self._row(page, int.from_bytes(page[at : at + 2], "big"))

    def _row(self, page: bytes, at: int) -> tuple[int, Values]:
        size, at = _varint(page, at)
        row, at = _varint(page, at)
        payload = self._payload(page, at, size)
        end, at = _varint(payload, 0)
        types: list[int] = []
        while at < end:
            kind, at = _varint(payload, at)
            types.append(kind)
        values: list[Any] = []
        for kind in types:
            width = _SIZES[kind] if kind < len(_SIZES) else (kind - 12) // 2
            value = payload[at : at + width]
            if len(value) != width:
                raise ValueError
            values.append(_value(kind, value))
            at += width
        return row if row < 2**63 else row - 2**64, tuple(values)

    def _payload(self, page: bytes, at: int, size: int) -> bytes:
        """Return the content of a cell, including its overflow pages."""
        usable = self.page_size
        if size > _MAX_ROW_SIZE:
            raise ValueError
        most, least = usable - 35, (usable - 12) * 32 // 255 - 23
        if size <= most:
            return page[at : at + size]
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        parts, left = [page[at : at + local]], size - local
        number = int.from_bytes(page[at + local : at + local + 4], "big")
        while left > 0 and 0 < number <= self.pages:
            overflow = self.page(number)
            parts.append(overflow[4 : 4 + left])
            left -= usable - 4
            number = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)


def _opened(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        return open_regular(path)
    except FileNotFoundError:
        return None


def wal_of(path: Path) -> Path:
    """Return the path of a database's `-wal`."""
    return path.with_name(path.name + "-wal")


def kind_of(path: Path) -> Literal["database", "wal"] | None:
    """Recognize a file by its first bytes; None if it is neither, or unreadable."""
    with suppress(OSError), os.fdopen(open_regular(path), "rb") as file:
        first = file.read(len(MAGIC))
        if first == MAGIC:
            return "database"
        if first.startswith(_WAL_MAGIC):
            return "wal"
    return None


def open_regular(path: Path) -> int:
    """Open a regular file for reading; do not follow links, and do not block on a FIFO."""
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | O_BINARY
    descriptor = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte & 0x80 == 0:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9


def _value(kind: int, value: bytes) -> Any:  # noqa: ANN401 any type that SQLite stores
    match kind:
        case 0:
            return None
        case 7:
            return struct.unpack(">d", value)[0]
        case 8 | 9:
            return kind - 8
        case _ if kind < len(_SIZES):
            return int.from_bytes(value, "big", signed=True)
        case _:
            return value
