"""Synchronous code: `Gameball` runs an `AsyncGameball` in a daemon thread with an event loop of its own.

::

    gameball = Gameball()  # the key: GAMEBALL_API_KEY
    gameball.track("player123", "place_order", {"total_amount": 100})
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self

import anyio
import attrs

from . import (
    AsyncGameball,
    CloseReport,
    ConfigurationError,
    Delivered,
    DeliveryError,
    LifecycleError,
    Metadata,
    MetadataRecord,
    Preview,
    Receipt,
    Stats,
)
from ._engine.lifecycle import CLOSE_TIMEOUT
from ._log import fields, logger
from ._loop_thread import LoopThread

__all__ = ["Gameball", "SyncReceipt"]

_P = ParamSpec("_P")

_log = logger("gameball_async")


def _arguments_of(kind: Callable[_P, object]) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, _P], None]]:
    """Give a constructor the arguments of another class, for type checkers and `inspect.signature`."""

    def declare(init: Callable[..., None]) -> Callable[Concatenate[Any, _P], None]:
        vars(init)["__wrapped__"] = vars(kind)["__init__"]
        return init

    return declare


class Gameball:
    """`AsyncGameball` for synchronous code: the same arguments, and methods that any thread may call.

    The first call starts the client's thread, so a client may be created in a module, and before a fork. In a forked
    child it is a new client with the same settings; the parent delivers what the parent tracked.

    Use ``with``, or `close` it. If it is open when the interpreter exits, it delivers what is left, for ten seconds at
    most, and logs what it could not deliver. A process that a signal kills does not get that far.

    `on_failure` and the observer are called in the client's thread. Nothing is sent while they block, and other calls
    wait. They may `track`, which does not wait for room there; calls that would wait for an outcome raise `WrongLoop`.
    """

    @_arguments_of(AsyncGameball)
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 declared above
        self._client = AsyncGameball(*args, **kwargs)
        self._thread = LoopThread(self._client)

    def start(self) -> None:
        """Start the thread now, and not with the first event. Again is allowed.

        Raises:
            ConfigurationError: if the environment's proxies or certificates cannot be used.
            JournalError: if the journal cannot be opened.
            NotStarted: if there can be no further thread.
            ClientClosed: if it is closed.
        """
        self._started()

    def track(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | MetadataRecord | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> SyncReceipt:
        """Accept one event, as `AsyncGameball.track_threadsafe` does; the client starts if necessary.

        Returns:
            A receipt; its `SyncReceipt.result` waits for the outcome. If you don't need the outcome, ignore it.

        Raises:
            InvalidEvent: if the event cannot be sent as it is.
            BufferFull: if there was no room for it in time.
            JournalError: if it could not be stored.
            LifecycleError: if the client is closed, or as `start` does.
        """
        thread = self._started()
        track = self._client.track_nowait if thread.backend.is_own_thread else self._client.track_threadsafe
        accept = partial(track, player_unique_id, name, metadata, mobile=mobile, email=email)
        return SyncReceipt(thread.call(accept), thread)

    def send(
        self,
        player_unique_id: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Delivered:
        """Send events as one request of their own now, and wait for the outcome, as `AsyncGameball.send` does."""
        return self._started().run(partial(self._client.send, player_unique_id, events, mobile=mobile, email=email))

    def preview(
        self,
        player_unique_id: str,
        events: Mapping[str, Metadata | MetadataRecord | None],
        *,
        mobile: str | None = None,
        email: str | None = None,
        lang: str | None = None,
    ) -> Preview:
        """Ask Gameball what events would earn if they were tracked now, as `AsyncGameball.preview` does."""
        preview = self._client.preview
        return self._started().run(partial(preview, player_unique_id, events, mobile=mobile, email=email, lang=lang))

    def stop_job(self, job: int | str) -> None:
        """Ask Gameball to stop a job of a bulk request, as `AsyncGameball.stop_job` does."""
        self._started().run(partial(self._client.stop_job, job))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every event accepted before the call is settled, as `AsyncGameball.flush` does."""
        self._started().run(partial(self._client.flush, timeout))

    def close(self, timeout: float = CLOSE_TIMEOUT) -> CloseReport:
        """Accept nothing more, deliver what can be delivered in time, and end the thread. Again is allowed.

        If an exception interrupts the call, as Ctrl-C does, the close continues in the thread.

        Args:
            timeout: seconds, at most. Ten: orchestrators commonly kill after thirty.

        Returns:
            What could not be delivered, with the reasons; `on_failure` got it too.

        Raises:
            WrongLoop: if `on_failure` or the observer calls it.
            FlusherDied: if one of them blocks the thread, so that it does not end in time.
        """
        if not (isinstance(timeout, (int, float)) and timeout >= 0):  # refuses nan too
            raise ConfigurationError(f"timeout is {timeout!r}: give a number of seconds.")
        return self._thread.close(timeout)

    def stats(self) -> Stats:
        """An immutable snapshot of what the client has done and holds."""
        return self._client.stats()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._client).replace("AsyncGameball", "Gameball", 1)

    def __del__(self) -> None:
        if hasattr(self, "_thread") and self._thread.is_open and not sys.is_finalizing():
            _log.warning(
                "a Gameball was garbage-collected and not closed; it delivers what is left: use `with`, or keep one "
                "for the whole process.",
                extra=fields("not_closed"),
            )
            self._thread.begin_close(CLOSE_TIMEOUT)

    def _started(self) -> LoopThread:
        if not self._thread.is_open:
            self._thread.start()
        return self._thread


@attrs.frozen(eq=False, repr=False)
class SyncReceipt:
    """The promise for one event of a `Gameball`. Ask it for the outcome, or ignore it."""

    _receipt: Receipt
    _thread: LoopThread

    @property
    def done(self) -> bool:
        """Whether the outcome is known, so that `result` does not wait."""
        return self._receipt.done

    @property
    def durable(self) -> bool:
        """Whether the event is on disk, and so survives the process; without a journal it never is."""
        return self._receipt.durable

    def result(self, timeout: float | None = None) -> Delivered:
        """Wait for the outcome of this event, in any thread and more than once.

        Args:
            timeout: seconds; None, the default, waits until there is an outcome.

        Raises:
            Rejected: if Gameball refused the event for good.
            Dropped: if the client gave it up.
            OutcomeUnknown: if it was sent and it is unknown whether it was applied.
            TimeoutError: if time runs out. The event is not affected.
            WrongLoop: if `on_failure` or the observer asks, or a forked child of the process that tracked it.
        """
        if not self.done:
            try:
                self._thread.run(partial(_wait, self._receipt, timeout))
            except LifecycleError:
                if not self.done:  # the client may have ended since, and settled it
                    raise
        try:
            self._receipt.__await__().send(None)  # it is done, so this does not wait
        except StopIteration as end:
            delivered: Delivered = end.value
            return delivered
        raise AssertionError("a receipt that is done does not wait")  # pragma: no cover

    def __repr__(self) -> str:
        return repr(self._receipt).replace("Receipt", "SyncReceipt", 1)


async def _wait(receipt: Receipt, timeout: float | None) -> None:  # noqa: ASYNC109 the user's setting
    with anyio.move_on_after(timeout), suppress(DeliveryError):
        await receipt
    if not receipt.done:
        raise TimeoutError(f"the outcome is not known after {timeout:g} s; the event is still pending.")
