"""The hot path in instructions of the processor, counted by callgrind: they repeat where seconds do not.

A program makes few calls or many; the difference, divided by the calls, is what one takes. The counts of every
version are kept in ``instructions.json``::

    python -m benchmarks.instructions            compare; fails if a count has grown by more than 5 %
    python -m benchmarks.instructions --write    write the counts of this version down

A request is one event's, from the call to its outcome; a durable call is one with a journal. Both contain a part that
the operating system decides, such as how often a thread is woken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_version
from typing import Any

import attrs

from gameball_async import AsyncGameball, Batching
from gameball_async._core.events import encode_event

from .harness import ROOT, Benchmark, Column, Figures, Measurement, Setting
from .server import local_server
from .shop import METADATA, NAMES, UNREACHABLE

KEPT = Path(__file__).parent / "instructions.json"

MOST_GROWTH = 1.05
"""A count that is this many times the one that was written down fails the comparison."""

_OURS = "await track(), merged"
_ALONE = "validating and encoding alone"

_Calls = list[tuple[str, str]]
_Work = Callable[[_Calls, str], Coroutine[Any, Any, None]]
_Counts = dict[str, int]


async def _track(calls: _Calls, _: str) -> None:
    gameball = AsyncGameball("key", base_url=UNREACHABLE, batching=Batching(linger=1000))
    await gameball.start()
    for player, name in calls:
        await gameball.track(player, name, METADATA)


async def _request(calls: _Calls, url: str) -> None:
    gameball = AsyncGameball("key", base_url=url, rate=None, batching=Batching(linger=0))
    await gameball.start()
    for player, name in calls:
        await (await gameball.track(player, name, METADATA))


async def _durable(calls: _Calls, _: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        gameball = AsyncGameball("key", base_url=UNREACHABLE, batching=Batching(linger=1000), journal=folder)
        await gameball.start()
        for player, name in calls:
            await gameball.track(player, name, METADATA)


async def _encode(calls: _Calls, _: str) -> None:
    for _, name in calls:
        encode_event(name, METADATA)


@attrs.frozen
class _Program:
    """What is counted.

    Attributes:
        work: makes the calls.
        per_player: how many events of a player follow each other.
        few: how many calls the first program makes.
        many: how many the second one makes.
    """

    work: _Work
    per_player: int = 1
    few: int = 500
    many: int = 4_500

    def calls(self, count: int) -> _Calls:
        # as many for every program, so that only the calls differ
        everything = [(f"player{number // self.per_player}", NAMES[number % len(NAMES)]) for number in range(self.many)]
        return everything[:count]


_PROGRAMS = {
    _OURS: _Program(_track, len(NAMES)),
    "await track(), a new player": _Program(_track),
    _ALONE: _Program(_encode),
    "one request": _Program(_request, few=200, many=1_000),
    "await track() with a journal": _Program(_durable, few=200, many=1_000),
}


def main(label: str, count: int, url: str) -> None:
    """Be one of the programs."""
    asyncio.run(_counted(_PROGRAMS[label], count, url))


async def _counted(program: _Program, count: int, url: str) -> None:
    await program.work(program.calls(count), url)
    os._exit(0)  # clearing up would count what the events left


def _count(label: str, setting: Setting) -> Figures:
    few, many = setting.of(_PROGRAMS[label].few), setting.of(_PROGRAMS[label].many, least=2)
    before, after = _instructions(label, few, setting.url), _instructions(label, many, setting.url)
    return {"instructions": (after - before) / (many - few)}


def program(label: str, count: int, url: str) -> list[str]:
    """The command that makes so many calls."""
    return [sys.executable, "-c", f"from benchmarks.instructions import main; main({label!r}, {count}, {url!r})"]


def _instructions(label: str, count: int, url: str) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program(label, count, url)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 our own program
    found = re.search(r"Collected : (\d+)", told.stderr)
    assert found is not None, "callgrind says so at its end"  # noqa: S101 an invariant
    return int(found[1])


# ---------------------------------------------------------------- counts of each version


def _environment() -> str:
    return f"Python {python_version()}, {machine()}"


def _kept() -> dict[str, dict[str, _Counts]]:
    kept: dict[str, dict[str, _Counts]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    return kept


def latest() -> tuple[str, _Counts] | None:
    """The latest version whose counts are known for this Python and processor, and they; or None."""
    versions = _kept().get(_environment(), {})
    found = max(versions, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default=None)
    return None if found is None else (found, versions[found])


def keep(medians: dict[str, float]) -> None:
    """Write down the counts of this version."""
    kept, name = _kept(), version("gameball-async")
    counts = kept.setdefault(_environment(), {}).setdefault(name, {})
    counts |= {label: round(median) for label, median in medians.items()}
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def growth(before: _Counts, now: dict[str, float]) -> tuple[list[str], bool]:
    """A table of what was counted, and whether any of it has grown too much."""
    lines, has_grown = ["| instructions | before | now | ratio |", "|---|---|---|---|"], False
    for label, count in now.items():
        if (known := before.get(label)) is None:
            lines.append(f"| {label} | | {count:,.0f} | |")
            continue
        ratio = count / known
        is_too_much = ratio > MOST_GROWTH
        has_grown |= is_too_much
        lines.append(f"| {label} | {known:,} | {count:,.0f} | {ratio:.3f}{' grown' if is_too_much else ''} |")
    return lines, has_grown


def compare() -> int:
    """Count, and compare with the latest version or write down, as the command line says; returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description="Instructions per call.")
    parser.add_argument("--write", action="store_true", help="write the counts of this version down")
    options = parser.parse_args()
    known = latest()
    if known is None and not options.write:
        parser.error(f"no counts are known for {_environment()}: write those of an earlier commit down with --write.")
    with local_server() as url:
        setting = Setting(scale=1.0, url=url, folder=ROOT)
        now = {label: _count(label, setting)["instructions"] for label in _PROGRAMS}
    name, before = known or ("", {})
    lines, has_grown = growth(before, now)
    sys.stdout.write("\n".join([f"before: {name or 'nothing'}", *lines]) + "\n")
    if options.write:
        keep(now)
    elif has_grown:
        sys.stdout.write(f"More than {MOST_GROWTH - 1:.0%} more: find the cause, or record the counts with --write.\n")
        return 1
    return 0


BENCHMARK = Benchmark(
    name="instructions",
    title="The hot path in instructions",
    columns=(Column(figure="instructions", heading="instructions/call", digits=0),),
    measurements=tuple(
        Measurement(label, partial(_count, label), (_ALONE,) if label != _ALONE else (), program="valgrind")
        for label in _PROGRAMS
    ),
    rounds=1,
)

if __name__ == "__main__":
    sys.exit(compare())
