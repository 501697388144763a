"""Whose events a file holds, and in which order files are read: both as the files say, whatever the clock says."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from gameball_async._config import Journal
from gameball_async._endpoint import Endpoint
from gameball_async._journal import JournalWriter
from gameball_async.errors import ConfigurationError

from .helpers import Desk, names, newest, row, rows
from .leftovers import contents

KEYS = ("key-of-account-a", "key-of-account-b")


def desk_of(folder: Path, key: str, *, url: str = "https://api.gameball.co", adopt: str = "same") -> Desk:
    """A client of an account."""
    desk = Desk(folder)
    settings = Journal(folder, adopt=adopt)  # type: ignore[arg-type] # one of the two
    desk.writer = JournalWriter(settings, Endpoint.checked(key, None, "v3.0", url).account)
    desk.open()
    return desk


def leave(folder: Path, key: str, *, url: str = "https://api.gameball.co", first: int = 1) -> None:
    """Let a client of an account leave three events."""
    desk = desk_of(folder, key, url=url)
    assert desk.append(*rows(first, first + 2)) == [None] * 3
    desk.close()


def test_files_of_another_account_are_left_alone_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, KEYS[0])
    path, before = newest(tmp_path), contents(tmp_path)

    desk = desk_of(tmp_path, KEYS[1])
    assert len(desk.sources) == 1
    desk.close()

    assert contents(tmp_path)[path.name] == before[path.name]
    assert caplog.text.count("skipped 1 file of the journal with events of another account, among them") == 1
    assert path.name in caplog.text
    assert 'start one with Journal(..., adopt="any")' in caplog.text
    desk = desk_of(tmp_path, KEYS[0])
    assert desk.seqs(0) == [1, 2, 3]
    desk.close()


def test_a_sandbox_does_not_take_what_is_for_production(tmp_path: Path) -> None:
    leave(tmp_path, KEYS[0])

    desk = desk_of(tmp_path, KEYS[0], url="http://127.0.0.1:8000")

    assert len(desk.sources) == 1
    desk.close()


@pytest.mark.parametrize(
    "url",
    ["https://api.gameball.co/", "https://API.Gameball.co", "https://api.gameball.co:443", "HTTPS://api.gameball.co"],
)
def test_one_address_may_be_written_in_several_ways(tmp_path: Path, url: str) -> None:
    leave(tmp_path, KEYS[0])

    desk = desk_of(tmp_path, KEYS[0], url=url)

    assert desk.seqs(0) == [1, 2, 3]
    desk.close()


@pytest.mark.parametrize(
    "url",
    ["http://api.gameball.co", "https://api.gameball.co:8443", "https://api.gameball.co/eu", "https://gameball.co"],
)
def test_another_address_is_another_account(tmp_path: Path, url: str) -> None:
    leave(tmp_path, KEYS[0])

    desk = desk_of(tmp_path, KEYS[0], url=url)

    assert len(desk.sources) == 1
    desk.close()


def test_after_a_new_key_everything_is_taken_on_demand_and_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, "old-key")

    desk = desk_of(tmp_path, "new-key", adopt="any")
    assert desk.seqs(0) == [1, 2, 3]
    desk.close()

    desk = desk_of(tmp_path, "new-key")
    assert desk.seqs(0) == [1, 2, 3]
    desk.close()
    assert caplog.text == ""


def test_the_option_takes_two_values() -> None:
    with pytest.raises(ConfigurationError, match="adopt"):
        Journal("journal", adopt="all")  # type: ignore[arg-type] # that is the mistake


def test_no_file_shows_a_key_or_an_address_and_no_two_files_look_alike(tmp_path: Path) -> None:
    for first in (1, 4):
        desk = desk_of(tmp_path, KEYS[0])
        desk.append(*rows(first, first + 2))
        desk.close()

    found = contents(tmp_path)

    assert not any(KEYS[0].encode() in content or b"gameball.co" in content for content in found.values())
    marks = [content.partition(b"\n")[0].split()[-3] for name, content in found.items() if name.endswith(".mark")]
    assert len(marks) == len(set(marks)) == 2
    assert all(re.fullmatch(rb"[0-9a-f]{16}:[0-9a-f]{32}", mark) for mark in marks)


def test_the_accounts_of_a_folder_keep_apart_over_many_starts(tmp_path: Path) -> None:
    for first in (1, 4, 7):
        for key in KEYS:
            leave(tmp_path, key, first=first)

    for key in KEYS:
        desk = desk_of(tmp_path, key)
        seqs = [seq for source in desk.sources[:-1] for seq in desk.seqs(source.segment)]
        assert seqs == list(range(1, 10))
        desk.close()


# ---------------------------------------------------------------- order


def test_the_order_of_the_files_does_not_depend_on_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, clock in enumerate((2e9, 1e9, 1.5e9, 0.0), 1):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        monkeypatch.setattr(time, "time_ns", lambda clock=clock: int(clock * 1e9))
        leave(tmp_path, KEYS[0], first=10 * number)

    desk = desk_of(tmp_path, KEYS[0])

    assert [desk.seqs(source.segment)[0] for source in desk.sources[:-1]] == [10, 20, 30, 40]
    desk.close()


def test_a_new_file_comes_behind_those_that_were_named_by_the_clock(tmp_path: Path) -> None:
    leave(tmp_path, KEYS[0])
    newest(tmp_path).rename(tmp_path / "001769861100000-1234-0a1b2c3d.journal")
    leave(tmp_path, KEYS[0], first=4)

    assert sorted(path.name[:15] for path in tmp_path.glob("*.journal")) == ["001769861100000", "001769861100001"]


def test_files_are_read_by_their_own_account_of_their_order(tmp_path: Path) -> None:
    leave(tmp_path, KEYS[0])
    leave(tmp_path, KEYS[0], first=4)
    one, two = sorted(tmp_path.glob("*.journal"))
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)

    desk = desk_of(tmp_path, KEYS[0])

    assert [desk.seqs(source.segment)[0] for source in desk.sources[:-1]] == [1, 4]
    desk.close()


@pytest.mark.parametrize("name", ["9" * 18, "9" * 19, "9" * 200, "0", "x", "-1", "\u0661"])
def test_a_name_with_a_number_beyond_reason_keeps_no_client_from_its_start(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}-1-00000000.journal").touch()

    leave(tmp_path, KEYS[0])
    leave(tmp_path, KEYS[0], first=4)

    assert len(list(tmp_path.glob("*.journal"))) == 2


def test_a_start_waits_for_the_place_of_another(tmp_path: Path) -> None:
    """A file that was made while a client starts is behind its own, and is left to the next start."""
    one = desk_of(tmp_path, KEYS[0])
    two = desk_of(tmp_path, KEYS[0])
    positions = [int(name[:15]) for name in names(tmp_path) if name.endswith(".journal")]

    assert positions == [1, 2]
    assert one.append(row(1)) == two.append(row(1)) == [None]
    one.close()
    two.close()
