"""Commits whose end is unknown, files that fail without a line in the log, and records that contradict each other."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gameball_async._journal.segment_file import SegmentFile

from .helpers import Desk, newest, opened, row, rows, written


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as desk:
        yield desk


def fail_after_the_next_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one COMMIT report a failure although it has reached the disk."""
    commit, errors = SegmentFile.commit, iter([sqlite3.OperationalError("disk I/O error")])

    def commit_and_fail(file: SegmentFile) -> None:
        commit(file)
        for error in errors:
            raise error

    monkeypatch.setattr(SegmentFile, "commit", commit_and_fail)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("refused", [1, 3])
def test_refused_events_do_not_come_back_when_their_commit_reached_the_disk_and_reported_a_failure(
    refused: int, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.append(row(1))
    fail_after_the_next_commit(monkeypatch)
    errors = desk.append(*rows(2, 1 + refused))
    assert errors[0] is not None
    stored = [row.seq for row, error in zip(rows(2, 1 + refused), errors, strict=True) if error is None]
    last = 2 + refused
    desk.read()  # waits until the journal works again
    assert desk.append(row(last)) == [None]

    assert desk.seqs() == [1, *stored, last]
    desk.close()
    with opened(tmp_path) as following:
        assert following.sources[0].events == 2 + len(stored)
        assert following.seqs(0) == [1, *stored, last]
    desk.open()


@pytest.mark.usefixtures("impatient")
def test_a_journal_works_again_only_in_the_log_if_the_log_has_said_that_it_does_not(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was moved away is followed at once, with a line of its own."""
    desk.append(row(1))
    newest(tmp_path).rename(tmp_path / "aside")
    desk.append(row(2))
    desk.read()

    assert "saved to" in caplog.text
    assert "works again" not in caplog.text


@pytest.mark.parametrize("most_events", [1, 2, 3, 4])
def test_a_request_is_never_cut_in_two_however_few_events_are_read_at_once(desk: Desk, most_events: int) -> None:
    requests = [[1], [2, 3], [4], [5], [6, 7, 8], [9, 10], [11], [12, 13, 14, 15]]
    desk.append(
        *(row(seq, together=members[0] if len(members) > 1 else None) for members in requests for seq in members)
    )

    parts: list[list[int]] = []
    after, is_last = 0, False
    while not is_last:
        loaded = desk.read(after, most_events)
        parts.append([row.seq for row in loaded.rows])
        after, is_last = parts[-1][-1], loaded.is_last

    assert list(itertools.chain(*parts)) == list(range(1, 16))
    for members in requests:
        assert sum(not set(members).isdisjoint(part) for part in parts) == 1
    for part in parts:  # no more than asked for, but for the rest of the request that reaches across
        first_beyond = part[most_events:]
        assert not first_beyond or any(set(first_beyond) < set(members) for members in requests)


def test_of_two_sealed_requests_that_share_an_event_the_later_one_is_sent_as_single_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No version writes such a file; if damage makes one, each event is sent, and none in two requests at once."""
    written(tmp_path, rows(1, 4), [1, 2], [2, 3])

    with opened(tmp_path) as desk:
        [found, _] = desk.sources
        assert [[row.seq for row in batch] for batch in found.sealed] == [[1, 2]]
        assert desk.seqs(0) == [3, 4]
    assert "1 sealed request is damaged" in caplog.text
