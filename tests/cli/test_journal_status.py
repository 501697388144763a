"""`journal status`: the files of a journal, whose they are and what is wrong with them, for people and programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gameball_async import DeadLetters
from gameball_async._journal.folder import create_database, take_lock
from gameball_async._journal.records import StoredEvent
from gameball_async._journal.segment_file import SegmentFile
from gameball_async._journal.state import SegmentState
from gameball_async.cli import _terminal

from .conftest import invoke

if TYPE_CHECKING:
    from pathlib import Path

STEM = "000001700000000-99-0123abcd"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with one file of three events whose owner is gone, and a dead letter."""
    path = tmp_path / "journal" / f"{STEM}.journal"
    path.parent.mkdir()
    create_database(path, SegmentState(STEM))
    with closing(SegmentFile(path)) as file:
        file.begin()
        file.append(
            [StoredEvent(seq, f"snow{seq % 2}", "buy", b'"buy":{}', None, None, 1.7e9, None) for seq in (1, 2, 3)]
        )
        file.commit()
    DeadLetters(path.parent).add_damaged("file", 1, b"", "damaged")
    return path.parent


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_file_that_nobody_owns_is_shown_with_what_is_in_it(journal: Path) -> None:
    result = invoke("journal", "status", journal)
    assert result.exit_code == 0
    header, file, *_ = rows(result.stdout)
    assert header == ["file", "owner", "pending", "players", "oldest", "size"]
    assert file[:4] == [f"{STEM}.journal", "none", "3", "2"]
    assert file[-3] == "ago"
    assert "1 file, 3 events pending." in result.stdout
    assert "Dead letters: 1." in result.stdout
    assert "snow" not in result.output


def test_a_file_in_use_is_shown_with_its_owner(journal: Path) -> None:
    descriptor = take_lock(journal / f"{STEM}.lock")
    assert descriptor is not None
    try:
        result = invoke("journal", "status", journal)
        assert result.exit_code == 0
        assert rows(result.stdout)[1][:5] == [f"{STEM}.journal", str(os.getpid()), "-", "-", "-"]
        assert "1 file, 0 events pending, in addition to those in 1 file in use." in result.stdout
        os.ftruncate(descriptor, 0)
        assert rows(invoke("journal", "status", journal).stdout)[1][1] == "unknown"
    finally:
        os.close(descriptor)


def test_problems_are_told_below_the_table_and_are_no_failure(journal: Path) -> None:
    (journal / f"{STEM}.journal").write_bytes(b"no database at all" * 500)
    (journal / "dead-letters.db").write_bytes(b"no database at all" * 500)
    result = invoke("journal", "status", journal)
    assert result.exit_code == 0
    assert f"{STEM}.journal: it is damaged (file is not a database): the next client" in result.stdout
    assert "Dead letters: " in result.stdout
    assert "it is damaged (file is not a database). Move it away" in result.stdout


def test_in_json_everything_is_there(journal: Path) -> None:
    status = json.loads(invoke("journal", "status", journal, "--json").stdout)
    (file,) = status["files"]
    assert file == {
        "path": str(journal / f"{STEM}.journal"),
        "size_bytes": status["size_bytes"],
        "reserve_bytes": 0,
        "is_in_use": False,
        "owner_pid": None,
        "pending": 3,
        "players": 2,
        "oldest": datetime.fromtimestamp(1.7e9, UTC).isoformat(),
        "problem": None,
    }
    assert (status["pending"], status["dead_letters"], status["dead_letters_problem"]) == (3, 1, None)


def test_an_empty_folder_is_an_empty_journal(tmp_path: Path) -> None:
    result = invoke("journal", "status", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "0 files, 0 events pending.\nDead letters: 0.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_told() -> None:
    result = invoke("journal", "status", "missing")
    assert result.exit_code == 2
    assert "Directory 'missing' does not exist." in result.stderr


def test_a_terminal_gets_a_table(journal: Path) -> None:
    """The widths are the terminal's, so the words alone are looked at."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "gameball_async.cli", "journal", "status", str(journal)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=terminal, env=environment) as process:
        os.close(terminal)
        printed = b""
        try:
            while data := os.read(controller, 4096):
                printed += data
        except OSError:  # the terminal's other end was closed
            pass
        finally:
            os.close(controller)
        assert process.wait() == 0
    assert "╭" in printed.decode()
    assert f"{STEM}.journal" in printed.decode()


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (4096, "4.0 KiB"), (5 * 1024**2, "5.0 MiB"), (4 * 1024**3, "4.0 GiB")],
)
def test_sizes_are_told_as_people_say_them(size: int, words: str) -> None:
    assert _terminal.byte_size(size) == words


def test_every_command_has_help() -> None:
    for command in ([], ["status"]):
        assert invoke("journal", *command, "--help").exit_code == 0
