"""The progress file knows line by line what is settled, and is whole, private and locked at any time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async.cli._checkpoint import Checkpoint, CheckpointError, CheckpointFile, FileNote, RangeSet, file_note

if TYPE_CHECKING:
    from pathlib import Path

NOTE = Checkpoint(
    files=(FileNote(path="/shop/orders.csv", head="ab", head_bytes=0, settled=((1, 7), (9, 9))),),
    mapping={"format": "csv", "metadata": [{"column": "a"}]},
    counts={"delivered": 8},
    rejects_bytes=12,
    under_way=3,
)

spans = st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda span: (span[0], span[0] + span[1]))


@given(st.lists(spans))
def test_a_line_set_holds_the_lines_that_were_added_in_as_few_ranges_as_there_are_gaps(
    spans: list[tuple[int, int]],
) -> None:
    lines, expected = RangeSet(), set[int]()
    for first, last in spans:
        lines.add(first, last)
        expected.update(range(first, last + 1))
    assert [line for line in range(70) if line in lines] == sorted(expected)
    ranges = lines.ranges()
    assert len(ranges) == sum(line - 1 not in expected for line in expected)
    assert RangeSet(ranges).ranges() == ranges


@pytest.mark.parametrize("ranges", [[(2, 1)], [(1, 2), (3, 4)], [(5, 6), (1, 2)], [(0, 1)]])
def test_ranges_out_of_order_are_no_line_set(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="out of order"):
        RangeSet(ranges)


def test_a_note_comes_back_as_it_was_written(tmp_path: Path) -> None:
    book = CheckpointFile.begin(tmp_path / "progress")
    book.save(NOTE)
    book.close()
    again, note = CheckpointFile.resume(tmp_path / "progress")
    again.close()
    assert note == NOTE


def test_only_its_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        book = CheckpointFile.begin(tmp_path / "progress")
        first = stat.S_IMODE((tmp_path / "progress").stat().st_mode)
        book.save(NOTE)
    finally:
        os.umask(before)
    book.close()
    assert first == stat.S_IMODE((tmp_path / "progress").stat().st_mode) == 0o600


def test_a_note_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = CheckpointFile.begin(tmp_path / "progress")
    book.save(NOTE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        book.save(attrs.evolve(NOTE, under_way=0))
    monkeypatch.undo()
    book.close()
    again, note = CheckpointFile.resume(tmp_path / "progress")
    again.close()
    assert note == NOTE
    assert list(tmp_path.iterdir()) == [tmp_path / "progress"]


def test_a_note_is_on_the_disk_with_its_name_when_it_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name that only the memory has goes with the power, and the note that was said to be safe with it."""
    sync, synced = os.fsync, list[tuple[bool, bool]]()

    def noted(descriptor: int) -> None:
        is_replaced = not (tmp_path / "progress.tmp").exists()
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), is_replaced))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    book = CheckpointFile.begin(tmp_path / "progress")
    book.save(NOTE)
    book.close()
    assert synced == [(False, False), (True, True)]


def test_a_note_that_cannot_be_locked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CheckpointError, match="No locks available"):
        CheckpointFile.begin(tmp_path / "progress")
    assert not (tmp_path / "progress").exists()


def test_what_was_sent_in_part_is_not_sent_again_by_accident(tmp_path: Path) -> None:
    CheckpointFile.begin(tmp_path / "progress").close()
    with pytest.raises(CheckpointError, match="resume with --resume, or delete it"):
        CheckpointFile.begin(tmp_path / "progress")


def test_two_runs_never_work_on_one_progress_file(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    book = CheckpointFile.begin(path)
    for _ in range(3):
        with pytest.raises(CheckpointError, match="another run is using"):
            CheckpointFile.resume(path)
        book.save(NOTE)
    book.close()
    again, _ = CheckpointFile.resume(path)
    with pytest.raises(CheckpointError, match="another run is using"):
        CheckpointFile.resume(path)
    again.remove()
    assert not path.exists()


def test_without_a_progress_file_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is nothing to resume"):
        CheckpointFile.resume(tmp_path / "progress")


def test_a_progress_file_of_a_run_that_was_killed_at_its_beginning_says_that_nothing_was_sent(tmp_path: Path) -> None:
    CheckpointFile.begin(tmp_path / "progress").close()
    with pytest.raises(CheckpointError, match="is empty: nothing had been sent"):
        CheckpointFile.resume(tmp_path / "progress")


GOOD: dict[str, Any] = json.loads(NOTE.to_json())


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b"7",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "files": 3}).encode(),
        json.dumps({**GOOD, "files": [{}]}).encode(),
        json.dumps({**GOOD, "files": [{**GOOD["files"][0], "settled": [[3, 1]]}]}).encode(),
        json.dumps({**GOOD, "counts": {"delivered": -1}}).encode(),
        json.dumps({**GOOD, "rejects_bytes": "many"}).encode(),
        json.dumps({**GOOD, "surprise": 1}).encode(),
    ],
)
def test_a_damaged_progress_file_is_told_and_not_used(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "progress").write_bytes(text)
    with pytest.raises(CheckpointError, match="cannot be used"):
        CheckpointFile.resume(tmp_path / "progress")


def test_it_goes_on_only_with_the_same_files_and_options(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_bytes(b"a\n" * 1000)
    files = [file_note(str(orders))]
    note = Checkpoint(files=tuple(files), mapping={"event": "buy"})
    assert note.difference(files, {"event": "buy"}) is None
    assert note.difference(files, {"event": "sell"}) == "these options were different then: event"
    assert "other files" in str(note.difference([], {"event": "buy"}))
    with orders.open("ab") as file:
        file.write(b"more rows at the end are fine\n")
    assert note.difference([file_note(str(orders))], {"event": "buy"}) is None
    orders.write_bytes(b"b\n" * 2000)
    assert "has changed at its beginning" in str(note.difference([file_note(str(orders))], {"event": "buy"}))
