"""The page on performance says what the kept results say, and no more."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchmarks.catalogue import BENCHMARKS
from benchmarks.plots import FOLDER
from benchmarks.report import RESULTS

from .pages import DOCS, code_in

PAGE = DOCS["performance"]
TABLES = PAGE.tables()
KEPT: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
FIGURES = [table for table in TABLES if code_in(table) and code_in(table)[0] in BENCHMARKS]
"""The tables whose first column is headed by the name of a benchmark."""


def verdict(reached: float | None, *, met: bool) -> str:
    return "not measured" if reached is None else "met" if met else "missed"


def test_every_goal_stands_with_what_was_reached_and_whether_it_is_met() -> None:
    kept = [
        (goal["text"], f"{goal['reached']:.3g}", verdict(goal["reached"], met=goal["met"]), name)
        for name in BENCHMARKS
        for goal in KEPT["benchmarks"][name]["goals"]
    ]
    rows = TABLES["Goals/Goal"]
    documented = [(row["Goal"], row["Reached"], row["Verdict"], *code_in(row["Benchmark"])) for row in rows]
    assert documented == kept


def test_every_goal_that_was_missed_has_its_reason_and_no_other() -> None:
    missed = [row["Goal"] for row in TABLES["Goals/Goal"] if row["Verdict"] == "missed"]
    explained = [goal for row in TABLES["Missed goals/Goals"] for goal in row["Goals"].split("; ")]
    assert sorted(explained) == sorted(missed)
    assert all(row["Reason"] for row in TABLES["Missed goals/Goals"])


def test_every_run_stands_with_its_date_its_rounds_and_the_load() -> None:
    kept = {name: KEPT["benchmarks"][name] for name in BENCHMARKS}
    rounds = {
        name: max(len(figure["rounds"]) for row in runs["rows"].values() for figure in row.values())
        for name, runs in kept.items()
    }
    documented = [
        (*code_in(row["Benchmark"]), row["Begun (UTC)"], int(row["Rounds"]), float(row["Load"]))
        for row in TABLES["How it was measured/Benchmark"]
    ]
    assert documented == [
        (name, runs["date"][:16].replace("T", " "), rounds[name], runs["load"]) for name, runs in kept.items()
    ]


def test_the_machine_is_the_one_that_the_results_name() -> None:
    machine = KEPT["machine"]
    text = " ".join(PAGE.text.split())
    for words in (machine["processor"], f"{machine['cores']} cores", f"Python {machine['python']}"):
        assert words in text


@pytest.mark.parametrize("table", FIGURES)
def test_a_table_of_a_benchmark_shows_the_kept_medians(table: str) -> None:
    name = code_in(table)[0]
    columns = {column.heading: column for column in BENCHMARKS[name].columns}
    kept = KEPT["benchmarks"][name]["rows"]
    for row in TABLES[table]:
        label, *cells = row.items()
        for heading, cell in cells:
            column = columns[heading]
            figure = kept[label[1]].get(column.figure)
            assert cell == ("" if figure is None else f"{figure['median']:,.{column.digits}f}")


def test_the_tables_of_the_benchmarks_are_read() -> None:
    assert len(FIGURES) > 1


def test_every_plot_is_shown_with_a_text_for_those_who_do_not_see_it() -> None:
    shown = dict(re.findall(r"!\[([^\]]{20,})\]\(images/([\w-]+)\.svg\)", " ".join(PAGE.text.split())))
    assert sorted(shown.values()) == sorted(path.stem for path in FOLDER.glob("*.svg"))
