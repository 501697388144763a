"""A recorder's life: started, bound to a loop, cancelled, closed; the same refusals as the client's."""

from __future__ import annotations

import threading
from enum import Enum, auto

import anyio
import anyio.abc
from anyio.lowlevel import current_token

from .. import ClientClosed, FlusherDied, LifecycleError, NotStarted, WrongLoop


class RecorderState(Enum):
    """What may be called. The client's own states but one: nothing is ever on its way here, so closing is no state."""

    NEW = auto()
    """Not started: events are accepted, and it belongs to no loop yet."""
    RUNNING = auto()
    """Started; bound to a loop, unless it was made as one that is started already."""
    STOPPED = auto()
    """The task of `run` was cancelled before the close."""
    CLOSED = auto()
    """Accepts nothing any more."""


class RecorderLifecycle:
    """The state, and who may call what in it.

    Args:
        started: whether it begins as if it had been started, in no loop in particular.
    """

    def __init__(self, *, started: bool) -> None:
        self.state = RecorderState.RUNNING if started else RecorderState.NEW
        self._loop: object = None
        self._thread: int | None = None
        self._closed: anyio.Event | None = None

    # ---------------------------------------------------------------- changes

    def start(self) -> None:
        """Bind to the caller's loop; again is allowed."""
        if self.state not in (RecorderState.NEW, RecorderState.RUNNING):
            raise self._unavailable()
        self.check_loop()
        self._bind()

    async def run(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Bind to the caller's loop, and stay until the close."""
        if self.state is RecorderState.RUNNING and self._loop is not None:
            self.check_loop()
            raise WrongLoop("the client runs already: either start() it or run() it, once.")
        self.start()
        self._closed = anyio.Event()
        task_status.started()
        try:
            await self._closed.wait()
        finally:
            if self.state is RecorderState.RUNNING:
                self.state = RecorderState.STOPPED

    def close(self) -> None:
        """End it, from any task of its loop; a cancelled one from any loop."""
        if self.state is RecorderState.RUNNING:
            self.check_loop()
        self.state = RecorderState.CLOSED
        if self._closed is not None:
            self._closed.set()

    def _bind(self) -> None:
        self._loop, self._thread = current_token(), threading.get_ident()
        self.state = RecorderState.RUNNING

    # ---------------------------------------------------------------- checks

    def check_accepting(self) -> None:
        """Raise unless an event may be accepted now, from here."""
        if self.state not in (RecorderState.NEW, RecorderState.RUNNING):
            raise self._unavailable()
        self.check_loop()

    def check_running(self) -> None:
        """Raise unless it runs, and in the caller's loop."""
        if self.state is not RecorderState.RUNNING:
            raise self._unavailable()
        self.check_loop()

    def check_other_thread(self) -> None:
        """Raise unless it runs, and in another thread than the caller's."""
        if self.state is not RecorderState.RUNNING:
            raise self._unavailable()
        in_loop = _current_loop() is not None if self._thread is None else threading.get_ident() == self._thread
        if in_loop:
            raise WrongLoop(
                "track_threadsafe() was called in the client's own thread, which it would block: use track()."
            )

    def check_loop(self) -> None:
        """Raise if it is bound to another loop than the caller's."""
        if self._loop not in (None, _current_loop()):
            raise WrongLoop(
                "the client lives in another event loop or thread: use track_threadsafe() from a thread, and a client "
                "of its own for each loop."
            )

    def _unavailable(self) -> LifecycleError:
        match self.state:
            case RecorderState.NEW:
                return NotStarted("the client is not started: use `async with`, or await start() first.")
            case RecorderState.STOPPED:
                return FlusherDied(
                    "the client's background task was cancelled before the client was closed: await aclose() to "
                    "deliver what is left, and make a new client."
                )
            case _:
                return ClientClosed("the client is closed: make a new one, or close it later.")


def _current_loop() -> object:
    """What tells the caller's loop from others; None without one."""
    try:
        return current_token()
    except RuntimeError:
        return None
