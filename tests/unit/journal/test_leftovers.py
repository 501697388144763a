"""What a killed process has left, and what became of it since: damage is found, reported, and the rest is saved."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gameball_async._core.receipts import JobId
from gameball_async._journal import folder, segment_set, sqlite_image
from gameball_async._journal.inspection import inspect_journal
from gameball_async._journal.segment import Segment
from gameball_async._journal.sqlite_image import read_wal
from gameball_async.errors import JournalError

from .helpers import Desk, names, opened, row, rows, written
from .leftovers import (
    FRAME,
    HEADER,
    PAGE,
    Left,
    contents,
    flip,
    frames,
    killed,
    letters,
    start,
    zero,
)

ERROR = "is damaged ("

SEALED_PAGE = 3
"""The root of the table of sealed batches."""


def test_what_a_kill_leaves_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = killed(tmp_path / "journal", removes=True)

    found = start(left.folder)

    assert found.arrived == sorted(left.alive)
    assert found.lost == 0
    assert caplog.text == ""
    assert names(left.folder) == []


# ---------------------------------------------------------------- the -wal


def of_header(left: Left) -> None:
    flip(left.wal, 5)


def of_salts_in_header(left: Left) -> None:
    flip(left.wal, 18)


def of_checksum_in_header(left: Left) -> None:
    flip(left.wal, 27)


def of_page_number(left: Left) -> None:
    flip(left.wal, HEADER + 10 * FRAME + 3)


def of_size_after_commit(left: Left) -> None:
    flip(left.wal, HEADER + 10 * FRAME + 7, bit=4)


def of_salts(left: Left) -> None:
    flip(left.wal, HEADER + 10 * FRAME + 9)


def of_checksum(left: Left) -> None:
    flip(left.wal, HEADER + 10 * FRAME + 17)


def of_first_frame(left: Left) -> None:
    flip(left.wal, HEADER + 24 + 2000)


def of_frame_in_the_middle(left: Left) -> None:
    flip(left.wal, HEADER + 30 * FRAME + 24 + 3000)


def of_last_frame(left: Left) -> None:
    flip(left.wal, -500)


def of_last_page_number(left: Left) -> None:
    flip(left.wal, -FRAME + 3)


def zeroed_header(left: Left) -> None:
    zero(left.wal, 0, HEADER)


def zeroed_sector(left: Left) -> None:
    zero(left.wal, 512 * (20 * FRAME // 512), 512)


def zeroed_page(left: Left) -> None:
    zero(left.wal, PAGE * 30, PAGE)


def frame_at(left: Left, index: int) -> bytes:
    at = HEADER + index * FRAME
    return left.wal.read_bytes()[at : at + FRAME]


def write_frame(left: Left, index: int, frame: bytes) -> None:
    with left.wal.open("r+b") as file:
        file.seek(HEADER + index * FRAME)
        file.write(frame)


def frames_by_older_ones(left: Left) -> None:
    for index in range(20, 60, 10):
        write_frame(left, index, frame_at(left, index - 12))


def two_frames_exchanged(left: Left) -> None:
    first, second = frame_at(left, 12), frame_at(left, 40)
    write_frame(left, 12, second)
    write_frame(left, 40, first)


def last_frame_by_the_first(left: Left) -> None:
    write_frame(left, len(frames(left.wal)) - 1, frame_at(left, 0))


def cut_between_commits(left: Left) -> None:
    commits = [index for index, (_, size) in enumerate(frames(left.wal)) if size]
    os.truncate(left.wal, HEADER + (commits[len(commits) // 2] + 1) * FRAME)


def cut_within_a_frame(left: Left) -> None:
    os.truncate(left.wal, left.wal.stat().st_size // 2)


def emptied(left: Left) -> None:
    os.truncate(left.wal, 0)


def removed(left: Left) -> None:
    left.wal.unlink()


DAMAGES = [
    of_header,
    of_salts_in_header,
    of_checksum_in_header,
    of_page_number,
    of_size_after_commit,
    of_salts,
    of_checksum,
    of_first_frame,
    of_frame_in_the_middle,
    of_last_frame,
    of_last_page_number,
    zeroed_header,
    zeroed_sector,
    zeroed_page,
    frames_by_older_ones,
    two_frames_exchanged,
    last_frame_by_the_first,
    cut_between_commits,
    cut_within_a_frame,
    emptied,
    removed,
]


@pytest.mark.parametrize("removes", [False, True], ids=["stored", "stored-and-removed"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_wal_loses_no_event_without_a_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Left], None], *, removes: bool
) -> None:
    left = killed(tmp_path / "journal", removes=removes)
    damage(left)
    before = contents(left.folder)
    assert "the next client that starts saves its readable events" in str(inspect_journal(left.folder)[0].problem)
    assert contents(left.folder) == before

    found = start(left.folder)

    found.check(left)
    [error] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR" and ERROR in record.msg]
    assert (f"up to {found.lost} are lost" in error or "up to 1 is lost" in error) or (
        found.lost == 0 and "none is lost" in error
    )
    kept = {name.partition(".journal")[2]: content for name, content in contents(left.folder).items()}
    assert kept[".damaged"] == before[left.main.name] if left.main.name in before else True
    assert damage is removed or kept[".damaged-wal"] == next(before[name] for name in before if name.endswith("-wal"))


@pytest.mark.parametrize("behind", [False, True], ids=["over-a-later-one", "behind-the-last"])
def test_a_copy_of_an_older_frame_does_not_bring_back_what_was_removed_since(tmp_path: Path, *, behind: bool) -> None:
    live = tmp_path / "live"
    with opened(live) as desk:
        desk.append(*rows(1, 10))
        count = len(read_wal(next(live.glob("*-wal"))).frames)
        desk.writer.ack(desk.own, [1, 2, 3, 4, 5])
        for first in range(11, 101, 10):
            desk.append(*rows(first, first + 9, size=1000))
        shutil.copytree(live, tmp_path / "journal")
    left = Left(tmp_path / "journal", frozenset(range(6, 101)))
    wal = read_wal(left.wal)
    older = next(frame.index for frame in reversed(wal.frames[:count]) if b"player-1" in frame.data)
    write_frame(left, len(wal.frames) if behind else len(wal.frames) - 2, frame_at(left, older))

    start(left.folder).check(left)


def test_a_wal_that_is_cut_and_has_lost_all_files_beside_it_brings_nothing_back(tmp_path: Path) -> None:
    left = killed(tmp_path / "journal", removes=True)
    cut_between_commits(left)
    left.mark.unlink()
    left.main.unlink()

    assert start(left.folder).arrived == []


@pytest.mark.parametrize("damage", DAMAGES[:11])
def test_a_flipped_bit_of_a_wal_costs_no_more_than_its_page(tmp_path: Path, damage: Callable[[Left], None]) -> None:
    left = killed(tmp_path / "journal")
    damage(left)

    found = start(left.folder)

    assert len(found.arrived) >= len(left.alive) - 10


def test_a_wal_is_read_around_each_of_its_frames(tmp_path: Path) -> None:
    """Every frame can be the damaged one: none makes the client stop or send what was removed."""
    left = killed(tmp_path / "journal", 6, removes=True)
    count = len(frames(left.wal))
    for frame in range(0, count, 2):
        place = (3, 100)[frame // 2 % 2]  # in the head of the frame, and in its page
        copy = Left(tmp_path / str(frame), left.alive)
        shutil.copytree(left.folder, copy.folder)
        flip(copy.wal, HEADER + frame * FRAME + place)
        start(copy.folder).check(copy)


def test_without_its_mark_a_damaged_wal_is_found_by_what_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal")
    left.mark.unlink()
    of_frame_in_the_middle(left)

    start(left.folder).check(left)

    assert ERROR in caplog.text


def test_old_frames_behind_a_wal_that_was_begun_anew_are_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal", 150, size=3000)
    wal = read_wal(left.wal)
    assert 0 < len(wal.frames) < len(frames(left.wal))
    for keep_mark in (True, False):
        copy = Left(tmp_path / f"copy-{keep_mark}", left.alive)
        shutil.copytree(left.folder, copy.folder)
        if not keep_mark:
            copy.mark.unlink()
        assert start(copy.folder).arrived == sorted(left.alive)
        assert (caplog.text == "") is keep_mark
        assert ERROR not in caplog.text


@pytest.mark.parametrize("missing", [1, 100, PAGE, PAGE + 20, FRAME, FRAME + 1, 2 * FRAME])
def test_a_group_that_was_being_written_is_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, missing: int
) -> None:
    """The kill came before the last group was complete: its calls had not returned, and the mark does not know it."""
    live = tmp_path / "live"
    with opened(live) as desk:
        desk.append(*rows(1, 50))
        shutil.copytree(live, tmp_path / "journal")
        desk.append(*rows(51, 80, size=1000))
        later = next(live.glob("*-wal")).read_bytes()
    left = Left(tmp_path / "journal", frozenset(range(1, 51)))
    left.wal.write_bytes(later[:-missing])

    found = start(left.folder)

    assert found.arrived[:50] == sorted(left.alive)
    assert caplog.text == ""


@pytest.mark.parametrize("hole", [24, FRAME + 24, 2 * FRAME + 24])
def test_a_torn_group_with_holes_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture, hole: int) -> None:
    """The power failed: of what was not synced any part may be missing, also the first."""
    live = tmp_path / "live"
    with opened(live) as desk:
        desk.append(*rows(1, 50))
        shutil.copytree(live, tmp_path / "journal")
        synced = next(live.glob("*-wal")).stat().st_size
        desk.append(*rows(51, 80, size=1000))
        later = next(live.glob("*-wal")).read_bytes()
    left = Left(tmp_path / "journal", frozenset(range(1, 51)))
    left.wal.write_bytes(later)
    zero(left.wal, synced + hole, 2000)

    for keep_mark in (True, False):
        copy = Left(tmp_path / f"copy-{keep_mark}", left.alive)
        shutil.copytree(left.folder, copy.folder)
        if not keep_mark:
            copy.mark.unlink()
        assert start(copy.folder).arrived[:50] == (sorted(left.alive) if keep_mark else [])
        assert ("it is unknown how many are lost" in caplog.text) is not keep_mark  # only the mark tells the two apart


def test_what_was_removed_since_is_not_sent_again_but_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its -wal a database is of an earlier time: which of its events were sent since, it cannot say."""
    left = killed(tmp_path / "journal", 150, size=3000, removes=True)
    left.wal.unlink()

    found = start(left.folder)

    found.check(left)
    assert found.arrived == []
    assert set(letters(left.folder)) == {"unknown"}
    assert "its -wal is missing" in caplog.text
    assert "went to the dead letters" in caplog.text


def test_a_file_that_was_open_and_has_lost_its_wal_and_its_mark_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal")
    left.wal.unlink()
    left.mark.unlink()

    start(left.folder)

    assert "its -wal is missing" in caplog.text
    assert "it is unknown how many are lost" in caplog.text


def flip_third_byte(path: Path) -> None:
    flip(path, 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("spoil", [Path.unlink, flip_third_byte, empty])
def test_damage_to_a_wal_and_its_mark_loses_no_event_without_a_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], damage: Callable[[Left], None]
) -> None:
    left = killed(tmp_path / "journal", removes=True)
    damage(left)
    spoil(left.mark)

    start(left.folder)

    assert "it is unknown how many are lost" in caplog.text


def test_a_lost_mark_alone_costs_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = killed(tmp_path / "journal", removes=True)
    left.mark.unlink()

    assert start(left.folder).arrived == sorted(left.alive)
    assert "the commit mark of the journal's file" in caplog.text
    assert letters(left.folder) == []


def test_a_file_that_was_closed_needs_no_wal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, rows(1, 5))
    assert not path.with_name(path.name + "-wal").exists()
    path.with_suffix(".mark").unlink()

    assert start(tmp_path).arrived == [1, 2, 3, 4, 5]
    assert caplog.text == ""


def test_an_older_copy_of_a_closed_file_is_found_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, rows(1, 5))
    backup = path.read_bytes()
    with opened(tmp_path) as desk:
        desk.writer.ack(0, [2])
    path.write_bytes(backup)

    found = start(tmp_path)

    assert found.arrived == []
    assert letters(tmp_path) == ["unknown"] * 5
    assert ERROR in caplog.text


# ---------------------------------------------------------------- the database


def main_removed(left: Left) -> None:
    left.main.unlink()


def main_emptied(left: Left) -> None:
    os.truncate(left.main, 0)


def main_zeroed(left: Left) -> None:
    left.main.write_bytes(bytes(left.main.stat().st_size))


def main_without_header(left: Left) -> None:
    zero(left.main, 0, 100)


def main_is_something_else(left: Left) -> None:
    left.main.write_bytes(b"something else" * 1000)


@pytest.mark.parametrize(
    "damage", [main_removed, main_emptied, main_zeroed, main_without_header, main_is_something_else]
)
@pytest.mark.parametrize("has_mark", [True, False], ids=["mark", "no-mark"])
def test_a_wal_without_its_database_gives_its_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Left], None], *, has_mark: bool
) -> None:
    left = killed(tmp_path / "journal")
    name = left.main.name
    damage(left)
    if not has_mark:
        left.mark.unlink()
    before = contents(left.folder)
    [shown] = inspect_journal(left.folder)
    assert "it is damaged" in str(shown.problem)
    assert contents(left.folder) == before

    found = start(left.folder)

    if has_mark:
        assert found.arrived == sorted(left.alive)
        assert "200 events were saved, none is lost" in caplog.text
    else:  # the end of the -wal may be missing, and with it removals
        assert found.arrived == []
        assert letters(left.folder) == ["unknown"] * 200
        assert "200 events may have been sent and are among the dead letters, and it is unknown" in caplog.text
    assert (left.folder / f"{name}.damaged-wal").read_bytes() == before[f"{name}-wal"]


def test_a_database_and_its_wal_with_each_others_names_are_told_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal", removes=True)
    aside = tmp_path / "aside"
    main, wal = left.main, left.wal
    main.rename(aside)
    wal.rename(main)
    aside.rename(wal)

    assert start(left.folder).arrived == sorted(left.alive)
    assert "its files were renamed to each other" in caplog.text


def test_two_files_that_have_each_others_wal_send_nothing_of_the_other(tmp_path: Path) -> None:
    one, two = killed(tmp_path / "one", removes=True), killed(tmp_path / "two")
    folder = tmp_path / "journal"
    folder.mkdir()
    for number, (left, other) in enumerate(((one, two), (two, one)), 1):
        for path in (left.main, left.mark, other.wal):
            suffix = path.name.partition(".")[2]
            shutil.copy(path, folder / f"{number:015d}-1-00000000.{suffix}")

    found = start(folder)

    assert set(found.arrived) <= one.alive | two.alive
    assert found.lost >= len(one.alive) + len(two.alive) - len(found.arrived)


# ---------------------------------------------------------------- whatever it contains


def test_each_byte_of_a_state_and_of_a_sealed_batch_may_change(tmp_path: Path) -> None:
    """409 of 4,280 changes of one byte once kept every client from its start."""
    path = written(tmp_path / "original", rows(1, 5), [1, 3])
    content = path.read_bytes()
    # the header, the schema, and the pages of the tables, each as far as something is in it
    used = [at for at in range(len(content)) if content[at]]
    for at in used[::83]:
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "original", folder)
        flip(folder / path.name, at, bit=at % 8)
        found = start(folder)
        assert set(found.arrived) <= {1, 2, 3, 4, 5}
        assert len(found.arrived) == len(set(found.arrived))
        assert len(found.arrived) + found.lost >= 5 or list(folder.glob("*.journal"))
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {table} SET {column} = {value}"
        for table, columns in {
            "state": ("file_id", "next_seq", "events", "commits", "position", "destination", "is_open", "checksum"),
            "sealed": ("batch", "checksum"),
        }.items()
        for column in columns
        for value in ("NULL", "x'ff00'", "-1", "'\u20ac'")
    ],
)
def test_a_column_may_hold_anything(tmp_path: Path, statement: str) -> None:
    path = written(tmp_path, rows(1, 5), [1, 3])
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOT NULL', ''), 'STRICT', '')")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement)

    found = start(tmp_path)

    assert sorted(found.arrived) == [1, 2, 3, 4, 5]


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    shutil.copy(written(path.parent.parent / "other", [row(1)]), path.with_name("elsewhere"))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_folder, make_pipe, make_link, make_device])
@pytest.mark.parametrize("suffix", [".journal", ".journal-wal", ".mark", ".reserve"])
def test_what_is_no_file_at_all_keeps_no_client_from_its_start(
    tmp_path: Path, make: Callable[[Path], None], suffix: str
) -> None:
    left = killed(tmp_path / "journal")
    path = left.main.with_name(left.main.stem + suffix)
    path.unlink(missing_ok=True)
    make(path)

    start(left.folder)

    assert os.path.lexists(path) or suffix in (".mark", ".reserve")


def test_an_error_that_nobody_has_foreseen_sets_the_file_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, rows(1, 5))

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "examine", fail)
        with opened(tmp_path) as desk:
            assert len(desk.sources) == 1

    assert f"{path.name} is damaged (RuntimeError)" in caplog.text
    assert (tmp_path / f"{path.name}.damaged").exists()
    assert "RuntimeError" in (tmp_path / f"{path.name}.damaged.txt").read_text()
    assert not path.exists()


def test_a_start_that_fails_leaves_no_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, rows(1, 5))
    before = names(tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(segment_set.SegmentSet, "_recover", stop)
        segments = Desk(tmp_path).writer._worker._segments
        with pytest.raises(KeyboardInterrupt):
            segments.open(10**9)

    assert names(tmp_path) == before
    assert start(tmp_path).arrived == [1, 2, 3, 4, 5]
    assert not path.exists()


def test_a_reserve_that_is_something_else_is_not_removed(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 5))
    reserve = path.with_suffix(".reserve")
    path.rename(reserve)

    assert start(tmp_path).arrived == [1, 2, 3, 4, 5]
    assert [file.name for file in tmp_path.glob("*.damaged.reserve")]


def test_a_folder_that_only_holds_marks_is_cleaned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The crash came while an empty file was being removed."""
    left = killed(tmp_path / "journal", 0)
    left.main.unlink()
    left.wal.unlink()

    start(left.folder)

    assert names(left.folder) == []
    assert caplog.text == ""


def test_a_missing_folder_is_still_an_error_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        inspect_journal(tmp_path / "missing")
    assert not folder.Folder(tmp_path / "missing").path.exists()


def test_a_frame_with_an_absurd_number_costs_no_time() -> None:
    frame = sqlite_image.Frame(index=0, page=2**31, size=2**31, data=bytes(4096), is_whole=True, is_valid=False)
    with closing(sqlite_image.DatabaseImage(None, sqlite_image.Wal([frame], 1, 1), 1)) as image:
        assert list(image.rows()) == []


@pytest.mark.parametrize("jobs", [(None, 17), (17, None), (16, 17)])
def test_of_the_versions_of_a_damaged_page_the_newest_says_which_job_a_batch_has(
    tmp_path: Path, jobs: tuple[JobId | None, ...]
) -> None:
    with opened(tmp_path / "live") as desk:
        desk.append(*rows(1, 4))
        for job in jobs:
            desk.seal([1, 2], job=job)
        shutil.copytree(tmp_path / "live", tmp_path / "left")
    left = Left(tmp_path / "left", frozenset({1, 2, 3, 4}))
    last = max(index for index, (page, _) in enumerate(frames(left.wal)) if page == SEALED_PAGE)
    flip(left.wal, HEADER + last * FRAME + 24 + 1000)  # between the page's header and its rows

    found = start(left.folder)

    found.check(left)
    assert found.jobs == ({} if jobs[1] is None else {1: jobs[1]})


def test_a_page_of_events_in_the_place_of_the_sealed_batches_is_not_changed(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    path = written(folder, [row(seq, player=f"<{seq}>", size=300) for seq in range(1, 41)])
    with closing(sqlite3.connect(path)) as database:
        [(root,)] = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sealed'").fetchall()
    pages = [path.read_bytes()[at : at + PAGE] for at in range(0, path.stat().st_size, PAGE)]
    last = max(number for number, page in enumerate(pages) if page[0] == 13 and b"<40>" in page)
    pages[root - 1], pages[last] = pages[last], pages[root - 1]
    path.write_bytes(b"".join(pages))

    arrived = start(folder).arrived

    kept = b"".join(contents(folder).values())
    assert [seq for seq in range(1, 41) if seq not in arrived and b"<%d>" % seq not in kept] == []


def test_a_note_that_cannot_be_written_keeps_no_loss_from_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal")
    note = left.main.with_name(left.main.name + ".damaged.txt")
    note.symlink_to(tmp_path / "nowhere")
    left.main.unlink()
    left.wal.rename(tmp_path / "moved")

    start(left.folder)

    assert "up to 200 are lost" in caplog.text


def test_a_mark_that_was_moved_and_linked_still_tells_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal")
    mark, main, wal = left.mark, left.main, left.wal
    mark.rename(tmp_path / "mark")
    mark.symlink_to(tmp_path / "mark")
    main.unlink()
    wal.unlink()

    start(left.folder)

    assert "up to 200 are lost" in caplog.text
