"""The page that shows the sandbox at work: its files, what it asks for, what its buttons do, and who may open it."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from . import _view as view
from ._guard import HEADERS, headers_of, refusal
from ._json import Json, object_in, wrong
from ._news import EventStream
from ._switches import SWITCHES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ._desk import RequestHandler
    from ._pauses import InterruptibleSleep

PATH = "/_sandbox/"

_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page/style.css": ("style.css", "text/css; charset=utf-8"),
    "page/theme.js": ("theme.js", "text/javascript; charset=utf-8"),
    "page/script.js": ("script.js", "text/javascript; charset=utf-8"),
    "page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The page's files by their paths below `PATH`; there are no others."""

_LONGEST_ABSENCE = 600.0


class Page:
    """The routes below `PATH`.

    Args:
        handler: judges and remembers.
        pauses: the sleeps of the running server.
        leave: lets the sandbox refuse connections for so many seconds; returns at once.
    """

    def __init__(self, handler: RequestHandler, pauses: InterruptibleSleep, leave: Callable[[float], None]) -> None:
        self._handler = handler
        self._sleeps = pauses
        self._leave = leave

    def routes(self) -> list[Route]:
        return [
            *(Route(f"/{path}", _file(*file)) for path, file in _FILES.items()),
            Route("/page/news", EventStream(self._handler, self._sleeps), methods=["GET"]),
            Route("/page/players", self.players),
            Route("/page/player", self.player),
            Route("/page/switch", self.switch, methods=["POST"]),
            Route("/page/leave", self.leave, methods=["POST"]),
        ]

    async def players(self, request: Request) -> Response:
        found = self._handler.memory.standings(request.query_params.get("like", ""), view.MOST_PLAYERS)
        return Json(view.standings(found))

    async def player(self, request: Request) -> Response:
        count, held = self._handler.memory.held_by(request.query_params.get("id", ""), view.MOST_HELD)
        return Json(view.player(count, held))

    async def switch(self, request: Request) -> Response:
        given = await object_in(request)
        switch, on = SWITCHES.get(str(given.get("name"))), given.get("on")
        if switch is None or not isinstance(on, bool):
            names = ", ".join(SWITCHES)
            return wrong(f'Give a JSON object such as {{"name": "outage", "on": true}}, the name one of {names}.')
        self._handler.switch(switch.fault, on=on)
        return Json({})

    async def leave(self, request: Request) -> Response:
        seconds = (await object_in(request)).get("seconds")
        if not isinstance(seconds, (int, float)) or not 0 < seconds <= _LONGEST_ABSENCE:
            return wrong(f'Give a JSON object such as {{"seconds": 10}}, at most {_LONGEST_ABSENCE:g}.')
        # the answer goes first: then its connection is cut, too
        return Json({}, background=BackgroundTask(self._leave, float(seconds)))


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        content = resources.files("gameball_async.sandbox").joinpath("page", name).read_bytes()
        return Response(content, media_type=media_type)

    return answer


class Guarded:
    """Lets through who may see and steer the sandbox, and tells browsers what the page may do.

    Args:
        app: what is guarded.
        host: the address at which the sandbox listens.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_GUARDS]}
            await send(message)

        words = refusal(self._host, scope["method"], headers_of(scope))
        app = self._app if words is None else PlainTextResponse(f"{words}\n", status_code=403)
        await app(scope, receive, send_guarded)


_GUARDS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Door:
    """The root address: it leads a browser to the page; for programs nothing is there.

    Args:
        nothing: answers programs.
    """

    def __init__(self, nothing: ASGIApp) -> None:
        self._nothing = nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_browser = scope["method"] == "GET" and "text/html" in headers_of(scope).get("accept", "")
        app = RedirectResponse(PATH) if is_browser else self._nothing
        await app(scope, receive, send)
