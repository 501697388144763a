"""Two processes on one folder, and a backlog much larger than the buffer: killed, and taken over by the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs
import pytest

from gameball_async import inspect_journal
from gameball_async.sandbox import Fault, Sandbox

from .children import Child
from .conftest import CRASHES, SEED
from .oracle import Figures, Oracle
from .rounds import REFUSAL, end_of
from .service import Life

OUTAGE = Fault.status(503)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(SEED, SEED + max(CRASHES // 60, 1)))
def test_of_two_processes_on_a_folder_one_is_killed_and_only_a_later_start_sends_what_it_left(
    seed: int, backend: str, tmp_path: Path, note: Callable[[Figures], Figures]
) -> None:
    """The other one goes on meanwhile, closes, and has not touched what is not its own."""
    folder, book = tmp_path / "journal", tmp_path / "book"
    with Sandbox(limits=None) as sandbox:
        sandbox.script(OUTAGE)
        first = Life(number=1, seed=seed, backend=backend, url=sandbox.url, folder=folder, book=book)
        killed = Child(first)
        killed.wait_for(b"open")
        other = Child(attrs.evolve(first, number=2, seconds=0.5, then="settle"))
        other.wait_for(b"open")
        end = end_of(killed.kill(after=0.1 + Random(seed).random() * 0.2), sandbox)
        (left, its) = inspect_journal(folder)
        assert (left.is_in_use, its.is_in_use) == (False, True)
        assert left.pending
        sandbox.script(REFUSAL)
        other.end()
        (still,) = inspect_journal(folder)
        assert (still.path, still.pending) == (left.path, left.pending)
        assert all(event.metadata["life"] == 2 for events in sandbox.holdings().values() for event in events)
        Child(attrs.evolve(first, number=3, seconds=0.1, then="settle")).end()
        figures = note(Oracle(book, sandbox, folder, {1: end}).check(is_one_order=False))
        assert figures.acknowledged > 0


BACKLOG = 20_000
NAMES = 100


@pytest.mark.parametrize("seed", range(SEED, SEED + max(CRASHES // 60, 1)))
def test_a_backlog_far_larger_than_the_buffer_survives_kills_while_it_is_read_back(
    seed: int, tmp_path: Path, note: Callable[[Figures], Figures]
) -> None:
    """An outage leaves 20,000 events on disk, of which 200 fit in memory; three lives are killed while they send."""
    random = Random(seed)
    folder, book = tmp_path / "journal", tmp_path / "book"
    with Sandbox(limits=None) as sandbox:
        sandbox.script(OUTAGE)
        life = Life(
            number=1,
            seed=seed,
            backend="asyncio",
            url=sandbox.url,
            folder=folder,
            book=book,
            pause=0,
            events=BACKLOG,
            players=10,
            producers=10,
            sends=0,  # each waits for its outcome, of which there is none in an outage
            names=NAMES,
            buffer_events=200,
        )
        child = Child(life)
        child.wait_for(b"done")
        ends = {1: end_of(child.kill(), sandbox)}
        assert sum(file.pending or 0 for file in inspect_journal(folder)) >= BACKLOG - 100
        sandbox.script(REFUSAL)
        for number in (2, 3, 4):
            child = Child(attrs.evolve(life, number=number, seconds=0))
            child.wait_for(b"open")
            ends[number] = end_of(child.kill(after=random.random() * 0.5), sandbox)
        assert sandbox.stats().events
        Child(attrs.evolve(life, number=5, seconds=0, events=math.inf, then="settle")).end()
        figures = note(Oracle(book, sandbox, folder, ends, names=NAMES).check())
        assert figures.held + figures.dead >= BACKLOG - 100
