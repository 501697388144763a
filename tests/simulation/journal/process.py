"""The journal of one life: the real worker under a thread in virtual time, and what the oracle asks of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from random import Random
from unittest import mock

import anyio
import anyio.lowlevel

from gameball_async._journal.commands import Close, Command, CommandQueue
from gameball_async._journal.thread import JournalThread
from gameball_async._journal.worker import JournalWorker

from .disk import DiskPlan, Killed, SimulatedDisk, StepKind
from .folder import DEAD_LETTERS, File

LONGEST_FAILURE = 20.0
"""Seconds after the disk's last refusal in which the journal has to work again."""


class _Wake:
    """Stands in for the event that wakes the thread."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event = anyio.Event()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, seconds: float | None) -> None:
        with anyio.move_on_after(math.inf if seconds is None else seconds):
            await self._event.wait()


class VirtualThread(JournalThread):
    """The journal's thread as a task: its steps take as long as the seed says.

    Args:
        worker: the real one.
        queue: the real one.
        take_time: waits as long as the disk takes for a step.
        now: the virtual time.
        on_applied: called after each step with its commands.
    """

    def __init__(
        self,
        worker: JournalWorker,
        queue: CommandQueue,
        *,
        now: Callable[[], float],
        on_applied: Callable[[Sequence[Command]], None],
    ) -> None:
        super().__init__(worker, queue)
        self.worker = worker
        self.taken: Sequence[Command] | None = None
        self._wake: _Wake = _Wake()
        vars(queue)["_wake"] = self._wake
        self._started = anyio.Event()
        self._is_in_step = False
        self._now = now
        self._on_applied = on_applied

    def start(self) -> None:
        """Start it."""
        self._started.set()

    @property
    def is_started(self) -> bool:
        """Whether it was started."""
        return self._started.is_set()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in it."""
        return self._is_in_step

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do, and nothing to say."""
        queue = self._queue
        return self.taken is None and not queue._commands and not queue._completions and self.worker.wake_at == math.inf

    async def run(self, take_time: Callable[[], Generator[float]]) -> None:
        """Run steps until the journal is closed; for ever if the process dies in one of them."""
        await self._started.wait()
        is_first = True
        try:
            while is_first or self.worker.is_running:
                self.taken = await self._take()
                for seconds in take_time():
                    await anyio.sleep(seconds)
                self.apply()
                is_first = False
                for _ in range(3):  # trio is called from a thread by a socket: it must be seen before time moves on
                    await anyio.lowlevel.checkpoint()
        except Killed:
            await anyio.sleep_forever()

    async def _take(self) -> Sequence[Command]:
        for seconds in self._queue.waits(self._timeout(self._now())):
            await self._wake.wait(seconds)
        return self._queue.take()

    def apply(self) -> None:
        """Run the step with the commands that were taken."""
        commands = self.taken
        if commands is None:  # the process has died while the disk was busy
            raise Killed
        self._is_in_step = True
        try:
            self._apply(commands, self._now())
        finally:
            self._is_in_step = False
            self.taken = None
        self._on_applied(commands)


class Process:
    """The journal of one life.

    Args:
        disk: where it is.
        plan: how the disk behaves.
        seed: decides what chance decides.
        now: the virtual time.
        note: takes what happens.

    Attributes:
        disk: where it is.
        files: its segments by their number; the last one is its own.
        on_step: called before each commit and after it, and with each change of a file.
    """

    def __init__(
        self, disk: SimulatedDisk, plan: DiskPlan, seed: int, now: Callable[[], float], note: Callable[..., None]
    ) -> None:
        disk.begin(plan, seed, now)
        self.disk = disk
        self.files: dict[int, File] = {}
        self._plan = plan
        self._random = Random(seed + 5)
        self._now = now
        self._note = note
        self._thread: VirtualThread | None = None
        self._failed_at = -math.inf
        self._steps_left: int | None = None
        self.on_step: Callable[[StepKind], None] = lambda _: None
        disk.on_step = self._on_disk_step

    @contextmanager
    def mounted(self, wall_now: Callable[[], float], chunk: int) -> Generator[None]:
        """Give the client this disk and thread, and reads of so many events at once."""
        with (
            self.disk.mounted(wall_now),
            mock.patch("gameball_async._journal.writer.JournalThread", self._new_thread),
            mock.patch("gameball_async._journal.loader._CHUNK", chunk),
        ):
            yield

    def _new_thread(self, worker: JournalWorker, queue: CommandQueue) -> VirtualThread:
        self._thread = VirtualThread(worker, queue, now=self._now, on_applied=self._on_applied)
        return self._thread

    @property
    def thread(self) -> VirtualThread:
        """The journal's thread."""
        assert self._thread is not None, "make a client first"
        return self._thread

    async def run(self) -> None:
        """Run the journal's thread."""
        await self.thread.run(self._take_time)

    def _take_time(self) -> Generator[float]:
        """Yield the seconds that a step takes."""
        self.on_step("commit")
        seconds = self._random.uniform(*self._plan.commit)
        if self._random.random() < self._plan.hiccup and not self.disk.is_calm:
            seconds = self._random.uniform(0.1, 5.0)
        if seconds and not self.disk.is_dead:
            yield seconds
        if self.disk.is_dead:
            yield math.inf

    def _on_applied(self, commands: Sequence[Command]) -> None:
        """Note how a step ended."""
        worker, disk = self.thread.worker, self.disk
        disk.is_opened = worker.is_running
        if worker.failure is not None:
            self._failed_at = self._now()
        is_any = bool(disk.faulty & {DEAD_LETTERS, "reserve"}) or disk.is_full
        if any(isinstance(command, Close) for command in commands):
            for file in self.files.values():
                file.was_forced |= is_any or file.stem in disk.faulty
        disk.faulty.clear()

    # ---------------------------------------------------------------- what the oracle asks

    def opened(self) -> None:
        """Note the segments that the client has opened."""
        segments = self.thread.worker._segments.by_number
        self.files = {number: self.disk.folder.file(segment.stem) for number, segment in segments.items()}

    @property
    def own(self) -> File:
        """The segment that events are appended to."""
        return self.files[max(self.files)]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is queued, under way, failing or to be told."""
        return not self.thread.is_started or self.thread.is_idle

    @property
    def is_open(self) -> bool:
        """Whether the journal is open."""
        return self.thread.worker.is_running

    def failed_since(self, when: float) -> bool:
        """Whether something was refused since then, or is being refused."""
        return self.thread.worker.failure is not None or self._failed_at >= when - 1e-6

    @property
    def is_failing_in_vain(self) -> bool:
        """Whether the journal refuses events although the disk has worked for a while."""
        last = self.disk.faults[-1] if self.disk.faults else -math.inf
        is_failing = self.is_open and self.thread.worker.failure is not None
        return is_failing and self._now() > last + LONGEST_FAILURE and not self.disk.is_full

    def leave(self) -> None:
        """Note that the client closed: if the disk was too slow for it, outcomes may be lost."""
        if self.is_open:
            self._force()

    def _force(self) -> None:
        for file in self.files.values():
            file.was_forced = True

    # ---------------------------------------------------------------- the end of the process

    def _on_disk_step(self, kind: StepKind) -> None:
        if self._steps_left is None:
            self.on_step(kind)
            return
        self._steps_left -= 1
        if self._steps_left <= 0:
            self.disk.die()

    def crash(self) -> None:
        """End here: what was written stays, and a step that was under way has come to any point."""
        if self._thread is None or self.is_open or self._thread.taken is not None:
            self._force()
        if self._thread is not None and self._thread.taken is not None and not self._thread.is_current:
            self._end_step(self._thread)
        if not self.disk.is_dead:
            self.disk.die()

    def _end_step(self, thread: VirtualThread) -> None:
        """Let the step that is under way come to a point that chance decides."""
        self._steps_left = self._random.choice([0, 1, 2, 3, 5, 1000])
        if not self._steps_left:
            return
        try:
            thread.apply()
        except Killed:
            self._note("survived", "in part")
        else:
            self._note("survived")
