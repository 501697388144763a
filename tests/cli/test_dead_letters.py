"""`dead-letters`: listed, shown, replayed, exported and dropped, also while their owner buries."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gameball_async import AsyncGameball, DeadLetters, DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from gameball_async._core.events import Event, encode_event
from gameball_async._journal.records import DeadLetterEntry
from gameball_async.cli._replay import exclusive
from gameball_async.errors import JournalError
from gameball_async.sandbox import Fault, Sandbox

from .conftest import FAST, KEY, Process, invoke, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

REFUSED = Rejected("Gameball refused the event (HTTP 422: No such product.). Correct it.", status=422, code=3003)
EXPIRED = Dropped("it was not delivered in time.", reason=DropReason.EXPIRED, may_have_arrived=True)


def bury(folder: Path, *events: tuple[str, str, dict[str, Any]], error: DeliveryError = REFUSED) -> DeadLetters:
    """Bury events (player, name, metadata) as a client does."""
    letters = DeadLetters(folder)
    first = len(letters)
    letters.add(
        "file",
        [
            DeadLetterEntry(
                first + at, Event(player, name, "+1234567", "jon@example.com", encode_event(name, metadata)), error
            )
            for at, (player, name, metadata) in enumerate(events)
        ],
    )
    return letters


def ids(letters: DeadLetters) -> list[int]:
    return [letter.id for letter in letters]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal with letters 1 and 2 of two kinds."""
    bury(tmp_path / "journal", ("snow", "buy", {"n": 1, "price": 2.5}))
    bury(tmp_path / "journal", ("stark", "visit", {"n": 2}), error=EXPIRED)
    return tmp_path / "journal"


@pytest.fixture
def replay(sandbox: Sandbox, folder: Path) -> Callable[..., Result]:
    """Run `dead-letters replay` in this process, to the sandbox of the test."""

    def run(*args: object) -> Result:
        return invoke("dead-letters", "replay", folder, *args, "--base-url", sandbox.url, *FAST)

    return run


# ------------------------------------------------------------------ list and show


def test_list_shows_one_line_each_and_nothing_personal(folder: Path) -> None:
    result = invoke("dead-letters", "list", folder)
    assert result.exit_code == 0
    first, second, last = result.stdout.splitlines()
    assert first.split()[0] == "1"
    assert "rejected  buy  Gameball refused the event (HTTP 422: No such product.). Correct it." in first
    assert "expired   visit  it was not delivered in time." in second
    assert last == "2 dead letters, 2 shown."
    assert not any(text in result.output for text in ("snow", "stark", "+1234567", "jon@", "2.5"))


def test_list_shows_players_if_wanted(folder: Path) -> None:
    result = invoke("dead-letters", "list", folder, "--with-players")
    assert "buy  snow  Gameball" in result.stdout


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--kind", "expired"], ["visit"]),
        (["--name", "buy"], ["buy"]),
        (["--kind", "expired", "--name", "buy"], []),
        (["--limit", "1"], ["buy"]),
    ],
)
def test_list_can_be_narrowed(folder: Path, options: list[str], shown: list[str]) -> None:
    result = invoke("dead-letters", "list", folder, *options)
    *lines, last = result.stdout.splitlines()
    assert [line.split()[4] for line in lines] == shown
    assert last == f"2 dead letters, {len(shown)} shown."


def test_list_shortens_a_long_reason_and_steers_no_terminal(tmp_path: Path) -> None:
    bury(tmp_path, ("p", "\x1b[2Jbuy", {}), error=Rejected("\x1b[31m" + "long " * 100, status=422))
    line = invoke("dead-letters", "list", tmp_path).stdout.splitlines()[0]
    assert "\\x1b[2Jbuy" in line
    assert "\x1b" not in line
    assert len(line) < 200


def test_list_in_json_is_one_object_per_line(folder: Path) -> None:
    first, second = map(json.loads, invoke("dead-letters", "list", folder, "--json").stdout.splitlines())
    assert (first["id"], first["kind"], first["event"], first["status"], first["code"]) == (
        1,
        "rejected",
        "buy",
        422,
        3003,
    )
    assert (second["reason"], second["may_have_arrived"]) == ("it was not delivered in time.", True)
    assert "player_unique_id" not in first
    with_players = json.loads(invoke("dead-letters", "list", folder, "--json", "--with-players").stdout.splitlines()[0])
    assert (with_players["player_unique_id"], with_players["email"]) == ("snow", "jon@example.com")


def test_a_folder_without_dead_letters_is_no_error_and_stays_as_it_is(tmp_path: Path) -> None:
    result = invoke("dead-letters", "list", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "0 dead letters, 0 shown.\n")
    assert list(tmp_path.iterdir()) == []


def test_show_tells_everything_but_contact_data(folder: Path) -> None:
    result = invoke("dead-letters", "show", folder, 1)
    assert result.exit_code == 0
    shown = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert {what: value.strip() for what, value in shown.items() if what != "dead since"} == {
        "id": "1",
        "kind": "rejected",
        "event": "buy",
        "player": "snow",
        "mobile": "***",
        "email": "***",
        "reason": str(REFUSED),
        "status": "422",
        "code": "3003",
        "may have arrived": "no",
        "metadata": '{"n": 1, "price": 2.5}',
    }
    assert "jon@example.com" in invoke("dead-letters", "show", folder, 1, "--with-contacts").stdout


def test_show_tells_of_a_damaged_one_what_there_is(tmp_path: Path) -> None:
    with closing(DeadLetters(tmp_path)) as letters:
        letters.add_damaged("file", 1, b"jon@example.com\xff", "its checksum is wrong")
    result = invoke("dead-letters", "show", tmp_path, 1)
    assert "its checksum is wrong" in result.stdout
    assert "16 bytes, see --with-contacts" in result.stdout
    assert "jon@" not in result.stdout
    assert "jon@example.com\\xff" in invoke("dead-letters", "show", tmp_path, 1, "--with-contacts").stdout
    assert "damaged   -  its checksum" in invoke("dead-letters", "list", tmp_path).stdout


# ------------------------------------------------------------------ drop


def test_drop_deletes_the_named_ones(folder: Path) -> None:
    result = invoke("dead-letters", "drop", folder, 1, "--yes")
    assert (result.exit_code, result.stdout) == (0, "1 dead letter deleted.\n")
    assert ids(DeadLetters(folder)) == [2]


@pytest.mark.parametrize(
    ("options", "left"), [(["--all"], []), (["--kind", "rejected"], [2]), (["--name", "visit"], [1])]
)
def test_drop_deletes_all_or_those_of_a_kind_or_name(folder: Path, options: list[str], left: list[int]) -> None:
    assert invoke("dead-letters", "drop", folder, *options, "--yes").exit_code == 0
    assert ids(DeadLetters(folder)) == left


def test_drop_asks_first(folder: Path) -> None:
    result = invoke("dead-letters", "drop", folder, "--all")  # nobody answers
    assert result.exit_code == 1
    assert "Delete 2 dead letters for good?" in result.stderr
    assert ids(DeadLetters(folder)) == [1, 2]


# ------------------------------------------------------------------ export


def test_what_is_exported_can_be_sent_and_is_for_its_owner_alone(
    send: Callable[..., Result], sandbox: Sandbox, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "letters.ndjson"
    before = os.umask(0)
    try:
        result = invoke("dead-letters", "export", folder, file)
    finally:
        os.umask(before)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "2 events written.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert send(file).exit_code == 0
    assert {player: [event.metadata for event in events] for player, events in sandbox.holdings().items()} == {
        "snow": [{"n": 1, "price": 2.5}],
        "stark": [{"n": 2}],
    }
    assert {event.email for events in sandbox.holdings().values() for event in events} == {"jon@example.com"}
    assert ids(DeadLetters(folder)) == [1, 2]


def test_export_takes_all_of_them_with_or_without_saying_so(folder: Path, tmp_path: Path) -> None:
    assert invoke("dead-letters", "export", folder, tmp_path / "all", "--all").exit_code == 0
    assert invoke("dead-letters", "export", folder, tmp_path / "default").exit_code == 0
    assert (tmp_path / "all").read_bytes() == (tmp_path / "default").read_bytes() != b""
    result = invoke("dead-letters", "export", folder, tmp_path / "both", "--all", "--name", "visit")
    assert result.exit_code == 2
    assert "but not both" in result.stderr
    assert not (tmp_path / "both").exists()


def test_exported_numbers_keep_their_digits_and_damaged_ones_are_left_out(tmp_path: Path) -> None:
    encoded = b'"buy":{"price":19.90,"tags":["a",-0.10],"big":12345678901234567890123}'
    with closing(DeadLetters(tmp_path)) as letters:
        letters.add("file", [DeadLetterEntry(1, Event("p", "buy", None, None, encoded), REFUSED)])
        letters.add("file", [DeadLetterEntry(2, Event("p", "visit", None, None, b'"visit":{}'), REFUSED)])
        letters.add_damaged("file", 3, b"", "damaged")
    process = Process("dead-letters", "export", tmp_path, "-")
    assert process.end() == 0
    numbers = '"price": 19.90, "tags": ["a", -0.10], "big": 12345678901234567890123'
    assert process.out.decode().splitlines() == [
        f'{{"player_unique_id": "p", "event": "buy", "metadata": {{{numbers}}}}}',
        '{"player_unique_id": "p", "event": "visit"}',
    ]
    assert b"2 events written." in process.err
    assert b"1 letter left out: damaged" in process.err


def test_an_export_overwrites_nothing_and_leaves_no_half_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    result = invoke("dead-letters", "export", folder, tmp_path / "there")
    assert result.exit_code == 2
    assert "exists: name another file" in result.stderr
    assert (tmp_path / "there").read_text() == "mine"
    (folder / "dead-letters.db").write_bytes(b"no database at all" * 500)
    assert invoke("dead-letters", "export", folder, tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(OSError(28, "No space left on device"), "new: No space left on device"), (KeyboardInterrupt(), "Aborted!")],
    ids=["full disk", "Ctrl-C"],
)
def test_an_export_that_is_cut_short_leaves_no_half_file(
    trouble: BaseException, words: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise trouble

    monkeypatch.setattr(os, "fsync", fail)
    result = invoke("dead-letters", "export", folder, tmp_path / "new")
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------ replay


def test_replay_sends_them_again_and_removes_what_arrived(
    replay: Callable[..., Result], sandbox: Sandbox, folder: Path
) -> None:
    result = replay("--all")
    assert result.exit_code == 0, result.output
    assert {player: [event.metadata for event in events] for player, events in sandbox.holdings().items()} == {
        "snow": [{"n": 1, "price": 2.5}],
        "stark": [{"n": 2}],
    }
    assert {event.mobile for events in sandbox.holdings().values() for event in events} == {"+1234567"}
    assert ids(DeadLetters(folder)) == []
    assert "1 event may have arrived before, and so may count twice." in result.stdout


@pytest.mark.parametrize(("chosen", "left"), [(["2"], [1]), (["--kind", "rejected"], [2]), (["--name", "buy"], [2])])
def test_replay_sends_those_that_are_meant_and_no_other(
    replay: Callable[..., Result], sandbox: Sandbox, folder: Path, chosen: list[str], left: list[int]
) -> None:
    assert replay(*chosen).exit_code == 0
    assert ids(DeadLetters(folder)) == left
    assert sandbox.stats().events == 1


def test_what_is_refused_again_stays_with_its_first_reason_and_the_new_one_is_told(
    replay: Callable[..., Result], sandbox: Sandbox, folder: Path
) -> None:
    sandbox.script(Fault.status(422, code=3003, words="Still no such product.", events=["buy"]))
    result = replay("--all")
    assert result.exit_code == 1
    assert "1 stays: Gameball refused the event" in result.stdout
    assert "Still no such product." in result.stdout
    (letter,) = DeadLetters(folder)
    assert (letter.id, letter.reason) == (1, str(REFUSED))


def test_an_order_of_ids_is_no_order_of_events(replay: Callable[..., Result], sandbox: Sandbox, folder: Path) -> None:
    bury(folder, *(("arya", "visit", {"n": number}) for number in range(3)))
    assert replay(5, 3, 4, 3).exit_code == 0
    assert numbers(sandbox) == {"arya": [0, 1, 2]}


def test_a_lost_answer_with_report_keeps_the_letter(
    replay: Callable[..., Result], sandbox: Sandbox, folder: Path
) -> None:
    sandbox.script(Fault.reset_after(times=1))
    result = replay(1, "--ambiguous", "report")
    assert result.exit_code == 1
    assert "1 stays: the request was sent and it is unknown" in result.stdout
    assert ids(DeadLetters(folder)) == [1, 2]


def test_a_damaged_one_cannot_be_sent_and_stays(tmp_path: Path, sandbox: Sandbox) -> None:
    with closing(DeadLetters(tmp_path)) as letters:
        for seq in range(25):
            letters.add_damaged("file", seq, b"", "damaged")
    result = invoke("dead-letters", "replay", tmp_path, "--all", "--base-url", sandbox.url, *FAST)
    assert result.exit_code == 1
    assert "1 stays: it was damaged in the journal" in result.stdout
    assert "5 further letters stayed as well." in result.stdout
    assert len(letters) == 25


def test_a_wrong_key_stops_the_replay_and_everything_stays(
    replay: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "wrong-key-987654321")
    result = replay("--all")
    assert result.exit_code == 1
    assert "Stopped: Gameball refuses this client (HTTP" in result.stdout
    assert "wrong-key" not in result.output
    assert ids(DeadLetters(folder)) == [1, 2]


def test_what_arrived_and_cannot_be_removed_is_named(
    replay: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(_letters: DeadLetters, _ids: list[int]) -> int:
        raise JournalError("it cannot be used: database or disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(DeadLetters, "drop", drop)
        result = replay("--all")
    assert result.exit_code == 1
    assert "Stopped: The file of dead letters cannot be written: it cannot be used" in result.stdout
    assert "2 letters could not be removed though Gameball accepted the events" in result.stdout
    assert "before the next replay: 1 2" in result.stdout
    assert ids(DeadLetters(folder)) == [1, 2]


def test_a_second_replay_is_kept_away(replay: Callable[..., Result], sandbox: Sandbox, folder: Path) -> None:
    with exclusive(folder):
        result = replay("--all")
    assert result.exit_code == 2
    assert "another replay is running" in result.stderr
    assert sandbox.stats().arrived == 0
    assert replay("--all").exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_cleanly_and_the_rest_is_replayed_later_exactly_once(
    sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    letters = bury(tmp_path, *((f"player{n % 10}", "visit", {"n": n}) for n in range(300)))
    command = ("dead-letters", "replay", tmp_path, "--all", "--base-url", sandbox.url)
    process = Process(*command, "--per-second", "40", "--drain", "30")
    sandbox.wait_for(lambda tally: tally.applied >= 20, timeout=100)
    process.interrupt(number)
    assert process.end() == 130
    assert b"Interrupted. To continue, run the same command again." in process.out
    assert len(letters) == 300 - sandbox.stats().events > 0
    assert invoke(*command, *FAST).exit_code == 0
    assert numbers(sandbox) == {f"player{p}": list(range(p, 300, 10)) for p in range(10)}
    assert len(letters) == 0


# ------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["list"], "Missing argument 'FOLDER'"),
        (["list", "missing"], "'missing' does not exist"),
        (["list", "file"], "is a file"),
        (["list", "journal", "--kind", "late"], "'late' is not one of"),
        (["show", "journal", "99"], "there is no dead letter 99: look for its id with 'dead-letters list'"),
        (["drop", "journal"], "give ids, or --all, or a --kind or --name"),
        (["drop", "journal", "1", "--all"], "give ids, or --all"),
        (["drop", "journal", "1", "99", "--yes"], "there is no dead letter 99"),
        (["replay", "journal"], "give ids, or --all"),
        (["replay", "journal", "1", "99"], "there is no dead letter 99"),
        (["replay", "journal", "--all", "--share", "0.001"], "leaves less than one request"),
        (["replay", "journal", "--all", "--base-url", "ftp://example.com"], "base_url is no http or https address"),
        (["replay", "journal", "--all", "--keys-file", "file"], "line 1 is not NAME=value"),
    ],
)
def test_a_wrong_usage_is_told_with_exit_code_2_and_nothing_is_changed(
    folder: Path, args: list[str], reason: str
) -> None:
    Path("file").write_text("no key")
    result = invoke("dead-letters", *args)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert ids(DeadLetters(folder)) == [1, 2]


@pytest.mark.parametrize("command", [["list"], ["show", "1"], ["export", "-"], ["drop", "--all"], ["replay", "--all"]])
def test_a_file_that_cannot_be_read_is_told_without_a_traceback(folder: Path, command: list[str]) -> None:
    (folder / "dead-letters.db").write_bytes(b"no database at all" * 500)
    result = invoke("dead-letters", command[0], folder, *command[1:])
    assert result.exit_code == 1
    assert "it is damaged" in result.stderr + result.stdout


def test_every_command_has_help() -> None:
    for command in ([], ["list"], ["show"], ["replay"], ["export"], ["drop"]):
        assert invoke("dead-letters", *command, "--help").exit_code == 0


# ------------------------------------------------------------------ beside a running owner

BURIER = """
import sys, time
from gameball_async import DeadLetters, OutcomeUnknown
from gameball_async._core.events import Event
from gameball_async._journal.records import DeadLetterEntry
letters = DeadLetters(sys.argv[1])
for seq in range(1_000_000):
    letters.add("own", [DeadLetterEntry(seq, Event("p", "buy", None, None, b'"buy":{}'), OutcomeUnknown("lost"))])
    print(seq, flush=True)
    time.sleep(0.002)  # others get the lock too, as they do beside a real owner
"""


def test_everything_works_while_the_owner_buries(sandbox: Sandbox, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", BURIER, str(folder)], stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            owner.stdout.readline()
            where = ("--base-url", sandbox.url, *FAST)
            for args in (
                ["list"],
                ["show", 1],
                ["export", "letters.ndjson"],
                ["replay", "--all", *where],
                ["drop", "--kind", "unknown", "--yes"],
            ):
                result = invoke("dead-letters", args[0], folder, *args[1:])
                assert result.exit_code == 0, result.output
            assert owner.poll() is None
        finally:
            owner.kill()
    assert all(letter.kind == "unknown" for letter in DeadLetters(folder))
    assert sandbox.stats().events >= 3


@pytest.mark.asyncio
async def test_what_a_running_client_buries_is_listed_and_replayed_meanwhile(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(422, code=3003, words="No such product.", events=["buy"]))
    letters = DeadLetters(tmp_path / "journal")
    async with AsyncGameball(KEY, base_url=sandbox.url, journal=tmp_path / "journal") as gameball:
        receipt = await gameball.track("snow", "buy", {"price": Decimal("19.90")})
        with pytest.raises(Rejected):
            await receipt
        while not len(letters):  # noqa: ASYNC110 the burial lags behind the receipt, and rings no bell
            await asyncio.sleep(0)
        listed = Process("dead-letters", "list", tmp_path / "journal")
        assert await asyncio.to_thread(listed.end) == 0
        assert b"rejected  buy  Gameball refused the event (HTTP 422, code 3003: No such product." in listed.out
        status = Process("journal", "status", tmp_path / "journal")
        assert await asyncio.to_thread(status.end) == 0
        assert f" {os.getpid()} ".encode() in status.out
        assert b"Dead letters: 1." in status.out
        sandbox.script()
        replayed = Process("dead-letters", "replay", tmp_path / "journal", "--all", "--base-url", sandbox.url, *FAST)
        assert await asyncio.to_thread(replayed.end) == 0
        await (await gameball.track("snow", "visit"))
    assert [(event.name, event.metadata) for event in sandbox.holdings()["snow"]] == [
        ("buy", {"price": 19.9}),
        ("visit", {}),
    ]
    assert len(letters) == 0


def test_the_owner_s_lost_answer_is_a_letter_of_its_kind(tmp_path: Path) -> None:
    bury(tmp_path, ("p", "buy", {}), error=OutcomeUnknown("lost", status=502))
    assert "unknown   buy  lost" in invoke("dead-letters", "list", tmp_path, "--kind", "unknown").stdout
