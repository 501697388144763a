"""The journal's worker as a step function: no thread, and a clock that only the test moves."""

from __future__ import annotations

import errno
import math
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gameball_async import DeadLetters
from gameball_async._config import Journal
from gameball_async._journal.commands import Ack, AddDeadLetters, Close, Command, Open, Read
from gameball_async._journal.forks import ForkGuard
from gameball_async._journal.records import Loaded
from gameball_async._journal.segment import RETRY_AFTER
from gameball_async._journal.segment_file import SegmentFile
from gameball_async._journal.worker import JournalWorker
from gameball_async.errors import JournalError

from .helpers import LETTER, Asked, row, rows

CLOCK = 1_800_000_000.0


class Steps:
    """A worker in virtual time, and what its commands were completed with."""

    def __init__(self, folder: Path) -> None:
        self.worker = JournalWorker(Journal(str(folder)), b"", ForkGuard(), sleep=self._sleep, clock=lambda: CLOCK)
        self.now = 1000.0
        self.results: list[Any] = []

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def step(self, *commands: Command) -> list[Any]:
        """Run one step; returns the results of the commands that it completed."""
        self.results = []
        for completion in self.worker.step(commands, self.now):
            if isinstance(completion, tuple):
                done, arguments = completion
                done(*arguments)
            else:
                completion.complete(None)
        return self.results

    def append(self, *seqs: int) -> Command:
        return Asked([row(seq) for seq in seqs], self.results_of)

    def read(self) -> Command:
        return Read(0, 0, 1000, 1 << 20, self.results_of)

    def results_of(self, *values: Any) -> None:
        self.results.append(values[0] if values else None)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    steps = Steps(tmp_path / "journal")
    [[segment]] = steps.step(Open(steps.results_of))
    assert segment.segment == 0
    return steps


def test_commands_of_one_step_are_applied_in_order(steps: Steps) -> None:
    before, after = Loaded(rows(1, 2), 0, is_last=True), Loaded(rows(2, 2), 0, is_last=True)

    results = steps.step(steps.append(1, 2), steps.read(), Ack(0, [1]), steps.read())

    assert results == [None, before, after]


def test_an_idle_worker_wants_no_step(steps: Steps) -> None:
    assert steps.worker.wake_at == math.inf
    assert steps.step() == []


def test_a_failed_file_is_reopened_when_its_time_has_come_and_not_before(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: SegmentFile) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentFile, "commit", fail)
        [error] = steps.step(steps.append(1), Ack(0, [7]))
    assert isinstance(error, JournalError)
    assert steps.worker.failure is error
    assert steps.worker.wake_at == steps.now + RETRY_AFTER

    steps.now += RETRY_AFTER / 2
    [refused] = steps.step(steps.append(1))
    assert refused is error

    steps.now += RETRY_AFTER / 2
    assert steps.step() == []
    assert steps.worker.failure is None
    assert steps.worker.wake_at == math.inf
    assert steps.step(steps.append(1), steps.read()) == [None, Loaded(rows(1, 1), 0, is_last=True)]


def test_a_read_during_a_failure_is_answered_after_it(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: SegmentFile) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    steps.step(steps.append(1))
    with monkeypatch.context() as patch:
        patch.setattr(SegmentFile, "begin", fail)
        assert steps.step(steps.read()) == []

    steps.now = steps.worker.wake_at

    assert steps.step() == [Loaded(rows(1, 1), 0, is_last=True)]


def test_after_a_bug_everything_is_refused_until_the_close(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(JournalWorker, "_update", fail)
    [error] = steps.step(steps.read())
    monkeypatch.undo()

    assert "the journal stopped (RuntimeError)" in str(error)
    assert steps.worker.wake_at == math.inf
    assert steps.step(steps.append(1), steps.read()) == [error, error]
    assert steps.step(Close(steps.results_of)) == [None]
    assert not steps.worker.is_running


def test_a_dead_letter_has_the_time_of_the_given_clock(steps: Steps, tmp_path: Path) -> None:
    steps.step(steps.append(1), AddDeadLetters(0, [LETTER]))

    [letter] = DeadLetters(tmp_path / "journal")
    assert letter.buried_at.timestamp() == CLOCK


def test_commands_after_the_close_are_refused(steps: Steps) -> None:
    [appended, closed, refused] = steps.step(steps.append(1), Close(steps.results_of), steps.append(2))

    assert (appended, closed) == (None, None)
    assert "closed" in str(refused)
    assert not steps.worker.is_running


def test_the_close_retries_once_more_when_the_reserve_has_made_room(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors, ack = iter([OSError(errno.EIO, "error"), OSError(errno.ENOSPC, "full")]), SegmentFile.ack

    def fail_twice(file: SegmentFile, members: Sequence[int]) -> None:
        for error in errors:
            raise error
        ack(file, members)

    steps.step(steps.append(1, 2))
    monkeypatch.setattr(SegmentFile, "ack", fail_twice)
    steps.step(Ack(0, [1]))
    steps.step(Close(steps.results_of))

    successor = Steps(tmp_path / "journal")
    [[orphan, _]] = successor.step(Open(successor.results_of))
    assert orphan.events == 1


def test_the_lock_of_a_dead_process_is_waited_for_in_the_callers_time(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    first = Steps(folder)
    first.step(Open(first.results_of))
    first.step(first.append(1))
    [lock] = folder.glob("*.lock")
    lock.write_text(f"{2**22 + 1}\n")  # no process has this id, but the lock is held

    second = Steps(folder)
    [opened] = second.step(Open(second.results_of))

    assert len(opened) == 1
    assert second.now == pytest.approx(1000.1, abs=0.01)


def test_sqlite_may_truncate_the_wal_in_a_commit_that_fails(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The journal took this for a `-wal` that another program had truncated, and moved all events to a new file."""
    update = SegmentFile._update_identities
    failures: list[Exception] = []

    def fail_when_truncated(file: SegmentFile) -> None:
        wal = file._identities[-1] if file._identities else None
        if wal is not None and os.stat(wal.path).st_size < wal.size and not failures:  # noqa: PTH116 as the journal does
            failures.append(sqlite3.OperationalError("disk I/O error"))
            raise failures[0]
        update(file)

    monkeypatch.setattr(SegmentFile, "_update_identities", fail_when_truncated)
    files = sorted((tmp_path / "journal").glob("*.journal"))
    steps.worker._segments.active.file.limit_wal(16)  # type: ignore[union-attr]
    seq = 1
    while steps.step(steps.append(seq)) == [None]:
        seq += 1
    assert failures
    steps.now += RETRY_AFTER
    steps.step()

    assert steps.worker.failure is None
    assert sorted((tmp_path / "journal").glob("*.journal")) == files
    assert steps.step(steps.read()) == [Loaded(rows(1, seq - 1), 0, is_last=True)]
