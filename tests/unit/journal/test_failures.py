"""Disks that are full or fail while the journal is in use: no receipt without durability, and it goes on by itself."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from gameball_async._journal.dead_letters import DeadLetters
from gameball_async._journal.records import SealRecord
from gameball_async._journal.segment_file import SegmentFile
from gameball_async._journal.segment_set import SegmentSet
from gameball_async.errors import JournalError

from .helpers import CONTACT, LETTER, Desk, newest, opened, python, result_of, row, rows


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as desk:
        yield desk


def fail(desk: Desk, tmp_path: Path) -> JournalError:
    """Let the journal fail until `repair`: a refused event cannot be put among the dead letters."""
    (tmp_path / "dead-letters.db").mkdir()
    desk.writer.dead_letter(desk.own, [LETTER])
    [error] = desk.append(row(1000))
    assert error is not None
    return error


def repair(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").rmdir()


def test_a_failed_group_stores_nothing_and_says_why(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = fail(desk, tmp_path)

    assert "cannot be used" in str(error)
    assert "the client retries every second" in str(error)
    assert str(desk.writer.failure) == str(error)
    assert caplog.text.count("cannot be used") == 1


def test_appends_are_refused_at_once_while_the_journal_fails(desk: Desk, tmp_path: Path) -> None:
    fail(desk, tmp_path)

    assert [type(answer) for answer in desk.append(*rows(1001, 1003))] == [JournalError] * 3


@pytest.mark.usefixtures("impatient")
def test_everything_but_appends_waits_in_order_and_is_done_when_the_journal_works_again(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk.append(*rows(1, 6))
    fail(desk, tmp_path)
    seen: list[object] = []
    desk.writer.seal(desk.own, [SealRecord([2, 3], *CONTACT)], lambda: seen.append("sealed"))
    desk.writer.ack(desk.own, [4])
    desk.writer.read(desk.own, 0, 100, 10_000, seen.append)
    desk.append(row(1001))
    assert seen == []

    repair(tmp_path)
    desk.dispatch_until(lambda: len(seen) == 2)

    assert seen[0] == "sealed"
    assert desk.writer.failure is None
    assert desk.seqs() == [5, 6]
    assert caplog.text.count("cannot be used") == 1
    assert caplog.text.count("works again") == 1
    assert desk.append(row(1002)) == [None]


@pytest.mark.usefixtures("impatient")
def test_a_letter_is_never_forgotten_before_it_is_durable(desk: Desk, tmp_path: Path) -> None:
    desk.append(row(1))
    fail(desk, tmp_path)
    repair(tmp_path)
    desk.read()

    assert desk.seqs() == []
    assert (tmp_path / "dead-letters.db").stat().st_size


def test_a_journal_that_fails_is_closed_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path)
    desk.open()
    desk.append(row(1))
    fail(desk, tmp_path)
    answers: list[object] = []
    desk.writer.read(desk.own, 0, 1, 1, answers.append)
    desk.close()

    assert [type(answer) for answer in answers] == [JournalError]
    assert "2 outcomes could not be written to the journal's file" in caplog.text
    repair(tmp_path)
    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [1]


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_gone_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    desk.append(row(1))
    path = newest(tmp_path)
    fail(desk, tmp_path)
    desk.writer._fork_guard.acquire()  # it is not open, as in each moment between two tries
    path.rename(path.with_suffix(".away"))
    desk.writer._fork_guard.release()
    repair(tmp_path)
    [error] = desk.append(row(1001))
    assert error is not None

    path.with_suffix(".away").rename(path)
    assert desk.seqs() == []
    assert desk.writer.failure is None


@pytest.mark.usefixtures("impatient")
def test_a_file_that_cannot_be_looked_through_is_tried_again(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.append(row(1), row(2))
    look, errors = SegmentFile.check, iter([sqlite3.OperationalError("disk I/O error")])

    def look_in_vain(file: SegmentFile) -> None:
        for error in errors:
            raise error
        look(file)

    monkeypatch.setattr(SegmentFile, "check", look_in_vain)
    fail(desk, tmp_path)
    repair(tmp_path)

    assert desk.seqs() == [2]
    assert next(errors, None) is None
    assert desk.append(row(3)) == [None]


@pytest.mark.usefixtures("impatient")
def test_a_failing_adopted_file_stops_no_new_events(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(row(1))
    (tmp_path / "dead-letters.db").mkdir()

    with opened(tmp_path) as desk:
        desk.writer.dead_letter(0, [LETTER])
        desk.writer.discard(0)
        assert desk.append(row(1)) == [None]
        assert desk.writer.failure is None
        repair(tmp_path)
        assert desk.seqs(0) == []


@pytest.mark.usefixtures("impatient")
def test_whatever_goes_wrong_is_a_failure_and_no_dead_thread(desk: Desk) -> None:
    """An event that SQLite cannot store: `track` refuses such a player before it comes here."""
    [error] = desk.append(row(1, player="\ud800"))

    assert "(UnicodeEncodeError)" in str(error)
    desk.read()
    assert desk.append(row(1)) == [None]


def test_dead_letters_that_cannot_be_closed_are_no_matter(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DeadLetters, "close", refuse)
    desk.close()

    assert "closed" in str(desk.writer.failure)


def test_a_file_that_cannot_be_read_at_the_close_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: SegmentFile) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    with opened(tmp_path) as desk:
        desk.append(row(1))
        monkeypatch.setattr(SegmentFile, "is_empty", property(refuse))
    monkeypatch.undo()

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [1]


# ---------------------------------------------------------------- a full journal


@pytest.mark.usefixtures("impatient")
def test_a_full_journal_refuses_events_but_can_be_emptied(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=1024 * 1024) as desk:
        stored: list[int] = []
        error, seq = None, 0
        while error is None:
            seq += 1
            [error] = desk.append(row(seq, size=100_000))
            stored += [seq] if error is None else []
        assert "raise Journal(max_bytes=...)" in str(error)
        assert desk.writer.used_bytes > 1024 * 1024

        desk.seal(stored[:2])  # waits until the journal works again
        assert desk.writer.failure is None
        assert [row.seq for row in desk.read(most_bytes=1 << 30).rows] == stored[2:]
        desk.writer.ack(desk.own, stored[:2])
        desk.writer.ack(desk.own, stored[2:])
        desk.read()
        assert desk.writer.used_bytes < 1024 * 1024
        assert desk.append(row(seq, size=100_000)) == [None]
        assert desk.seqs() == [seq]


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
from tests.unit.journal.helpers import Desk, rows
from gameball_async._journal import disk_reserve, segment
segment.RETRY_AFTER = disk_reserve.CHECK_AFTER = 0.01
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
desk = Desk(Path(sys.argv[1]))
desk.open()
stored = [event.seq for event, error in zip(rows(1, 10), desk.append(*rows(1, 10))) if error is None]
[wal] = Path(sys.argv[1]).glob("*-wal")
resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 5000, resource.RLIM_INFINITY))
events = rows(11, 200, size=1000)
errors = desk.append(*events)
assert set(map(str, desk.append(*events[-1:]))) != {"None"}  # it is full for as long as the limit is
stored += [event.seq for event, error in zip(events, errors) if error is None]
failed = [str(error) for error in errors if error is not None]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert set(desk.seqs()) == set(stored), (desk.seqs(), stored)
desk.dispatch_until(lambda: desk.writer.failure is None)
assert desk.append(*rows(201, 210)) == [None] * 10
works_again = desk.writer.failure is None
desk.close()
print(json.dumps([stored, failed, works_again]))
"""


def test_a_limit_of_the_size_of_files_is_a_full_disk_and_loses_no_event_that_was_stored(tmp_path: Path) -> None:
    stored, failed, works_again = result_of(python(LIMITED, tmp_path))

    assert failed
    assert "its disk is full (or a quota, or the file size limit): free at least" in failed[0]
    assert works_again
    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [*stored, *range(201, 211)]


# ---------------------------------------------------------------- I/O errors


@lru_cache
def why_not_traced() -> str | None:
    if not shutil.which("strace"):
        return "strace is missing: install it to see what an I/O error does"
    traced = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {traced.stderr}" if traced.returncode else None


FAILING = """
import json, sys
from pathlib import Path
from tests.unit.journal.helpers import Desk, row
from gameball_async._journal import segment
segment.RETRY_AFTER = 0.01
desk = Desk(Path(sys.argv[1]))
first = desk.try_open()
stored, failed = [], []
if isinstance(first, list):
    desk.sources = first
    for seq in range(1, 31):
        [error] = desk.append(row(seq))
        (stored if error is None else failed).append([seq, str(error)])
        if error is not None:
            assert desk.seqs() == [seq for seq, _ in stored]  # waits until the journal works again
    assert desk.seqs() == [seq for seq, _ in stored]
desk.close()
print(json.dumps([[seq for seq, _ in stored], failed]))
"""


@pytest.mark.parametrize("syscall", ["fdatasync", "fsync", "pwrite64"])
@pytest.mark.parametrize("when", ["1", "2", "3", "4", "5", "6", "9", "12", "14+9"])
def test_no_event_is_stored_that_could_not_be_synced(tmp_path: Path, syscall: str, when: str) -> None:
    if (reason := why_not_traced()) is not None:
        pytest.skip(reason)
    trace = tmp_path / "trace"
    under = [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        f"trace={syscall}",
        "-e",
        f"inject={syscall}:error=EIO:when={when}",
    ]

    stored, failed = result_of(python(FAILING, tmp_path / "journal", under=under))

    if stored:
        with opened(tmp_path / "journal") as desk:
            assert desk.seqs(0) == stored
    if "INJECTED" in trace.read_text() and stored:
        assert len(stored) + len(failed) == 30
    assert all("check its disk" in error for _, error in failed)


def test_an_injected_error_is_seen(tmp_path: Path) -> None:
    """The test above would be worth nothing if SQLite synced with another call."""
    if (reason := why_not_traced()) is not None:
        pytest.skip(reason)
    under = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]
    under += ["-e", "inject=fsync,fdatasync:error=EIO:when=9+9"]

    stored, failed = result_of(python(FAILING, tmp_path / "journal", under=under))

    assert stored
    assert failed


def test_a_bug_in_the_thread_makes_nobody_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    desk = Desk(tmp_path)
    desk.open()
    desk.append(row(1))
    monkeypatch.setattr(SegmentSet, "discard", fail)
    desk.writer.discard(desk.own)
    [error] = desk.append(row(2))
    assert isinstance(error, JournalError)
    assert "stopped (RuntimeError)" in str(error)
    assert desk.writer.failure is error
    [error] = desk.append(row(3))
    assert isinstance(error, JournalError)
    desk.close()
    with opened(tmp_path) as heir:  # its files are free again, and as they were
        assert heir.seqs(0) == [1]
