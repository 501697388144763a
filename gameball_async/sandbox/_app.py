"""The Starlette app: the API's routes, the HTTP control interface, the page, and an empty 404 for the rest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import attrs
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from ._faults import Fault
from ._page import PATH, AccessGuard, Json, Page, RootRedirect, bad_request, headers_of
from ._responses import DIALECTS
from ._server import ResponseWriter, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from ._handler import RequestHandler
    from ._responses import Dialect
    from ._server import InterruptibleSleep


def create_app(
    handler: RequestHandler, host: str, refuse_connections: Callable[[float], None], sleeps: InterruptibleSleep
) -> Starlette:
    """Make the app. It needs a server that puts each connection's `transport` into the scope's state."""
    not_found = _Events(handler, sleeps, None)
    guarded = Router([*_Control(handler).routes(), *Page(handler, sleeps, refuse_connections).routes()])
    return Starlette(
        routes=[
            *(Route(dialect.path, _Events(handler, sleeps, dialect)) for dialect in DIALECTS),
            Mount(PATH, AccessGuard(guarded, host)),
            *(Route(path, RootRedirect(not_found)) for path in ("/", PATH.rstrip("/"))),
            Mount("/", not_found),
        ]
    )


class _Events:
    """The event route of a version, or, without a version, a 404."""

    def __init__(self, handler: RequestHandler, sleeps: InterruptibleSleep, dialect: Dialect | None) -> None:
        self._handler = handler
        self._sleeps = sleeps
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        writer = ResponseWriter(scope, receive, send, self._sleeps)
        dialect = self._dialect if scope["method"] == "POST" else None
        request = self._handler.arrive(dialect, scope["path"], headers_of(scope), body, writer.is_gone)
        try:
            await self._sleeps.sleep(request.plan.delay / 2)
            response = self._handler.decide(request)
            await self._sleeps.sleep(request.plan.delay / 2)
            await writer.write(response, lambda: self._handler.end(request, response))
        except Stopped:
            await writer.gone()
        finally:
            self._handler.end(request, None)  # if the sandbox stopped, there was no response


async def _body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client disconnected before it was complete."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _Control:
    """The HTTP control interface for tests. It shows phone numbers and e-mail addresses."""

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
        return Json([fault.to_json() for fault in self._handler.script.faults])

    async def script(self, request: Request) -> Response:
        try:
            given: object = json.loads(await request.body())
            several = cast("list[object]", given) if isinstance(given, list) else [given]
            faults = [Fault.from_json(value) for value in several]
        except ValueError as error:
            return bad_request(str(error))
        except RecursionError:
            return bad_request("the JSON is nested too deeply: send a fault, or an array of faults.")
        self._handler.set_script(*faults)
        return Json([fault.to_json() for fault in faults])

    async def clear(self, _: Request) -> Response:
        self._handler.set_script()
        return Json([])

    async def reset(self, _: Request) -> Response:
        self._handler.reset()
        return Json({})


def _plain(values: Iterable[attrs.AttrsInstance]) -> list[dict[str, object]]:
    return [attrs.asdict(value) for value in values]
