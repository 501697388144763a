"""One round: a service lives, is killed and lives again on the same journal, until everything is settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import attrs
import httpx

from gameball_async.sandbox import Fault, Sandbox

from .children import Child
from .oracle import End, Figures, Oracle
from .service import GUILTY, Life

REFUSAL = Fault.status(400, code=3000, events={GUILTY})
"""First in every script, so that a request with a guilty event is never applied."""


def random_faults(random: Random) -> list[Fault]:
    """Some of what can go wrong without refusing an event, and without outlasting a round."""

    def often() -> float:
        return random.random() * 0.4

    every = [
        Fault.status(500, probability=often()),
        Fault.status(503, probability=often()),
        Fault.status(429, retry_after=0.1, probability=0.02),
        Fault.status(429, probability=0.02),
        Fault.busy(probability=often()),
        Fault.html(502, probability=often()),
        Fault.reset_before(probability=often()),
        Fault.reset_after(probability=often()),
        Fault.fail_after_applying(probability=often()),
        Fault.truncate(probability=often()),
        Fault.drip(0.001, size=50, probability=often()),
        Fault.latency(0, 0.05),
        Fault.status(503, duration=random.random() * 0.5),  # an outage
    ]
    return random.sample(every, random.randrange(5))


def end_of(gone: float, sandbox: Sandbox) -> End:
    """The end of a process: what it had sent was in the sandbox's sockets, and is read before a later connection."""
    httpx.get(f"{sandbox.url}/_sandbox/stats", trust_env=False, verify=False).raise_for_status()
    return End(gone, time.monotonic())


class Round:
    """What happens is drawn from a seed; when it strikes a process is the machine's.

    Args:
        seed: decides everything else.
        folder: an empty one.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = Random(f"crash {seed}")
        self._seed = seed
        self._folder = folder / "journal"
        self._book = folder / "book"
        self._kills = 0
        self._lives = 0
        self._ends: dict[int, End] = {}
        self._fates: list[Callable[[Sandbox], None]] = [
            self._under_load,
            self._under_load,
            self._at_the_start,
            self._at_the_start,
            self._during_the_close,
            self._at_the_end_of_its_time,
        ]

    def run(self) -> Figures:
        """Live all lives; returns the numbers."""
        with Sandbox(limits=None, seed=self._seed) as sandbox:
            self._under_load(sandbox)
            for _ in range(self._random.randrange(4)):
                self._random.choice(self._fates)(sandbox)
            self._in_peace(sandbox)
            figures = Oracle(self._book, sandbox, self._folder, self._ends).check()
        return attrs.evolve(figures, kills=self._kills)

    def _life(self, sandbox: Sandbox) -> Life:
        random = self._random
        self._lives += 1
        sandbox.script(REFUSAL, *random_faults(random))
        return Life(
            number=self._lives,
            seed=self._seed,
            backend=random.choice(["asyncio", "trio"]),
            url=sandbox.url,
            folder=self._folder,
            book=self._book,
            pause=random.choice([0.001, 0.01, 0.03]),
            buffer_events=random.choice([20, 100, 100_000]),
        )

    def _kill(self, child: Child, sandbox: Sandbox, *, after: float) -> None:
        self._ends[self._lives] = end_of(child.kill(after=after), sandbox)
        self._kills += 1

    # ---------------------------------------------------------------- how a life goes

    def _under_load(self, sandbox: Sandbox) -> None:
        child = Child(self._life(sandbox))
        child.wait_for(b"open")
        self._kill(child, sandbox, after=self._random.random() * 0.3)

    def _at_the_start(self, sandbox: Sandbox) -> None:
        """While the files of those before are taken over, or what was in them is read back and sent."""
        child = Child(attrs.evolve(self._life(sandbox), seconds=0))
        child.wait_for(b"up")
        self._kill(child, sandbox, after=self._random.random() * self._random.choice([0.01, 0.05, 0.2]))

    def _during_the_close(self, sandbox: Sandbox) -> None:
        child = Child(attrs.evolve(self._life(sandbox), seconds=self._random.random() * 0.2, then="close"))
        child.wait_for(b"closing")
        self._kill(child, sandbox, after=self._random.random() * 0.1)

    def _at_the_end_of_its_time(self, sandbox: Sandbox) -> None:
        """Not killed: it closes with little time, and may leave events to the next life."""
        child = Child(attrs.evolve(self._life(sandbox), seconds=self._random.random() * 0.2, then="close"))
        self._ends[self._lives] = end_of(child.end(), sandbox)

    def _in_peace(self, sandbox: Sandbox) -> None:
        life = attrs.evolve(self._life(sandbox), seconds=self._random.choice([0, 0.1]), then="settle")
        sandbox.script(REFUSAL)
        Child(life).end()
