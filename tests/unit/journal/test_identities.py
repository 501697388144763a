"""Files that were copied, or have the names of others: nothing is sent twice, unlinked, or lost without a report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gameball_async import inspect_journal

from .leftovers import killed, start


def test_a_copy_of_a_file_is_set_aside_and_not_sent_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = killed(tmp_path / "journal")
    main = left.main
    for path in (main, left.wal):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))

    found = start(left.folder)

    assert sorted(found.arrived) == sorted(left.alive)
    assert f"it is a copy of {main.name}): its events are sent from that file" in caplog.text
    assert (left.folder / f"copy of {main.name}.damaged").exists()


def test_a_file_that_was_renamed_is_sent_and_nothing_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = killed(tmp_path / "journal")
    for path in (left.main, left.wal):
        path.rename(path.with_name(path.name.replace("0", "9", 1)))

    found = start(left.folder)

    assert sorted(found.arrived) == sorted(left.alive)
    assert not caplog.text


def test_the_events_of_a_file_that_another_has_taken_the_place_of_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left, other = killed(tmp_path / "journal", groups=5), killed(tmp_path / "other", groups=2)
    for path, replaced in ((other.main, left.main), (other.wal, left.wal)):
        shutil.copy(path, replaced)

    found = start(left.folder)

    assert sorted(found.arrived) == sorted(other.alive)
    assert "another file has replaced the journal's file" in caplog.text
    assert "up to 50 are lost or may have been sent" in caplog.text


@pytest.mark.parametrize("suffix", [".mark", ".lock"])
def test_a_file_of_events_under_the_name_of_another_kind_is_kept(tmp_path: Path, suffix: str) -> None:
    left, other = killed(tmp_path / "journal"), killed(tmp_path / "other")
    content = other.wal.read_bytes()
    left.main.with_suffix(suffix).write_bytes(content)

    start(left.folder)

    assert content in [path.read_bytes() for path in left.folder.iterdir()]


def test_an_inspection_leaves_the_permissions_of_a_lock_as_they_are(tmp_path: Path) -> None:
    left = killed(tmp_path / "journal")
    lock = left.main.with_suffix(".lock")
    lock.chmod(0o640)

    inspect_journal(left.folder)

    assert lock.stat().st_mode & 0o777 == 0o640


def test_an_inspection_shows_a_link_in_the_place_of_a_file(tmp_path: Path) -> None:
    left = killed(tmp_path / "journal")
    left.wal.unlink()
    left.main.unlink()
    left.main.symlink_to(tmp_path / "nowhere")

    (shown,) = inspect_journal(left.folder)

    assert shown.path == left.main
    assert shown.problem is not None
