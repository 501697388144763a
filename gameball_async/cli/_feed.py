"""A blocking iterator read in a thread of its own, for an event loop to take from; knows nothing of what it carries."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

T = TypeVar("T")

_AHEAD = 64  # items read ahead; a row may have a megabyte


class _End:
    """What follows the last item: the error that ended the iterator, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ThreadedReader(Generic[T]):
    """Iterate asynchronously over a blocking iterator, such as the lines of a terminal or a pipe.

    The thread is a daemon: blocked in a read that never returns, it does not keep the process.

    Args:
        items: the iterator; from now on it belongs to the thread.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopped = False
        threading.Thread(target=self._work, name="gameball-async-reader", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Take the items one by one.

        Raises:
            Exception: what the iterator raised.
        """
        while not isinstance(item := await self._queue.get(), _End):
            self._room.release()
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """Read no further."""
        self._stopped = True
        self._room.release()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._room.acquire()
                if self._stopped:
                    return
                self._hand_over(item)
        except BaseException as problem:  # noqa: BLE001 raised where the items are taken
            error = problem
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()  # and with it the file that a generator reads
        self._hand_over(_End(error))

    def _hand_over(self, item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop has gone
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
