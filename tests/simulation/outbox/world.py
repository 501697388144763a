"""Several processes in one virtual time: each has an asyncio loop of its own, and can be suspended and killed.

What happens outside of the processes, in the database, in Gameball and on the network, are callbacks at a time, or
generators that yield seconds or a `Wait`. Everything runs in one thread, one step after another; the seed chooses whose
step is next.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from random import Random
from typing import Any

from ..loops import MOST_TURNS, START


class Wait:
    """Something that generators wait for; each wakes when it has happened."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def happen(self) -> None:
        """Wake all that wait."""
        waiting, self.waiting = self.waiting, []
        for wake in waiting:
            wake()


Script = Generator[float | Wait, None, None]
"""Runs outside of the processes: yields the seconds that pass, or what it waits for."""


class World:
    """The time, what is going to happen, and the processes.

    Args:
        seed: chooses whose step is next.
        fail: takes what is wrong.

    Attributes:
        now: seconds; no process can change it.
        running: the process whose step is being taken.
        is_over: whether the run ends.
    """

    def __init__(self, seed: int, fail: Callable[[str], None]) -> None:
        self.now = START
        self.running: Process | None = None
        self.is_over = False
        self._fail = fail
        self._random = Random(seed + 11)
        self._coming: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._processes: list[Process] = []

    def at(self, when: float, happens: Callable[[], object]) -> None:
        """Call a function at a time."""
        heapq.heappush(self._coming, (max(when, self.now), next(self._numbers), happens))

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        """Call a function after some time."""
        self.at(self.now + seconds, happens)

    def begin(self, script: Script) -> None:
        """Run a script from now on."""

        def resume() -> None:
            with suppress(StopIteration):
                waits_for = next(script)
                if isinstance(waits_for, Wait):
                    waits_for.waiting.append(lambda: self.after(0, resume))
                else:
                    self.after(waits_for, resume)

        self.after(0, resume)

    def add(self, process: Process) -> None:
        """Let a process take steps."""
        self._processes.append(process)

    def run(self, until: float) -> None:
        """Let everything happen up to a time, or until the run is over."""
        turns = 0
        while not self.is_over:
            if ready := [process for process in self._processes if process.is_ready()]:
                turns += 1
                if turns > MOST_TURNS:
                    self._fail(f"livelock: {turns} turns and time stands still\n{self.who_waits()}")
                    return
                process = ready[0] if len(ready) == 1 else self._random.choice(ready)
                self.running = process
                process.step()
                self.running = None
                continue
            turns = 0
            times = [process.next_timer() for process in self._processes]
            next_at = min(self._coming[0][0] if self._coming else math.inf, *times, math.inf)
            if next_at > until:
                self.now = until
                return
            self.now = max(self.now, next_at)
            for process, at in zip(self._processes, times, strict=True):
                process.reach(at)
            while self._coming and self._coming[0][0] <= self.now:
                heapq.heappop(self._coming)[2]()

    def who_waits(self) -> str:
        """Every process and where its tasks wait."""
        return "\n".join(line for process in self._processes for line in process.who_waits())

    def end(self) -> None:
        """End every process, as if its loop was closed."""
        for process in self._processes:
            self.running = process
            process.dispose()
            self.running = None


class _Loop(asyncio.BaseEventLoop):
    """An asyncio loop that takes one step when it is asked to; `run_forever` is never called."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time: Callable[[], float]) -> None:
        super().__init__()
        self._now = time
        self._reached = 0.0
        self.set_exception_handler(lambda _loop, context: self.failures.append(str(context)))
        self.failures: list[str] = []
        self._left_of_turn = 0

    def time(self) -> float:
        return max(self._now(), self._reached)

    def reach(self, when: float) -> None:
        """Take this time for reached, although a sum of floats may be a little less."""
        self._reached = max(self._reached, when)

    def _write_to_self(self) -> None:
        """Nothing has to be woken."""

    def is_ready(self) -> bool:
        return bool(self._ready) or self.next_timer() <= self.time()

    def next_timer(self) -> float:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)
        return self._scheduled[0].when() if self._scheduled else math.inf

    def begin_turn(self, arrived: deque[Callable[[], object]]) -> None:
        """As asyncio does: after what was ready comes what has arrived meanwhile, and then the timers."""
        while arrived:
            self.call_soon(arrived.popleft())
        while self.next_timer() <= self.time():
            self._ready.append(heapq.heappop(self._scheduled))
        self._left_of_turn = len(self._ready)

    def step(self, arrived: deque[Callable[[], object]]) -> None:
        """Run one callback, in the order in which asyncio would."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        self._thread_id = threading.get_ident()
        try:
            if self._left_of_turn <= 0:
                self.begin_turn(arrived)
            self._left_of_turn -= 1
            if self._ready:
                handle = self._ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            self._thread_id = None  # type: ignore[assignment]
            events._set_running_loop(before)


class Process:
    """A process: its loop, its clocks, and what has arrived for it.

    Args:
        world: what it lives in.
        name: for the trace.

    Attributes:
        is_dead: whether it was killed, or has ended.
        is_suspended: whether it takes no steps at present.
        resumed_at: when its last suspension was over.
        asleep: seconds that its monotonic clock has not counted, because the machine was suspended as well.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_suspended = False
        self.asleep = 0.0
        self._world = world
        self.resumed_at = -math.inf
        self._stopped_at = 0.0
        self._arrived: deque[Callable[[], object]] = deque()
        self.loop = _Loop(lambda: world.now - self.asleep)
        world.add(self)

    def __repr__(self) -> str:
        return self.name

    @property
    def failures(self) -> list[str]:
        """What callbacks and tasks of the loop have raised, and nobody awaits."""
        return self.loop.failures

    # ---------------------------------------------------------------- life

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function in the loop."""
        self.loop.create_task(main(), name=self.name)

    def post(self, happens: Callable[[], object]) -> None:
        """Let something arrive: what arrives for a suspended process waits until it is resumed."""
        if not self.is_dead:
            self._arrived.append(happens)

    def suspend(self, *, asleep: bool = False) -> None:
        """Take no further step; `asleep`: with the machine, so that the monotonic clock stands still as well."""
        self.is_suspended = True
        self._stopped_at = self._world.now if asleep else math.inf

    def resume(self) -> None:
        """Take steps again."""
        if self.is_suspended:
            self.is_suspended = False
            self.resumed_at = self._world.now
            self.asleep += max(0.0, self._world.now - self._stopped_at)

    def kill(self) -> None:
        """Never take a step again."""
        self.is_dead = True
        self._arrived.clear()

    # ---------------------------------------------------------------- steps

    def is_ready(self) -> bool:
        """Whether it can take a step."""
        return not (self.is_dead or self.is_suspended) and (bool(self._arrived) or self.loop.is_ready())

    def next_timer(self) -> float:
        """When its next timer fires, in the time of the world."""
        return math.inf if self.is_dead or self.is_suspended else self.loop.next_timer() + self.asleep

    def reach(self, timer: float) -> None:
        """Let a timer fire if its time has come."""
        if timer <= self._world.now:
            self.loop.reach(self.loop.next_timer())

    def step(self) -> None:
        """Take one step."""
        self.loop.step(self._arrived)

    # ---------------------------------------------------------------- end

    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that are not done, in order of their names."""
        return sorted(asyncio.all_tasks(self.loop), key=lambda task: task.get_name())

    def who_waits(self) -> list[str]:
        """Every task, and the chain of functions in which it waits."""
        return [f"    {self.name}: {task.get_name()}: {' > '.join(_awaits(task.get_coro()))}" for task in self.tasks()]

    def dispose(self) -> None:
        """Cancel what is left in a loop that nothing reaches any more, and close the loop."""
        self.kill()
        for _ in range(MOST_TURNS):
            if not self.loop.is_ready():
                tasks = self.tasks()
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                if not self.loop.is_ready():
                    break
            self.loop.step(self._arrived)
        for task in self.tasks():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop._ready.clear()
        self.loop._scheduled.clear()
        self.loop.close()


def _awaits(awaited: Any) -> Generator[str]:
    while hasattr(awaited, "cr_await"):
        frame = awaited.cr_frame
        yield f"{awaited.__qualname__}:{frame.f_lineno}" if frame else awaited.__qualname__
        awaited = awaited.cr_await
