"""A backlog that no memory would hold: written to a journal while the server is down, killed, and drained.

::

    python -m benchmarks.backlog --events 10_000_000      make soak-journal EVENTS=10000000

Two processes, one after the other: the first tracks all events while its server is down, and is killed with SIGKILL;
the second starts on the same folder and sends everything to a local server. Their memory is looked at all along.
How many events merge decides how long draining takes: each request costs about as much as 40 events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import attrs

from gameball_async import AsyncGameball, Batching, Journal

from .harness import ROOT
from .machine import resident
from .server import local_server
from .shop import METADATA, NAMES, UNREACHABLE, events, many_names

_WINDOW = 10_000
"""Events in memory, at most."""

_PLAYERS = 100_000
_STRIDE = 1_000
"""Events tracked between two waits for the disk."""

_LOOKS = 10
"""How often a process tells how far it is."""

_LARGEST = 1024**4


@attrs.frozen(kw_only=True)
class Look:
    """What was seen at one moment.

    Attributes:
        phase: "write", "start" or "drain".
        seconds: since the phase began.
        events: how many were written, found or delivered so far.
        memory: bytes of the process.
        disk: bytes of the journal.
        requests: sent so far.
    """

    phase: str
    seconds: float
    events: int
    memory: int
    disk: int
    requests: int = 0


def _client(folder: Path, url: str) -> AsyncGameball:
    return AsyncGameball(
        "key",
        base_url=url,
        rate=None,
        journal=Journal(folder, max_bytes=_LARGEST, adopt="any"),
        batching=Batching(buffer_events=_WINDOW, wait_timeout=60),
    )


def _disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


# ---------------------------------------------------------------- the processes


async def _write(folder: Path, count: int, names: int) -> None:
    """Track so many events, tell how it goes, and wait to be killed."""
    gameball = _client(folder, UNREACHABLE)
    await gameball.start()
    begun, done = time.perf_counter(), 0
    _tell(Look(phase="write", seconds=0, events=0, memory=resident(), disk=_disk(folder)))
    for some in _in_strides(events(count, _PLAYERS, many_names(names))):
        for player, name in some[:-1]:
            gameball.track_nowait(player, name, METADATA)
        await gameball.track(*some[-1], METADATA)
        done += len(some)
        if _is_time_to_look(done, len(some), count):
            _tell(_look("write", begun, done, folder, gameball))
    await asyncio.sleep(3600)


async def _drain(folder: Path, url: str, count: int) -> None:
    """Start on what the other left, and send it all."""
    begun = time.perf_counter()
    gameball = _client(folder, url)
    await gameball.start()
    stats = gameball.stats()
    found = stats.buffered_events + stats.journaled_events
    _tell(Look(phase="start", seconds=time.perf_counter() - begun, events=found, memory=resident(), disk=_disk(folder)))
    begun, before = time.perf_counter(), 0
    while (delivered := gameball.stats().delivered) < found:
        if delivered * _LOOKS // count > before * _LOOKS // count:
            _tell(_look("drain", begun, delivered, folder, gameball))
            before = delivered
        await asyncio.sleep(0.01)
    _tell(_look("drain", begun, delivered, folder, gameball))
    await gameball.aclose()


def _in_strides(all_events: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    iterator = iter(all_events)
    while some := list(islice(iterator, _STRIDE)):
        yield some


def _is_time_to_look(done: int, more: int, count: int) -> bool:
    return done * _LOOKS // count > (done - more) * _LOOKS // count


def _look(phase: str, begun: float, done: int, folder: Path, gameball: AsyncGameball) -> Look:
    return Look(
        phase=phase,
        seconds=time.perf_counter() - begun,
        events=done,
        memory=resident(),
        disk=_disk(folder),
        requests=gameball.stats().requests,
    )


def _tell(look: Look) -> None:
    sys.stdout.write(json.dumps(attrs.asdict(look)) + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- from outside


def run(count: int, names: int = len(NAMES)) -> Iterator[Look]:
    """Write, kill, start and drain; yields what the processes tell."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        yield from _phase("write", folder, UNREACHABLE, count, names)
        with local_server() as url:
            yield from _phase("drain", folder, url, count, names)


def _phase(phase: str, folder: str, url: str, count: int, names: int) -> Iterator[Look]:
    """Run one process; one that has written everything is killed."""
    command = [sys.executable, "-m", "benchmarks.backlog", "--phase", phase]
    options = ["--folder", folder, "--url", url, "--events", str(count), "--names", str(names)]
    with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own module
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 an invariant
        for line in process.stdout:
            look = Look(**json.loads(line))
            yield look
            if look.phase == "write" and look.events == count:
                process.send_signal(signal.SIGKILL)
        if process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"the process that should {phase} ended with {process.returncode}: see above.")


def _line(look: Look) -> str:
    rate = look.events / look.seconds if look.seconds and look.phase != "start" else 0
    return (
        f"{look.phase:>6} {look.seconds:9.2f} s {look.events:12,} events {rate:9,.0f}/s "
        f"{look.memory / 1e6:8.1f} MB of memory {look.disk / 1e6:10.1f} MB on disk {look.requests:10,} requests"
    )


def main() -> None:
    """Run everything, or be one of the processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many (default: 1,000,000)")
    parser.add_argument("--names", type=int, default=len(NAMES), help="of them, which is how many merge (default: 8)")
    parser.add_argument("--phase", choices=("write", "drain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("gameball_async").setLevel(logging.ERROR)
    match options.phase:
        case "write":
            asyncio.run(_write(options.folder, options.events, options.names))
        case "drain":
            asyncio.run(_drain(options.folder, options.url, options.events))
        case _:
            for look in run(options.events, options.names):
                sys.stdout.write(f"{_line(look)}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
