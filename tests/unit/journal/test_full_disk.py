"""A disk without any room: no event is taken, but what is stored is sent and removed; and that is told once."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gameball_async._core.events import Event
from gameball_async._journal import DeadLetterEntry
from gameball_async._journal.dead_letters import DeadLetters
from gameball_async._journal.disk_reserve import SIZES, DiskReserve
from gameball_async._journal.folder import RESERVE
from gameball_async._journal.forks import DeferredLog
from gameball_async._journal.records import SealRecord
from gameball_async._journal.segment import Segment
from gameball_async._journal.segment_file import SegmentFile
from gameball_async.errors import Rejected

from .helpers import LETTER, Desk, newest, opened, row, rows, written
from .small_disk import MIB, SmallDisk, small_disk, small_quota

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", 6 * MIB) as disk:
        yield disk


@pytest.fixture(params=[small_disk, small_quota])
def any_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """Without room because the disk is full, or because a quota on it is used up."""
    with request.param(tmp_path / "small", 6 * MIB) as disk:
        yield disk


def reserves(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.glob("*" + RESERVE)]


def fill(desk: Desk, disk: SmallDisk, seq: int) -> str:
    """Fill the disk, and say what an event is told then."""
    disk.fill()
    [error] = desk.append(row(seq, size=100_000))
    assert error is not None
    assert desk.writer.failure is error
    return str(error)


def wait_for_room(desk: Desk) -> None:
    desk.dispatch_until(lambda: desk.writer.failure is None)


def own_of(desk: Desk) -> Segment:
    own = desk.writer._worker._segments.active
    assert own is not None
    return own


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The log: each line's level, and what it is about."""
    words = ("disk is full", "works again", "cannot be used")
    return [(record.levelname, word) for record in caplog.records for word in words if word in record.getMessage()]


# ---------------------------------------------------------------- sending goes on


def test_on_a_full_disk_no_event_is_taken_but_what_is_stored_is_sent_and_removed(
    any_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(any_disk.path / "journal") as desk:
        assert desk.append(*rows(1, 40, size=1000)) == [None] * 40
        assert "free at least 4 MiB on its disk" in fill(desk, any_disk, 41)

        for first in range(1, 40, 2):
            desk.seal([first, first + 1])
            desk.writer.ack(desk.own, [first, first + 1])
            [error] = desk.append(row(41))
            assert error is not None
        assert desk.seqs() == []
        assert told(caplog) == [("ERROR", "disk is full")]

        any_disk.empty()
        wait_for_room(desk)
        assert desk.append(row(41)) == [None]
        assert desk.seqs() == [41]
        assert reserves(any_disk.path / "journal") == [2 * MIB]
    assert told(caplog) == [("ERROR", "disk is full"), ("WARNING", "works again")]


def test_the_room_that_is_given_up_lasts_for_thousands_of_requests(disk: SmallDisk) -> None:
    with opened(disk.path / "journal") as desk:
        assert desk.append(*rows(1, 1000)) == [None] * 1000
        fill(desk, disk, 1001)
        for seq in range(1, 1001):
            desk.writer.seal(desk.own, [SealRecord([seq], None, None)], lambda: None)
            desk.writer.unseal(desk.own, seq)
            desk.seal([seq])
            desk.writer.ack(desk.own, [seq])
        assert desk.seqs() == []
        assert disk.free > MIB


def test_an_adopted_file_is_sent_on_a_full_disk_as_well(any_disk: SmallDisk, caplog: pytest.LogCaptureFixture) -> None:
    folder = any_disk.path / "journal"
    written(folder, rows(1, 20, size=1000))
    with opened(folder) as desk:
        any_disk.fill()
        desk.seal([1, 2], segment=0)
        assert "disk is full" in str(desk.writer.failure)
        desk.writer.ack(0, range(1, 21))
        assert desk.seqs(0) == []
        desk.writer.discard(0)
        any_disk.empty()
        wait_for_room(desk)
    assert told(caplog) == [("ERROR", "disk is full"), ("WARNING", "works again")]


def test_a_journal_that_has_filled_the_disk_itself_takes_events_again_once_it_is_nearly_empty(disk: SmallDisk) -> None:
    with opened(disk.path / "journal") as desk:
        stored: list[int] = []
        seq = 0
        while desk.writer.failure is None:
            seq += 1
            stored += [seq] if desk.append(row(seq, size=10_000)) == [None] else []
        assert len(stored) > 100
        for first in range(0, len(stored), 50):
            desk.seal(stored[first : first + 50])
            desk.writer.ack(desk.own, stored[first : first + 50])
        wait_for_room(desk)
        assert newest(disk.path / "journal").stat().st_size < MIB
        assert desk.append(row(seq + 1)) == [None]
        assert desk.seqs() == [seq + 1]


def test_what_is_stored_survives_a_close_on_a_full_disk(any_disk: SmallDisk) -> None:
    folder = any_disk.path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 20))
        any_disk.fill()
        desk.writer.ack(desk.own, [1])
    assert not reserves(folder)
    any_disk.empty()
    with opened(folder) as desk:
        assert desk.seqs(0) == list(range(2, 21))


def test_what_is_given_up_may_be_taken_by_another_program_and_then_sending_waits_for_room(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(disk.path / "journal") as desk:
        desk.append(*rows(1, 40, size=1000))
        fill(desk, disk, 41)
        disk.fill()
        sealed: list[None] = []
        desk.writer.seal(desk.own, [SealRecord([1], None, None)], lambda: sealed.append(None))
        while own_of(desk).file is not None:
            desk.append(row(42))
        assert not sealed

        disk.empty()
        desk.dispatch_until(lambda: bool(sealed))
        wait_for_room(desk)
        assert desk.append(row(42)) == [None]
    assert told(caplog) == [("ERROR", "disk is full"), ("WARNING", "works again")]


def test_an_adopted_file_may_fail_while_room_is_made(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = disk.path / "journal"
    written(folder, [row(1)])
    with opened(folder) as desk:
        (folder / "dead-letters.db").mkdir()
        monkeypatch.setattr("gameball_async._journal.segment.RETRY_AFTER", 30.0)
        desk.writer.dead_letter(0, [LETTER])
        desk.append(row(1))  # the burial has failed by now
        fill(desk, disk, 2)
        disk.empty()
        wait_for_room(desk)
        assert desk.append(row(2)) == [None]
        (folder / "dead-letters.db").rmdir()
    with opened(folder) as desk:
        assert [source.events for source in desk.sources] == [2, 0]


def test_a_file_that_cannot_be_made_smaller_is_opened_again(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink, errors = SegmentFile.shrink, iter([sqlite3.OperationalError("disk I/O error")])

    def shrink_in_vain(file: SegmentFile, most_used: int) -> None:
        for error in errors:
            raise error
        shrink(file, most_used)

    monkeypatch.setattr(SegmentFile, "shrink", shrink_in_vain)
    with opened(disk.path / "journal") as desk:
        desk.append(row(1))
        fill(desk, disk, 2)
        disk.empty()
        wait_for_room(desk)
        assert next(errors, None) is None
        assert desk.append(row(2)) == [None]
        assert desk.seqs() == [1, 2]


def test_a_client_that_starts_on_a_full_disk_says_so_and_leaves_nothing(disk: SmallDisk) -> None:
    folder = disk.path / "journal"
    folder.mkdir()
    disk.fill()
    desk = Desk(folder)
    assert "on a disk with free space" in str(desk.try_open())
    disk.empty()
    with opened(folder) as desk:
        assert desk.append(row(1)) == [None]
    assert [path.suffix for path in sorted(folder.iterdir())] == [".journal", ".lock", ".mark"]


# ---------------------------------------------------------------- no reserve


def test_a_disk_too_small_for_a_reserve_is_told_of_once_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "small", MIB) as disk, opened(disk.path / "journal") as desk:
        assert reserves(disk.path / "journal") == []
        desk.append(row(1))
        assert "free at least 1 MiB on its disk" in fill(desk, disk, 2)
        seen: list[None] = []
        desk.writer.seal(desk.own, [SealRecord([1], None, None)], lambda: seen.append(None))
        for _ in range(20):
            [error] = desk.append(row(2))
            assert error is not None
        assert told(caplog) == [("ERROR", "disk is full")]

        disk.empty()
        desk.dispatch_until(lambda: bool(seen))


# ---------------------------------------------------------------- dead letters


def test_what_is_refused_on_a_full_disk_is_buried(any_disk: SmallDisk) -> None:
    folder = any_disk.path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 2))
        any_disk.fill()
        desk.writer.dead_letter(desk.own, [LETTER])
        assert desk.seqs() == [2]
        assert [letter.event.name for letter in DeadLetters(folder) if letter.event] == ["review"]


@pytest.mark.parametrize("small", [small_disk, small_quota])
def test_a_burial_for_which_there_is_no_room_holds_up_nothing_else(tmp_path: Path, small: Any) -> None:
    large = Event("player-1", "review", None, None, b'"review":"%s"' % (b"x" * 3 * MIB))
    with small(tmp_path / "small", 12 * MIB) as disk, opened(disk.path / "journal") as desk:
        desk.append(*rows(1, 3))
        fill(desk, disk, 4)
        desk.writer.dead_letter(desk.own, [DeadLetterEntry(1, large, Rejected("no", status=400))])
        desk.seal([2])
        desk.writer.ack(desk.own, [2])
        assert desk.seqs() == [1, 3]
        assert not list(DeadLetters(disk.path / "journal"))

        disk.empty()
        wait_for_room(desk)
        while desk.seqs() != [3]:
            assert desk.writer.failure is None
        assert [letter.event for letter in DeadLetters(disk.path / "journal")] == [large]


def test_dead_letters_that_fail_for_another_reason_are_waited_for_on_a_full_disk_too(disk: SmallDisk) -> None:
    folder = disk.path / "journal"
    letters = DeadLetters(folder)
    letters.add("another", [LETTER])
    with opened(folder) as desk:
        desk.append(*rows(1, 2))
        fill(desk, disk, 3)
        _set_version(folder, 3)
        desk.writer.dead_letter(desk.own, [LETTER])
        while own_of(desk).failure is None:
            desk.append(row(3))
        assert "a later version of gameball_async" in str(own_of(desk).failure)
        _set_version(folder, 2)
        assert desk.seqs() == [2]
    assert len(letters) == 2


def test_a_burial_whose_room_is_taken_at_the_last_moment_is_put_off(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letter = DeadLetters.add

    def be_overtaken(letters: DeadLetters, file_id: str, buried: Iterable[DeadLetterEntry]) -> None:
        disk.fill()
        dead_letter(letters, file_id, buried)

    with opened(disk.path / "journal") as desk:
        desk.append(*rows(1, 2))
        fill(desk, disk, 3)
        with monkeypatch.context() as patch:
            patch.setattr(DeadLetters, "add", be_overtaken)
            desk.writer.dead_letter(desk.own, [LETTER])
            assert desk.seqs() == [1, 2]
        disk.empty()
        wait_for_room(desk)
        while desk.seqs() != [2]:
            assert desk.writer.failure is None


def _set_version(folder: Path, version: int) -> None:
    """Make the file one of a later version, or of ours again."""
    with closing(sqlite3.connect(folder / "dead-letters.db")) as database:
        database.execute(f"PRAGMA user_version = {version}")


def test_a_letter_larger_than_what_is_free_is_buried_with_the_reserve(tmp_path: Path) -> None:
    large = Event("player-1", "review", None, None, b'"review":"%s"' % (b"x" * 3 * MIB))
    with small_disk(tmp_path / "small", 12 * MIB) as disk, opened(disk.path / "journal") as desk:
        desk.append(*rows(1, 2))
        disk.leave(5 * MIB // 2)
        desk.writer.dead_letter(desk.own, [DeadLetterEntry(1, large, Rejected("no", status=400))])
        assert desk.seqs() == [2]
        assert [letter.event for letter in DeadLetters(disk.path / "journal")] == [large]


@pytest.mark.parametrize("small", [small_disk, small_quota])
def test_letters_leave_room_for_what_is_sent(tmp_path: Path, small: Any) -> None:
    with small(tmp_path / "small", 12 * MIB) as disk, opened(disk.path / "journal") as desk:
        desk.append(*rows(1, 40))
        fill(desk, disk, 41)
        for seq in range(1, 31):
            event = Event("player-1", "review", None, None, b'"review":"%s"' % (b"x" * 100_000))
            desk.writer.dead_letter(desk.own, [DeadLetterEntry(seq, event, Rejected("no", status=400))])
        for seq in range(31, 41):
            desk.seal([seq])
            desk.writer.ack(desk.own, [seq])
        left = desk.seqs()
        letters = DeadLetters(disk.path / "journal")
        assert 0 < len(left) < 30
        assert len(letters) == 30 - len(left)

        disk.empty()
        wait_for_room(desk)
        while desk.seqs():
            assert desk.writer.failure is None
        assert len(letters) == 30


# ---------------------------------------------------------------- the reserve


def test_the_reserve_is_taken_from_the_disk_for_its_owner_alone_and_given_back_at_the_close(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(row(1))
        [path] = tmp_path.glob("*" + RESERVE)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_blocks * 512 >= path.stat().st_size == SIZES[0]
    assert not path.exists()


def test_the_reserve_of_an_owner_that_is_gone_is_given_back_before_anything_is_made(tmp_path: Path) -> None:
    stem = written(tmp_path, [row(1)]).stem
    with small_disk(tmp_path / "small", MIB) as disk:
        for name in (stem + ".lock", stem + ".journal", stem + RESERVE):
            (disk.path / name).write_bytes((tmp_path / name).read_bytes() if (tmp_path / name).exists() else b"")
        os.truncate(disk.path / (stem + RESERVE), 0)
        with (disk.path / (stem + RESERVE)).open("wb") as file:
            file.write(b"\0" * (MIB // 2))
        disk.fill()
        with opened(disk.path) as desk:
            assert desk.seqs(0) == [1]
        assert reserves(disk.path) == []


def test_the_reserve_of_a_running_client_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path), opened(tmp_path):
        assert reserves(tmp_path) == [SIZES[0]] * 2


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EFBIG])
def test_where_nothing_can_be_reserved_the_journal_works_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)  # no such file system can be counted on where tests run
    with opened(tmp_path) as desk:
        assert reserves(tmp_path) == []
        assert desk.append(row(1)) == [None]
        disk_reserve = DiskReserve(DeferredLog())
        disk_reserve.take(tmp_path / ("x" + RESERVE))
        assert not disk_reserve.is_missing(_io_error())


def test_where_nothing_can_be_reserved_events_are_taken_again_when_there_is_room(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _unsupported)
    disk_reserve = DiskReserve(log := DeferredLog())
    disk_reserve.take(disk.path / ("x" + RESERVE))
    disk.fill()
    assert disk_reserve.is_missing(_io_error())
    assert not disk_reserve.run_short(0.0)
    disk_reserve.recover(1.0)
    assert disk_reserve.shortage is not None
    disk.empty()
    disk_reserve.recover(2.0)
    assert disk_reserve.shortage is None
    log.write()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert reserves(disk.path) == []


def _unsupported(*_: object) -> None:
    """What the C library says of a file system that cannot reserve."""
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_what_is_given_up_is_free_even_where_it_could_not_be_cut(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    disk_reserve, before = DiskReserve(DeferredLog()), disk.free
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        disk_reserve.take(disk.path / ("x" + RESERVE))
    assert disk.free < before
    assert disk_reserve.run_short(0.0)
    assert disk.free == before  # no descriptor holds it


def test_an_error_is_one_of_a_full_disk_only_if_there_is_no_room(any_disk: SmallDisk) -> None:
    disk_reserve = DiskReserve(DeferredLog())
    disk_reserve.take(any_disk.path / ("x" + RESERVE))
    assert disk_reserve.is_missing(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not disk_reserve.is_missing(OSError(errno.EIO, "Input/output error"))
    assert not disk_reserve.is_missing(_io_error())
    any_disk.fill()
    assert disk_reserve.is_missing(_io_error())
    assert reserves(any_disk.path) == [2 * MIB]
    disk_reserve.close()
    assert reserves(any_disk.path) == []


def _io_error() -> sqlite3.Error:
    """What SQLite makes of a quota that is used up."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    return error


def test_a_client_that_starts_again_begins_anew(disk: SmallDisk) -> None:
    desk = Desk(disk.path / "journal")
    desk.open()
    fill(desk, disk, 1)
    desk.close()
    disk.empty()
    desk.open()
    assert desk.append(row(1)) == [None]
    desk.close()
