"""The lifecycle of a client: its states, and which calls each of them allows."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from traceback import format_tb
from typing import Any, TypeVar, cast
from weakref import WeakSet

import anyio
import anyio.abc

from .._core.receipts import Notifier, check_stack
from .._core.stats import CloseReport
from .._log import counted, fields, logger, reminder
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
from .backends import Backend, current_backend, is_cancelled, load_anyio
from .flusher import Flusher

_T = TypeVar("_T")

RUNS_ALREADY = "the client runs already: either start() it or run() it, once."

CLOSE_TIMEOUT = 10.0
"""Seconds of a close by default: orchestrators commonly kill after thirty."""

_FIXABLE = (ConfigurationError, JournalError)
"""Errors that keep a client from starting and that the user can fix; the message says how."""

_STACK = 100
"""Nested calls that a start or a close needs, at most."""

_CUT_SHORT = "the close was cut short"
_NOT_CLOSED = "the client was not closed before its event loop ended (use `async with`, or await aclose())"

_log = logger("gameball_async")

lifecycles: WeakSet[Lifecycle] = WeakSet()
"""All clients', for the log at the interpreter's exit."""


class ClientState(Enum):
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


_RUNNING = ClientState.RUNNING  # Python 3.11 takes 60 ns to look up a member


class Lifecycle:
    """The flusher and the task that owns it. It knows nothing of the client, so that a forgotten one can warn.

    Attributes:
        is_forgotten: whether the client was garbage-collected, so that it cannot be closed.
    """

    def __init__(self, flusher: Flusher) -> None:
        self.flusher = flusher
        self.state = ClientState.NEW
        self._backend: Backend | None = None
        self._cause: BaseException | None = None
        self.is_forgotten = False
        self._is_under_way = False
        self._closers = 0
        self._is_watched = False
        self._is_loss_logged = False
        self._changed = Notifier()
        flusher.buffer.check_waiting = self._check_waiting
        lifecycles.add(self)

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Bind to the caller's loop, run in a background task of it, and wait until that is under way.

        Raises:
            ConfigurationError: if no HTTP client can be made with the environment's proxies or certificates.
            JournalError: if the journal cannot be opened.
            FlusherDied: if it crashes at once; with the reason as its cause.
        """
        await load_anyio()
        if backend := self._bind():
            backend.spawn(self._serve)
        while self.state is ClientState.RUNNING and not self._is_under_way:
            await self._changed.wait()
        self._check_opened()
        self.check_alive()

    async def run(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Bind to the caller's loop and run until the close; if the caller is cancelled, close first.

        Raises:
            ConfigurationError: as `start` does.
            JournalError: if the journal cannot be opened.
            FlusherDied: if the flusher crashes; with the reason as its cause.
        """
        backend = self._bind()
        if backend is None:
            raise WrongLoop(RUNS_ALREADY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.protected(self._serve_shielded), task_status.started)
            try:
                while self.state in (ClientState.RUNNING, ClientState.CLOSING):
                    await self._changed.wait()
            except BaseException:
                if self.state is ClientState.RUNNING:
                    self._begin_close(CLOSE_TIMEOUT)
                raise
        self._check_opened()
        if self._cause is not None:
            raise self._death()

    def _check_opened(self) -> None:
        """Raise the error that kept the flusher from starting, if the user can fix it."""
        if isinstance(self._cause, _FIXABLE) and not self._is_under_way:
            raise self._cause.with_traceback(None)

    def _bind(self) -> Backend | None:
        """Bind to the caller's loop, or return None if it is bound to it already."""
        if self.state is ClientState.RUNNING:
            self.check_running()
            return None
        if self.state is not ClientState.NEW:
            raise self._unavailable()
        backend = self._bind_to_current()
        self.state = ClientState.RUNNING
        return backend

    def _bind_to_current(self) -> Backend:
        """Bind to the caller's loop; if it is another one than before, the clock continues."""
        check_stack(_STACK)
        backend, flusher = current_backend(), self.flusher
        if self._backend is None:
            flusher.now = backend.now
            flusher.buffer.rebase_clock(flusher.now())
        elif not self._backend.is_current:
            ahead = flusher.now() - backend.now()
            flusher.now = lambda: backend.now() + ahead
        self._backend = backend
        return backend

    async def _serve_shielded(self, on_under_way: Callable[[], object]) -> None:
        with anyio.CancelScope(shield=True):
            await self._serve(on_under_way)

    async def _serve(self, on_under_way: Callable[[], object] = lambda: None) -> None:
        def under_way() -> None:
            self._is_under_way = True
            self._changed.ring()
            on_under_way()

        try:
            await self.flusher.run(self._bound_backend, under_way)
        except Exception as error:  # noqa: BLE001 a crash must reach callers in other tasks
            self._on_crash(error)
            await self.flusher.failures.report_without_waiting()
        except GeneratorExit:  # the loop was dropped: nothing can be awaited any more
            raise
        except BaseException:
            if self._is_left_alone:
                await self._cut_short(_NOT_CLOSED if self.is_forgotten else _CUT_SHORT)
            raise
        finally:
            if self.state is not ClientState.CLOSED:
                self._end(ClientState.CLOSED if self._is_done else ClientState.STOPPED)

    @property
    def _is_left_alone(self) -> bool:
        """Whether no task can drain what is left, now that the background task was cancelled."""
        is_closing_alone = self.state is ClientState.CLOSING and (not self._closers or self.flusher.storage.is_closed)
        return self.is_forgotten or is_closing_alone

    @property
    def _is_done(self) -> bool:
        is_settled = self.flusher.storage.is_persistent or not self.flusher.pending
        return self.state is ClientState.CLOSING and is_settled and not self.flusher.failures

    def _on_crash(self, error: Exception) -> None:
        reason = self._cause = _innermost(error)
        if self.state is ClientState.RUNNING:
            self.state = ClientState.STOPPED  # before a log handler, or anything else, may track
        if isinstance(reason, _FIXABLE):
            _log.error("the client stops: %s", reason, extra=fields("stopped", cause=type(reason).__name__))
        else:  # without the error's text: it may quote a player's id
            name, traceback = type(reason).__name__, "".join(format_tb(reason.__traceback__))
            _log.error("the flusher crashed: %s\n%s", name, traceback, extra=fields("crash", cause=name))
        self.flusher.settlement.give_up(DropReason.FLUSHER_DIED, "the flusher crashed", self.flusher.now())

    def _end(self, state: ClientState) -> None:
        self.state = state
        if state is ClientState.STOPPED:
            self.flusher.interrupt(self._death())
            if self.flusher.pending:
                self._watch_waiting()
        else:
            self.flusher.reporting.closed(self.flusher.now())
        self.flusher.ring()
        self._changed.ring()

    async def close(self, timeout: float, *, shield: bool = False) -> CloseReport:  # noqa: ASYNC109 the user's setting
        """Deliver what can be delivered in time, and end. May be called twice and at once.

        Args:
            timeout: seconds, at most.
            shield: whether a cancellation has to wait for the end. If the caller is cancelled already it has to, for
                nothing could be awaited otherwise.
        """
        shield = shield or is_cancelled() or anyio.current_effective_deadline() == -math.inf
        with anyio.CancelScope(shield=shield):
            if self.state in (ClientState.RUNNING, ClientState.CLOSING):
                self._check_loop()
                self._begin_close(timeout)
            elif self.state is not ClientState.CLOSED:
                self._bind_to_current()
                self._begin_close(timeout)
                await self._close_inline()
            await self._wait_until_closed(shield=shield)
        undelivered, kept = tuple(self.flusher.settlement.undelivered), self.flusher.pending
        return CloseReport(undelivered, kept, self.flusher.settlement.last_failure if undelivered or kept else None)

    async def _wait_until_closed(self, *, shield: bool) -> None:
        cancelled: BaseException | None = None
        self._closers += 1
        try:
            while self.state is not ClientState.CLOSED:
                try:
                    await self._changed.wait()
                except asyncio.CancelledError as error:  # by `Task.cancel`, from which no scope shields
                    # a background task that was cancelled too has left the close to the one caller who waits for it
                    is_last = self.state is ClientState.STOPPED and self._closers == 1
                    if not shield and not is_last:
                        raise
                    cancelled = error
                if self.state is ClientState.STOPPED and cancelled is None:
                    await self._close_inline()  # the task was cancelled: what is left is drained from here
                elif self.state is ClientState.STOPPED:
                    await self._cut_short()  # both were: the loop is ending
        finally:
            self._closers -= 1
        if cancelled is not None:
            raise cancelled

    def stop_sending(self) -> None:
        """Start no further request, and begin the close: it ends when the requests in flight have ended."""
        if self.state in (ClientState.RUNNING, ClientState.CLOSING):
            self._check_loop()
            self._begin_close(math.inf)
            self.flusher.sends_new = False
        else:
            self.flusher.sends_new = False

    def _begin_close(self, timeout: float) -> None:
        check_stack(_STACK)
        self.state = ClientState.CLOSING
        self.flusher.close(self.flusher.now() + timeout)

    async def _close_inline(self) -> None:
        """Drain in the caller's task: there is no background task, or it was cancelled before the close."""
        self.state = ClientState.CLOSING
        try:
            if not self.flusher.storage.is_closed:
                self.flusher.interrupt(None)
            if self._has_work_left:
                await self.flusher.run(self._bound_backend, lambda: None)
        except Exception as error:  # noqa: BLE001 the report lists what was not delivered
            self._on_crash(error)
        finally:
            await self._cut_short()

    async def _cut_short(self, why: str = _CUT_SHORT) -> None:
        """Settle everything that is left, report it, and end."""
        self.state = ClientState.CLOSING
        self.flusher.settlement.give_up(DropReason.CLOSED, why, self.flusher.now())
        try:
            await self.flusher.failures.report_without_waiting()
        finally:
            self.flusher.storage.abandon()
            self._end(ClientState.CLOSED)

    @property
    def _has_work_left(self) -> bool:
        """Whether a close has to run the flusher; not if its journal is left to the next client already."""
        flusher = self.flusher
        return not flusher.storage.is_closed and bool(flusher.pending or flusher.storage.is_open or flusher.failures)

    # ---------------------------------------------------------------- forgotten clients

    def _watch_waiting(self) -> None:
        """Log in a few seconds if events still wait and nothing sends them."""
        if not self._is_watched:
            check_stack()
            self._is_watched = True
            reminder.call_later(self._log_waiting)

    def _log_waiting(self) -> None:
        self._is_watched, waiting = self.state is ClientState.NEW, self.flusher.pending
        if waiting and self.state is ClientState.NEW:
            _log.warning(
                "%s waiting in a client that was not started: use `async with`, or await start().",
                counted(waiting, "event", "are"),
                extra=fields("not_started", pending=waiting),
            )
        elif waiting and self.state is ClientState.STOPPED and self._cause is None:
            _log.warning(
                "%s waiting in a client whose event loop has ended, or whose task was cancelled: await aclose(), which "
                "delivers what is left.",
                counted(waiting, "event", "are"),
                extra=fields("not_closed", pending=waiting),
            )

    def log_loss(self) -> None:
        """Log the events of a client that will not be started or closed any more; once."""
        left = self.flusher.pending
        if not left or self.state is ClientState.CLOSED or self._is_loss_logged:
            return
        self._is_loss_logged = True
        if self.state is ClientState.NEW:
            _log.error(
                "the client was not started (use `async with`, or await start()); %s lost.",
                counted(left, "event", "are"),
                extra=fields("lost", cause="not started", events=left),
            )
        elif self.flusher.storage.is_persistent:
            extra = fields("kept", cause="not closed", events=left)
            kept = counted(left, "event", "are")
            _log.warning("%s; %s kept in the journal for the next client.", _NOT_CLOSED, kept, extra=extra)
        else:
            extra = fields("lost", cause="not closed", events=left)
            _log.error("%s; %s lost.", _NOT_CLOSED, counted(left, "event", "are"), extra=extra)

    def forget(self) -> None:
        """The client is gone. What is left is logged now, or when the event loop ends that still sends it."""
        self.is_forgotten = True
        if self.state is ClientState.STOPPED:
            self.flusher.storage.abandon()
        is_sending = self.state in (ClientState.RUNNING, ClientState.CLOSING) and not self._bound_backend.has_ended
        if not is_sending:
            self.log_loss()

    # ---------------------------------------------------------------- checks

    def accepting_now(self) -> float:
        """The present time, if an event may be accepted now from here; else raise."""
        if self._backend is None:
            self._watch_waiting()
        elif self.state is not _RUNNING or self._backend.running() is not self._backend.token:
            self.check_running()
        return self.flusher.now()

    @property
    def full(self) -> BufferFull:
        """The error for an event that found no room."""
        halted = self.flusher.settlement.halted
        remedy = "Start the client. " if self.state is ClientState.NEW else ""
        return self.flusher.storage.full(remedy if halted is None else f"{halted} ")

    @property
    def _bound_backend(self) -> Backend:
        assert self._backend is not None, "a running client is bound to a loop"  # noqa: S101 an invariant
        return self._backend

    def run_from_thread(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine function in the client's loop from another thread, and wait for it."""
        if self.state is not ClientState.RUNNING:
            raise self._unavailable()
        backend = self._bound_backend
        if backend.is_own_thread:
            raise WrongLoop(
                "track_threadsafe() was called in the client's own thread, which it would block: use track()."
            )
        if self.flusher.storage.is_own_thread:
            raise WrongLoop(
                "track_threadsafe() was called in the journal's thread, which would wait for itself: a log handler "
                "that tracks must do so in a thread of its own, with logging.handlers.QueueListener for one."
            )
        return backend.run_from_thread(function)

    def check_alive(self) -> None:
        """Raise if the background task ended before the close."""
        if self.state is ClientState.STOPPED:
            raise self._death()

    def check_running(self) -> None:
        """Raise unless the engine runs, and in the caller's loop."""
        if self.state is not ClientState.RUNNING:
            raise self._unavailable()
        self._check_loop()

    def _check_waiting(self) -> None:
        """Raise unless the outcome of an event can be waited for here and now."""
        if self.state is ClientState.NEW:
            raise NotStarted(
                "the client is not started, so the event is not sent: use `async with`, or await start() first."
            )
        if self._backend is not None and self._backend.running() is not self._backend.token:
            raise WrongLoop(
                "the receipt's client lives in another event loop or thread: await the receipt in that loop; "
                "elsewhere, receipt.done says whether the outcome is known."
            )

    def _check_loop(self) -> None:
        if self._backend is not None and not self._backend.is_current:
            raise WrongLoop(
                "the client lives in another event loop or thread: use track_threadsafe() from a thread, and a client "
                "of its own for each loop."
            )

    def _unavailable(self) -> Exception:
        match self.state:
            case ClientState.NEW:
                return NotStarted("the client is not started: use `async with`, or await start() first.")
            case ClientState.STOPPED:
                return self._death()
            case _:
                return ClientClosed("the client is closed: make a new one, or close it later.")

    def _death(self) -> FlusherDied:
        left = "is kept in the journal" if self.flusher.storage.is_persistent else "was given to on_failure"
        death = FlusherDied(
            f"the client's background task crashed; what it held {left}: make a new client."
            if self._cause is not None
            else "the client's background task was cancelled before the client was closed: await aclose() to deliver "
            "what is left, and make a new client."
        )
        death.__cause__ = self._cause
        return death


def _innermost(error: Exception) -> Exception:
    """The first error that task groups have wrapped."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    return error
