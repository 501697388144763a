"""What was measured, as tables for the eye and as JSON for later: medians, their spread, and ratios."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from .harness import Benchmark, Figures, Goal, Measurement

RESULTS = Path(__file__).parent / "results.json"


@attrs.frozen
class Runs:
    """Every round of one benchmark.

    Attributes:
        benchmark: what was measured.
        figures: of each row, one entry for a round.
        skipped: rows that could not be measured, and why.
    """

    benchmark: Benchmark
    figures: dict[str, list[Figures]]
    skipped: dict[str, str] = attrs.field(factory=dict[str, str])

    def values(self, label: str, figure: str) -> list[float]:
        """One cell of the table, round after round."""
        return [figures[figure] for figures in self.figures.get(label, []) if figure in figures]

    def ratio(self, figure: str, label: str, beside: str) -> float | None:
        """The median of each round's ratio: the machine's mood is the same within a round."""
        pairs = zip(self.values(label, figure), self.values(beside, figure), strict=False)
        ratios = [one / other for one, other in pairs if other]
        return statistics.median(ratios) if ratios else None

    def reached(self, goal: Goal) -> float | None:
        """What the goal is compared with; None if that was not measured."""
        if goal.beside is not None:
            return self.ratio(goal.figure, goal.label, goal.beside)
        values = self.values(goal.label, goal.figure)
        return statistics.median(values) if values else None


# ---------------------------------------------------------------- for the eye


def table(runs: Runs) -> Iterator[str]:
    """The lines of one benchmark's table, in Markdown."""
    benchmark = runs.benchmark
    columns = [
        column for column in benchmark.columns if any(runs.values(label, column.figure) for label in runs.figures)
    ]
    yield f"## {benchmark.title}"
    yield ""
    if benchmark.notes:
        yield from (benchmark.notes, "")
    headings = ["", *(column.heading for column in columns), "ratio"]
    cells = [[row.label, *_cells(runs, row, columns), _ratios(runs, row)] for row in benchmark.measurements]
    yield from _aligned([headings, *(row for row in cells if row[0] in runs.figures)])
    yield ""
    for label, reason in runs.skipped.items():
        yield f"Not measured: {label}: {reason}"


def _cells(runs: Runs, row: Measurement, columns: Iterable[Any]) -> Iterator[str]:
    for column in columns:
        values = runs.values(row.label, column.figure)
        yield _with_spread(values, column.digits) if values else ""


def _with_spread(values: list[float], digits: int) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{median:,.{digits}f}"
    return f"{median:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def _ratios(runs: Runs, row: Measurement) -> str:
    figure = runs.benchmark.columns[0].figure
    ratios = ((runs.ratio(figure, row.label, other), other) for other in row.beside)
    return ", ".join(f"{ratio:.2f} of {other}" for ratio, other in ratios if ratio is not None)


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        aligned = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        yield f"| {' | '.join(aligned)} |"
        if not number:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def goals(all_runs: Iterable[Runs]) -> Iterator[str]:
    """The lines of the table of goals."""
    rows = [["goal", "reached", ""]]
    for runs in all_runs:
        for goal in runs.benchmark.goals:
            value = runs.reached(goal)
            verdict = "not measured" if value is None else "met" if goal.is_met(value) else "missed"
            rows.append([goal.text, "" if value is None else f"{value:.3g}", verdict])
    yield "## Goals"
    yield ""
    yield from _aligned(rows)


# ---------------------------------------------------------------- for later


def save(all_runs: Iterable[Runs], machine: dict[str, object], date: str, load: float) -> None:
    """Keep the results; benchmarks that were not run this time keep their earlier ones."""
    kept: dict[str, Any] = {"benchmarks": {}}
    if RESULTS.exists():
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    for runs in all_runs:
        kept["benchmarks"][runs.benchmark.name] = _as_json(runs) | {"date": date, "load": load}
    kept["machine"] = machine
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _as_json(runs: Runs) -> dict[str, Any]:
    goals = [
        attrs.asdict(goal, filter=lambda _, value: value is not None)
        | {"reached": None if value is None else _rounded(value), "met": value is not None and goal.is_met(value)}
        for goal in runs.benchmark.goals
        for value in [runs.reached(goal)]
    ]
    rows = {
        label: {figure: _summary(runs.values(label, figure)) for figure in sorted({f for run in rounds for f in run})}
        for label, rounds in runs.figures.items()
    }
    return {"title": runs.benchmark.title, "rows": rows, "goals": goals, "skipped": runs.skipped}


def _summary(values: list[float]) -> dict[str, Any]:
    return {
        "median": _rounded(statistics.median(values)),
        "rounds": [_rounded(value) for value in values],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
