"""The queue of producers before a full buffer: first come, first served, cancellable, bounded in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import anyio

_T = TypeVar("_T")


class FairQueue:
    """Lets producers try again one after another, as room is made.

    Only the first in the queue is woken, and it passes the turn on when it leaves, whether it was
    admitted, timed out or was cancelled. So no wake-up is lost, and nobody overtakes.
    """

    def __init__(self) -> None:
        self._queue: OrderedDict[anyio.Event, None] = OrderedDict()

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits, so that a newcomer must queue up as well."""
        return bool(self._queue)

    async def wait_for(self, attempt: Callable[[], _T | None], timeout: float) -> _T | None:  # noqa: ASYNC109 the user's setting
        """Call `attempt` whenever there may be room, until it returns something.

        Args:
            attempt: takes the room and returns something, or returns None; what it raises passes through.
            timeout: seconds, at most.

        Returns:
            What `attempt` returned, or None when the time was over.
        """
        turn = anyio.Event()
        self._queue[turn] = None
        try:
            with anyio.move_on_after(timeout):
                while True:
                    await turn.wait()
                    if (admitted := attempt()) is not None:
                        return admitted
                    del self._queue[turn]
                    turn = anyio.Event()
                    self._queue[turn] = None
                    self._queue.move_to_end(turn, last=False)
            return None
        finally:
            del self._queue[turn]
            self.room_made()

    def room_made(self) -> None:
        """Give the first in the queue its turn."""
        if self._queue:
            next(iter(self._queue)).set()

    def dismiss(self) -> None:
        """Give everyone a turn at once: what they wait for will not come, and their attempt will say so."""
        for turn in self._queue:
            turn.set()
