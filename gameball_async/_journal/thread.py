"""The journal thread: wait for commands, run one step of the worker, hand the completions to the event loop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

from .commands import Command, CommandQueue
from .worker import JournalWorker


class JournalThread:
    """Run the worker in a thread.

    Args:
        worker: applies the commands.
        queue: where commands come from and completions go.
    """

    def __init__(self, worker: JournalWorker, queue: CommandQueue) -> None:
        self._worker = worker
        self._queue = queue
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it ends after the command Close."""
        self._thread = threading.Thread(target=self._run, name="gameball-journal", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread, as log handlers do."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        self._step()
        while self._worker.is_running:
            self._step()

    def _step(self) -> None:
        commands = self._queue.wait(self._timeout(time.monotonic()))
        self._apply(commands, time.monotonic())

    def _timeout(self, now: float) -> float | None:
        """Return the seconds until the worker has something to do without commands; None for never."""
        wake_at = self._worker.wake_at
        return None if wake_at == math.inf else max(0.0, wake_at - now)

    def _apply(self, commands: Sequence[Command], now: float) -> None:
        worker = self._worker
        before = worker.failure, worker.used_bytes
        completions = worker.step(commands, now)
        worker.log.write()
        self._queue.complete(completions)
        if (worker.failure, worker.used_bytes) != before:
            self._queue.notify()  # callers may wait for room, or for the end of a failure
