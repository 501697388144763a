"""`send` with files as shops really have them: another delimiter, encoding or shape gives the same events."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox import Sandbox

from .conftest import FAST, Process, events_of, invoke, numbers, rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

SHOP = gzip.decompress((Path(__file__).parent / "data" / "online_retail_2010-12.csv.gz").read_bytes()).decode()
HEADER, *RECORDS = csv.reader(io.StringIO(SHOP))
LINES = [record for record in RECORDS if record[6]][:120]
MAPPING = (
    "--player-column",
    "CustomerID",
    "--event",
    "purchase",
    "-m",
    "Quantity:int",
    "-m",
    "UnitPrice:decimal=price",
)
SLOW = ("--per-second", "40", "--per-30-seconds", "1200")
EXPECTED: dict[str, list[object]] = {}
for line in LINES:
    EXPECTED.setdefault(line[6], []).append({"Quantity": int(line[3]), "price": float(line[5])})


def table(*rows: list[str], delimiter: str = ",", end: str = "\r\n") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return text.getvalue()


def turned(rows: list[list[str]]) -> list[list[str]]:
    return [row[::-1] for row in rows]


CSV = {
    "semicolons": table(HEADER, *LINES, delimiter=";").encode(),
    "tabs": table(HEADER, *LINES, delimiter="\t").encode(),
    "bars": table(HEADER, *LINES, delimiter="|").encode(),
    "sep line": b"\xef\xbb\xbfsep=;\r\n" + table(HEADER, *LINES, delimiter=";").encode(),
    "Unicode text of Excel": table(HEADER, *LINES, delimiter="\t").encode("utf-16"),
    "UTF-16 without a mark": table(HEADER, *LINES).encode("utf-16-be"),
    "carriage returns": table(HEADER, *LINES, end="\r").encode(),
    "carriage returns, later line feeds": (
        table(HEADER, *LINES[:9], end="\r") + table(*LINES[9:], delimiter=",", end="\n")
    ).encode(),
    "line ends doubled by Windows": table(HEADER, *LINES, end="\r\r\n").encode(),
    "upper case and spaces": table([f" {name.upper()} " for name in HEADER], *LINES).encode(),
    "byte order mark and quotes": b"\xef\xbb\xbf" + table(HEADER, *LINES).replace("InvoiceNo", '"InvoiceNo"').encode(),
    "joined": table(HEADER, *LINES[:50], HEADER, *LINES[50:]).encode(),
    "joined, each with a mark": b"\xef\xbb\xbf".join(
        [b"", table(HEADER, *LINES[:50]).encode(), table(HEADER, *LINES[50:]).encode()]
    ),
    "joined, other order": (
        table(HEADER, *LINES[:50])
        + table([name.lower() for name in HEADER[::-1]], *turned(LINES[50:]), delimiter=",", end="\n")
    ).encode(),
    "comments": b"# shop export\n#\n" + table(HEADER, *LINES).encode(),
    "delimiters at the ends": table([*HEADER, ""], *([*line, ""] for line in LINES)).encode(),
    "long cells": table([*HEADER, "page"], [*LINES[0], "x" * 131_073], *([*line, ""] for line in LINES[1:])).encode(),
    "gzip": gzip.compress(table(HEADER, *LINES, delimiter=";").encode(), mtime=0),
}


@pytest.mark.parametrize("name", CSV)
def test_a_shop_s_file_gives_the_same_events_in_every_variant(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(CSV[name])
    checked = invoke("send", path, *MAPPING, "--dry-run")
    assert f"valid                                        {len(LINES)}" in checked.stdout
    assert send(path, *MAPPING).exit_code == checked.exit_code == 0
    held = {player: [event.metadata for event in events] for player, events in sandbox.holdings().items()}
    assert held == EXPECTED
    assert [file.name for file in tmp_path.iterdir()] == ["shop.csv"]


def test_standard_input_is_read_in_the_same_way(sandbox: Sandbox) -> None:
    for name in ("semicolons", "Unicode text of Excel", "carriage returns"):
        sandbox.reset()
        process = Process("send", "-", *MAPPING, "--base-url", sandbox.url, *FAST, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(CSV[name])
        process.stdin.close()
        assert process.end() == 0
        assert {player: len(events) for player, events in sandbox.holdings().items()} == {
            player: len(events) for player, events in EXPECTED.items()
        }


def test_cp1252_is_read_if_it_is_named_and_asked_for_if_not(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes("Größe;Kunde\nMenü €;1\n".encode("cp1252"))
    options = (path, "--player-column", "Kunde", "--event", "purchase", "-m", "Größe=size")
    result = send(*options)
    assert result.exit_code == 2
    assert f"{path}: the header cannot be read: byte 3 of the line (0xf6) is not UTF-8" in " ".join(
        result.stderr.split()
    )
    assert send(*options, "--encoding", "cp1252").exit_code == 0
    assert sandbox.holdings()["1"][0].metadata == {"size": "Menü €"}


@pytest.mark.parametrize("name", ["book.xlsx", "-"])
def test_a_workbook_is_named_before_anything_is_sent(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    data = b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(20) + b"[Content_Types].xml" + bytes(600)
    (tmp_path / "book.xlsx").write_bytes(data)
    process = Process("send", name, *MAPPING, "--base-url", sandbox.url, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.close()
    assert process.end() == (2 if name == "book.xlsx" else 1)
    told = b" ".join((process.err + process.out).split())
    assert b"it is an Excel workbook (.xlsx) or another document of Office: open it in its program" in told
    assert sandbox.stats().arrived == 0


def test_what_is_odd_is_said_once_with_its_first_line_by_both_the_check_and_the_run(
    send: Callable[..., Result], tmp_path: Path
) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("id,event\n17850,visit\n17850 ,visit\n12583.0,visit\n17850 ,visit\nid,event\n1,visit\n")
    for result in (invoke("send", path, "--player-column", "id", "--dry-run"), send(path, "--player-column", "id")):
        assert result.exit_code == 0
        warnings = [line.split(" in ")[0] for line in result.stdout.splitlines() if line.startswith("Warning")]
        assert sorted(warnings) == [
            f"Warning: {path}, line 3 and others: 2 rows with unusual spaces or invisible characters",
            f"Warning: {path}, line 4: 1 row with a player's id that ends",
            f"Warning: {path}, line 6: 1 row repeating the header, as",
        ]
        assert "12583" not in result.stdout


@pytest.mark.parametrize("text", ["", "\ufeff", "\n \n", "id,event\n"])
def test_a_file_without_rows_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.csv").write_text(text)
    result = invoke("send", "shop.csv", "--player-column", "id", "--dry-run")
    assert result.exit_code == 0
    assert "Warning: shop.csv has no rows: nothing in it to send." in result.stdout


def test_options_for_csv_are_not_ignored_in_silence(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text('{"player": "p", "event": "e"}\n')
    result = invoke("send", "events.ndjson", "--event", "trial", "--dry-run")
    assert "Warning: events.ndjson is JSON: the options for the columns of CSV do not apply to it." in result.stdout


# ------------------------------------------------------------------ resume and rejects

EVENTS = events_of(players=10, each=30)
ROWS = [[event["player"], event["event"], str(event["metadata"]["n"])] for event in EVENTS]
COLUMNS = ("-m", "n:int")
JOINED = table(["player", "event", "n"], *ROWS[:20]) + table(["n", "event", "player"], *turned(ROWS[20:]))
RESUMED = {
    "array": (json.dumps(EVENTS).encode(), ()),
    "pretty array": (json.dumps(EVENTS, indent=2).encode(), ()),
    "joined objects": ("".join(map(json.dumps, EVENTS)).encode(), ()),
    "UTF-16": (table(["player", "event", "n"], *ROWS, delimiter="\t").encode("utf-16"), COLUMNS),
    "carriage returns": (table(["player", "event", "n"], *ROWS, end="\r").encode(), COLUMNS),
    "joined": (JOINED.encode(), COLUMNS),
}


@pytest.mark.parametrize("name", RESUMED)
def test_every_shape_can_be_gone_on_with(
    send: Callable[..., Result], sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    data, options = RESUMED[name]
    path = tmp_path / "events"
    path.write_bytes(data)
    process = Process("send", path, *options, "--base-url", sandbox.url, *SLOW, "--drain", "30")
    sandbox.wait_for(lambda tally: tally.applied >= 25, timeout=100)
    process.interrupt()
    process.wait_for(b"Stopping: ")
    process.interrupt()
    process.end()
    first = sandbox.stats().events
    assert first < 300
    assert send(path, *options, "--resume").exit_code == 0
    held = numbers(sandbox)
    # what was under way at the second Ctrl-C may be sent again
    assert {player: sorted(set(sequence)) for player, sequence in held.items()} == {
        f"player{player}": list(range(30)) for player in range(10)
    }
    assert sum(map(len, held.values())) <= 300 + 40
    assert [file.name for file in tmp_path.iterdir()] == ["events"]


def test_rejects_have_the_lines_of_the_file_and_the_row_as_it_is(send: Callable[..., Result], tmp_path: Path) -> None:
    files: dict[str, tuple[str | bytes, int]] = {
        "array": ('[\n {"player": "p", "event": "e"},\n {"player": 1,\n  "event": "e"}]', 3),
        "cr": ("player;event\rp;e\r;e\r", 3),
        "utf-16": ("player\tevent\r\np\te\r\n\te\r\n".encode("utf-16"), 3),
        "joined": ("player,event\np,e\nplayer,event\n,e\n", 4),
    }
    rows = {"array": '{"player": 1,\n  "event": "e"}', "cr": ";e", "utf-16": "\te", "joined": ",e"}
    for name, (data, line) in files.items():
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        assert send(path).exit_code == 1
        (row,) = rejected(tmp_path / f"{name}.rejects.ndjson")
        assert (row["line"], row["row"]) == (line, rows[name])
