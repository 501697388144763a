"""What a writer tells a fork; `test_adoption` forks for real."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gameball_async._journal import forks
from gameball_async._journal.forks import ForkGuard

from .helpers import Desk, row


def test_a_fork_waits_until_the_writer_is_outside() -> None:
    fork_guard = ForkGuard()
    is_inside, may_leave, left = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with fork_guard:
            is_inside.set()
            may_leave.wait(30)
            left.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert is_inside.wait(30)
    threading.Timer(0.01, may_leave.set).start()
    forks._before()
    assert left.is_set()
    forks._after()

    writer.join(30)
    with fork_guard:
        assert not fork_guard.is_inherited


def test_a_child_lets_go_of_the_locks_and_keeps_the_connections_for_ever() -> None:
    ended: list[bool] = []

    class Connection:
        def __del__(self) -> None:
            ended.append(True)

    fork_guard = ForkGuard()
    lock = os.open(os.devnull, os.O_RDONLY)
    fork_guard.descriptors.update((lock, 1_000_000))  # the second is closed already
    fork_guard.pin(Connection())

    fork_guard.disown()

    assert fork_guard.is_inherited
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(lock)
    del fork_guard
    assert ended == []


def test_what_a_child_asks_of_its_parents_journal_is_refused(tmp_path: Path) -> None:
    """In the child the journal may be open or not: an engine that was never started may start there."""
    desk = Desk(tmp_path)
    desk.writer._fork_guard.disown()

    error = desk.try_open()

    assert "create a new client here" in str(error)
    assert str(desk.writer.failure) == str(error)
    [refused] = desk.append(row(1))
    assert str(refused) == str(error)
    assert list(tmp_path.iterdir()) == []
