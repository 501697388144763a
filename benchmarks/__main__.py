"""The command line: run the benchmarks, all or by name, several rounds interleaved; ``make bench`` runs all.

::

    python -m benchmarks                      everything: tables, results.json, plots
    python -m benchmarks track pipeline       two of them
    python -m benchmarks --rounds 1 --scale 0.01 --no-save      a quick look
"""

from __future__ import annotations

import argparse
import statistics
import sys
from datetime import UTC, datetime

from . import instructions, plots, report
from .catalogue import BENCHMARKS
from .harness import ROOT, Benchmark, Measurement, run_alone
from .machine import facts, load
from .report import Runs
from .server import local_server


def main() -> None:
    """Run what the command line names."""
    options = _options()
    names: list[str] = options.names or list(BENCHMARKS)
    all_runs = [_empty_runs(BENCHMARKS[name]) for name in names]
    begun, load_before = datetime.now(UTC), load()
    for number in range(options.rounds):
        for runs in all_runs:
            if number < runs.benchmark.rounds:
                _run_round(runs, options.scale, f"round {number + 1} of {options.rounds}")
    _show(all_runs)
    if not options.no_save:
        report.save(all_runs, facts(ROOT), begun.isoformat(timespec="seconds"), max(load_before, load()))
        _keep_instructions(all_runs)
        plots.draw()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The benchmarks.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="how often, one after another (default: 5)")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the full sizes (default: 1)")
    parser.add_argument("--no-save", action="store_true", help="neither write results.json nor draw plots")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(BENCHMARKS)}.")
    return options


def _empty_runs(benchmark: Benchmark) -> Runs:
    skipped = {row.label: f"{row.missing} is not installed" for row in benchmark.measurements if row.missing}
    return Runs(benchmark, {row.label: [] for row in benchmark.measurements if not row.missing}, skipped)


def _run_round(runs: Runs, scale: float, progress: str) -> None:
    for measurement in runs.benchmark.measurements:
        if measurement.label in runs.figures:
            _say(f"{progress}: {runs.benchmark.name}, {measurement.label}")
            _run_once(runs, measurement, scale)


def _run_once(runs: Runs, measurement: Measurement, scale: float) -> None:
    with local_server() as url:
        try:
            figures = run_alone(runs.benchmark, measurement, scale=scale, url=url)
        except RuntimeError as error:
            runs.skipped[measurement.label] = str(error).splitlines()[-1]
            _say(str(error))
            return
    runs.figures[measurement.label].append(figures)


def _show(all_runs: list[Runs]) -> None:
    for runs in all_runs:
        sys.stdout.write("\n".join(["", *report.table(runs), ""]))
    sys.stdout.write("\n".join(["", *report.goals(all_runs), ""]))
    sys.stdout.flush()


def _keep_instructions(all_runs: list[Runs]) -> None:
    counted = {
        label: statistics.median(runs.values(label, "instructions"))
        for runs in all_runs
        for label in runs.figures
        if runs.values(label, "instructions")
    }
    if counted:
        instructions.keep(counted)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
