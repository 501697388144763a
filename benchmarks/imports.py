"""What an import costs, in a fresh interpreter each time, of the package as a wheel installs it: with bytecode."""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from .harness import ROOT, Benchmark, Column, Figures, Goal, Measurement, Setting
from .peers import AsyncPosthog, Segment, Snowplow

_PACKAGE = "gameball_async"
_TIMES = 10
_PROGRAM = """
import sys, time
begun, cpu = time.perf_counter(), time.process_time()
import {module}
print(time.perf_counter() - begun, time.process_time() - cpu, len(sys.modules))
"""


def _import(module: str, setting: Setting) -> Figures:
    if module == _PACKAGE:
        shutil.copytree(ROOT / module, setting.folder / module, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(setting.folder, quiet=1)
    walls, cpus, modules = zip(*(_once(module, setting.folder) for _ in range(setting.of(_TIMES))), strict=True)
    return {
        "cpu": 1e3 * statistics.median(cpus),
        "wall": 1e3 * statistics.median(walls),
        "modules": statistics.median(modules),
    }


def _once(module: str, folder: Path) -> tuple[float, float, float]:
    program = [sys.executable, "-c", _PROGRAM.format(module=module)]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    told = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 our own program
    wall, cpu, modules = map(float, told.stdout.split())
    return wall, cpu, modules


BENCHMARK = Benchmark(
    name="imports",
    title="What an import costs",
    columns=(
        Column(figure="cpu", heading="CPU ms"),
        Column(figure="wall", heading="ms"),
        Column(figure="modules", heading="modules loaded", digits=0),
    ),
    measurements=(
        Measurement(_PACKAGE, partial(_import, _PACKAGE), ("httpx",)),
        Measurement("httpx", partial(_import, "httpx")),
        Measurement("snowplow-tracker", partial(_import, "snowplow_tracker"), needs=Snowplow.library),
        Measurement("segment-analytics-python", partial(_import, "segment.analytics"), needs=Segment.library),
        Measurement("AsyncPosthog", partial(_import, "posthog.async_client"), needs=AsyncPosthog.library),
    ),
    goals=(
        Goal(
            text="import gameball_async: at most 1.5 times import httpx",
            label=_PACKAGE,
            figure="cpu",
            beside="httpx",
            at_most=1.5,
        ),
    ),
)
