"""The journal in fair weather: order, group commit, reading, sealing, forgetting."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from gameball_async._core.events import Event
from gameball_async._core.receipts import JobId
from gameball_async._journal import DeadLetterEntry, Loaded
from gameball_async._journal.records import SealRecord
from gameball_async.errors import JournalError, Rejected

from .helpers import CONTACT, Asked, Desk, names, opened, row, rows, written


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path / "journal") as desk:
        yield desk


def letter(seq: int) -> DeadLetterEntry:
    return DeadLetterEntry(seq, Event("player-1", "review", None, None, b'"review":{}'), Rejected("no", status=400))


def test_a_new_journal_has_one_empty_source(desk: Desk) -> None:
    [source] = desk.sources

    assert (source.events, source.next_seq, source.sealed) == (0, 1, [])
    assert desk.writer.failure is None
    assert desk.writer.used_bytes > 0


def test_what_was_appended_is_read_back_in_order_and_whole(desk: Desk) -> None:
    events = [*rows(1, 50), row(51, player="żółć \N{SNOWMAN} \0 ''")._replace(mobile=None, email="", together=51)]

    assert desk.append(*events) == [None] * 51

    loaded = desk.read()
    assert loaded.rows == events
    assert (loaded.unreadable, loaded.is_last) == (0, True)


def test_a_read_begins_behind_the_given_seq(desk: Desk) -> None:
    desk.append(*rows(1, 9))

    assert [row.seq for row in desk.read(after=4).rows] == [5, 6, 7, 8, 9]


def test_a_read_brings_no_more_events_than_asked(desk: Desk) -> None:
    desk.append(*rows(1, 9))

    loaded = desk.read(most_events=4)

    assert ([row.seq for row in loaded.rows], loaded.is_last) == ([1, 2, 3, 4], False)


def test_a_read_brings_no_more_bytes_than_asked_but_at_least_one_event(desk: Desk) -> None:
    desk.append(*rows(1, 3, size=1000))

    assert [row.seq for row in desk.read(most_bytes=2500).rows] == [1, 2]
    assert [row.seq for row in desk.read(most_bytes=1).rows] == [1]


@pytest.mark.parametrize(("most_events", "most_bytes"), [(2, 1 << 20), (100, 1200)])
def test_what_goes_together_is_never_cut_in_two(desk: Desk, most_events: int, most_bytes: int) -> None:
    desk.append(row(1, size=1000), *(row(seq, together=2, size=500) for seq in (2, 3, 4)), row(5, together=5), row(6))

    assert [row.seq for row in desk.read(after=1, most_events=most_events, most_bytes=most_bytes).rows] == [2, 3, 4]


def test_sealed_events_are_not_read(desk: Desk) -> None:
    desk.append(*rows(1, 6))

    desk.seal([2, 4])

    assert desk.seqs() == [1, 3, 5, 6]


def test_a_batch_that_was_split_may_be_read_and_sealed_in_parts(desk: Desk) -> None:
    desk.append(*rows(1, 4))
    desk.seal([1, 2, 3, 4])

    desk.writer.unseal(desk.own, 1)
    desk.seal([1, 2])

    assert desk.seqs() == [3, 4]


def test_a_batch_that_is_sealed_again_has_its_new_members(desk: Desk) -> None:
    desk.append(*rows(1, 4))
    desk.seal([1, 2, 3])

    desk.seal([1, 2])

    assert desk.seqs() == [3, 4]


def test_what_was_forgotten_is_gone(desk: Desk) -> None:
    desk.append(*rows(1, 4))
    desk.seal([1, 2])

    desk.writer.ack(desk.own, [1, 2])
    desk.writer.ack(desk.own, [4])

    assert desk.seqs() == [3]


def test_a_change_that_nobody_waits_for_is_done_all_the_same(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 4))
        desk.writer.ack(desk.own, [1])
        desk.writer.unseal(desk.own, 2)
        desk.writer.ack(desk.own, [2, 3])

    with opened(tmp_path) as desk:
        assert desk.sources[0].events == 1
        assert desk.seqs(0) == [4]


def test_letters_lie_among_the_dead_before_they_are_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 3))
        desk.writer.dead_letter(desk.own, [letter(1), letter(2)])
        assert desk.seqs() == [3]

    with sqlite3.connect(tmp_path / "dead-letters.db") as dead:
        [(table,)] = dead.execute("SELECT name FROM sqlite_schema WHERE type = 'table' LIMIT 1").fetchall()
        assert dead.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,)
    dead.close()


def test_sealed_batches_and_events_are_there_after_a_restart(tmp_path: Path) -> None:
    written(tmp_path, rows(1, 6), [1, 3], [2])

    with opened(tmp_path) as desk:
        old, own = desk.sources
        assert (old.events, old.next_seq) == (6, 7)
        assert old.sealed == [[row(1), row(3)], [row(2)]]
        assert desk.seqs(old.segment) == [4, 5, 6]
        assert own.segment > old.segment


@pytest.mark.parametrize("job", [17, "0b6e-4f", "\u00e9\0"], ids=["number", "text", "unusual"])
def test_the_job_of_a_sealed_batch_is_there_after_a_restart(tmp_path: Path, job: JobId) -> None:
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 6))
        desk.seal([1, 3])
        desk.seal([2])
        desk.seal([1, 3], job=job)

    with opened(tmp_path) as desk:
        assert desk.sources[0].sealed == [[row(1), row(3)], [row(2)]]
        assert desk.sources[0].jobs == {1: job}


def test_a_batch_that_is_sealed_again_has_no_job_any_more(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 4))
        desk.seal([1, 2], job=17)
        desk.seal([3], job=17)
        desk.seal([1, 2])
        desk.writer.unseal(desk.own, 3)

    with opened(tmp_path) as desk:
        assert (desk.sources[0].sealed, desk.sources[0].jobs) == ([[row(1), row(2)]], {})


def test_a_thousand_batches_are_sealed_and_get_their_job_in_one_commit_each(desk: Desk) -> None:
    desk.append(*rows(1, 1000))
    active = desk.writer._worker._segments.active
    assert active is not None
    assert active.file is not None
    before = active.file.state.commits

    for job in (None, 17):
        batches = [SealRecord([seq], None, None, job) for seq in range(1, 1001)]
        desk.wait(partial(desk.writer.seal, desk.own, batches))

    assert active.file.state.commits == before + 2
    assert desk.seqs() == []


def test_a_seq_is_never_used_again(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 3))
        desk.writer.ack(desk.own, [2, 3])

    with opened(tmp_path) as desk:
        assert desk.sources[0].next_seq == 4


def test_operations_are_applied_in_the_order_of_the_calls(desk: Desk) -> None:
    seen: list[object] = []
    writer, own = desk.writer, desk.own
    writer.append(Asked([row(1)], seen.append))
    writer.seal(own, [SealRecord([1], *CONTACT)], lambda: seen.append("sealed"))
    writer.read(own, 0, 10, 1000, seen.append)
    writer.ack(own, [1])
    writer.append(Asked([row(2)], seen.append))
    writer.read(own, 0, 10, 1000, seen.append)

    desk.dispatch_until(lambda: len(seen) == 5)
    nothing = Loaded([], 0, is_last=True)

    assert seen == [None, "sealed", nothing, None, Loaded([row(2)], 0, is_last=True)]


def test_the_loop_is_notified_once_until_it_dispatches(desk: Desk) -> None:
    done: list[object] = []
    for event in rows(1, 500):
        desk.writer.append(Asked([event], done.append))

    desk.dispatch_until(lambda: len(done) == 500)

    assert done == [None] * 500
    assert desk.notified.qsize() <= 1


def test_another_loop_hears_of_what_was_completed_before(desk: Desk) -> None:
    done: list[object] = []
    lost = threading.Event()

    def ended() -> None:
        lost.set()
        raise RuntimeError("Event loop is closed")

    desk.writer.rebind(ended)
    desk.writer.append(Asked([row(1)], done.append))
    assert lost.wait(30)
    desk.writer.rebind(desk.notify)
    desk.dispatch_until(lambda: bool(done))

    assert done == [None]


def test_a_done_that_raises_does_not_swallow_the_others(desk: Desk) -> None:
    done: list[object] = []

    def fail(_: object) -> None:
        raise ZeroDivisionError

    desk.writer.append(Asked([row(1)], fail))
    desk.writer.append(Asked([row(2)], done.append))
    with pytest.raises(ZeroDivisionError):
        desk.dispatch_until(lambda: bool(done))
    desk.dispatch_until(lambda: bool(done))

    assert done == [None]


def test_the_bytes_in_use_grow_and_shrink_with_the_events(desk: Desk) -> None:
    before = desk.writer.used_bytes
    desk.append(*rows(1, 100, size=4000))
    full = desk.writer.used_bytes
    desk.writer.ack(desk.own, range(1, 101))
    desk.read()

    assert full > before + 400_000
    assert desk.writer.used_bytes < before + 50_000


def test_a_file_without_events_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(row(1))
        desk.writer.ack(desk.own, [1])

    assert names(tmp_path) == []


def test_a_closed_journal_refuses_what_comes(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        pass

    [error] = desk.append(row(1))
    assert isinstance(error, JournalError)
    assert "closed" in str(error)
    assert isinstance(desk.wait(lambda done: desk.writer.read(0, 0, 1, 1, done)), JournalError)
    desk.writer.seal(0, [SealRecord([1], None, None)], lambda: None)
    desk.writer.ack(0, [1])
    desk.close()
    assert "closed" in str(desk.writer.failure)


def test_a_closed_journal_can_be_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as desk:
        desk.append(row(1))

    desk.open()
    assert desk.seqs(0) == [1]
    desk.close()


def test_what_is_queued_when_the_journal_closes_is_stored(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.open()
    done: list[object] = []
    for event in rows(1, 10):
        desk.writer.append(Asked([event], done.append))
    desk.writer.ack(desk.own, [1])
    desk.close()

    assert done == [None] * 10
    with opened(tmp_path) as desk:
        assert desk.seqs(0) == list(range(2, 11))


def test_a_journal_that_was_never_opened_is_closed_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal")
    closed: list[bool] = []

    desk.writer.close(lambda: closed.append(True))
    desk.writer.dispatch()

    assert closed == [True]
    assert not (tmp_path / "journal").exists()


def test_events_of_no_file_are_no_matter(desk: Desk) -> None:
    desk.writer.ack(99, [1])
    desk.writer.discard(99)
    desk.writer.discard(desk.own)

    assert desk.append(row(1)) == [None]
