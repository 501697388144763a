"""Every benchmark runs, with tiny sizes; what it measures is nobody's concern here."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks import auto, backlog, bulk, handler_cost, instructions, report, request
from benchmarks.catalogue import BENCHMARKS
from benchmarks.harness import ROOT, Benchmark, Measurement, run_together
from benchmarks.report import Runs
from benchmarks.server import local_server
from gameball_async import RateLimit
from gameball_async._config import Mode


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with local_server() as url:
        yield url


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_each_measurement_brings_figures(benchmark: Benchmark, server: str) -> None:
    # callgrind takes a minute; what it counts is run below
    rows = [row for row in benchmark.measurements if row.program is None and row.missing is None]
    if not rows:
        pytest.skip("what it measures is not installed: `make bench` shows it")
    brought = run_together(benchmark, rows, scale=0.001, url=server)
    assert len(brought) == len(rows)
    for row, figures in zip(rows, brought, strict=True):
        assert figures, row.label
        assert all(math.isfinite(value) for value in figures.values()), row.label


@pytest.mark.parametrize("row", instructions.BENCHMARK.measurements, ids=lambda row: row.label)
def test_what_callgrind_counts_can_be_run(row: Measurement, server: str) -> None:
    subprocess.run(instructions.program(row.label, 5, server), cwd=ROOT, check=True)


def test_the_comparison_of_instructions_fails_above_five_per_cent() -> None:
    before = {"a": 1_000, "b": 1_000}
    assert instructions.growth(before, {"a": 1_050.0, "b": 900.0, "new": 1.0})[1] is False
    lines, has_grown = instructions.growth(before, {"a": 1_051.0, "b": 900.0})
    assert has_grown
    assert [line.endswith("grown |") for line in lines[2:]] == [True, False]


def test_what_is_counted_is_known_of_the_latest_version() -> None:
    kept = json.loads(instructions.KEPT.read_text(encoding="utf-8"))
    labels = {row.label for row in instructions.BENCHMARK.measurements}
    assert kept
    assert all(set(counts) == labels for versions in kept.values() for counts in versions.values())


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_rows_and_goals_are_beside_rows_that_exist(benchmark: Benchmark) -> None:
    labels = [row.label for row in benchmark.measurements]
    figures = {column.figure for column in benchmark.columns}
    assert len(set(labels)) == len(labels)
    assert {other for row in benchmark.measurements for other in row.beside} <= set(labels)
    for goal in benchmark.goals:
        assert {goal.label, goal.beside or goal.label} <= set(labels)
        assert goal.figure in figures
        assert (goal.at_most is None) != (goal.at_least is None)


def test_a_table_shows_the_median_the_spread_and_the_ratio_of_each_round() -> None:
    benchmark = BENCHMARKS["pipeline"]
    ours, bare = benchmark.goals[0].label, benchmark.goals[0].beside or ""
    figures = {
        ours: [{"cpu": 50.0}, {"cpu": 20.0}, {"cpu": 90.0}],
        bare: [{"cpu": 100.0}, {"cpu": 50.0}, {"cpu": 100.0}],
    }
    runs = Runs(benchmark, figures)
    lines = "\n".join(report.table(runs))
    assert "50.0 (20.0–90.0)" in lines
    assert f"0.50 of {bare}" in lines
    assert "0.5 | met" in "\n".join(report.goals([runs])).replace("  ", " ").replace("  ", " ")


def test_the_cpu_of_a_request_is_compared_for_each_runtime() -> None:
    lines = request.table(request.run(ROOT, rounds=1, requests=10))
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2 : 2 + len(request.RUNTIMES)]] == list(
        request.RUNTIMES
    )


def test_the_cost_of_a_handler_is_measured_with_two_trees() -> None:
    pytest.importorskip("fastapi")
    lines = handler_cost.table(handler_cost.run(ROOT, rounds=1, calls=20, flat_out=True))  # else as `handler` does
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| without tracking", "| before", "| now"]


def test_a_backlog_is_written_killed_and_drained() -> None:
    looks = list(backlog.run(3_000))
    found = next(look for look in looks if look.phase == "start")
    assert found.events == 3_000
    assert looks[-1].phase == "drain"
    assert looks[-1].events == 3_000


@pytest.mark.parametrize("mode", auto.MODES)
def test_a_cell_of_the_grid_brings_figures(mode: Mode) -> None:
    figures = auto.cell(mode, 20, 0.5)
    assert 0.5 < figures["mean"] <= figures["p95"] < 10


def test_the_kept_grid_is_complete() -> None:
    kept = json.loads(auto.KEPT.read_text(encoding="utf-8"))
    assert kept.keys() == {auto.key(*cell) for cell in auto.grid()}


def test_the_share_of_bulk_requests_is_that_of_what_looks_leave() -> None:
    looks = [number / 4 for number in range(4 * 61)]
    found = bulk.shares(looks, looks, RateLimit())
    assert found == {
        "all": 240 / 360,
        "posts_of_what_looks_leave": 120 / 240,
        "posts_of_two_thirds": 120 / 240,
        "fullest": 240 / 360,
    }
    assert bulk.shares([0.0], [], RateLimit()) == {}


def test_bulk_requests_use_what_the_looks_at_their_jobs_leave() -> None:
    found = bulk.in_virtual_time(65)
    assert found["posts_of_what_looks_leave"] >= 0.98
    assert found["all"] >= 0.98
    assert found["fullest"] <= 1.0
