"""Who owns which file: locks, permissions, adoption, removal, forks. With real locks of real second processes."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gameball_async import DeadLetters, _platform
from gameball_async._journal import folder, orphan, schema, segment_set, state
from gameball_async._journal.folder import Folder, take_lock
from gameball_async._journal.inspection import inspect_journal
from gameball_async._journal.records import SealRecord
from gameball_async._journal.state import VERSION, SegmentState, destination_of
from gameball_async.errors import JournalError

from .helpers import Asked, Desk, names, newest, opened, python, result_of, row, rows, written

OWNER = """
import sys, json
from pathlib import Path
from tests.unit.journal.helpers import Desk, rows
desk = Desk(Path(sys.argv[1]))
print(json.dumps([[source.events, source.next_seq] for source in desk.open()]), flush=True)
if int(sys.argv[2]):
    desk.append(*rows(1, int(sys.argv[2])))
print("ready", flush=True)
sys.stdin.readline()
desk.close()
"""


def owner(folder: Path, events: int) -> subprocess.Popen[str]:
    """Another process that owns a file in the folder, until it is killed or told to go on."""
    process = python(OWNER, folder, events)
    assert process.stdout
    process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_file_whose_owner_lives_is_left_alone(tmp_path: Path) -> None:
    process = owner(tmp_path, 5)
    try:
        with opened(tmp_path) as desk:
            assert len(desk.sources) == 1
    finally:
        process.communicate("go on\n")

    assert len(list(tmp_path.glob("*.journal"))) == 1


def test_a_file_whose_owner_was_killed_is_adopted(tmp_path: Path) -> None:
    kill(owner(tmp_path, 5))

    with opened(tmp_path) as desk:
        assert [source.events for source in desk.sources] == [5, 0]
        assert desk.seqs(0) == [1, 2, 3, 4, 5]


def test_the_oldest_file_comes_first_and_the_own_last(tmp_path: Path) -> None:
    for events in (3, 1, 2):
        kill(owner(tmp_path / "journal", 0)) if events == 1 else None
        with opened(tmp_path / str(events)) as desk:
            desk.append(*rows(1, events))
    folder = tmp_path / "journal"
    for place, events in enumerate((3, 1, 2)):
        newest(tmp_path / str(events)).rename(folder / f"{place:015d}-1-00000000.journal")

    with opened(folder) as desk:
        assert [source.events for source in desk.sources] == [3, 1, 2, 0]
        assert [source.segment for source in desk.sources] == [0, 1, 2, 3]


def test_two_clients_that_start_at_once_share_the_orphans(tmp_path: Path) -> None:
    for seq in range(1, 6):
        with opened(tmp_path / str(seq)) as desk:
            desk.append(row(seq))
    folder = tmp_path / "journal"
    folder.mkdir()
    for seq in range(1, 6):
        newest(tmp_path / str(seq)).rename(folder / f"{seq:015d}-1-00000000.journal")

    starters = [python(OWNER, folder, 0) for _ in range(4)]
    adopted: list[list[list[int]]] = []
    for process in starters:
        assert process.stdout
        adopted.append(json.loads(process.stdout.readline()))
    for process in starters:
        process.communicate("go on\n")
        assert process.returncode == 0

    assert sum(events for sources in adopted for events, _ in sources) == 5


def test_no_more_files_are_adopted_than_descriptors_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(1, 4):
        with opened(tmp_path / str(seq)) as desk:
            desk.append(row(seq))
        newest(tmp_path / str(seq)).rename(tmp_path / f"{seq:015d}-1-00000000.journal")
    monkeypatch.setattr(segment_set, "MAX_RECOVERED", 2)

    with opened(tmp_path) as desk:
        assert [source.next_seq for source in desk.sources] == [2, 3, 1]

    assert "more files of the journal wait for the next start" in caplog.text


def test_a_finished_file_is_removed_with_its_lock(tmp_path: Path) -> None:
    written(tmp_path, [row(1)])
    with opened(tmp_path) as desk:
        desk.writer.ack(0, [1])
        desk.writer.discard(0)
        desk.append(row(1))
        assert len(names(tmp_path)) == 5  # the own file, its -wal, its lock, its mark and its reserve


def test_a_file_that_holds_events_is_never_discarded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, [row(1)])
    with opened(tmp_path) as desk:
        desk.writer.discard(0)
        assert desk.seqs(0) == [1]

    assert "may still contain events and is kept" in caplog.text


def test_an_orphan_without_events_is_removed(tmp_path: Path) -> None:
    kill(owner(tmp_path, 0))

    with opened(tmp_path) as desk:
        assert len(desk.sources) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", ["nothing", "lock", "empty"])
def test_what_an_owner_left_that_ended_too_early_is_removed(tmp_path: Path, make: str) -> None:
    path = tmp_path / "000000000000001-1-00000000.journal"
    if make == "nothing":
        path.with_name(path.name + "-wal").touch()
    if make == "empty":
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=WAL").fetchall()
    path.with_suffix(".lock").touch()

    with opened(tmp_path) as desk:
        assert len(desk.sources) == 1
    assert names(tmp_path) == []


def test_an_owner_that_died_before_it_marked_its_new_file_has_lost_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = tmp_path / "journal"
    journal.mkdir()
    state = SegmentState("file", position=1, destination=destination_of(b""))
    path = journal / "000000000000001-1-00000000.journal"
    folder.create_private(path)
    with closing(schema.connect(path)) as database:
        schema.create(database, state)
        shutil.copytree(journal, tmp_path / "killed")  # closing it would end its -wal

    with opened(tmp_path / "killed") as desk:
        assert len(desk.sources) == 1
    assert names(tmp_path / "killed") == []
    assert not caplog.records


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock"
    real, opens = os.open, iter([True, False])

    def open_and_lose(name: Any, *arguments: Any) -> int:
        descriptor = real(name, *arguments)
        if next(opens):
            path.unlink()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    descriptor = take_lock(path)

    assert descriptor is not None
    assert path.read_text() == f"{os.getpid()}\n"
    os.close(descriptor)


def test_the_lock_names_its_owner(tmp_path: Path) -> None:
    with opened(tmp_path):
        [lock] = tmp_path.glob("*.lock")
        assert lock.read_text() == f"{os.getpid()}\n"


def test_all_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "journal") as desk:
            desk.append(row(1))
            modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "journal").iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys([".journal", ".journal-wal", ".lock", ".mark", ".reserve"], 0o600)
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700


def make_newer(path: Path) -> None:
    """Make a closed file look as if a later version wrote it, with a state that only that one can read."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE state SET checksum = checksum + 1")
        database.execute(f"PRAGMA user_version={VERSION + 1}")
        database.commit()
    path.with_suffix(".mark").unlink()


def test_a_file_of_a_newer_schema_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, [row(1)])
    make_newer(path)
    before = path.read_bytes()

    with opened(tmp_path) as desk:
        assert len(desk.sources) == 1

    assert path.read_bytes() == before
    assert caplog.text.count(f"was written by a later version of gameball_async (schema {VERSION + 1})") == 1


def test_a_file_that_cannot_be_opened_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, [row(1)])
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with opened(tmp_path) as desk:
            assert len(desk.sources) == 1

    assert f"skipped the journal's file {path.name}: database is locked" in caplog.text


@pytest.mark.parametrize("name", ["schema-1", "schema-1-killed", "schema-2", "schema-2-killed", "schema-3"])
def test_a_kept_file_of_an_earlier_version_can_be_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    copy_kept_file(name, tmp_path)
    [shown] = inspect_journal(tmp_path)
    assert (shown.pending, shown.problem) == (6, None)

    with opened(tmp_path) as desk:
        source = desk.sources[0]
        assert source.events == 6
        assert source.sealed == [[row(1), row(3)]]
        assert source.jobs == ({1: 17} if name == "schema-3" else {})
        assert desk.read(segment=0).rows == [
            row(4),
            row(5, together=5),
            row(6, together=5),
            row(7)._replace(mobile=None),
        ]
        desk.writer.ack(0, [1, 3])
    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [4, 5, 6, 7]
    assert caplog.text == ""


def copy_kept_file(name: str, folder: Path) -> None:
    for kept in Path(__file__).parent.glob(f"{name}.*"):
        (folder / kept.name.replace(name, "000000000000001-1-00000000")).write_bytes(kept.read_bytes())


def read_as_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this library know no later version of the format."""
    for module in (state, schema, orphan):
        monkeypatch.setattr(module, "VERSION", 2)
    monkeypatch.setattr(state, "_CHECKED", (2,))


def test_an_earlier_version_leaves_a_file_alone_that_may_have_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would send the events of an accepted job again."""
    copy_kept_file("schema-3", tmp_path)
    read_as_version_2(monkeypatch)

    with pytest.raises(schema.NewerSchemaError):
        orphan.examine(next(tmp_path.glob("*.journal")), {}, None)


def test_an_earlier_version_leaves_a_file_alone_that_a_killed_process_had_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a checkpoint the upgrade is in the `-wal` alone."""
    copy_kept_file("schema-2-killed", tmp_path)
    with opened(tmp_path) as desk:
        desk.seal([1, 3], segment=0, job=17)
        killed = tmp_path / "killed"
        killed.mkdir()
        for path in tmp_path.glob("000000000000001-1-00000000.*"):
            (killed / path.name).write_bytes(path.read_bytes())
    read_as_version_2(monkeypatch)

    with pytest.raises(schema.NewerSchemaError):
        orphan.examine(killed / "000000000000001-1-00000000.journal", {}, None)


@pytest.mark.parametrize("name", ["schema-1", "schema-1-killed", "schema-2-killed"])
def test_damage_to_a_kept_file_of_an_earlier_version_is_repaired(tmp_path: Path, name: str) -> None:
    copy_kept_file(name, tmp_path)
    path = tmp_path / "000000000000001-1-00000000.journal"
    path.write_bytes(bytes(100) + path.read_bytes()[100:])

    with opened(tmp_path) as desk:
        assert desk.sources[0].events == 6


def test_the_kept_dead_letters_of_an_earlier_version_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").write_bytes(Path(__file__).with_name("schema-1-dead-letters.db").read_bytes())

    [letter] = DeadLetters(tmp_path)

    assert (letter.kind, letter.status, letter.event and letter.event.name) == ("rejected", 400, "review")


def test_all_syncs_reach_the_drive_itself(tmp_path: Path) -> None:
    """On macOS an fsync ends at the drive's cache; elsewhere these settings change nothing."""
    with opened(tmp_path) as desk:
        own = desk.writer._worker._segments.active
        assert own is not None
        assert own.file is not None
        for pragma in ("fullfsync", "checkpoint_fullfsync"):
            assert schema.pragma(own.file._db, pragma) == 1


def test_a_file_of_an_earlier_schema_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, [row(1)])
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    monkeypatch.setattr(schema, "UPGRADES", {VERSION: ("CREATE TABLE later (id INTEGER PRIMARY KEY)",)})

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [1]

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
        assert database.execute("SELECT * FROM later").fetchall() == []


# ---------------------------------------------------------------- folders that cannot work


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/journal"])
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    desk = Desk(tmp_path / folder)

    error = desk.try_open()

    assert isinstance(error, JournalError)
    assert "choose a folder in which this process can create and write files" in str(error)
    assert str(desk.append(row(1))[0]) == str(error)
    desk.close()


def test_a_folder_that_cannot_be_written_is_an_error() -> None:
    """Even root cannot write in /proc/self/fdinfo."""
    assert isinstance(Desk(Path("/proc/self/fdinfo")).try_open(), JournalError)


def test_a_journal_that_could_not_be_opened_can_be_opened_later(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    desk = Desk(tmp_path / "journal")
    assert isinstance(desk.try_open(), JournalError)

    (tmp_path / "journal").unlink()
    desk.open()
    assert desk.append(row(1)) == [None]
    desk.close()


def test_whoever_comes_while_the_journal_cannot_be_opened_is_answered(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    desk = Desk(tmp_path / "journal")
    seen: list[object] = []
    desk.writer.open(desk.notify, seen.append)
    desk.writer.append(Asked([row(1)], seen.append))
    desk.writer.seal(0, [SealRecord([1], None, None)], lambda: seen.append("never"))
    desk.writer.close(lambda: seen.append("closed"))

    desk.dispatch_until(lambda: len(seen) == 3)

    assert {type(answer) for answer in seen[:2]} == {JournalError} or "closed" in seen
    assert seen.count("closed") == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)  # no such file system can be counted on where tests run

    error = Desk(tmp_path).try_open()

    assert isinstance(error, JournalError)
    assert "file system without locks: choose a folder on a disk of this machine" in str(error)


def test_no_file_is_left_by_an_own_file_that_could_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(schema, "create", fail)

    assert isinstance(Desk(tmp_path).try_open(), JournalError)
    assert names(tmp_path) == []


def test_a_file_that_cannot_be_removed_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with opened(tmp_path):
        monkeypatch.setattr(Folder, "remove", fail)

    assert "cannot be removed: [Errno 1] Operation not permitted" in caplog.text


def test_a_folder_that_another_process_makes_at_the_same_time_is_welcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.is_dir

    def is_dir(path: Path) -> bool:
        return path.name != "journal" and real(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    (tmp_path / "journal").mkdir()

    Folder(str(tmp_path / "journal")).create()

    assert take_lock(tmp_path / "journal" / "x.lock") is not None


# ---------------------------------------------------------------- somebody looks

NOBODY = 2**22 + 1
"""A number that no process has: it is beyond the greatest that Linux gives."""


def test_a_file_that_somebody_looks_at_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = written(tmp_path, [row(1)]).with_suffix(".lock")
    lock.write_text(f"{NOBODY}\n")
    descriptor = _platform.hold_lock(lock)
    assert descriptor is not None

    def end_the_look(_: float) -> None:
        os.close(descriptor)

    monkeypatch.setattr(time, "sleep", end_the_look)

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [1]


def test_a_file_that_somebody_holds_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_set, "_PATIENCE", 0.01)
    lock = written(tmp_path, [row(1)]).with_suffix(".lock")
    lock.write_text(f"{NOBODY}\n")
    descriptor = _platform.hold_lock(lock)
    assert descriptor is not None

    with opened(tmp_path) as desk:
        assert len(desk.sources) == 1
    os.close(descriptor)


def test_who_looks_at_a_file_leaves_the_number_of_its_owner(tmp_path: Path) -> None:
    lock = written(tmp_path, [row(1)]).with_suffix(".lock")
    lock.write_text(f"{NOBODY}\n")
    [file] = inspect_journal(tmp_path)
    assert file.pending == 1
    assert folder.is_owner_gone(lock)


@pytest.mark.parametrize(
    "number", ["", "what", str(os.getpid()), "1", "9" * 30], ids=["none", "what", "own", "1", "9s"]
)
def test_an_owner_is_gone_only_if_its_number_says_so(tmp_path: Path, number: str) -> None:
    (tmp_path / "lock").write_text(number)
    assert not folder.is_owner_gone(tmp_path / "lock")


# ---------------------------------------------------------------- forks

FORK = """
import json, os, sys, signal
from pathlib import Path
from tests.unit.journal.helpers import Asked, Desk, rows, names
folder = Path(sys.argv[1])
desk = Desk(folder)
desk.open()
desk.append(*rows(1, 3))
pid = os.fork()
if not pid:
    inherited = desk.writer
    answers = []
    inherited.append(Asked(rows(4, 4), answers.append))
    inherited.read(0, 0, 1, 1, answers.append)
    inherited.ack(0, [1])
    inherited.open(lambda: None, answers.append)
    inherited.close(lambda: answers.append("closed"))
    inherited.dispatch()
    assert [type(answer).__name__ for answer in answers] == ["JournalError"] * 3 + ["str"], answers
    assert "parent" in str(inherited.failure)
    own = Desk(folder)
    assert len(own.open()) == 1  # the parent's file is still locked
    own.append(*rows(1, 2))
    own.close()
    sys.exit()  # the whole end of an interpreter, with its finalizers
_, status = os.waitpid(pid, 0)
assert status == 0, status
desk.append(*rows(4, 5))
wal = [path.stat().st_size for path in folder.glob("*-wal")]
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fork_harms_nobodys_journal(tmp_path: Path) -> None:
    process = python(FORK, tmp_path)
    _, err = process.communicate(timeout=50)
    assert process.returncode == -signal.SIGKILL, err

    with opened(tmp_path) as desk:
        assert [source.events for source in desk.sources] == [5, 2, 0]
        assert desk.seqs(0) == [1, 2, 3, 4, 5]


ORPHAN = """
import os, sys, time
from pathlib import Path
from tests.unit.journal.helpers import Desk, rows
desk = Desk(Path(sys.argv[1]))
desk.open()
desk.append(*rows(1, 3))
if not os.fork():
    print("forked", flush=True)
    sys.stdin.readline()
    os._exit(0)
os.kill(os.getpid(), 9)
"""


def test_a_child_does_not_hold_its_parents_locks(tmp_path: Path) -> None:
    process = python(ORPHAN, tmp_path)
    assert process.stdout
    assert process.stdout.readline() == "forked\n"
    process.wait(30)  # the parent is gone, the child lives

    with opened(tmp_path) as desk:
        assert [source.events for source in desk.sources] == [3, 0]
    process.communicate("go on\n")


BUSY = """
import json, os, sys
from pathlib import Path
from tests.unit.journal.helpers import Asked, Desk, rows
folder = Path(sys.argv[1])
desk = Desk(folder)
desk.open()
stored = []
for seq, event in enumerate(rows(1, 2000), 1):
    desk.writer.append(Asked([event], stored.append))
    if seq % 100 == 0:
        pid = os.fork()
        if not pid:
            own = Desk(folder)
            own.open()
            own.append(*rows(1, 1))
            own.writer.ack(own.own, [1])
            own.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
desk.dispatch_until(lambda: len(stored) == 2000)
assert set(stored) == {None}
desk.close()
print(json.dumps(len(stored)))
"""


def test_a_busy_journal_can_be_forked_at_any_moment(tmp_path: Path) -> None:
    assert result_of(python(BUSY, tmp_path)) == 2000

    with opened(tmp_path) as desk:
        assert [source.events for source in desk.sources] == [2000, 0]


def test_the_threads_name_tells_whose_it_is(tmp_path: Path) -> None:
    with opened(tmp_path):
        assert "gameball-journal" in {thread.name for thread in threading.enumerate()}


def test_no_log_line_names_a_player(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gameball_async")
    written(tmp_path, [row(1)])

    with opened(tmp_path) as desk:
        desk.writer.discard(0)

    assert caplog.records
    assert "player-1" not in caplog.text
    assert "+1000555" not in caplog.text
