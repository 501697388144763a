"""The hot path in instructions of the processor, counted by callgrind: they repeat where seconds do not.

A program makes few calls or many; the difference, divided by the calls, is what one takes. The counts of every
version are kept in ``instructions.json``, so that a slower one is seen in review.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version
from typing import Any

from gameball_async import AsyncGameball, Batching
from gameball_async._core.events import encode_event

from .harness import ROOT, Benchmark, Column, Figures, Goal, Measurement, Setting
from .shop import METADATA, NAMES, UNREACHABLE

KEPT = Path(__file__).parent / "instructions.json"

_FEW = 500
_MANY = 4_500
_OURS = "await track(), merged"
_ALONE = "validating and encoding alone"

_Calls = list[tuple[str, str]]
_Work = Callable[[_Calls], Coroutine[Any, Any, None]]


async def _track(calls: _Calls) -> None:
    gameball = AsyncGameball("key", base_url=UNREACHABLE, batching=Batching(linger=1000))
    await gameball.start()
    for player, name in calls:
        await gameball.track(player, name, METADATA)


async def _encode(calls: _Calls) -> None:
    for _, name in calls:
        encode_event(name, METADATA)


def _calls(players: Callable[[int], int]) -> _Calls:
    # as many for every program, so that only the calls differ
    return [(f"player{players(number)}", NAMES[number % len(NAMES)]) for number in range(_MANY)]


_PROGRAMS: dict[str, tuple[_Work, Callable[[int], int]]] = {
    _OURS: (_track, lambda number: number // len(NAMES)),
    "await track(), a new player": (_track, lambda number: number),
    _ALONE: (_encode, lambda number: number),
}


def main(label: str, count: int) -> None:
    """Be one of the programs."""
    work, players = _PROGRAMS[label]
    asyncio.run(_counted(work, _calls(players)[:count]))


async def _counted(work: _Work, calls: _Calls) -> None:
    await work(calls)
    os._exit(0)  # clearing up would count what the events left


def _count(label: str, setting: Setting) -> Figures:
    few, many = setting.of(_FEW), setting.of(_MANY, least=2)
    before, after = _instructions(label, few), _instructions(label, many)
    return {"instructions": (after - before) / (many - few)}


def program(label: str, count: int) -> list[str]:
    """The command that makes so many calls."""
    return [sys.executable, "-c", f"from benchmarks.instructions import main; main({label!r}, {count})"]


def _instructions(label: str, count: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program(label, count)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 our own program
    found = re.search(r"Collected : (\d+)", told.stderr)
    assert found is not None, "callgrind says so at its end"  # noqa: S101 an invariant
    return int(found[1])


def keep(medians: dict[str, float]) -> None:
    """Write down the counts of this version."""
    kept: dict[str, dict[str, dict[str, int]]] = {}
    if KEPT.exists():
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
    environment = f"Python {python_version()}, {machine()}"
    kept.setdefault(environment, {})[version("gameball-async")] = {
        label: round(median) for label, median in medians.items()
    }
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


BENCHMARK = Benchmark(
    name="instructions",
    title="The hot path in instructions",
    columns=(Column(figure="instructions", heading="instructions/call", digits=0),),
    measurements=tuple(
        Measurement(label, partial(_count, label), (_ALONE,) if label != _ALONE else (), program="valgrind")
        for label in _PROGRAMS
    ),
    goals=(
        Goal(
            text="instructions of await track(): within 2x of validating and encoding alone",
            label=_OURS,
            figure="instructions",
            beside=_ALONE,
            at_most=2.0,
        ),
    ),
    rounds=1,
)
