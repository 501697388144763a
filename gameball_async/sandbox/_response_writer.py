"""Sleeps that a stopping sandbox ends at once."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import TYPE_CHECKING

from ._responses import ResponseMode


class Stopped(Exception):
    """The sandbox stops: what is being processed is given up."""


class InterruptibleSleep:
    """All sleeps of one running sandbox."""

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()
        self._stopped = False

    async def sleep(self, seconds: float) -> None:
        """Sleep, unless there is nothing to sleep.

        Raises:
            Stopped: if the sandbox stops before the time is over.
        """
        if self._stopped:
            raise Stopped
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(seconds, _wake, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            alarm.cancel()
            self._sleepers.discard(sleeper)

    def stop(self) -> None:
        """Wake all sleepers with `Stopped`, those to come included."""
        self._stopped = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(Stopped())


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from ._responses import PlannedResponse


# the two numbers of SO_LINGER, on with 0 seconds: closing then sends RST instead of FIN
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

# what a truncated answer promises beyond what it sends, so that even an empty one is cut
_MISSING_BYTES = 64


class ResponseWriter:
    """One request's connection.

    Args:
        scope: of the request; its state holds the `transport`.
        receive: the client's further messages: only its leaving matters.
        send: takes the answer's parts.
        pauses: sleeps.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, pauses: InterruptibleSleep) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._sleeps = pauses
        # uvicorn stops reading after 64 KiB of body; without reading nobody notices a client that leaves
        self._transport.resume_reading()

    def is_gone(self) -> bool:
        """Whether the client has closed the connection, or it broke."""
        return self._transport.is_closing()

    async def gone(self) -> None:
        """Wait until the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(self, answer: PlannedResponse, end: Callable[[], None]) -> None:
        """Send an answer; `end` is called just before the last byte, or when it is clear that none will go."""
        manners: Mapping[ResponseMode, Callable[[PlannedResponse, Callable[[], None]], Awaitable[None]]] = {
            ResponseMode.WHOLE: self._whole,
            ResponseMode.TRUNCATED: self._truncated,
            ResponseMode.DRIPPING: self._dripping,
            ResponseMode.RESET: self._reset,
            ResponseMode.NEVER: self._never,
        }
        await manners[answer.manner](answer, end)

    async def _whole(self, answer: PlannedResponse, end: Callable[[], None]) -> None:
        end()
        await self._head(answer, len(answer.body))
        await self._send({"type": "http.response.body", "body": answer.body})

    async def _truncated(self, answer: PlannedResponse, end: Callable[[], None]) -> None:
        await self._head(answer, len(answer.body) + _MISSING_BYTES)
        await self._part(answer.body[: len(answer.body) // 2])
        end()
        self._transport.close()
        await self.gone()

    async def _dripping(self, answer: PlannedResponse, end: Callable[[], None]) -> None:
        await self._head(answer, len(answer.body))
        for position in range(len(answer.body) - 1):
            await self._part(answer.body[position : position + 1])
            await self._sleeps.sleep(answer.pause)
            if self.is_gone():
                end()
                await self.gone()
                return
        end()
        await self._send({"type": "http.response.body", "body": answer.body[-1:]})

    async def _reset(self, _: PlannedResponse, end: Callable[[], None]) -> None:
        end()
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
        await self.gone()

    async def _never(self, _: PlannedResponse, end: Callable[[], None]) -> None:
        await self.gone()
        end()

    async def _head(self, answer: PlannedResponse, length: int) -> None:
        headers = {"content-length": str(length), **answer.headers}
        if answer.body:
            headers["content-type"] = answer.content_type
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": pairs})

    async def _part(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
