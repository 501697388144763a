"""Damaged rows and damaged files: what is right is sent, what is not is set aside, and nothing crashes twice."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from gameball_async._journal import repair
from gameball_async._journal.folder import create_database
from gameball_async._journal.sqlite_image import DatabaseImage
from gameball_async._journal.state import SegmentState

from .helpers import LETTER, Desk, names, newest, opened, row, rows, written

PAGE = 4096
_INNER = 5  # how SQLite marks an inner node of a table, https://sqlite.org/fileformat2.html#b_tree_pages


def change(path: Path, *statements: str) -> None:
    """What a bad disk would do to a closed file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def scribble(path: Path, page: int, *, length: int = PAGE, offset: int = 0) -> None:
    """Write nonsense into one page (from 0) of a file."""
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, b"\xa5" * length, page * PAGE + offset)
    os.close(descriptor)


def page_of(path: Path, page: int) -> bytes:
    with path.open("rb") as file:
        file.seek(page * PAGE)
        return file.read(PAGE)


def dead_letters(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "dead-letters.db")) as dead:
        [(table,)] = dead.execute("SELECT name FROM sqlite_schema WHERE type = 'table' LIMIT 1").fetchall()
        count: int = dead.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "damage",
    [
        "encoded = x'00'",
        "player = 'another'",
        "player = CAST(x'ff' AS TEXT)",
        "mobile = NULL",
        "accepted_at = 1.5",
        "together = 7",
        "checksum = 1",
    ],
)
def test_a_row_with_a_wrong_checksum_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = written(tmp_path, rows(1, 3))
    change(path, f"UPDATE events SET {damage} WHERE seq = 2")

    with opened(tmp_path) as desk:
        loaded = desk.read(segment=0)
        assert ([row.seq for row in loaded.rows], loaded.unreadable, loaded.is_last) == ([1, 3], 1, True)
        assert desk.read(segment=0).unreadable == 0

    assert caplog.text.count(f"1 event is damaged and will not be sent (the journal's file {path.name})") == 1
    assert "player-1" not in caplog.text
    assert dead_letters(tmp_path) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sealed SET checksum = 1 WHERE first = 1",
        "UPDATE sealed SET batch = '[[1, 2], null, null]' WHERE first = 1",
        "DELETE FROM events WHERE seq = 3",
        "UPDATE events SET name = 'other' WHERE seq = 3",
    ],
)
def test_a_damaged_batch_is_a_batch_no_more(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path, rows(1, 5), [1, 3], [4])
    change(path, damage)

    with opened(tmp_path) as desk:
        assert desk.sources[0].sealed == [[row(4)]]
        assert [seq for seq in desk.seqs(0) if seq != 3] == [1, 2, 5]


# ---------------------------------------------------------------- files


@pytest.mark.usefixtures("impatient")
def test_a_file_with_damage_in_its_midst_gives_what_lies_around_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening a file reads little of it, so that ten million events cost no time: the damage is found later."""
    with opened(tmp_path) as desk:
        desk.append(*rows(1, 2000, size=200))
        desk.seal([1, 2])
        desk.seal([1999, 2000], job=17)
    path = newest(tmp_path)
    for page in (40, 41, 90):
        scribble(path, page)

    with opened(tmp_path) as desk:
        loaded = desk.read(segment=0, most_events=5000, most_bytes=1 << 30)
        seqs = [row.seq for row in loaded.rows]
        assert 1900 < len(seqs) < 1996
        assert seqs == sorted(set(seqs))
        assert (seqs[0], seqs[-1]) == (3, 1998)
        assert len([1 for seq, after in pairwise(seqs) if after != seq + 1]) in (2, 3)
        assert loaded.unreadable == 1996 - len(seqs)
        assert desk.read(segment=0).unreadable == 0

    with opened(tmp_path) as desk:
        source = desk.sources[0]
        assert (source.events, source.next_seq) == (len(seqs) + 4, 2001)
        assert [[row.seq for row in batch] for batch in source.sealed] == [[1, 2], [1999, 2000]]
        assert source.jobs == {1999: 17}

    assert caplog.text.count(f"the journal's file {path.name} is damaged (") == 1
    assert f"{len(seqs) + 4:,} events were saved" in caplog.text
    note = tmp_path / f"{path.name}.damaged.txt"
    assert f"{len(seqs) + 4:,} events were saved" in note.read_text()
    assert "player" not in note.read_text()
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_a_damaged_inner_node_hides_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 20_000, size=300))
    content = path.read_bytes()
    inner = [page for page in range(4, len(content) // PAGE) if content[page * PAGE] == _INNER]
    assert len(inner) > 1
    scribble(path, inner[len(inner) // 2])
    change(path, "DELETE FROM state")

    with opened(tmp_path) as desk:
        assert (desk.sources[0].events, desk.sources[0].next_seq) == (20_000, 20_001)


def test_a_node_that_leads_back_gives_no_event_twice(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 2000, size=200))
    [inner] = [page for page in range(1, path.stat().st_size // PAGE) if page_of(path, page)[0] == _INNER]
    _let_lead_back(path, inner)
    change(path, "DELETE FROM state")

    with opened(tmp_path) as desk:
        seqs = [row.seq for row in desk.read(segment=0, most_events=5000, most_bytes=1 << 30).rows]
        assert seqs == list(range(1, 2001))


def _let_lead_back(path: Path, inner: int) -> None:
    """Let an inner node's entry in the middle lead to where the first one leads."""
    content = page_of(path, inner)
    cells = [int.from_bytes(content[at : at + 2], "big") for at in range(12, 12 + 2 * content[4], 2)]
    first, middle = cells[0], cells[len(cells) // 2]
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, content[first : first + 4], inner * PAGE + middle)
    os.close(descriptor)


def test_a_second_start_does_not_touch_what_was_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, rows(1, 2000, size=200))
    scribble(path, 40)
    change(path, "DELETE FROM state")
    with opened(tmp_path):
        pass
    before = names(tmp_path)
    caplog.clear()

    with opened(tmp_path) as desk:
        assert desk.sources[0].events > 1900

    assert names(tmp_path) == before
    assert caplog.text == ""


def test_a_file_that_is_damaged_twice_is_kept_twice(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 20))
    for _ in range(2):
        change(path, "DELETE FROM state")
        with opened(tmp_path):
            pass

    assert [name for name in names(tmp_path) if ".damaged" in name] == [
        f"{path.name}.damaged",
        f"{path.name}.damaged.2",
        f"{path.name}.damaged.txt",
    ]


@pytest.mark.parametrize(
    "damage", ["header", "all", "no events", "a table that is no table", "foreign"], ids=lambda damage: damage
)
def test_a_file_of_which_nothing_can_be_read_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = written(tmp_path, rows(1, 100))
    match damage:
        case "header":
            scribble(path, 0, length=100)
        case "all":
            path.write_bytes(b"\xa5" * 10_000)
        case "no events":
            change(path, "DROP TABLE events", "DROP TABLE sealed")
        case "a table that is no table":
            scribble(path, 0, length=PAGE - 100, offset=100)
        case _:
            path.unlink()
            change(path, "CREATE TABLE mine (id INTEGER)")

    for _ in range(2):
        with opened(tmp_path) as desk:
            assert len(desk.sources) <= 2
            assert desk.append(row(1)) == [None]
            desk.writer.ack(desk.own, [1])

    assert caplog.text.count("0 events were saved") == 1
    assert (tmp_path / f"{path.name}.damaged").exists()


@pytest.mark.parametrize("damage", ["DELETE FROM state", "DROP TABLE state", "DROP TABLE sealed"])
def test_a_file_without_its_small_tables_gives_all_its_events(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path, rows(1, 100), [1, 2])
    change(path, damage)

    with opened(tmp_path) as desk:
        assert (desk.sources[0].events, desk.sources[0].next_seq) == (100, 101)


def test_rows_that_are_wrong_are_not_saved_from_a_damaged_file(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 10), [1, 2], [4])
    change(path, "UPDATE events SET name = 'other' WHERE seq = 2", "UPDATE sealed SET checksum = 1 WHERE first = 4")
    change(path, "DELETE FROM state")

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == [1, 3, 4, 5, 6, 7, 8, 9, 10]
        assert desk.sources[0].sealed == []


def test_a_file_that_was_being_exchanged_is_exchanged_at_the_next_start(tmp_path: Path) -> None:
    """The crash came when the rescued file was complete, and the damaged one was not yet set aside."""
    path = written(tmp_path, rows(1, 10))
    fresh = path.with_suffix(".salvaged")
    fresh.write_bytes(path.read_bytes())
    scribble(path, 0)
    path.with_name(path.name + "-wal").write_bytes(b"of the damaged one")
    path.with_suffix(".salvaging").write_bytes(b"of an earlier try")

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == list(range(1, 11))

    assert [name for name in names(tmp_path) if "salvag" in name] == []
    assert (tmp_path / f"{path.name}.damaged-wal").read_bytes() == b"of the damaged one"


def test_a_file_whose_exchange_was_nearly_done_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, rows(1, 10))
    path.rename(path.with_suffix(".salvaged"))

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == list(range(1, 11))


def test_a_file_that_cannot_be_rescued_now_is_left_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, rows(1, 20))
    change(path, "DELETE FROM state")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(repair, "create_database", full)
        with opened(tmp_path) as desk:
            assert len(desk.sources) == 1
    assert ".journal: [Errno 28] No space left on device" in caplog.text

    with opened(tmp_path) as desk:
        assert desk.sources[0].events == 20


def test_a_rescue_that_the_disk_cuts_short_is_begun_anew_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, rows(1, 20))
    change(path, "DELETE FROM state")
    read = DatabaseImage.rows

    def read_a_part(image: DatabaseImage) -> Iterator[Any]:
        yield from islice(read(image), 7)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseImage, "rows", read_a_part)
        with opened(tmp_path) as desk:
            assert len(desk.sources) == 1
    assert ".journal: [Errno 5] Input/output error" in caplog.text

    with opened(tmp_path) as desk:
        assert desk.seqs(0) == list(range(1, 21))


@pytest.mark.usefixtures("impatient")
def test_the_own_file_is_rescued_while_it_is_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(tmp_path)
    desk.open()
    desk.append(*rows(1, 4000, size=4000))  # far more than the cache holds
    for page in range(1000, 1020):
        scribble(newest(tmp_path), page)
    seqs = [row.seq for row in desk.read(most_events=5000, most_bytes=1 << 30).rows]

    assert 3970 < len(seqs) < 4000
    assert desk.writer.failure is None
    assert desk.append(row(4001)) == [None]
    assert "the journal" in caplog.text
    assert "works again" in caplog.text
    desk.close()
    assert "player-1" not in caplog.text


@pytest.mark.usefixtures("impatient")
def test_damage_that_only_a_thorough_look_finds_is_rescued_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failure the whole file is looked through, also where nobody reads."""
    path = written(tmp_path, rows(1, 4000, size=4000))
    for page in range(1000, 1020):
        scribble(path, page)
    (tmp_path / "dead-letters.db").mkdir()

    with opened(tmp_path) as desk:
        desk.writer.dead_letter(0, [LETTER])
        desk.append(row(1))
        (tmp_path / "dead-letters.db").rmdir()
        assert desk.read(segment=0, most_events=5).unreadable > 0

    assert "events were saved" in caplog.text


def test_an_empty_database_is_private_from_the_first_moment(tmp_path: Path) -> None:
    create_database(tmp_path / "x.journal", SegmentState("x"))

    assert stat.S_IMODE((tmp_path / "x.journal").stat().st_mode) == 0o600
