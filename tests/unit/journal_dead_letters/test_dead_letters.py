"""`DeadLetters`: what is buried stays, for its owner alone, and can be read and dropped by any process."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from gameball_async import (
    DeadLetter,
    DeadLetterKind,
    DeadLetters,
    DeliveryError,
    Dropped,
    DropReason,
    JournalError,
    OutcomeUnknown,
    Rejected,
)
from gameball_async._core.events import Event, encode_event
from gameball_async._journal import dead_letter_file, dead_letters
from gameball_async._journal.records import DeadLetterEntry
from gameball_async._platform import locked_folder

from ..strategies import examples, metadata

REFUSED = Rejected("Gameball refused the event (422: No such product.).", status=422, code=3003)


def letter(seq: int, says: dict[str, Any] | None = None, error: DeliveryError = REFUSED) -> DeadLetterEntry:
    encoded = encode_event("buy", {"n": seq} if says is None else says)
    return DeadLetterEntry(seq, Event(f"player{seq}", "buy", "+1234567", "jon@example.com", encoded), error)


def numbers(letters: DeadLetters) -> list[Any]:
    return [buried.metadata["n"] for buried in letters]


@contextmanager
def database(folder: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "dead-letters.db", isolation_level=None)) as connection:
        yield connection


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ------------------------------------------------------------------ burying and reading


def test_what_was_buried_is_read_with_everything_that_is_known_about_it(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    DeadLetters(tmp_path).add("file", [letter(7)])
    (buried,) = DeadLetters(tmp_path)
    assert buried.event == letter(7).event
    assert buried.kind is DeadLetterKind.REJECTED
    assert (buried.reason, buried.status, buried.code, buried.may_have_arrived) == (str(REFUSED), 422, 3003, False)
    assert before <= buried.buried_at <= datetime.now(UTC)
    assert buried.buried_at.tzinfo is UTC
    assert buried.raw is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (REFUSED, "rejected"),
        (Dropped("late", reason=DropReason.EXPIRED, may_have_arrived=True), "expired"),
        (Dropped("full", reason=DropReason.BUFFER_FULL), "dropped"),
        (OutcomeUnknown("lost", status=502), "unknown"),
    ],
)
def test_its_kind_says_why_it_is_here(tmp_path: Path, error: DeliveryError, kind: str) -> None:
    DeadLetters(tmp_path).add("file", [letter(1, error=error)])
    (buried,) = DeadLetters(tmp_path)
    assert buried.kind == kind
    assert (buried.status, buried.may_have_arrived) == (error.status, error.may_have_arrived)


def test_a_damaged_row_is_kept_with_what_of_it_could_be_read(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add_damaged("file", 3, b"\xff\x00", "its checksum is wrong")
    (buried,) = letters
    assert (buried.kind, buried.event, buried.raw) == ("damaged", None, b"\xff\x00")
    assert (buried.reason, buried.metadata) == ("its checksum is wrong", {})


def test_they_come_in_order_of_burial_and_a_page_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_PAGE", 3)
    letters = DeadLetters(tmp_path)
    letters.add("b", map(letter, range(5, 10)))
    letters.add("a", map(letter, range(5)))
    assert numbers(letters) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert len(letters) == 10


def test_what_is_buried_during_an_iteration_is_not_part_of_it(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(0)])
    seen: list[int] = []
    for buried in letters:
        seen.append(buried.id)
        letters.add("file", [letter(len(seen))])
    assert len(seen) == 1
    assert len(letters) == 2


def test_burying_twice_is_burying_once(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    letters.add("file", [letter(1), letter(2)])
    letters.add("another", [letter(1)])
    letters.add_damaged("file", 1, b"", "damaged meanwhile")
    assert [(buried.metadata["n"], buried.kind) for buried in letters] == [(n, "rejected") for n in (1, 2, 1)]


def test_a_group_is_buried_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    broken = letter(2)
    object.__setattr__(broken.event, "player_unique_id", object())
    with pytest.raises(sqlite3.Error):
        letters.add("file", [letter(1), broken])
    assert len(letters) == 0


def test_one_can_be_asked_for_by_its_id(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", map(letter, range(3)))
    second = list(letters)[1]
    assert letters.get(second.id) == second
    assert letters.get(999) is None
    assert letters.get(2**70) is None


def test_dropped_ones_are_gone_and_their_ids_name_nothing_else(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", map(letter, range(3)))
    ids = [buried.id for buried in letters]
    assert letters.drop([ids[0], ids[2], 999, -(2**70)]) == 2
    assert [buried.id for buried in letters] == [ids[1]]
    letters.add("file", [letter(9)])
    assert max(buried.id for buried in letters) > ids[2]


def test_what_was_dropped_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(0), *(letter(n, {"text": "secret-value" * 500}) for n in range(1, 50))])
    size = (tmp_path / "dead-letters.db").stat().st_size
    letters.drop(buried.id for buried in list(letters)[1:])
    assert b"secret-value" not in (tmp_path / "dead-letters.db").read_bytes()
    assert (tmp_path / "dead-letters.db").stat().st_size < size / 4


def test_its_repr_shows_nothing_personal(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1, {"city": "Kinshasa"})])
    letters.add_damaged("file", 2, b"player1", "player1 is damaged")
    assert [repr(buried) for buried in letters] == [
        "DeadLetter(id=1, event=Event(name='buy'), kind=rejected)",
        "DeadLetter(id=2, event=None, kind=damaged)",
    ]


def test_gameball_s_words_and_numbers_may_be_anything(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1, error=Rejected("half \ud83d of \x00 it", status=422, code=10**40))])
    letters.add_damaged("file", 2, b"", "half \ud83d")
    assert [buried.reason for buried in letters] == ["half ? of \x00 it", "half ?"]
    assert [buried.code for buried in letters] == [2**63 - 1, None]


# ------------------------------------------------------------------ metadata


@examples(300)
@given(metadata)
@example({"a": Decimal("-0"), "b": Decimal("1.10"), "c": Decimal(10) ** 27, "d": 1e22, "e": 5e-324, "f": [-0.0]})
def test_tracking_the_metadata_again_sends_the_same_bytes(tracked: dict[str, Any]) -> None:
    encoded = encode_event("buy", tracked)
    buried = DeadLetter(
        1, Event("p", "buy", None, None, encoded), DeadLetterKind.REJECTED, "", None, None, False, datetime.now(UTC)
    )
    assert encode_event("buy", buried.metadata) == encoded


def test_fractions_are_decimals(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1, {"price": Decimal("19.90"), "share": 0.1, "n": 3, "tags": ["a", 2.5]})])
    (buried,) = letters
    assert buried.metadata == {
        "price": Decimal("19.90"),
        "share": Decimal("0.1"),
        "n": 3,
        "tags": ["a", Decimal("2.5")],
    }
    assert isinstance(buried.metadata["n"], int)


# ------------------------------------------------------------------ files and permissions


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_everything_is_for_its_owner_alone_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "new"
    modes: set[int] = set()
    before = os.umask(umask)
    try:
        letters = DeadLetters(folder)
        letters.add("file", [letter(1)])
        with database(folder) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM letters")  # from here on its rollback journal is there
            modes = {mode_of(path) for path in folder.iterdir()}
            assert len(list(folder.iterdir())) == 2
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert mode_of(folder) == 0o700


def test_between_two_calls_there_is_one_file_and_nothing_open(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    assert len(letters) == 1
    letters.close()
    assert [path.name for path in tmp_path.iterdir()] == ["dead-letters.db"]
    assert not [link for link in Path("/proc/self/fd").glob("*") if "dead-letters" in _target(link)]
    assert len(letters) == 1


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def test_reading_makes_nothing(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "missing")
    assert (list(letters), len(letters), letters.get(1), letters.drop([1])) == ([], 0, None, 0)
    assert letters
    assert list(tmp_path.iterdir()) == []


def test_a_file_made_this_instant_by_another_process_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").touch()
    letters = DeadLetters(tmp_path)
    assert (list(letters), len(letters)) == ([], 0)
    letters.add("file", [letter(1)])
    assert numbers(letters) == [1]


def test_the_file_says_what_it_is_and_of_which_version(tmp_path: Path) -> None:
    DeadLetters(tmp_path).add("file", [letter(1)])
    with database(tmp_path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"gbL1"),)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_burial_is_one_transaction_and_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    code = (
        "import os, sys; from gameball_async import DeadLetters; letters = DeadLetters(sys.argv[1])\n"
        "for seq in (1, 2):\n    os.path.exists(f'/begin{seq}')\n"
        "    letters.add_damaged('file', seq, b'', 'damaged')\n"
    )
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=stat,newfstatat,statx,unlink,fsync,fdatasync,pwrite64",
        sys.executable,
    ]
    done = subprocess.run([*command, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    burial = done.stderr.rpartition("/begin2")[2].splitlines()
    steps = [step for line in burial if (step := _step(line, tmp_path)) is not None]
    assert steps.count("unlink") == 1
    # the letter, then its rollback journal, then the folder: https://sqlite.org/atomiccommit.html
    assert steps[-4:] == ["write", "sync file", "unlink", "sync folder"]


def _step(line: str, folder: Path) -> str | None:
    """What a line of strace says about the file of dead letters."""
    if "unlink(" in line:
        return "unlink"
    if "sync(" in line:
        for path, name in ((folder / "dead-letters.db", "file"), (folder, "folder")):
            if f"<{path}>" in line:
                return f"sync {name}"
    return "write" if f"<{folder / 'dead-letters.db'}>" in line and "pwrite64(" in line else None


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    folder = tmp_path / "50% of ?mode=ro#é"
    DeadLetters(folder).add("file", [letter(1)])
    assert numbers(DeadLetters(str(folder))) == [1]


# ------------------------------------------------------------------ what goes wrong


def test_a_newer_schema_is_told_and_left_alone(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    with database(tmp_path) as connection:
        connection.execute("PRAGMA user_version = 3")
    with pytest.raises(JournalError, match=r"written by a later version of gameball_async: install that"):
        list(letters)
    with pytest.raises(JournalError, match="later version"):
        letters.drop([1])
    with pytest.raises(sqlite3.OperationalError, match="later version"):
        letters.add("file", [letter(2)])
    assert [path.name for path in tmp_path.iterdir()] == ["dead-letters.db"]


@pytest.mark.parametrize("column", ["player", "name", "encoded", "reason", "kind", "email", "code", "buried_at"])
def test_a_letter_that_was_altered_in_its_file_is_damaged(tmp_path: Path, column: str) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1), letter(2)])
    with database(tmp_path) as connection:
        connection.execute(f"UPDATE letters SET {column} = CAST(x'c1ff' AS TEXT) WHERE id = 1")

    damaged, whole = letters

    assert (damaged.kind, damaged.event, damaged.metadata) == (DeadLetterKind.DAMAGED, None, {})
    assert letters.get(1) == damaged
    assert whole.event is not None


def test_letters_of_the_first_version_are_read_without_a_change_and_upgraded_by_a_burial(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "journal" / "schema-1-dead-letters.db", tmp_path / "dead-letters.db")
    content = (tmp_path / "dead-letters.db").read_bytes()
    letters = DeadLetters(tmp_path)

    former = list(letters)

    assert former
    assert (tmp_path / "dead-letters.db").read_bytes() == content
    letters.add("another file", [letter(1)])
    assert list(letters)[: len(former)] == former
    assert len(letters) == len(former) + 1


def _overwritten(path: Path) -> None:
    path.write_bytes(b"no database at all" * 500)


def _broken_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def _something_else(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")


def _without_its_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE letters")


def _with_a_word_that_is_not_text(path: Path) -> None:
    """SQLite's message quotes what is no UTF-8, and `sqlite3` fails to decode it."""
    path.write_bytes(path.read_bytes().replace(b"NOT NULL", b"NOT \xceULL"))


_DAMAGES = [_overwritten, _broken_inside, _something_else, _without_its_table, _with_a_word_that_is_not_text]


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_file_is_set_aside_and_blocks_no_burial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    for _ in range(2):
        damage(tmp_path / "dead-letters.db")
        with pytest.raises(JournalError, match=r"it is damaged .* the next dead letter sets it aside"):
            list(letters)
        with pytest.raises(JournalError, match="damaged"):
            letters.drop([1])
        letters.add("file", [letter(2)])
        assert numbers(letters) == [2]
    assert {path.name for path in tmp_path.iterdir()} == {
        "dead-letters.db",
        "dead-letters.db.damaged",
        "dead-letters.db.damaged.2",
    }
    assert [(record.levelno, "renamed to dead-letters.db.damaged" in record.message) for record in caplog.records] == [
        (logging.ERROR, True)
    ] * 2


def test_a_rollback_journal_left_by_a_crash_does_not_reach_the_fresh_file(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    with database(tmp_path) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE letters SET reason = hex(zeroblob(100000))")
        left = (tmp_path / "dead-letters.db-journal").read_bytes()
    _overwritten(tmp_path / "dead-letters.db")
    (tmp_path / "dead-letters.db-journal").write_bytes(left)
    letters.add("file", [letter(2)])
    assert not (tmp_path / "dead-letters.db-journal").exists()
    assert numbers(letters)[-1] == 2


def test_a_burial_that_waited_while_the_file_was_set_aside_goes_to_the_fresh_one(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    with database(tmp_path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        waiting = threading.Thread(target=letters.add, args=("file", [letter(2)]))
        waiting.start()
        while _threads_in_wait() < 2:  # ours and the waiting one hold the file open
            pass
        (tmp_path / "dead-letters.db").rename(tmp_path / "aside")
        connection.execute("ROLLBACK")
        waiting.join()
    assert numbers(letters) == [2]


CALLS: dict[str, tuple[Callable[[DeadLetters], object], object, list[object]]] = {
    "add": (lambda letters: letters.add("file", [letter(2)]), None, [2]),
    "add_damaged": (lambda letters: letters.add_damaged("file", 2, b"raw", "damaged"), None, [None]),
    "drop": (lambda letters: letters.drop([1]), 0, []),
    "len": (len, 0, []),
    "iteration": (list, [], []),
    "get": (lambda letters: letters.get(1), None, []),
}
"""Each call, what it returns when there is no file, and the letters that are there afterwards."""


@pytest.mark.parametrize(("call", "expected", "left"), CALLS.values(), ids=CALLS)
def test_a_file_that_was_moved_away_since_it_was_seen_is_missing(
    call: Callable[[DeadLetters], object],
    expected: object,
    left: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    open_file = letters._file._open

    def move_and_open(pragmas: Sequence[str] = ()) -> sqlite3.Connection:
        if not (tmp_path / "aside").exists():
            (tmp_path / "dead-letters.db").rename(tmp_path / "aside")
        return open_file(pragmas)

    monkeypatch.setattr(letters._file, "_open", move_and_open)
    assert call(letters) == expected
    assert [buried.metadata.get("n") for buried in letters] == left


def test_a_damaged_file_that_another_process_sets_aside_first_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    _overwritten(tmp_path / "dead-letters.db")

    @contextmanager
    def lock_late(folder: Path) -> Generator[None]:
        monkeypatch.undo()
        (tmp_path / "dead-letters.db").rename(tmp_path / "aside")
        with locked_folder(folder):
            yield

    monkeypatch.setattr("gameball_async._journal.dead_letter_file.locked_folder", lock_late)
    letters.add("file", [letter(2)])
    assert numbers(letters) == [2]


def test_a_burial_into_a_file_that_somebody_moves_away_goes_to_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    look, looks = letters._file._inode, iter(range(10))

    def move_after_the_last_look() -> tuple[int, int] | None:
        inode = look()
        if next(looks) == 1:
            (tmp_path / "dead-letters.db").rename(tmp_path / "aside")
        return inode

    monkeypatch.setattr(letters._file, "_inode", move_after_the_last_look)
    letters.add("file", [letter(2)])
    assert numbers(letters) == [2]


def test_a_file_that_another_process_makes_at_the_same_time_is_shared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = Path.mkdir

    def be_overtaken(path: Path, **options: Any) -> None:
        make_folder(path, **options)
        monkeypatch.undo()
        DeadLetters(path).add("another", [letter(1)])

    monkeypatch.setattr(Path, "mkdir", be_overtaken)
    letters = DeadLetters(tmp_path / "new")
    letters.add("file", [letter(2)])
    assert numbers(letters) == [1, 2]


def _threads_in_wait() -> int:
    return sum(_target(link).endswith("dead-letters.db") for link in Path("/proc/self/fd").glob("*"))


def test_a_disk_that_damages_every_file_is_not_filled_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = DeadLetters(tmp_path)
    create = letters._file._create

    def damaging() -> tuple[int, int]:
        inode = create()
        _overwritten(tmp_path / "dead-letters.db")
        return inode

    monkeypatch.setattr(letters._file, "_create", damaging)
    with pytest.raises(sqlite3.OperationalError, match="repeatedly: check the disk"):
        letters.add("file", [letter(1)])
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_held_by_another_process_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_file, "_BUSY_TIMEOUT", 0.01)
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    with database(tmp_path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match=r"another process has locked it for 0.01 s: retry"):
            len(letters)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            letters.add("file", [letter(2)])
    assert numbers(letters) == [1]


def test_a_damaged_file_that_somebody_writes_to_is_not_taken_away_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_file, "_BUSY_TIMEOUT", 0.01)
    letters = DeadLetters(tmp_path)
    letters.add("file", [letter(1)])
    with database(tmp_path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            letters._file._set_aside(letters._file._create(), sqlite3.DatabaseError("damaged"))
    letters._file._set_aside((0, 0), sqlite3.DatabaseError("damaged"))  # another process did so meanwhile
    assert numbers(letters) == [1]


@pytest.mark.parametrize("below", ["file", "file/folder"])
def test_a_folder_that_is_none_is_told_with_its_path(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    letters = DeadLetters(tmp_path / below)
    with pytest.raises(JournalError, match=r"dead-letters.db cannot be used \(.*\): check the folder's path"):
        list(letters)
    with pytest.raises(OSError, match=r"dead-letters\.db"):
        letters.add("file", [letter(1)])


def test_what_sqlite_refuses_otherwise_is_told_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").mkdir()
    with pytest.raises(JournalError, match=r"unable to open database file. Check the disk's space"):
        list(DeadLetters(tmp_path))


@pytest.mark.parametrize("leads_to", ["nowhere", "elsewhere.db"])
def test_a_symbolic_link_is_set_aside_and_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, leads_to: str
) -> None:
    journal, elsewhere = tmp_path / "journal", tmp_path / "elsewhere.db"
    journal.mkdir()
    elsewhere.touch()
    (journal / "dead-letters.db").symlink_to(tmp_path / leads_to)

    with pytest.raises(JournalError, match="symbolic link"):
        list(DeadLetters(journal))
    DeadLetters(journal).add("file", [letter(1)])

    assert len(DeadLetters(journal)) == 1
    assert not (journal / "dead-letters.db").is_symlink()
    assert (journal / "dead-letters.db.damaged").readlink() == tmp_path / leads_to
    assert elsewhere.read_bytes() == b""
    assert caplog.text.count("is a symbolic link, which is not followed") == 1


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666])
def test_letters_that_others_could_read_are_made_private(tmp_path: Path, mode: int) -> None:
    letters, path = DeadLetters(tmp_path), tmp_path / "dead-letters.db"
    letters.add("file", [letter(1)])
    path.chmod(mode)

    assert len(letters) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.chmod(mode)
    letters.add("file", [letter(2)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ------------------------------------------------------------------ several processes

BURIER = """
import sys
from gameball_async import DeadLetters, Rejected
from gameball_async._core.events import Event, encode_event
from gameball_async._journal.records import DeadLetterEntry
letters = DeadLetters(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for seq in range(int(sys.argv[3])):
    event = Event("player", "buy", None, None, encode_event("buy", {"n": seq}))
    letters.add(sys.argv[2], [DeadLetterEntry(seq, event, Rejected("no", status=422))])
    print(seq, flush=True)
"""


@contextmanager
def burier(folder: Path, name: str, count: int) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", BURIER, str(folder), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_bury_at_once_while_this_one_reads_and_drops(tmp_path: Path) -> None:
    folder, each = tmp_path / "new", 40
    letters = DeadLetters(folder)
    dropped = 0
    with burier(folder, "a", each) as first, burier(folder, "b", each) as second:
        for process in (first, second):
            assert next_line(process) == "ready"
        for process in (first, second):
            begin(process)
        while first.poll() is None or second.poll() is None:
            dropped += letters.drop([buried.id for buried in letters][:3])
        assert (first.returncode, second.returncode) == (0, 0)
    assert dropped + len(letters) == 2 * each
    assert [path.name for path in folder.iterdir()] == ["dead-letters.db"]


def test_a_process_that_buries_without_a_pause_lets_others_in(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    with burier(tmp_path, "a", 100_000) as process:
        begin(process)
        assert next_line(process) == "ready"
        assert next_line(process) == "0"
        for seq in range(20):
            letters.add("b", [letter(seq)])
        assert process.poll() is None
        process.kill()
    assert len(letters) > 20


def test_after_kill_9_every_burial_that_returned_is_there(tmp_path: Path) -> None:
    for round_ in range(5):
        with burier(tmp_path, str(round_), 10_000) as process:
            begin(process)
            assert next_line(process) == "ready"
            for expected in range(5 + round_):
                assert next_line(process) == str(expected)
            process.kill()
            assert process.stdout is not None
            said = process.stdout.read().split()  # `communicate` would not see what was read ahead
        with database(tmp_path) as connection:
            (there,) = connection.execute("SELECT count(*) FROM letters WHERE file_id = ?", [str(round_)]).fetchone()
        assert there in (5 + round_ + len(said), 5 + round_ + len(said) + 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_uses_them_as_its_parent_does(tmp_path: Path) -> None:
    code = f"""
import os, sys
from gameball_async import DeadLetters
letters = DeadLetters({str(tmp_path)!r})
assert len(letters) == 1
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    assert len(letters) == 0
else:
    assert letters.drop([1]) == 1
    os._exit(0)
"""
    DeadLetters(tmp_path).add("file", [letter(1)])
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_a_first_burial_in_the_midst_of_a_look_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / dead_letter_file.FILE_NAME
    path.touch(0o600)
    connect = dead_letter_file.DeadLetterFile._open
    tries: list[str] = []

    def dead_letter(statement: str) -> None:
        if "user_version" not in statement:
            return
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute(f"PRAGMA application_id = {dead_letter_file._APPLICATION_ID}")
                other.execute("PRAGMA user_version = 1")
            except sqlite3.OperationalError as error:
                tries.append(str(error))

    def watched(file: dead_letter_file.DeadLetterFile) -> sqlite3.Connection:
        connection = connect(file)
        connection.set_trace_callback(dead_letter)
        return connection

    monkeypatch.setattr(dead_letter_file.DeadLetterFile, "_open", watched)
    assert len(DeadLetters(tmp_path)) == 0
    assert tries == ["database is locked"]
