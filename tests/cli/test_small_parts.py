"""The small parts: rejects, keys, pace, outlook, words, comparison."""

from __future__ import annotations

import io
import json
import os
import stat
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import RateLimit, Stats
from gameball_async._log import counted
from gameball_async.cli._lines import Draft
from gameball_async.cli._options import KeyOptions, read_keys, readable_by_others
from gameball_async.cli._outcomes import Rejects, Sent
from gameball_async.cli._progress import Bar, Eta, Rate, StallDetector, display_for, earliest_end, most_requests
from gameball_async.cli._terminal import UsageProblem, argument, duration, printable, quoted
from gameball_async.sandbox import HeldEvent

if TYPE_CHECKING:
    from pathlib import Path

# ------------------------------------------------------------------ rejects


def test_a_rejected_row_is_kept_with_file_line_and_reason(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "rejects")
    rejects.add(file="orders.csv", line=7, reason="no customer", row=b"a,\xe9,\xc3\xa9\r\n")
    rejects.close()
    assert json.loads((tmp_path / "rejects").read_text("utf-8")) == {
        "file": "orders.csv",
        "line": 7,
        "reason": "no customer",
        "row": "a,\\xe9,é",
    }


def test_only_the_owner_can_read_the_rejects_and_without_any_there_is_no_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        rejects = Rejects(tmp_path / "rejects")
        assert not (tmp_path / "rejects").exists()
        rejects.add(file="f", line=1, reason="r", row=b"x")
    finally:
        os.umask(before)
    rejects.close()
    assert stat.S_IMODE((tmp_path / "rejects").stat().st_mode) == 0o600


def test_the_rejects_of_an_earlier_run_are_put_aside(tmp_path: Path) -> None:
    (tmp_path / "rejects").write_text("earlier")
    Rejects(tmp_path / "rejects").close()
    assert (tmp_path / "rejects.old").read_text() == "earlier"
    assert not (tmp_path / "rejects").exists()


def test_a_run_that_goes_on_keeps_the_rejects_up_to_its_note(tmp_path: Path) -> None:
    first = Rejects(tmp_path / "rejects")
    first.add(file="f", line=1, reason="noted", row=b"x")
    noted = first.size
    first.add(file="f", line=2, reason="after the note", row=b"x")
    first.close()
    second = Rejects(tmp_path / "rejects", keep_bytes=noted)
    second.add(file="f", line=2, reason="again", row=b"x")
    second.close()
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "rejects").read_text().splitlines()]
    assert reasons == ["noted", "again"]


def test_no_key_ever_reaches_the_rejects(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "rejects", secrets=["live-key-123456", "short"])
    rejects.add(file="f", line=1, reason="key live-key-123456 is wrong", row=b"live-key-123456,short")
    rejects.close()
    text = (tmp_path / "rejects").read_text()
    assert "live-key-123456" not in text
    assert json.loads(text)["row"] == "[key],short"


def test_a_row_that_finds_no_room_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rejects = Rejects(tmp_path / "rejects")
    rejects.add(file="f", line=1, reason="whole", row=b"x")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        rejects.add(file="f", line=2, reason="half", row=b"x")
    monkeypatch.undo()
    rejects.add(file="f", line=3, reason="after", row=b"x")
    rejects.close()
    assert [json.loads(line)["line"] for line in (tmp_path / "rejects").read_text().splitlines()] == [1, 3]


# ------------------------------------------------------------------ keys


def test_keys_come_from_a_file_and_else_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text('\ufeff# Gameball\n\nexport GAMEBALL_API_KEY = "from file"\nOTHER=x\n', "utf-8")
    monkeypatch.setenv("GAMEBALL_API_KEY", "from environment")
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "secret")
    assert read_keys(path) == KeyOptions("from file", "secret")
    assert read_keys(None) == KeyOptions("from environment", "secret")


def test_keys_are_never_in_a_repr() -> None:
    assert "abc" not in repr(KeyOptions("abc", "abcd"))


@pytest.mark.parametrize(
    ("text", "reason"), [(b"just-the-key\n", "line 1 is not NAME=value"), (b"\xff=1", "not UTF-8")]
)
def test_a_file_that_holds_something_else_is_told_without_its_content(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "keys").write_bytes(text)
    with pytest.raises(UsageProblem, match=reason) as caught:
        read_keys(tmp_path / "keys")
    assert "just-the-key" not in str(caught.value)


def test_a_file_of_keys_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    assert not readable_by_others(path)
    path.chmod(0o640)
    assert readable_by_others(path)


# ------------------------------------------------------------------ pace


@pytest.mark.parametrize(
    ("requests", "seconds"), [(0, 0), (0.5, 0), (100, 0), (101, 1), (1200, 11), (1201, 30), (1301, 31), (7709, 185)]
)
def test_the_earliest_end_keeps_to_both_windows(requests: float, seconds: float) -> None:
    assert earliest_end(requests, RateLimit().windows()) == seconds


@pytest.mark.parametrize(
    ("seconds", "requests"), [(0, 0), (0.5, 50), (1, 100), (12, 1200), (29, 1200), (31, 1300), (90, 3600)]
)
def test_the_most_requests_fill_both_windows(seconds: float, requests: float) -> None:
    assert most_requests(seconds, RateLimit().windows()) == requests


def test_the_time_to_go_follows_the_measured_rate_where_the_pacing_allows_far_more() -> None:
    windows = ((100_000, 1.0), (1_000_000, 30.0))
    course = attrs.evolve(COURSE, events_left=6000, requests=600, elapsed=10.0, rate=60.0)
    assert course.remaining(windows) == 100


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_requests_never_end_earlier(fewer: float, more: float) -> None:
    fewer, more = sorted([fewer, more])
    assert earliest_end(fewer, RateLimit().windows()) <= earliest_end(more, RateLimit().windows())


COURSE = Eta(events_left=0, events_per_request=1.0, requests=0, elapsed=0.0, rate=0.0)


@pytest.mark.parametrize(
    ("course", "seconds"),
    [
        ({}, 0),
        ({"events_left": 7709}, 185),
        ({"events_left": 7709, "events_per_request": 10.0}, 7),
        ({"events_left": 100, "requests": 1200, "elapsed": 12.0}, 18),  # the long window is full until second 30
        ({"events_left": 100, "requests": 1200, "elapsed": 29.0}, 1),
        ({"events_left": 1000, "requests": 4000, "elapsed": 100.0, "rate": 5.0}, 200),  # the server is slow
        ({"events_left": 1000, "requests": 10, "elapsed": 1.0, "rate": 5.0}, 9),  # too early to judge
        ({"events_left": 1000, "requests": 300, "elapsed": 5.0, "rate": 20.0}, 50),  # the machine is slow
        ({"events_left": 1000, "requests": 480, "elapsed": 5.0, "rate": 96.0}, 27),  # it is not
        ({"events_left": 1000, "requests": 1200, "elapsed": 20.0, "rate": 60.0}, 19),  # it waits for the long window
        ({"events_left": 1000, "requests": 500, "elapsed": 9999.0, "rate": 200.0}, 9),  # after an outage
    ],
)
def test_the_time_to_go_is_what_the_pacing_and_the_server_allow(course: dict[str, float], seconds: float) -> None:
    remaining = attrs.evolve(COURSE, **course).remaining(RateLimit().windows())  # type: ignore[arg-type]
    assert remaining == seconds


def test_the_rate_forgets_what_is_older_than_half_a_minute() -> None:
    rate = Rate()
    assert rate.per_second() == 0
    for second in range(100):
        rate.note(float(second), 1000 if second < 50 else 1000 + 10 * (second - 50))
    assert rate.per_second() == pytest.approx(10, rel=0.05)


def test_the_rate_begins_with_the_first_progress() -> None:
    rate = Rate()
    for second in range(20):
        rate.note(float(second), 0)
    assert not rate.is_known
    for second in range(20, 24):
        rate.note(float(second), 1000 * (second - 19))
    assert rate.is_known
    assert rate.per_second() == 1000


# ------------------------------------------------------------------ outlook

STATS = Stats(
    accepted=9, delivered=0, rejected=0, dropped=0, unknown=0, buffered_events=9, buffered_bytes=900, oldest_age=1.0,
    in_flight=0, requests=0, retries=0, ambiguous=0, paused_until=None, halted=None,
)  # fmt: skip


def test_waiting_for_the_pacing_is_no_trouble() -> None:
    stall_detector = StallDetector()
    assert stall_detector.note(0.0, STATS) is None
    word = stall_detector.note(5.0, STATS)
    assert word is not None
    assert (word.text, word.is_problem) == ("Waiting for room in the rate limit.", False)


def test_a_slow_answer_is_no_trouble_yet() -> None:
    stall_detector = StallDetector()
    stall_detector.note(0.0, STATS)
    assert stall_detector.note(5.0, attrs.evolve(STATS, requests=1, in_flight=1)) is None


def test_tries_without_a_success_are_told_until_one_succeeds() -> None:
    stall_detector = StallDetector()
    stall_detector.note(0.0, STATS)
    assert stall_detector.note(1.0, attrs.evolve(STATS, requests=1)) is None
    told = stall_detector.note(7.0, attrs.evolve(STATS, requests=3, retries=2))
    assert told is not None
    assert told.is_problem
    assert "accepted nothing for 7 s" in told.text
    assert stall_detector.note(8.0, attrs.evolve(STATS, requests=4, retries=3, delivered=1, buffered_events=8)) is None


# ------------------------------------------------------------------ words


def test_no_control_character_reaches_a_terminal() -> None:
    assert printable("a\x1b[31mé\x07\u202e") == "a\\x1b[31mé\\x07\\u202e"
    assert quoted("a\x1bb") == "'a\\x1bb'"
    assert quoted("x" * 100) == '"' + "x" * 59 + '…"'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min")],
)
def test_durations_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_are_told_with_their_noun() -> None:
    assert (counted(0, "row"), counted(1, "row"), counted(1200, "row")) == ("0 rows", "1 row", "1,200 rows")


# ------------------------------------------------------------------ comparison


def sent(*names: str) -> Sent:
    events = Sent()
    for name in names:
        events.add(Draft("p", name, {"price": Decimal("2.550"), "n": 1}))
    return events


def held(*names: str) -> dict[str, list[HeldEvent]]:
    return {"p": [HeldEvent(name, {"price": 2.55, "n": 1}) for name in names]}


def test_equal_events_in_equal_order_are_equal() -> None:
    comparison = sent("a", "b").compare(held("a", "b"))
    assert (comparison.players, comparison.sent, comparison.held, comparison.differences) == (1, 2, 2, [])


@pytest.mark.parametrize("names", [("b", "a"), ("a",), ("a", "b", "b"), ("a", "a", "b"), ()])
def test_any_loss_duplicate_or_other_order_is_a_difference(names: tuple[str, ...]) -> None:
    assert len(sent("a", "b").compare(held(*names)).differences) == 1


def test_other_metadata_and_other_players_are_differences() -> None:
    events = sent("a")
    assert events.compare({"p": [HeldEvent("a", {"price": 2.55, "n": 2})]}).differences
    assert len(events.compare({**held("a"), "q": [HeldEvent("a", {})]}).differences) == 1
    assert "nothing is held" in events.compare({}).differences[0]


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("/var/lib/journal-1", "/var/lib/journal-1"),
        ("my journal", '"my journal"'),
        ("C:\\Program Files\\shop", '"C:\\Program Files\\shop"'),
        ("it's", '"it\'s"'),
        ("a$b", "'a$b'"),
    ],
    ids=["plain", "space", "windows", "apostrophe", "dollar"],
)
def test_an_argument_in_a_suggested_command_can_be_typed_as_it_is(
    text: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sep", "\\" if "\\" in text else "/")
    assert argument(text) == typed


@pytest.mark.parametrize("system", ["linux", "win32"])
def test_a_console_of_windows_gets_a_bar_without_a_term(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.platform", system)
    assert isinstance(display_for("title"), Bar) == (system == "win32")
