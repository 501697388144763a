"""Files that are removed, moved, replaced or truncated while they are open: no event is called durable that is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async._journal import repair, segment
from gameball_async.errors import JournalError

from .helpers import Desk, names, newest, opened, row, rows
from .leftovers import start

pytestmark = pytest.mark.usefixtures("impatient")


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def move_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def replace_folder(folder: Path) -> None:
    move_folder(folder)
    shutil.copytree(folder.with_name("moved"), folder)


def remove_all_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def remove_database(folder: Path) -> None:
    newest(folder).unlink()


def move_database(folder: Path) -> None:
    newest(folder).rename(folder.with_name("aside"))


def replace_database(folder: Path) -> None:
    path = newest(folder)
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def truncate_database(folder: Path) -> None:
    os.truncate(newest(folder), 0)


def wal_of(folder: Path) -> Path:
    [path] = folder.glob("*.journal-wal")
    return path


def remove_wal(folder: Path) -> None:
    wal_of(folder).unlink()


def replace_wal(folder: Path) -> None:
    path = wal_of(folder)
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def empty_wal(folder: Path) -> None:
    os.truncate(wal_of(folder), 0)


def cut_wal(folder: Path) -> None:
    os.truncate(wal_of(folder), wal_of(folder).stat().st_size - 1)


def make_a_file_of_the_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


ACTS = [
    remove_folder,
    move_folder,
    replace_folder,
    remove_all_files,
    remove_database,
    move_database,
    replace_database,
    truncate_database,
    remove_wal,
    replace_wal,
    empty_wal,
    cut_wal,
]


@pytest.mark.parametrize("act", ACTS)
def test_a_group_is_refused_and_what_was_stored_goes_to_a_new_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, act: Callable[[Path], None]
) -> None:
    folder = tmp_path / "journal"
    desk = Desk(folder)
    desk.open()
    desk.append(*rows(1, 50, size=300))
    desk.seal([1, 2])
    desk.seal([1, 2], job=17)
    path = newest(folder)
    act(folder)

    [error] = desk.append(row(51))

    assert isinstance(error, JournalError)
    assert desk.append(row(52)) == [None]
    assert desk.seqs() == [*range(3, 51), 52]
    assert desk.writer.failure is None
    desk.close()
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert path.name in line.getMessage()
    assert "50 events were saved to " in line.getMessage()
    assert newest(folder).name in line.getMessage()
    assert newest(folder) != path
    found = start(folder)
    assert (found.arrived, found.jobs) == ([*range(1, 51), 52], {1: 17})
    assert [name for name in names(folder) if ".damaged" not in name] == []


@pytest.mark.parametrize("act", ACTS)
def test_a_close_saves_what_was_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, act: Callable[[Path], None]
) -> None:
    folder = tmp_path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 50, size=300))
        act(folder)

    assert caplog.text.count("50 events were saved to ") == 1
    assert start(folder).arrived == list(range(1, 51))


def test_a_moved_folder_sends_nothing_a_second_time(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 50))
        move_folder(folder)

    assert start(folder).arrived == list(range(1, 51))
    assert start(tmp_path / "moved").arrived == []


def test_an_adopted_file_that_is_moved_keeps_its_place_before_the_own(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 3))
    with opened(folder) as desk:
        desk.append(*rows(1, 5))
        min(folder.glob("*.journal")).unlink()
        desk.writer.ack(0, [2])
        assert desk.seqs(0) == [1, 3]
        assert desk.append(row(6)) == [None]

    with opened(folder) as desk:
        assert [source.events for source in desk.sources] == [2, 6, 0]


def test_events_that_no_memory_holds_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The -wal holds more than the page cache of a client that has read something else since."""
    folder = tmp_path / "journal"
    desk = Desk(folder)
    desk.open()
    desk.append(*rows(1, 3000, size=4000))
    desk.append(*rows(3001, 3010))
    os.truncate(newest(folder), 4096 * 100)

    [error] = desk.append(row(3011))

    assert isinstance(error, JournalError)
    saved = len(desk.read(most_events=5000, most_bytes=1 << 30).rows)
    assert 0 < saved < 3010
    assert f"{saved} events were saved to " in caplog.text
    assert f"{3010 - saved} could not be saved" in caplog.text
    desk.close()
    assert len(start(folder).arrived) == saved


def test_while_there_is_no_folder_every_event_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "journal"
    desk = Desk(folder)
    desk.open()
    desk.append(*rows(1, 50))
    make_a_file_of_the_folder(folder)

    for seq in range(51, 54):
        [error] = desk.append(row(seq))
        assert isinstance(error, JournalError)

    folder.unlink()
    assert desk.seqs() == list(range(1, 51))
    assert desk.append(row(54)) == [None]
    desk.close()
    assert start(folder).arrived == [*range(1, 51), 54]
    assert caplog.text.count("50 events were saved to ") == 1


def test_a_move_that_the_disk_cuts_short_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal"
    with opened(folder) as desk:
        desk.append(*rows(1, 50))
        copy, failures = repair.copy_open_file, iter([OSError(28, "No space left on device")])

        def copy_in_vain(*arguments: object) -> tuple[int, int]:
            for error in failures:
                raise error
            return copy(*arguments)  # type: ignore[arg-type] # they are handed on

        monkeypatch.setattr(segment, "copy_open_file", copy_in_vain)
        remove_wal(folder)
        desk.append(row(51))
        assert desk.seqs() == list(range(1, 51))

    assert start(folder).arrived == list(range(1, 51))
    assert [name for name in names(folder) if ".damaged" not in name] == []
