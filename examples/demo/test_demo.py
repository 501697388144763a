"""The demo: real rows, real faults, and a verdict that is only good if everything arrived once and in order."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox import Fault, Sandbox

from . import demo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def limited() -> Iterator[Sandbox]:
    """A sandbox with Gameball's own limits."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """The excerpt's first two hundred rows, some of one customer's invoices among them."""
    lines = gzip.decompress(demo.EXCERPT.read_bytes()).splitlines(keepends=True)
    (tmp_path / "rows.csv").write_bytes(b"".join(lines[:201]))
    return str(tmp_path / "rows.csv")


def test_with_faults_on_the_way_everything_arrives_once_and_in_order(
    limited: Sandbox, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limited.script(
        Fault.status(500, duration=0.3),
        Fault.reset_before(probability=0.05),
        Fault.busy(probability=0.05),
        Fault.truncate(probability=0.05),
    )
    assert asyncio.run(demo.run(rows, limited))
    out = capsys.readouterr().out
    assert "Nothing lost, nothing twice, nothing out of order" in out
    assert {event.name for events in limited.holdings().values() for event in events} == {
        "buy", "buy_in_bulk", "checkout", "return",
    }  # fmt: skip
    assert limited.violations == []


def test_the_closing_table_answers_each_question_once_and_its_numbers_add_up(
    limited: Sandbox, rows: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    limited.script(Fault.reset_before(probability=0.05), Fault.busy(probability=0.05), Fault.truncate(probability=0.1))
    assert asyncio.run(demo.run(rows, limited))
    table = capsys.readouterr().out.splitlines()[1:-2]
    answers = dict(re.split(r"(?<=\?)\s+", line.strip()) for line in table)
    assert len(answers) == len(table)

    lines, with_customer, without = figures(answers["How many order lines?"])
    assert lines == 200 == with_customer + without
    events, *by_kind = figures(answers["How many events are that?"])
    bought, returned, _in_bulk, _checkouts = by_kind
    assert events == sum(by_kind) == sum(map(len, limited.holdings().values()))
    assert with_customer == bought + returned
    assert answers["Did every event arrive?"] == f"yes, all {events}"
    assert answers["Was any counted twice?"] == "no"
    assert answers["Are they in order?"] == "yes, for every customer"
    requests, first, repeated = figures(answers["How many requests?"])
    assert requests == first + repeated == len(limited.requests)
    failed, *by_cause = figures(answers["What failed on the way?"])
    assert failed == sum(by_cause) == sum(record.fault is not None for record in limited.requests) > 0
    sent_again, had_arrived = figures(answers["What became of that?"])
    assert (sent_again, sent_again + had_arrived) == (repeated, failed)


def test_the_closing_table_says_what_is_missing_and_what_was_counted_twice(
    limited: Sandbox, rows: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    limited.script(Fault.reset_after(times=1), Fault.status(422, code=3003, events=["return"]))
    assert not asyncio.run(demo.run(rows, limited))
    out = capsys.readouterr().out
    assert re.search(r"Did every event arrive\?\s+no, 2 are missing", out)
    assert re.search(r"Was any counted twice\?\s+yes, [12] *$", out, re.MULTILINE)


def figures(answer: str) -> list[int]:
    """Return the numbers in an answer."""
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", answer)]


def test_an_event_that_was_counted_twice_spoils_the_verdict(
    limited: Sandbox, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limited.script(Fault.reset_after(times=1))
    assert not asyncio.run(demo.run(rows, limited))
    assert "NOT EQUAL" in capsys.readouterr().out


def test_an_event_that_was_lost_spoils_the_verdict(
    limited: Sandbox, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limited.script(Fault.status(422, code=3003, times=1))
    assert not asyncio.run(demo.run(rows, limited))
    assert "NOT EQUAL" in capsys.readouterr().out


def test_without_its_rows_the_verdict_is_not_good(
    limited: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not asyncio.run(demo.run(str(tmp_path / "missing"), limited))
    assert "NOT EQUAL" in capsys.readouterr().out


def test_the_excerpt_names_its_source_and_licence() -> None:
    text = demo.EXCERPT.parents[1].joinpath("README.md").read_text("utf-8")
    for words in ("D. Chen", "Online Retail", "UCI Machine Learning Repository", "10.24432/C5BW33", "CC BY 4.0"):
        assert words in text
