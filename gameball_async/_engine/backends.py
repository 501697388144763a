"""The event loop that a client lives in: its clock, its identity, its background task; asyncio or trio."""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import anyio
import anyio.lowlevel
import sniffio

from .._core.receipts import check_stack
from ..errors import FlusherDied

if TYPE_CHECKING:
    import trio  # only who runs trio has it


_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., object])

Main = Callable[[], Coroutine[Any, Any, None]]

_LOOK = 1.0
"""Seconds between two looks whether the loop is still there."""

_FLUSHER = "gameball_async flusher"

_ANYIO_FOR_ASYNCIO = "anyio._backends._asyncio"  # under another name it would be loaded once more, in vain

_LOOP_ENDED = "the event loop that the client lives in has ended: make a new client in a running one."

_background_tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps only weak references


class Signal(Protocol):
    """Wakes the one task that awaits it, once: an asyncio future, or what does the same under trio.

    With a journal every call of `track` waits for one, and an `anyio.Event` costs three times as much.
    """

    def done(self) -> bool:
        """Whether it needs no `set_result` any more."""
        ...

    def set_result(self, result: None, /) -> None:
        """Wake the task."""

    def __await__(self) -> Generator[Any, Any, object]:
        """Wait for `set_result`."""
        ...


class Backend(ABC):
    """One running loop. It is bound once, and every call is checked against it.

    Args:
        now: returns the seconds of the loop's monotonic clock.
        new_signal: makes a signal for a task of this loop.
        running: returns the running loop's token, or None; a function of C under asyncio, as each event calls it.
        token: the token of this loop.
    """

    def __init__(
        self, now: Callable[[], float], new_signal: Callable[[], Signal], running: Callable[[], object], token: object
    ) -> None:
        self.now = now
        self.new_signal = new_signal
        self.running = running
        self.token = token
        self._thread = threading.get_ident()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this loop."""
        return self.running() is self.token

    @property
    def has_ended(self) -> bool:
        """Whether it is known that nothing can run in this loop any more."""
        return False

    @abstractmethod
    def spawn(self, main: Main, name: str = _FLUSHER, context: contextvars.Context | None = None) -> None:
        """Run `main` in a task of its own, by default with an empty context: it must not inherit the caller's.

        Raises:
            RuntimeError: if the loop takes no more tasks.
        """

    def protected(self, function: _F) -> _F:
        """The same function for a task of its own, in which no Ctrl-C strikes: that is the main task's."""
        return function

    @abstractmethod
    def call_soon_from_thread(self, function: Callable[[], object]) -> None:
        """Let this loop call a function soon; callable from any thread.

        Raises:
            RuntimeError: if the loop has ended.
        """

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in this loop's thread."""
        return threading.get_ident() == self._thread

    def run_from_thread(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine function in this loop from another thread, and wait for it.

        If something is raised in the waiting thread, by a signal handler for one, the coroutine is cancelled, and
        that is raised when it has ended. If it had succeeded already, its result is returned instead of an `Exception`;
        `SystemExit` and `KeyboardInterrupt` are raised in any case, for otherwise the program would not end.

        Raises:
            FlusherDied: if the loop ends before it is done.
        """
        check_stack()
        call, context = _ThreadCall(function), contextvars.copy_context()

        def begin() -> None:
            try:
                self.spawn(call.run, "gameball_async call from a thread", context)
            except RuntimeError:  # the loop is ending
                call.withdraw()

        struck: BaseException | None = None
        try:
            self.call_soon_from_thread(begin)
        except RuntimeError:
            raise FlusherDied(_LOOP_ENDED) from None
        except BaseException as error:  # noqa: BLE001 raised below
            struck = error
        while True:
            try:
                if struck is not None and (scope := call.withdraw()) is not None:
                    with suppress(RuntimeError):  # the loop has ended, and the call with it
                        self.call_soon_from_thread(scope.cancel)
                if call.wait(_LOOK) or self.has_ended:
                    break
            except BaseException as error:  # noqa: BLE001 raised below, when it is certain that the call has no effect
                struck = struck or error
        return call.result(struck)


class AsyncioBackend(Backend):
    """An asyncio loop, of any implementation."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        running = asyncio._get_running_loop  # noqa: SLF001 documented for this use, and raises nothing
        super().__init__(self._loop.time, self._loop.create_future, running, self._loop)

    @property
    def has_ended(self) -> bool:
        """Whether the loop is closed: a callback that it received in its very last moment is never run."""
        return self._loop.is_closed()

    def spawn(self, main: Main, name: str = _FLUSHER, context: contextvars.Context | None = None) -> None:
        """Run `main` in a task that is kept alive here."""
        task = self._loop.create_task(main(), name=name, context=context or contextvars.Context())
        _background_tasks.add(task)
        task.add_done_callback(_background_tasks.discard)

    def call_soon_from_thread(self, function: Callable[[], object]) -> None:
        """Let the loop call a function soon."""
        self._loop.call_soon_threadsafe(function)


class _TrioSignal:
    def __init__(self, event: trio.Event) -> None:
        self._event = event

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, _: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[Any, Any, object]:
        return self._event.wait().__await__()


class TrioBackend(Backend):
    """A trio run; the background task is a system task, which ends with the run."""

    def __init__(self) -> None:
        import trio  # noqa: PLC0415 only who runs trio has it

        self._trio = trio
        self._run = trio.lowlevel.current_trio_token()
        now = trio.lowlevel.current_clock().current_time  # unlike `trio.current_time` it can be called from anywhere
        super().__init__(now, lambda: _TrioSignal(trio.Event()), self._running, self._run)

    def _running(self) -> object:
        try:
            return self._trio.lowlevel.current_trio_token()
        except RecursionError:
            raise
        except RuntimeError:
            return None

    def spawn(self, main: Main, name: str = _FLUSHER, context: contextvars.Context | None = None) -> None:
        """Run `main` as a system task."""
        self._trio.lowlevel.spawn_system_task(self.protected(main), name=name, context=context or contextvars.Context())

    def protected(self, function: _F) -> _F:
        """The same function, in which trio raises no `KeyboardInterrupt`."""
        return self._trio.lowlevel.enable_ki_protection(function)

    def call_soon_from_thread(self, function: Callable[[], object]) -> None:
        """Let the run call a function soon."""
        self._run.run_sync_soon(function)


class _ThreadCall(Generic[_T]):
    """A coroutine function that a thread waits for: run in the loop, unless it is withdrawn before it begins.

    A signal handler may raise anywhere in the waiting thread. So nothing here takes a lock in Python code, as
    `threading.Event` does: it would stay locked, and block the thread and the loop forever. `dict.setdefault` and
    `SimpleQueue` are atomic.
    """

    def __init__(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._function = function
        self._claim: dict[str, anyio.CancelScope | None] = {}  # the scope of the run, or None: withdrawn; first wins
        self._has_ended = False
        self._end: SimpleQueue[None] = SimpleQueue()
        self._results: list[_T] = []
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Run it, in the loop."""
        try:
            with anyio.CancelScope() as scope:
                if self._claim.setdefault("scope", scope) is None:
                    return
                self._results.append(await self._function())
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise  # the loop ends
        finally:
            self._set_ended()

    def wait(self, seconds: float) -> bool:
        """Wait in the thread until it has ended, or will never begin; return whether that is so."""
        with suppress(Empty):
            if not self._has_ended:
                self._end.get(timeout=seconds)
        return self._has_ended

    def withdraw(self) -> anyio.CancelScope | None:
        """Let it never begin; if it has begun, return the scope to cancel in the loop. More than once is allowed."""
        scope = self._claim.setdefault("scope", None)
        if scope is None:
            self._set_ended()
        return scope

    def _set_ended(self) -> None:
        self._has_ended = True
        self._end.put(None)

    def result(self, struck: BaseException | None) -> _T:
        """What it returned; else raise what struck the waiting thread, or what it raised.

        Raises:
            FlusherDied: if the loop has ended before.
        """
        if self._results and (struck is None or isinstance(struck, Exception)):
            return self._results[0]
        if struck is not None:
            raise struck
        if isinstance(self._error, Exception):
            raise self._error
        raise FlusherDied(_LOOP_ENDED) from None


def current_backend() -> Backend:
    """The loop of the caller, which must be in one."""
    native = anyio.lowlevel.current_token().native_token
    return AsyncioBackend() if isinstance(native, asyncio.AbstractEventLoop) else TrioBackend()


# ---------------------------------------------------------------- cancellation


async def load_anyio() -> None:
    """Import what anyio has for asyncio in a thread: its first call would import it in the loop, for 60 ms."""
    if _ANYIO_FOR_ASYNCIO in sys.modules:
        return
    with suppress(RuntimeError):  # not asyncio
        await asyncio.get_running_loop().run_in_executor(None, anyio.run, anyio.lowlevel.checkpoint)


def running_task() -> object:
    """The running task, of asyncio or trio; None outside of any."""
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None
    if library == "trio":
        import trio  # noqa: PLC0415 only who runs trio has it

        return trio.lowlevel.current_task()
    return asyncio.current_task()


def interruption(error: BaseException, task: object) -> BaseException | None:
    """The part of an error of awaited user code that must pass through: Ctrl-C, or the task's own end; None if none.

    Code that is not awaited cannot be cancelled: of what it raises only `KeyboardInterrupt` must pass.

    Args:
        error: what the user code raised.
        task: the `running_task` from before it was awaited.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(lambda part: not isinstance(part, BaseExceptionGroup) and _must_pass(part, task))
    return error if _must_pass(error, task) else None


def _must_pass(error: BaseException, task: object) -> bool:
    if isinstance(error, (Exception, KeyboardInterrupt)):
        return isinstance(error, KeyboardInterrupt)
    if isinstance(error, GeneratorExit):
        return running_task() is not task  # the coroutine is being closed, from outside of its task
    return running_task() is task and isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()


def is_cancelled() -> bool:
    """Whether the running task is being cancelled, by its loop or by a scope around it."""
    task = running_task()
    if isinstance(task, asyncio.Task):
        return task.cancelling() > 0
    return anyio.current_effective_deadline() == -math.inf
