"""The Starlette app: the API's routes, the control path, the page, an empty 404 for the rest."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, cast

import attrs
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from ._api_versions import DIALECTS
from ._faults import Fault
from ._page import PATH, Door, Guarded, Json, Page, headers_of, wrong
from ._response_writer import ResponseWriter, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from ._api_versions import Dialect
    from ._handler import RequestHandler
    from ._response_writer import InterruptibleSleep


def create_app(
    handler: RequestHandler, host: str, leave: Callable[[float], None], pauses: InterruptibleSleep
) -> Starlette:
    """Make the app. It needs a server that puts each connection's `transport` into the scope's state.

    Args:
        handler: judges and remembers.
        host: the address at which the sandbox listens.
        leave: lets the sandbox refuse connections for so many seconds; returns at once.
        pauses: the sleeps of the running server.
    """
    nothing = _Events(handler, pauses, None)
    seen = Router([*_Control(handler).routes(), *Page(handler, pauses, leave).routes()])
    return Starlette(
        routes=[
            *(Route(dialect.path, _Events(handler, pauses, dialect)) for dialect in DIALECTS),
            Mount(PATH, Guarded(seen, host)),
            *(Route(path, Door(nothing)) for path in ("/", PATH.rstrip("/"))),
            Mount("/", nothing),
        ]
    )


class _Events:
    """An event route, or without a dialect the answer to every other one."""

    def __init__(self, handler: RequestHandler, pauses: InterruptibleSleep, dialect: Dialect | None) -> None:
        self._handler = handler
        self._sleeps = pauses
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        line = ResponseWriter(scope, receive, send, self._sleeps)
        dialect = self._dialect if scope["method"] == "POST" else None
        visit = self._handler.arrive(dialect, scope["path"], headers_of(scope), body, line.is_gone)
        answer = None
        try:
            await self._sleeps.sleep(visit.plan.delay / 2)
            answer = self._handler.decide(visit)
            await self._sleeps.sleep(visit.plan.delay / 2)
            final = answer
            await line.answer(answer, lambda: self._handler.end(visit, final))
        except Stopped:
            await line.gone()
        finally:
            # a request that the end of the sandbox cut short has no answer
            self._handler.end(visit, None)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client left before it was complete: then no request has arrived."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _Control:
    """The control path. It shows phone numbers and e-mail addresses: it is a test's tool."""

    def __init__(self, handler: RequestHandler) -> None:
        self._handler = handler

    def routes(self) -> list[Route]:
        return [
            Route("/holdings", self.holdings),
            Route("/requests", self.requests),
            Route("/violations", self.violations),
            Route("/stats", self.stats),
            Route("/faults", self.faults),
            Route("/faults", self.script, methods=["POST"]),
            Route("/faults", self.clear, methods=["DELETE"]),
            Route("/reset", self.reset, methods=["POST"]),
        ]

    async def holdings(self, _: Request) -> Response:
        held = self._handler.memory.holdings()
        return Json({player: _plain(events) for player, events in held.items()})

    async def requests(self, _: Request) -> Response:
        return Json(_plain(self._handler.memory.requests()))

    async def violations(self, _: Request) -> Response:
        return Json(_plain(self._handler.memory.violations()))

    async def stats(self, _: Request) -> Response:
        tally = attrs.asdict(self._handler.memory.tally())
        return Json({**tally, "statuses": {str(key): count for key, count in tally["statuses"].items()}})

    async def faults(self, _: Request) -> Response:
        return Json([fault.to_json() for fault in self._handler.faults])

    async def script(self, request: Request) -> Response:
        try:
            given: object = json.loads(await request.body())
            several = cast("list[object]", given) if isinstance(given, list) else [given]
            faults = [Fault.from_json(value) for value in several]
        except ValueError as error:
            return wrong(str(error))
        except RecursionError:
            return wrong("The JSON is nested too deeply: give a fault, or an array of them.")
        self._handler.script(*faults)
        return Json([fault.to_json() for fault in faults])

    async def clear(self, _: Request) -> Response:
        self._handler.script()
        return Json([])

    async def reset(self, _: Request) -> Response:
        self._handler.reset()
        return Json({})


def _plain(values: Iterable[attrs.AttrsInstance]) -> list[dict[str, object]]:
    """Attrs objects as JSON knows them: sets as sorted arrays, the infinity as null."""
    return [attrs.asdict(value, value_serializer=_plain_value) for value in values]


def _plain_value(_: object, __: object, value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    return None if value == math.inf else value
