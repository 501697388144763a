"""A daemon thread with an event loop in which a client lives: started by its first call, ended by its close."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from . import AsyncGameball, ClientClosed, CloseReport, FlusherDied, NotStarted, WrongLoop
from ._core.receipts import check_stack
from ._engine.backends import Backend, current_backend
from ._engine.lifecycle import CLOSE_TIMEOUT
from ._log import counted, fields, logger

_P = ParamSpec("_P")
_T = TypeVar("_T")

_Answer = SimpleQueue[BaseException | None]

_GRACE = 5.0
"""Seconds that a thread may take after the deadline of its close; a journal on a disk that hangs takes two."""

_CLOSED = "the client is closed: make a new one, or close it later."

_log = logger("gameball_async")


class LoopThread:
    """A client's thread in this process.

    A signal handler may call the client again, or raise, at any point of a call. So callers take no lock: each waits
    for a queue of its own, and `dict.setdefault`, which is atomic, decides which of several threads serves.

    Attributes:
        backend: the event loop, once it is ready.
        is_ready: whether the client has started, in this process.
    """

    backend: Backend
    _ends: asyncio.Event

    def __init__(self, client: AsyncGameball) -> None:
        self._client = client
        self.reset()
        _loop_threads.add(self)

    def reset(self) -> None:
        """Start again, in a forked child: the thread is the parent's."""
        self.is_ready = False
        self._serving: dict[str, threading.Thread | None] = {}  # the thread, or None: closed before it started
        self._is_decided = threading.Event()  # only further threads wait for it, and no signal handler runs there
        self._error: BaseException | None = None
        self._report = CloseReport()

    # ---------------------------------------------------------------- in the caller's thread

    def start(self) -> None:
        """Start a thread, which serves unless another one does, and wait until the client has started."""
        answer: _Answer = SimpleQueue()
        try:
            threading.Thread(target=self._run, args=(answer,), name="gameball_async", daemon=True).start()
        except RuntimeError as error:
            raise NotStarted(f"the client's thread cannot start ({error}): start the client earlier.") from None
        if (failure := answer.get()) is not None:
            raise failure.with_traceback(None)

    @property
    def is_open(self) -> bool:
        """Whether the client runs, and no close has ended."""
        return self.is_ready and not self._ends.is_set()

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function that waits for the loop, and raise `ClientClosed` if the close has ended it."""
        try:
            return function()
        except FlusherDied:
            if not self._ends.is_set():
                raise
            raise ClientClosed(_CLOSED) from None

    def run(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine function in the loop, and wait for it."""
        self._check_caller()
        return self.call(partial(self.backend.run_from_thread, function))

    def close(self, timeout: float) -> CloseReport:
        """Close the client and end the thread; a client that has not started cannot start any more."""
        if self._serving.setdefault("thread", None) is None:
            return self._report
        if not self.is_ready:
            with suppress(Exception):  # what the caller who starts it receives
                self.start()
        if self.is_ready:
            self._check_caller()
            self.begin_close(timeout)
            self.join(timeout + _GRACE)
        return self._report

    def begin_close(self, timeout: float) -> None:
        """Close in the thread, without waiting for it."""

        async def close() -> None:
            try:
                await self._client.aclose(timeout)
            finally:
                self._ends.set()

        check_stack()
        with suppress(RuntimeError):  # the loop has ended, and with it the client
            self.backend.call_soon_from_thread(partial(self.backend.spawn, close, "gameball_async close"))

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread.

        Raises:
            FlusherDied: if it does not end in time.
        """
        if (thread := self._serving["thread"]) is None:
            return
        thread.join(min(timeout, threading.TIMEOUT_MAX))
        if thread.is_alive():
            pending = counted(self._client.stats().pending, "event", "have")
            raise FlusherDied(
                f"the client did not close in time, and {pending} no outcome: check whether on_failure or an observer "
                "blocks its thread."
            )

    def _check_caller(self) -> None:
        if not self.is_ready:
            raise WrongLoop("the event was tracked before the fork: ask for its outcome in the parent process.")
        if self.backend.is_own_thread:
            raise WrongLoop("on_failure and observers run in the client's thread, which cannot wait for itself.")

    # ---------------------------------------------------------------- in the thread

    def _run(self, answer: _Answer) -> None:
        serving = self._serving.setdefault("thread", threading.current_thread())
        if serving is threading.current_thread():
            try:
                asyncio.run(self._live(answer))
            except BaseException as error:  # noqa: BLE001 raised in the caller's thread, or logged
                if not self._is_decided.is_set():
                    self._decide(answer, error)
                    return
                if not self._ends.is_set():  # Python 3.12.1 lets no loop end at the exit
                    name = type(error).__name__
                    _log.error(
                        "the client's thread crashed: %s; make a new client.", name, extra=fields("crash", cause=name)
                    )
            self._error = ClientClosed(_CLOSED)
        elif serving is None:
            answer.put(ClientClosed(_CLOSED))
        else:
            self._is_decided.wait()
            answer.put(self._error)

    async def _live(self, answer: _Answer) -> None:
        asyncio.get_running_loop().set_default_executor(_LookupExecutor())
        self._ends = asyncio.Event()
        try:
            async with self._client:
                self.backend = current_backend()
                self.is_ready = True
                if (util := sys.modules.get("multiprocessing.util")) is not None:
                    util.Finalize(None, close_all, exitpriority=0)  # its processes, as Celery's, have no other exit
                self._decide(answer, None)
                await self._ends.wait()
        finally:
            self._report = await self._client.aclose(0)

    def _decide(self, answer: _Answer, error: BaseException | None) -> None:
        self._error = error
        self._is_decided.set()
        answer.put(error)


class _LookupExecutor(ThreadPoolExecutor):
    """Resolves host names, also after the main thread's end: then its base class refuses, but events may be left."""

    def submit(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call a function in a thread of its own; if there can be no further one, in this thread."""
        future: Future[_T] = Future()

        def call() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 raised where the future is awaited
                future.set_exception(error)

        try:
            threading.Thread(target=call, name="gameball_async lookup", daemon=True).start()
        except RuntimeError:
            call()
        return future


# ---------------------------------------------------------------- forks and exits

_loop_threads: WeakSet[LoopThread] = WeakSet()
_parents: list[dict[str, object]] = []  # never freed: that would close what the parent uses


def _forget_parents() -> None:
    for thread in _loop_threads:
        _parents.append(dict(vars(thread)))
        thread.reset()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget_parents)


@atexit.register
def close_all() -> None:
    """Close all clients at once, when the interpreter exits."""
    threads = [thread for thread in list(_loop_threads) if thread.is_ready]
    ends_at = time.monotonic() + CLOSE_TIMEOUT + _GRACE
    for thread in threads:
        thread.begin_close(CLOSE_TIMEOUT)
    for thread in threads:
        try:
            thread.join(max(0.0, ends_at - time.monotonic()))
        except FlusherDied as error:
            _log.error("%s", error, extra=fields("lost", cause=type(error).__name__))
