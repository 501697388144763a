"""What a benchmark is, and how a measurement is run: in a process of its own, so that none inherits another's state."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent

Figures = dict[str, float]
"""What one run of a measurement brought, by the names of the benchmark's columns."""

_LONGEST = 900
"""Seconds that one run of a measurement may take."""


@attrs.frozen(kw_only=True)
class Setting:
    """What a measurement is given.

    Attributes:
        scale: the share of its full size; a smoke test takes a thousandth.
        url: a server in a process of its own, which answers 200 to everything.
        folder: an empty folder on a disk.
    """

    scale: float
    url: str
    folder: Path

    def of(self, full: int, least: int = 1) -> int:
        """The size to measure with, instead of the full one."""
        return max(least, round(full * self.scale))

    def seconds(self, full: float) -> float:
        """The time to measure for, instead of the full one."""
        return max(0.02, full * self.scale)


@attrs.frozen
class Measurement:
    """One row of a benchmark's table.

    Attributes:
        label: what it is.
        measure: does it once.
        beside: labels of other rows of the same benchmark; the ratios to them are shown.
        needs: a library of a peer that may be missing.
        program: a program that may be missing.
    """

    label: str
    measure: Callable[[Setting], Figures]
    beside: tuple[str, ...] = ()
    needs: str | None = None
    program: str | None = None

    @property
    def missing(self) -> str | None:
        """The library or program that is missing here, if one is."""
        if self.needs is not None and not _is_installed(self.needs):
            return self.needs
        return self.program if self.program is not None and shutil.which(self.program) is None else None


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # the package above it
        return False


@attrs.frozen(kw_only=True)
class Column:
    """One column of a benchmark's table.

    Attributes:
        figure: the name in `Figures`.
        heading: what stands above it, with its unit.
        digits: digits after the point.
    """

    figure: str
    heading: str
    digits: int = 1


@attrs.frozen(kw_only=True)
class Goal:
    """What a row should reach; shown as met or missed, never asserted.

    Attributes:
        text: the goal in words.
        label: the row.
        figure: the column.
        beside: the row it is divided by; None for the figure itself.
        at_most: the limit above, if there is one.
        at_least: the limit below, if there is one.
    """

    text: str
    label: str
    figure: str
    beside: str | None = None
    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a value is within the limits."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@attrs.frozen(kw_only=True)
class Benchmark:
    """One table.

    Attributes:
        name: the word for the command line.
        title: the question that it answers.
        columns: the first one is the one whose ratios are shown.
        measurements: its rows.
        goals: what they should reach.
        rounds: how often they are run, at most; a long one is run less often.
        notes: what a reader has to know.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    measurements: tuple[Measurement, ...]
    goals: tuple[Goal, ...] = ()
    rounds: int = 100
    notes: str = ""

    def measurement(self, label: str) -> Measurement:
        """The row of this label."""
        return next(row for row in self.measurements if row.label == label)


def run_alone(benchmark: Benchmark, measurement: Measurement, *, scale: float, url: str) -> Figures:
    """Run a measurement once, in a process and a folder of its own.

    Raises:
        RuntimeError: if it fails; with what it said.
    """
    (figures,) = run_together(benchmark, [measurement], scale=scale, url=url)
    return figures


def run_together(benchmark: Benchmark, measurements: Sequence[Measurement], *, scale: float, url: str) -> list[Figures]:
    """Run measurements once, one after another in one process: to see that they run, not to compare them.

    Raises:
        RuntimeError: if one fails; with what it said.
    """
    labels = [measurement.label for measurement in measurements]
    with _folder() as folder:
        command = [sys.executable, "-m", "benchmarks.alone", benchmark.name, *labels]
        options = ["--scale", str(scale), "--url", url, "--folder", str(folder)]
        done = subprocess.run(  # noqa: S603 our own module
            [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{benchmark.name}, {labels}: it ended with {done.returncode}.\n{done.stderr}")
    figures: list[Figures] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def _folder() -> Generator[Path]:
    """A folder below the project's: the system's folder for temporary files often lies in memory."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        yield Path(folder)
