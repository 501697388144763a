"""`send`: what is delivered, what is rejected, what is said, and with which exit code."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gameball_async.cli._outcomes import Rejects
from gameball_async.sandbox import Fault, Sandbox

from .conftest import KEY, events_of, invoke, numbers, rejected, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

CSV = """\
CustomerID,StockCode,Quantity,UnitPrice
17850,85123A,6,2.55
,71053,6,3.39
17850,84406B,8,2.75
12583,22728,-24,3.75
"""
MAPPING = ("--player-column", "CustomerID", "--event", "buy", "-m", "Quantity:int=quantity", "-m", "UnitPrice:decimal")


def figures(result: Result) -> dict[str, str]:
    """Return the closing table."""
    lines = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if len(line.split()) > 1]
    return {words.strip(): figure for words, figure in lines}


def test_every_event_arrives_in_order_and_nothing_is_left_behind(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = written(tmp_path / "events.ndjson", events_of(players=5, each=7))
    result = send(path)
    assert result.exit_code == 0, result.output
    assert numbers(sandbox) == {f"player{player}": list(range(7)) for player in range(5)}
    assert list(tmp_path.iterdir()) == [path]
    assert figures(result)["Rows read"] == figures(result)["accepted by Gameball"] == "35"


def test_bad_rows_are_rejected_by_line_and_the_rest_is_sent(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV)
    result = send(path, *MAPPING)
    assert result.exit_code == 1
    assert {player: [event.metadata for event in events] for player, events in sandbox.holdings().items()} == {
        "17850": [{"quantity": 6, "UnitPrice": 2.55}, {"quantity": 8, "UnitPrice": 2.75}],
        "12583": [{"quantity": -24, "UnitPrice": 3.75}],
    }
    assert rejected(tmp_path / "orders.csv.rejects.ndjson") == [
        {"file": str(path), "line": 3, "reason": 'column "CustomerID" is empty.', "row": ",71053,6,3.39"}
    ]
    assert "1 row will not arrive: see" in result.stdout
    assert not (tmp_path / "orders.csv.progress").exists()


def test_what_the_client_would_refuse_is_rejected_with_its_reason(send: Callable[..., Result], tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"player": "p", "event": "e", "metadata": {"k": True}},
        {"player": "p", "event": "e"},
    ]
    assert send(written(tmp_path / "events", lines)).exit_code == 1
    (row,) = rejected(tmp_path / "events.rejects.ndjson")
    assert row["line"] == 1
    assert "send 0 or 1" in row["reason"]


def test_what_gameball_refuses_is_rejected_with_its_words_and_the_rest_arrives(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.status(422, code=3003, words="No such product.", events=["bad"]))
    lines = [{"player": "p", "event": name} for name in ("good", "bad", "fine")]
    result = send(written(tmp_path / "events", lines))
    assert result.exit_code == 1
    assert [event.name for event in sandbox.holdings()["p"]] == ["good", "fine"]
    (row,) = rejected(tmp_path / "events.rejects.ndjson")
    assert row["line"] == 2
    assert "No such product." in row["reason"]
    assert figures(result)["refused by Gameball"] == "1"


def test_a_lost_answer_may_count_twice_and_that_is_said(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.reset_after(times=1))
    result = send(written(tmp_path / "events", events_of(players=1, each=1)))
    assert result.exit_code == 0
    assert figures(result)["may have been counted twice"] == "1"
    assert numbers(sandbox) == {"player0": [0, 0]}


def test_with_report_a_lost_answer_is_a_rejected_row_and_counts_once(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.reset_after(times=1))
    result = send(written(tmp_path / "events", events_of(players=1, each=2)), "--ambiguous", "report")
    assert result.exit_code == 1
    assert numbers(sandbox) == {"player0": [0, 1]}
    (row,) = rejected(tmp_path / "events.rejects.ndjson")
    assert "it is unknown whether it was applied" in row["reason"]
    assert figures(result)["sent, of unknown outcome"] == "1"


def test_several_files_are_one_after_the_other_and_may_be_compressed(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    events = events_of(players=1, each=9)
    first = written(tmp_path / "first", events[:5])
    second = tmp_path / "second.not-named-so"
    second.write_bytes(gzip.compress(written(tmp_path / "plain", events[5:]).read_bytes()))
    assert send(first, second).exit_code == 0
    assert numbers(sandbox) == {"player0": list(range(9))}


def test_mobile_and_email_go_along(send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path) -> None:
    lines = [{"player": "p", "event": "e", "mobile": "+1234567", "email": "jon@example.com"}]
    assert send(written(tmp_path / "events", lines)).exit_code == 0
    (event,) = sandbox.holdings()["p"]
    assert (event.mobile, event.email) == ("+1234567", "jon@example.com")


def test_a_file_that_was_cut_off_sends_what_it_has_and_can_be_gone_on_with(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    events = events_of(players=1, each=3000)
    whole = gzip.compress(written(tmp_path / "plain", events).read_bytes())
    path = tmp_path / "events.gz"
    path.write_bytes(whole[: len(whole) // 2])
    result = send(path)
    assert result.exit_code == 1
    assert "was not read to its end: the gzip data is truncated" in result.stdout
    assert 0 < len(numbers(sandbox)["player0"]) < 3000
    path.write_bytes(whole)
    # the beginning by which the file is recognised has grown with it
    result = send(path, "--resume")
    assert result.exit_code == 0, result.output
    assert numbers(sandbox) == {"player0": list(range(3000))}


def test_a_file_named_ndjson_is_ndjson_even_if_its_first_line_is_not(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b'oops\n{"player": "p", "event": "e"}\n'))
    assert send(path).exit_code == 1
    assert sandbox.stats().events == 1


# ------------------------------------------------------------------ dry run


def test_a_dry_run_checks_every_row_and_sends_nothing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY")
    good, bad = {"player": "p", "event": "e"}, {"player": "p", "event": "e", "metadata": {"k": None}}
    path = written(tmp_path / "events", [good, bad, good])
    result = invoke("send", path, "--dry-run", "--base-url", sandbox.url)
    assert result.exit_code == 1
    assert "nothing was sent" in result.stdout
    assert (figures(result)["valid"], figures(result)["not valid"]) == ("2", "1")
    assert [row["line"] for row in rejected(tmp_path / "events.rejects.ndjson")] == [2]
    assert sandbox.stats().arrived == 0
    assert invoke("send", written(tmp_path / "good", [good]), "--dry-run").exit_code == 0


# ------------------------------------------------------------------ keys


def test_a_wrong_key_is_told_at_once_and_nothing_is_lost(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "events", events_of(players=3, each=3))
    monkeypatch.setenv("GAMEBALL_API_KEY", "wrong-key-987654321")
    result = send(path)
    assert result.exit_code == 1
    assert "Stopped: Gameball refuses this client (HTTP" in result.stdout
    assert "HTTP 401" in result.stdout
    assert "--resume" in result.stdout
    everything = result.output + "".join(file.read_text() for file in tmp_path.iterdir())
    assert "wrong-key-987654321" not in everything
    monkeypatch.setenv("GAMEBALL_API_KEY", KEY)
    assert send(path, "--resume").exit_code == 0
    assert numbers(sandbox) == {f"player{player}": [0, 1, 2] for player in range(3)}


def test_keys_can_come_from_a_file_that_others_should_not_read(
    send: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY")
    path = written(tmp_path / "events", events_of(players=1, each=1))
    keys = tmp_path / "keys"
    keys.touch(0o600)
    keys.write_text(f"GAMEBALL_API_KEY={KEY}\n")
    result = send(path, "--keys-file", keys)
    assert result.exit_code == 0
    assert "Warning" not in result.output
    keys.chmod(0o644)
    assert f"Warning: others than you can read {keys}: chmod 600 {keys}" in send(path, "--keys-file", keys).stderr


def test_a_row_that_holds_the_key_is_rejected_without_it(send: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text(f'{{"{KEY}": 1}}\n')
    assert send(path).exit_code == 1
    assert KEY not in (tmp_path / "events.rejects.ndjson").read_text()


# ------------------------------------------------------------------ the sandbox of its own


def test_with_a_sandbox_of_its_own_no_key_is_needed_and_the_table_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY")
    result = invoke("send", written(tmp_path / "events", events_of(players=4, each=3)), "--sandbox")
    assert result.exit_code == 0, result.output
    table = result.stdout.splitlines()
    assert any(line.split() == ["The", "sandbox", "holds", "12", "events"] for line in table)
    assert figures(result)["customers whose events differ"] == figures(result)["rules broken"] == "0"


@pytest.mark.timeout(240)
def test_the_whole_retail_file_arrives_equal_per_customer_and_in_order() -> None:
    """10,000 rows at Gameball's own limits; an event named after its product lets a customer's rows merge."""
    path = Path(__file__).parent / "data" / "online_retail_2010-12.csv.gz"
    result = invoke(
        "send", path, "--sandbox", "--player-column", "CustomerID", "--event", "bought_{StockCode}",
        "-m", "Quantity:int=quantity", "-m", "UnitPrice:decimal=unit_price", "-m", "Description=description",
        "-m", "InvoiceNo=invoice", "-m", "InvoiceDate=date", "-m", "Country=country", "--rejects", "rejects",
    )  # fmt: skip
    assert result.exit_code == 1  # rows without a customer cannot be sent
    table = figures(result)
    assert table["Rows read"] == "10,000"
    assert table["accepted by Gameball"] == "7,709"
    assert table["not valid, so not sent"] == "2,291"
    assert table["of customers"] == "323"
    assert "7,709 events" in result.stdout
    for none in ("rules broken", "requests that came too fast", "customers whose events differ"):
        assert table[none] == "0"
    rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    without_customer = [number for number, row in enumerate(rows, 1) if row.rsplit(",", 2)[1] == ""]
    assert [row["line"] for row in rejected(Path("rejects"))] == without_customer


# ------------------------------------------------------------------ usage


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ([], "Missing argument 'FILES...'"),
        (["missing"], "'missing' does not exist"),
        (["."], "is a directory"),
        (["orders.csv"], "there is no column"),
        (["orders.csv", "--player-column", "who", "--event", "e"], 'there is no column "who"'),
        (["orders.csv", "orders.csv", *MAPPING], "a file is named twice"),
        (["orders.csv", "./orders.csv", *MAPPING], "a file is named twice"),
        (["orders.csv", *MAPPING, "--event-column", "StockCode"], "--event and --event-column: give one"),
        (["orders.csv", "--event", "{StockCode"], "expected '}'"),
        (["orders.csv", "--event", "{StockCode!r}"], "braces contain the name of a column and nothing else"),
        (["orders.csv", "-m", "=key"], "write COLUMN, COLUMN:TYPE"),
        (["orders.csv", "--delimiter", "::"], "give one character"),
        (["orders.csv", "--encoding", "utf-16"], "orders.csv: it is not UTF-16: name its encoding with --encoding"),
        (["orders.csv", "--encoding", "cp037"], "does not encode line ends as ASCII does"),
        (["orders.csv", *MAPPING, "-m", "Quantity:money"], 'unknown type "money" of column "Quantity": the types are'),
        (["orders.csv", "--encoding", "klingon"], "is not a text encoding"),
        (["orders.csv", "--encoding", "idna"], "is not a text encoding"),
        (["orders.csv", *MAPPING, "--share", "0"], "0.0 is not in the range"),
        (["orders.csv", *MAPPING, "--share", "0.001"], "leaves less than one request"),
        (["orders.csv", *MAPPING, "--api-version", "v4.1"], "v4.1 needs a secret_key"),
        (["orders.csv", *MAPPING, "--base-url", "ftp://example.com"], "base_url is no http or https address"),
        (["orders.csv", *MAPPING, "--resume"], "there is nothing to resume"),
        (["orders.csv", *MAPPING, "--sandbox", "--resume"], "begins empty each time"),
        (["-", "--resume"], "give both runs the same --progress FILE"),
        (["orders.csv", *MAPPING, "--rejects", "orders.csv"], "would be both read and written"),
        (["orders.csv", *MAPPING, "--progress", "orders.csv"], "would be both read and written"),
        (["orders.csv", *MAPPING, "--rejects", "missing/rejects"], "there is no folder missing: create it"),
        (["orders.csv", *MAPPING, "--rejects", "notes", "--progress", "./notes"], "is used for both"),
        (["orders.csv", *MAPPING, "--progress", "missing/progress"], "cannot be written (No such file"),
        (["orders.csv", *MAPPING, "--keys-file", "orders.csv"], "line 1 is not NAME=value"),
    ],
)
def test_a_wrong_usage_is_told_with_exit_code_2_and_nothing_is_written(args: list[str], reason: str) -> None:
    Path("orders.csv").write_text(CSV)
    result = invoke("send", *args)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert [str(path) for path in Path().iterdir()] == ["orders.csv"]


def test_without_a_key_the_message_names_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY")
    Path("orders.csv").write_text(CSV)
    result = invoke("send", "orders.csv", *MAPPING)
    assert result.exit_code == 2
    assert "set GAMEBALL_API_KEY in the environment" in result.stderr
    for option in ("--keys-file", "--sandbox", "--dry-run"):
        assert option in result.stderr
    assert [str(path) for path in Path().iterdir()] == ["orders.csv"]
    Path("keys.env").write_text("# GAMEBALL_API_KEY=none\n")
    assert "--keys-file" in invoke("send", "orders.csv", *MAPPING, "--keys-file", "keys.env").stderr
    Path("journal").mkdir()
    assert "--keys-file" in invoke("dead-letters", "replay", "journal", "--all").stderr


def test_without_the_secret_key_that_a_version_needs_the_message_names_the_file_too() -> None:
    Path("orders.csv").write_text(CSV)
    result = invoke("send", "orders.csv", *MAPPING, "--api-version", "v4.1")
    assert result.exit_code == 2
    assert "GAMEBALL_SECRET_KEY" in result.stderr
    assert "--keys-file" in result.stderr


@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "run"])
def test_the_first_three_different_reasons_are_printed_with_their_lines(
    send: Callable[..., Result], tmp_path: Path, *, dry: bool
) -> None:
    rows: list[dict[str, Any]] = [{"player": "p", "event": "e"}]
    rows += [*({"player": 1, "event": "e"} for _ in range(3)), {"player": "p"}]
    rows += [{"player": "p", "event": "e", "metadata": {key: {}}} for key in ("first", "second", "third")]
    path = written(tmp_path / "events", rows)
    lines = send(path, *(["--dry-run"] if dry else [])).stdout.splitlines()
    reasons = [line for line in lines if line.startswith("Line ")]
    assert [line.partition(":")[0] for line in reasons] == ["Line 2", "Line 5", "Line 6"]
    assert "(and 2 further rows)" in reasons[0]
    assert "first" in reasons[2]
    assert lines[lines.index(reasons[2]) + 1].startswith("7 rows will not arrive: see ")


def test_of_several_files_a_reason_names_the_file(send: Callable[..., Result], tmp_path: Path) -> None:
    good = written(tmp_path / "good", [{"player": "p", "event": "e"}])
    bad = written(tmp_path / "bad", [{"player": "p"}])
    assert f"{bad}, line 1: " in send(good, bad).stdout


def test_a_full_disk_under_the_rejects_stops_with_a_message(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "events"
    path.write_text('{"player": "p", "event": "e", "metadata": {"n": 0}}\nno JSON\n' * 2)
    result = send(path, "--rejects", "/dev/full")
    assert result.exit_code == 1
    assert "Stopped: /dev/full cannot be written: No space left on device." in result.stdout
    assert "--resume" in result.stdout
    assert numbers(sandbox) == {"p": [0]}
    result = send(path, "--rejects", tmp_path / "rejects", "--resume")
    assert result.exit_code == 1
    assert numbers(sandbox) == {"p": [0, 0]}
    assert [row["line"] for row in rejected(tmp_path / "rejects")] == [2, 4]


def test_what_arrived_beside_a_row_that_no_rejects_file_takes_is_not_sent_again(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.status(422, code=3003, players={"player0"}))
    path = written(tmp_path / "events", events_of(players=3, each=1))
    result = send(path, "--rejects", "/dev/full")
    assert result.exit_code == 1
    assert "Stopped: /dev/full cannot be written" in result.stdout
    result = send(path, "--rejects", tmp_path / "rejects", "--resume")
    assert result.exit_code == 1
    assert numbers(sandbox) == {"player1": [0], "player2": [0]}
    assert [row["line"] for row in rejected(tmp_path / "rejects")] == [1]


def test_a_progress_file_that_finds_no_room_is_told_before_anything_is_sent(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_room_after(0))
    result = send(written(tmp_path / "events", events_of(players=1, each=1)))
    assert result.exit_code == 1
    assert "events.progress: No space left on device" in result.stderr
    assert sandbox.stats().arrived == 0


def test_a_disk_that_fills_up_under_the_progress_file_stops_the_run_and_says_what_that_means(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.script(Fault.latency(0.02))  # three seconds for the file, so that notes fall due on the way
    monkeypatch.setattr(os, "fsync", no_room_after(1))
    result = send(written(tmp_path / "events", events_of(players=1, each=150)), "--drain", "0.1")
    assert result.exit_code == 1
    assert "events.progress cannot be written: No space left on device." in result.stdout
    assert "what was delivered since then would be sent again" in result.stdout
    assert 0 < len(numbers(sandbox)["player0"]) < 150


def no_room_after(calls: int) -> Callable[[int], None]:
    """Return an `fsync` that works so often."""
    left = iter(range(calls))

    def fsync(_descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    return fsync


def test_a_run_that_was_stopped_is_not_begun_anew_by_accident(send: Callable[..., Result], tmp_path: Path) -> None:
    path = written(tmp_path / "events", events_of(players=1, each=1))
    (tmp_path / "events.progress").touch()
    result = send(path)
    assert result.exit_code == 2
    assert "resume with --resume, or delete it to send everything again" in " ".join(result.stderr.split())


@pytest.mark.parametrize("trial", ["--dry-run", "--sandbox"])
def test_a_trial_leaves_the_rejects_of_a_run_that_is_not_over_alone(
    trial: str, send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.status(422, code=3003, times=1), Fault.status(401))
    path = written(tmp_path / "events", events_of(players=2, each=1))
    assert send(path, "--per-second", "1").exit_code == 1  # the first is refused, the second waits for a better key
    result = invoke("send", path, trial)
    assert result.exit_code == 2
    assert "name another file with --rejects" in " ".join(result.stderr.split())
    assert invoke("send", path, trial, "--rejects", tmp_path / "of-the-trial").exit_code == 0
    sandbox.script()
    assert send(path, "--resume").exit_code == 1
    assert len(rejected(tmp_path / "events.rejects.ndjson")) == 1


def test_going_on_with_another_rejects_file_cuts_nothing_off_it(send: Callable[..., Result], tmp_path: Path) -> None:
    path, other = tmp_path / "events.ndjson", tmp_path / "other"
    path.write_text("no JSON\n")
    other.write_text("of another import, and longer than what was noted\n" * 9)
    (tmp_path / "cut.ndjson.gz").write_bytes(gzip.compress(b'{"player": "p", "event": "e"}\n')[:-1])
    assert send(path, tmp_path / "cut.ndjson.gz").exit_code == 1
    assert send(path, tmp_path / "cut.ndjson.gz", "--resume", "--rejects", other).exit_code == 1
    assert len((tmp_path / "other.old").read_text()) == 9 * len("of another import, and longer than what was noted\n")
    assert len(rejected(tmp_path / "events.ndjson.rejects.ndjson")) == 1


def test_going_on_without_the_rejects_of_before_begins_a_new_file_that_can_be_gone_on_with_as_well(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejects"
    rejects = Rejects(path, keep_bytes=1000)
    rejects.add(file="events", line=1, reason="none", row=b"x")
    rejects.close()
    assert rejects.size == path.stat().st_size


def test_a_rejects_file_of_a_run_that_had_noted_none_is_put_aside_and_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "rejects"
    path.write_text("of a trial meanwhile\n")
    rejects = Rejects(path, keep_bytes=0)
    rejects.add(file="events", line=1, reason="none", row=b"x")
    rejects.close()
    assert [row["line"] for row in rejected(path)] == [1]
    assert (tmp_path / "rejects.old").read_text() == "of a trial meanwhile\n"


def test_a_run_that_cannot_put_the_old_rejects_aside_leaves_no_progress_behind(
    send: Callable[..., Result], tmp_path: Path
) -> None:
    path = written(tmp_path / "events", events_of(players=1, each=1))
    (tmp_path / "events.rejects.ndjson").touch()
    (tmp_path / "events.rejects.ndjson.old").mkdir()
    result = send(path)
    assert result.exit_code == 1
    assert "events.rejects.ndjson" in result.stderr
    assert not (tmp_path / "events.progress").exists()


def test_going_on_with_other_options_is_refused(
    send: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV)
    monkeypatch.setenv("GAMEBALL_API_KEY", "wrong-key-987654321")
    assert send(path, *MAPPING).exit_code == 1
    result = send(path, "--player-column", "CustomerID", "--event", "sell", "--resume")
    assert result.exit_code == 2
    assert "these options were different then: event, metadata" in " ".join(result.stderr.split())


def test_rejects_and_progress_are_for_the_owner_alone(
    send: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events"
    path.write_text('{"player": "p"}\n{"player": "p", "event": "e"}\n')
    monkeypatch.setenv("GAMEBALL_API_KEY", "wrong-key-987654321")
    send(path)
    written = {tmp_path / "events.rejects.ndjson", tmp_path / "events.progress"}
    assert set(tmp_path.iterdir()) == {path, *written}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in written)


# ---------------------------------------------------------------- the environment


def test_nothing_is_sent_if_the_environment_switches_clients_off(
    send: Callable[..., Result], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    path = written(Path("events.ndjson"), events_of(1, 1))
    result = send(path)
    assert result.exit_code == 2
    message = "GAMEBALL_ENABLED=0 switches sending off: set GAMEBALL_ENABLED=1 for this command to send."
    assert message in " ".join(result.stderr.split())
    assert sandbox.requests == []
    monkeypatch.setenv("GAMEBALL_ENABLED", "1")
    assert send(path).exit_code == 0
    assert len(sandbox.requests) == 1


def test_the_sandbox_of_the_command_is_sent_to_in_spite_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    path = written(Path("events.ndjson"), events_of(1, 1))
    assert invoke("send", "--sandbox", "--yes", path).exit_code == 0


def test_address_and_version_come_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")
    path = written(Path("events.ndjson"), events_of(1, 1))
    assert invoke("send", "--yes", path).exit_code == 0
    assert [request.path for request in sandbox.requests] == ["/api/v4.0/integrations/events"]
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v5")
    assert "GAMEBALL_API_VERSION" in invoke("send", "--yes", path).stderr
