"""Server-sent events: one whenever something has changed, until the browser leaves or the sandbox stops."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import Request

from . import _view as view
from ._guard import headers_of
from ._line import ResponseWriter
from ._pauses import Stopped

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from ._desk import RequestHandler
    from ._pauses import InterruptibleSleep

# often enough to look live, seldom enough to merge a burst into one message
_BETWEEN_NEWS = 0.25

# seconds; a comment shows both sides that the other is still there
_BETWEEN_SIGNS = 15.0

# milliseconds after which a browser asks again when it was cut off
_BEFORE_RETURN = 1000


class EventStream:
    """The route of the messages.

    Args:
        handler: judges and remembers.
        pauses: the sleeps of the running server.
    """

    def __init__(self, handler: RequestHandler, pauses: InterruptibleSleep) -> None:
        self._handler = handler
        self._sleeps = pauses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = ResponseWriter(scope, receive, send, self._sleeps)
        # a browser that was cut off names the last message in a header, a page that comes back in the query
        last = headers_of(scope).get("last-event-id") or Request(scope).query_params.get("last", "")
        teller = _EventSource(self._handler, last)
        head = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            while not line.is_gone():
                if message := teller.next():
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                await self._sleeps.sleep(_BETWEEN_NEWS)
        except Stopped:
            pass
        await line.gone()


class _EventSource:
    """What one browser has been told, and so what is new to it.

    Args:
        handler: judges and remembers.
        last: the id of the last message that the browser has, or anything else.
    """

    def __init__(self, handler: RequestHandler, last: str) -> None:
        self._handler = handler
        self._era, _, position = last.partition(".")
        self._position = 0
        with suppress(ValueError):
            self._position = int(position)
        self._told: dict[str, object] = {}
        self._spoken = -math.inf

    def next(self) -> bytes:
        """The next message; empty if there is nothing to say."""
        now = time.monotonic()
        found = self._handler.memory.news(self._era, self._position, most=view.MOST_RECORDS, now=now)
        told = {
            "isFresh": found.era != self._era,
            **view.news(found, self._handler.use(), since_1970=time.time() - now),
            **view.faults(self._handler.faults, self._handler.struck),
        }
        if told == self._told:
            return self._sign(now)
        self._era, self._position = found.era, found.position
        self._told, self._spoken = {**told, "isFresh": False, "rows": []}, now
        text = json.dumps({**told, "now": now})
        return f"id: {found.era}.{found.position}\nretry: {_BEFORE_RETURN}\ndata: {text}\n\n".encode()

    def _sign(self, now: float) -> bytes:
        if now - self._spoken < _BETWEEN_SIGNS:
            return b""
        self._spoken = now
        return b":\n\n"
