"""`inspect_journal`: what lies in a journal and whose it is, seen without harming either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gameball_async import JournalError, JournalFile, inspect_journal
from gameball_async._config import Journal
from gameball_async._journal import inspection, schema
from gameball_async._journal.folder import create_database, create_private, take_lock
from gameball_async._journal.records import SegmentInfo, StoredEvent
from gameball_async._journal.segment_file import SegmentFile
from gameball_async._journal.state import SegmentState
from gameball_async._journal.writer import JournalWriter
from gameball_async._platform import hold_lock

STEM = "000001700000000-99-0123abcd"
ACCEPTED = 1_700_000_000.25


def row(seq: int) -> StoredEvent:
    return StoredEvent(seq, f"player{seq % 3}", "buy", b'"buy":{}', None, None, ACCEPTED + seq, None)


def orphan(folder: Path, events: int, stem: str = STEM) -> Path:
    """A file whose owner is gone."""
    path = folder / f"{stem}.journal"
    create_private(folder / f"{stem}.lock")
    (folder / f"{stem}.lock").write_text("99\n")
    create_database(path, SegmentState(stem))
    with closing(SegmentFile(path)) as file:
        if events:
            file.begin()
            file.append([row(seq) for seq in range(1, events + 1)])
            file.commit()
    return path


def only(folder: Path) -> JournalFile:
    (file,) = inspect_journal(folder)
    return file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_of_a_file_that_nobody_owns_everything_is_known(tmp_path: Path) -> None:
    path = orphan(tmp_path, 7)
    file = only(tmp_path)
    assert file == JournalFile(
        path=path,
        size_bytes=path.stat().st_size,
        pending=7,
        players=3,
        oldest=datetime.fromtimestamp(ACCEPTED + 1, UTC),
    )


def test_a_file_without_events_has_no_oldest(tmp_path: Path) -> None:
    orphan(tmp_path, 0)
    assert (only(tmp_path).pending, only(tmp_path).players, only(tmp_path).oldest) == (0, 0, None)


def test_a_file_whose_owner_ended_before_it_was_filled_holds_nothing(tmp_path: Path) -> None:
    create_private(tmp_path / f"{STEM}.journal")
    assert (only(tmp_path).pending, only(tmp_path).players, only(tmp_path).problem) == (0, 0, None)


def test_files_come_oldest_first_and_what_was_set_aside_last(tmp_path: Path) -> None:
    for stem in ("000001700000002-1-aa", "000001700000001-2-bb"):
        orphan(tmp_path, 1, stem)
    set_aside = tmp_path / "000001600000000-3-cc.journal.damaged"
    set_aside.write_bytes(b"?")
    assert [file.path.name for file in inspect_journal(tmp_path)] == [
        "000001700000001-2-bb.journal",
        "000001700000002-1-aa.journal",
        set_aside.name,
    ]


def test_players_of_a_large_file_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan(tmp_path, 7)
    monkeypatch.setattr(inspection, "_MAX_COUNTED", 6)
    assert (only(tmp_path).pending, only(tmp_path).players) == (7, None)


def test_a_look_leaves_the_file_as_it_is_and_the_lock_free(tmp_path: Path) -> None:
    path = orphan(tmp_path, 7)
    before = path.read_bytes()
    for _ in range(3):
        assert only(tmp_path).pending == 7
    assert path.read_bytes() == before
    assert names(tmp_path) == [f"{STEM}.journal", f"{STEM}.lock"]
    descriptor = take_lock(tmp_path / f"{STEM}.lock")
    assert descriptor is not None
    os.close(descriptor)


def test_a_folder_with_other_things_in_it_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / f"{STEM}.lock").touch()  # its owner has not made the file yet, or has removed it
    (tmp_path / "dead-letters.db").touch()
    assert inspect_journal(str(tmp_path)) == []
    assert names(tmp_path) == [f"{STEM}.lock", "dead-letters.db", "notes.txt"]


@pytest.mark.parametrize("folder", ["missing", "file", "file/below"])
def test_a_folder_that_is_none_is_told(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        JournalError, match=r"(there is no journal .*: check the path|cannot be read \(Not a directory)"
    ):
        inspect_journal(tmp_path / folder)


# ------------------------------------------------------------------ owners

OWNER = """
import os, sys, threading
from gameball_async._config import Journal
from gameball_async._journal.records import StoredEvent
from gameball_async._journal.writer import JournalWriter
from tests.unit.journal.helpers import Asked
writer, news = JournalWriter(Journal(sys.argv[1])), threading.Event()
def wait(done):
    while not done:
        news.wait()
        news.clear()
        writer.dispatch()
opened, stored = [], []
writer.open(news.set, opened.append)
wait(opened)
for seq in range(opened[0][-1].next_seq, opened[0][-1].next_seq + 20):
    writer.append(Asked([StoredEvent(seq, "p", "buy", b'"buy":{}', None, None, 1.5, None)], stored.append))
while len(stored) < 20:
    news.wait()
    news.clear()
    writer.dispatch()
print(stored == [None] * 20, flush=True)
sys.stdin.readline()
"""


@contextmanager
def owner(folder: Path) -> Generator[subprocess.Popen[str]]:
    """A second process that holds twenty events."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def test_of_a_file_in_use_its_owner_and_its_size_are_known(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        file = only(tmp_path)
        assert (file.is_in_use, file.owner_pid) == (True, process.pid)
        assert file.reserve_bytes == file.path.with_suffix(".reserve").stat().st_size > 0
        assert (file.pending, file.players, file.oldest, file.problem) == (None, None, None, None)
        wal = file.path.with_name(f"{file.path.name}-wal")
        assert file.size_bytes == file.path.stat().st_size + wal.stat().st_size > 0


def test_after_kill_9_the_events_in_the_wal_are_counted_and_stay(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(2):
            file = only(tmp_path)
            assert (file.is_in_use, file.owner_pid, file.pending, file.players) == (False, None, 20, 1)
            assert file.oldest == datetime.fromtimestamp(1.5, UTC)
    assert [source.events for source in adopted(tmp_path)] == [20, 0]


def adopted(folder: Path) -> list[SegmentInfo]:
    """What a starting client finds; it is closed again."""
    writer, news = JournalWriter(Journal(str(folder))), threading.Event()
    opened: list[list[SegmentInfo] | JournalError] = []
    closed: list[bool] = []
    writer.open(news.set, opened.append)
    while not opened:
        news.wait()
        news.clear()
        writer.dispatch()
    writer.close(lambda: closed.append(True))
    while not closed:
        news.wait()
        news.clear()
        writer.dispatch()
    (sources,) = opened
    assert isinstance(sources, list)
    return sources


def test_a_lock_without_a_number_is_of_an_unknown_owner(tmp_path: Path) -> None:
    orphan(tmp_path, 1)
    descriptor = take_lock(tmp_path / f"{STEM}.lock")
    assert descriptor is not None
    os.ftruncate(descriptor, 0)
    try:
        assert (only(tmp_path).is_in_use, only(tmp_path).owner_pid) == (True, None)
    finally:
        os.close(descriptor)


def test_a_file_that_is_removed_while_its_lock_is_tried_is_not_shown_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orphan(tmp_path, 1)

    def remove_and_take(lock: Path, *, keep_mode: bool) -> int | None:
        path.unlink()
        lock.unlink()
        return hold_lock(lock, keep_mode=keep_mode)

    monkeypatch.setattr(inspection, "take_lock", remove_and_take)
    assert inspect_journal(tmp_path) == []
    assert names(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_during_a_look_takes_no_lock_with_it(tmp_path: Path) -> None:
    code = f"""
import os, sys, threading
from gameball_async import inspect_journal
stop = threading.Event()
def look():
    while not stop.is_set():
        inspect_journal({str(tmp_path)!r})
looker = threading.Thread(target=look)
looker.start()
for _ in range(100):
    if not (child := os.fork()):
        held = [name for name in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{{name}}") and ".lock" in os.readlink(f"/proc/self/fd/{{name}}")]
        os._exit(bool(held))
    assert os.waitpid(child, 0)[1] == 0
stop.set()
looker.join()
"""
    orphan(tmp_path, 1)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------ problems


def _newer(path: Path) -> None:
    with closing(schema.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
        database.execute("UPDATE state SET checksum = 1")  # a later version has one of its own


def _no_database(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def _something_else(path: Path) -> None:
    with closing(schema.connect(path)) as database:
        database.execute("PRAGMA application_id = 5")


def _without_state(path: Path) -> None:
    with closing(schema.connect(path)) as database:
        database.execute("DELETE FROM state")


def _without_tables(path: Path) -> None:
    with closing(schema.connect(path)) as database:
        database.execute("DROP TABLE events")


def _in_the_far_future(path: Path) -> None:
    with closing(schema.connect(path)) as database:
        database.execute("UPDATE events SET accepted_at = 1e300")


def _half_rescued(path: Path) -> None:
    path.with_suffix(".salvaged").touch()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (_newer, "a later version of gameball_async wrote it (schema 9): install that"),
        (_no_database, "it is damaged (file is not a database): the next client that starts saves its readable events"),
        (_something_else, "it is damaged (it is not a journal)"),
        (_without_state, "it is damaged (its state is missing or damaged)"),
        (_without_tables, "it is damaged (no such table: events)"),
        (_in_the_far_future, "it is damaged ("),
        (_half_rescued, "it is damaged: the next client that starts finishes its repair"),
    ],
)
def test_a_problem_is_told_with_what_helps_and_harms_no_other_file(
    tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    good = orphan(tmp_path, 2, "000001700000001-1-aa")
    path = orphan(tmp_path, 7)
    damage(path)
    before = path.read_bytes()
    files = {file.path: file for file in inspect_journal(tmp_path)}
    assert problem in (files[path].problem or "")
    assert files[path].pending is None
    assert files[path].size_bytes > 0
    assert path.read_bytes() == before
    assert (files[good].pending, files[good].problem) == (2, None)


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / f"{STEM}.journal").mkdir()
    assert "it cannot be read ([Errno 22] it is not a regular file): check its disk" in (only(tmp_path).problem or "")


def test_a_lock_that_cannot_be_tried_is_told(tmp_path: Path) -> None:
    orphan(tmp_path, 1)
    (tmp_path / f"{STEM}.lock").unlink()
    (tmp_path / f"{STEM}.lock").mkdir()
    assert "its lock cannot be taken (Is a directory)" in (only(tmp_path).problem or "")


def test_a_client_s_start_sets_a_damaged_file_aside_and_its_reason_is_told(tmp_path: Path) -> None:
    path = orphan(tmp_path, 7)
    _no_database(path)
    adopted(tmp_path)
    files = [file for file in inspect_journal(tmp_path) if file.problem]
    assert [file.path.name for file in files] == [f"{STEM}.journal.damaged"]
    assert (files[0].problem or "").startswith(f"{STEM}.journal is damaged: file is not a database; see {STEM}")


def test_dead_letters_that_were_set_aside_are_shown(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db.damaged").write_bytes(b"?" * 10)
    (tmp_path / "dead-letters.db.damaged.2").write_bytes(b"?")
    assert [
        (file.size_bytes, "delete it when you no longer need it" in (file.problem or ""))
        for file in inspect_journal(tmp_path)
    ] == [(10, True), (1, True)]


def test_its_repr_shows_nothing_personal(tmp_path: Path) -> None:
    orphan(tmp_path, 3)
    assert "player" not in repr(only(tmp_path)).replace("players=", "")
