"""Virtual time on asyncio and trio: time jumps to the next timer, and the same seed takes the same steps.

When nothing is ready, the keeper is asked: it lets the oracle look, then moves the clock. Nothing
ready and no timer is a deadlock; turns without end at one instant are a livelock. Both are
reported at once with who waits for what.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

import anyio
import trio
from anyio._backends import _asyncio as anyio_asyncio
from trio._core import _run as trio_run

BACKENDS = ("asyncio", "trio")

START = 1000.0
"""The first instant, on both loops."""

MOST_TURNS = 20_000
"""Turns of the loop at one instant that are taken for a livelock; a busy instant takes some hundred."""


class Stuck(RuntimeError):
    """The loop is stuck a second time, after the simulation was told to end."""


class Keeper:
    """Keeps the virtual time of one run.

    Args:
        on_idle: called whenever nothing is ready, before time moves on.
        on_stuck: called with what is wrong when nothing will ever be ready again; it must end the run.
    """

    def __init__(self, on_idle: Callable[[], None], on_stuck: Callable[[str], None]) -> None:
        self.now = START
        self.is_over = False  # then the loop itself may wait for nothing
        self._on_idle = on_idle
        self._on_stuck = on_stuck
        self._turns = 0
        self._was_stuck = False

    def turn(self) -> None:
        """Count a turn of the loop."""
        self._turns += 1
        if self._turns > MOST_TURNS:
            self._turns = 0
            self._stuck(f"livelock: {MOST_TURNS} turns and time stands still")

    def idle(self, next_timer: float) -> None:
        """Move on to the next timer: nothing is ready."""
        if self.is_over:
            return
        self._turns = 0
        self._on_idle()
        if next_timer == math.inf:
            self._stuck("deadlock: nothing is ready and no timer is set")
        else:
            self.now = max(self.now, next_timer)

    def _stuck(self, what: str) -> None:
        if self._was_stuck:
            raise Stuck(what)
        self._was_stuck = True
        self._on_stuck(f"{what}\n{who_waits()}")


# -------------------------------------------------------------------- asyncio


class _Selector(selectors.BaseSelector):
    """Selects nothing, ever: there is no I/O in a simulation."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}
        self.select_next: Callable[[float | None], None] = lambda _: None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.select_next(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock is the keeper's."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, keeper: Keeper) -> None:
        selector = _Selector()
        self._keeper = keeper
        super().__init__(selector)
        selector.select_next = self._next

    def time(self) -> float:
        return self._keeper.now

    def _next(self, timeout: float | None) -> None:
        if timeout == 0:
            self._keeper.turn()
        else:
            self._keeper.idle(self._scheduled[0].when() if self._scheduled else math.inf)


class _Ordered(dict[Any, None]):
    """Stands in for a set whose order would depend on addresses."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]

    def discard(self, item: Any) -> None:
        self.pop(item, None)


@contextmanager
def _ordered_cancellation() -> Generator[None]:
    """Let anyio cancel tasks in the order of their making, not of their addresses."""
    made = anyio_asyncio.CancelScope.__init__

    def make(scope: Any, deadline: float = math.inf, shield: bool = False) -> None:  # noqa: FBT001, FBT002 anyio's own
        made(scope, deadline, shield)
        scope._child_scopes, scope._tasks = _Ordered(), _Ordered()

    with mock.patch.object(anyio_asyncio.CancelScope, "__init__", make):
        yield


# -------------------------------------------------------------------- trio


class VirtualClock(trio.abc.Clock):
    """trio's clock, kept by the keeper: trio asks how long to sleep exactly when nothing is runnable."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def start_clock(self) -> None:
        """Begin, which takes nothing."""

    def current_time(self) -> float:
        self._keeper.turn()
        return self._keeper.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self._keeper.idle(deadline)
        return 0


@contextmanager
def _seeded_scheduling(seed: int) -> Generator[None]:
    """Let trio shuffle what is runnable by the seed: every seed explores another interleaving."""
    with (
        mock.patch.object(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True),
        mock.patch.object(trio_run, "_r", Random(seed)),
    ):
        yield


# -------------------------------------------------------------------- both


def run(main: Callable[[], Awaitable[None]], backend: str, keeper: Keeper, seed: int) -> None:
    """Run an async function in virtual time, step for step as the seed has it."""
    if backend == "trio":
        with _seeded_scheduling(seed):
            anyio.run(main, backend=backend, backend_options={"clock": VirtualClock(keeper)})
    else:
        with _ordered_cancellation():
            anyio.run(main, backend=backend, backend_options={"loop_factory": lambda: VirtualLoop(keeper)})


def living_tasks() -> list[tuple[str, Any]]:
    """Name and coroutine of every task of the running loop."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        tasks = sorted(asyncio.all_tasks(asyncio.get_running_loop()), key=lambda task: task.get_name())
        return [(task.get_name(), task.get_coro()) for task in tasks]
    return [(task.name, task.coro) for task in _descendants(root)] if root else []


def _descendants(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child._counter):
            yield from _descendants(child)


def who_waits() -> str:
    """Every task and the chain of functions in which it waits."""
    return "\n".join(f"    {name}: {' > '.join(_awaits(coro))}" for name, coro in living_tasks())


def _awaits(awaited: Any) -> Iterator[str]:
    while hasattr(awaited, "cr_await"):
        name, frame = awaited.__qualname__, awaited.cr_frame
        yield f"{name}:{frame.f_lineno}" if frame else name
        awaited = awaited.cr_await
