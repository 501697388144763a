"""The life of a client's engine: new, running, stopped, closing, closed; and who may call it when."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from traceback import format_tb
from typing import Any, TypeVar, cast

import anyio.abc

from .._bell import Bell
from .._logger import logger
from .._runtime import Runtime, current_runtime
from ..errors import (
    BufferFull,
    ClientClosed,
    ConfigurationError,
    DropReason,
    FlusherDied,
    JournalError,
    NotStarted,
    WrongLoop,
)
from ._loop import Flusher
from ._report import CloseReport

_T = TypeVar("_T")

_MENDABLE = (ConfigurationError, JournalError)
"""What can keep a client from its start through no fault of its own; the message says what to do."""

_log = logger("gameball_async")


class State(Enum):
    """What the engine does, and so what may be called."""

    NEW = auto()
    """Not started: events are buffered, nothing is sent, and it belongs to no loop yet."""
    RUNNING = auto()
    """Bound to one loop; the flusher sends."""
    STOPPED = auto()
    """The flusher was cancelled or crashed before the close; what is left can only be closed."""
    CLOSING = auto()
    """Accepts nothing more, and delivers what it can until its deadline."""
    CLOSED = auto()
    """Nothing is pending and nothing runs."""


_RUNNING = State.RUNNING  # Python 3.11 takes 60 ns to look up a member


class Engine:
    """The flusher and the task that owns it. It knows nothing of the client, so that a forgotten one can warn."""

    def __init__(self, flusher: Flusher) -> None:
        self.flusher = flusher
        self.state = State.NEW
        self._runtime: Runtime | None = None
        self._cause: BaseException | None = None
        self._is_under_way = False
        self._changed = Bell()
        flusher.check_waiting = self._check_waiting

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Bind to the caller's loop, run in a background task of it, and wait until that is under way.

        Raises:
            ConfigurationError: if no HTTP client can be made with the environment's proxies or certificates.
            JournalError: if the journal cannot be opened.
            FlusherDied: if it crashes at once; with the reason as its cause.
        """
        if runtime := self._bind():
            runtime.spawn(self._serve)
        while self.state is State.RUNNING and not self._is_under_way:
            await self._changed.wait()
        self._check_opened()
        self.check_alive()

    async def run(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Bind to the caller's loop and run in the caller's own task.

        Raises:
            ConfigurationError: as `start` does.
            JournalError: if the journal cannot be opened.
            FlusherDied: if the flusher crashes; with the reason as its cause.
        """
        if not self._bind():
            raise WrongLoop("the client runs already: either start() it or run() it, once.")
        await self._serve(task_status.started)
        self._check_opened()
        if self._cause is not None:
            raise self._death()

    def _check_opened(self) -> None:
        """Raise the very error that kept the flusher from its start, if the user can mend it."""
        if isinstance(self._cause, _MENDABLE) and not self._is_under_way:
            raise self._cause.with_traceback(None)

    def _bind(self) -> Runtime | None:
        """Bind to the caller's loop, or return None if it is bound to it already."""
        if self.state is State.RUNNING:
            self.check_running()
            return None
        if self.state is not State.NEW:
            raise self._unavailable()
        runtime = self._bind_to_current()
        self.state = State.RUNNING
        return runtime

    def _bind_to_current(self) -> Runtime:
        """Live in the caller's loop from now on; if it is another than before, time goes on where it stood."""
        runtime, flusher = current_runtime(), self.flusher
        if self._runtime is None:
            flusher.now = runtime.now
            flusher.buffer.restamp(flusher.now())
        elif not self._runtime.is_current:
            ahead = flusher.now() - runtime.now()
            flusher.now = lambda: runtime.now() + ahead
        self._runtime = runtime
        return runtime

    async def _serve(self, on_under_way: Callable[[], object] = lambda: None) -> None:
        def under_way() -> None:
            self._is_under_way = True
            self._changed.ring()
            on_under_way()

        try:
            await self.flusher.run(self._bound_runtime, under_way)
        except Exception as error:  # noqa: BLE001 a crash must be told to the callers, who are elsewhere
            self._on_crash(error)
            await self.flusher.failures.report_without_waiting()
        finally:
            self._end(State.CLOSED if self._is_done else State.STOPPED)

    @property
    def _is_done(self) -> bool:
        is_settled = self.flusher.store.is_journal or not self.flusher.pending
        return self.state is State.CLOSING and is_settled and not self.flusher.failures

    def _on_crash(self, error: Exception) -> None:
        reason = self._cause = _innermost(error)
        if self.state is State.RUNNING:
            self.state = State.STOPPED  # before a log handler, or anything else, may track
        if isinstance(reason, _MENDABLE):
            _log.error("the client stops: %s", reason)
        else:  # without the error's text: it may quote a player's id
            _log.error("the flusher crashed: %s\n%s", type(reason).__name__, "".join(format_tb(reason.__traceback__)))
        self.flusher.aftermath.give_up(DropReason.FLUSHER_DIED, "the flusher crashed", self.now())

    def _end(self, state: State) -> None:
        self.state = state
        if state is State.STOPPED:
            self.flusher.interrupt(self._death())
        else:
            self.flusher.watch.closed(self.now())
        self.flusher.ring()
        self._changed.ring()

    async def close(self, timeout: float) -> CloseReport:  # noqa: ASYNC109 the user's setting
        """Deliver what can be delivered in time, and end. May be called twice and at once."""
        if self.state in (State.RUNNING, State.CLOSING):
            self._check_loop()
            self._begin_close(timeout)
        elif self.state is not State.CLOSED:
            self._bind_to_current()
            self._begin_close(timeout)
            await self._close_inline()
        while self.state is not State.CLOSED:
            await self._changed.wait()
            if self.state is State.STOPPED:  # the task was cancelled meanwhile: what is left is drained from here
                await self._close_inline()
        undelivered, kept = tuple(self.flusher.aftermath.undelivered), self.flusher.pending
        return CloseReport(undelivered, kept, self.flusher.aftermath.last_failure if undelivered or kept else None)

    def stop_sending(self) -> None:
        """Start no further request, and begin the close: it ends when the requests in flight have ended."""
        if self.state in (State.RUNNING, State.CLOSING):
            self._check_loop()
            self.flusher.sends_new = False
            self._begin_close(math.inf)
        else:
            self.flusher.sends_new = False

    def _begin_close(self, timeout: float) -> None:
        self.state = State.CLOSING
        self.flusher.close(self.now() + timeout)

    async def _close_inline(self) -> None:
        """Drain in the caller's task: there is no background task, or it was cancelled before the close."""
        self.state = State.CLOSING
        try:
            if not self.flusher.store.is_closed:
                self.flusher.interrupt(None)
            if self._has_work_left:
                await self.flusher.run(self._bound_runtime, lambda: None)
        except Exception as error:  # noqa: BLE001 the report tells what was not delivered
            self._on_crash(error)
        finally:
            self.flusher.aftermath.give_up(DropReason.CLOSED, "the close was cut short", self.now())
            try:
                await self.flusher.failures.report_without_waiting()
            finally:
                self.flusher.store.abandon()
                self._end(State.CLOSED)

    @property
    def _has_work_left(self) -> bool:
        """Whether a close has to run the flusher; not if its journal is left to the next client already."""
        flusher = self.flusher
        return not flusher.store.is_closed and bool(flusher.pending or flusher.store.is_open or flusher.failures)

    # ---------------------------------------------------------------- checks

    def accepting_now(self) -> float:
        """The present time, if an event may be accepted now from here; else raise."""
        if self._runtime is not None and (self.state is not _RUNNING or not self._runtime.is_current):
            self.check_running()
        return self.flusher.now()

    @property
    def full(self) -> BufferFull:
        """The error for an event that found no room."""
        remedy = "Start the client. " if self.state is State.NEW else ""
        return self.flusher.intake.full(
            f"{self.flusher.aftermath.halted} " if self.flusher.aftermath.halted is not None else remedy
        )

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self.flusher.now()

    @property
    def _bound_runtime(self) -> Runtime:
        assert self._runtime is not None, "whatever runs is bound to a loop"  # noqa: S101 an invariant
        return self._runtime

    def run_from_thread(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine function in the client's loop from another thread, and wait for it."""
        if self.state is not State.RUNNING:
            raise self._unavailable()
        runtime = self._bound_runtime
        if runtime.is_own_thread:
            raise WrongLoop(
                "track_threadsafe() was called in the client's own thread, which it would block: use track()."
            )
        if self.flusher.store.is_own_thread:
            raise WrongLoop(
                "track_threadsafe() was called in the journal's thread, which would wait for itself: a log handler "
                "that tracks must do so in a thread of its own, with logging.handlers.QueueListener for one."
            )
        return runtime.run_from_thread(function)

    def check_alive(self) -> None:
        """Raise if the background task ended before the close."""
        if self.state is State.STOPPED:
            raise self._death()

    def check_running(self) -> None:
        """Raise unless the engine runs, and in the caller's loop."""
        if self.state is not State.RUNNING:
            raise self._unavailable()
        self._check_loop()

    def _check_waiting(self) -> None:
        """Raise unless the outcome of an event can be waited for here and now."""
        if self.state is State.NEW:
            raise NotStarted(
                "the client is not started, so the event is not sent: use `async with`, or await start() first."
            )
        if self._runtime is not None and not self._runtime.is_current:
            raise WrongLoop(
                "the receipt's client lives in another event loop or thread: await the receipt in that loop; "
                "elsewhere, receipt.done says whether the outcome is known."
            )

    def _check_loop(self) -> None:
        if self._runtime is not None and not self._runtime.is_current:
            raise WrongLoop(
                "the client lives in another event loop or thread: use track_threadsafe() from a thread, and a client "
                "of its own for each loop."
            )

    def _unavailable(self) -> Exception:
        match self.state:
            case State.NEW:
                return NotStarted("the client is not started: use `async with`, or await start() first.")
            case State.STOPPED:
                return self._death()
            case _:
                return ClientClosed("the client is closed: make a new one, or close it later.")

    def _death(self) -> FlusherDied:
        death = FlusherDied(
            f"the client's background task crashed; what it held {self._left}: make a new client."
            if self._cause is not None
            else "the client's background task was cancelled before the client was closed: await aclose() to deliver "
            "what is left, and make a new client."
        )
        death.__cause__ = self._cause
        return death

    @property
    def _left(self) -> str:
        return "is kept in the journal" if self.flusher.store.is_journal else "was given to on_failure"


def _innermost(error: Exception) -> Exception:
    """The first error that task groups have wrapped."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
