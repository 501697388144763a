"""JSON to and from those who look at the sandbox; the API's own is judged and made elsewhere."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from importlib import resources
from ipaddress import ip_address
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import attrs
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ._faults import SWITCHES, in_words
from ._response_writer import ResponseWriter, Stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ._faults import Fault
    from ._handler import RequestHandler
    from ._limits import Use
    from ._memory import HeldEvent, LatestChanges, PlayerSummary, RequestRecord
    from ._response_writer import InterruptibleSleep


class Json(JSONResponse):
    """JSON in ASCII: the names in a refused request may hold half of a surrogate pair, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 as in the class above
        return json.dumps(content).encode()


def wrong(words: str) -> Json:
    """The answer to a request that cannot be followed."""
    return Json({"error": words}, status_code=400)


async def object_in(request: Request) -> dict[str, object]:
    """The JSON object in a request's body; empty if there is none."""
    try:
        given: object = json.loads(await request.body())
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", given) if isinstance(given, dict) else {}


_READING = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # the views hold personal data, and the page belongs to the version that serves it
    "cache-control": "no-store",
}
"""What every answer outside of the API says to a browser."""


def refusal(host: str, method: str, headers: Mapping[str, str]) -> str | None:
    """Why a request for the page or the control path is refused, or None if it is not.

    Args:
        host: the address at which the sandbox listens.
        method: of the request.
        headers: by lower-case name.
    """
    if not _is_own_name(host, headers.get("host", "")):
        return "The sandbox does not go by this name: ask it by its IP address."
    if not _comes_from_here(method, headers):
        return "Another web page has asked: open the sandbox's own page, or ask with a program."
    return None


def _is_own_name(host: str, asked: str) -> bool:
    """Whether a Host header can be meant for this sandbox.

    A web page can let a name of its own lead to any address (DNS rebinding), and may then read what
    listens there. It cannot do so with an address, nor with a name that its visitor's machine resolves.
    """
    name = _name(asked)
    if name in {"localhost", host.lower()} or name.endswith(".localhost") or _is_address(name):
        return True
    # a name without a dot is one of the own network, such as a container's; nobody else has them
    return bool(name) and "." not in name and not _is_loopback(host)


def _name(asked: str) -> str:
    with suppress(ValueError):
        return urlsplit(f"//{asked}").hostname or ""
    return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback if _is_address(host) else host == "localhost"


def _comes_from_here(method: str, headers: Mapping[str, str]) -> bool:
    """Whether no foreign page stands behind a request. Browsers say which one does; programs say nothing."""
    site = headers.get("sec-fetch-site")
    if site is None:
        # an older browser, or one that does not trust the network in between
        return headers.get("origin") in {None, f"http://{headers['host']}", f"https://{headers['host']}"}
    # following a link from elsewhere shows the page to its reader, and nothing to the elsewhere
    return site in _OWN or (method in _READING and headers.get("sec-fetch-mode") == "navigate")


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request, by lower-case name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


MOST_RECORDS = 100
"""As many requests as the page lists."""

MOST_PLAYERS = 50
MOST_HELD = 200
_MOST_NAMES = 12
_LONGEST_TEXT = 200  # characters
_LONGEST_PLAYER = 1000  # characters, beyond which no player can be looked up
_LONGEST_METADATA = 1000  # characters

_OUTCOMES: Mapping[str, str] = {
    "applied": "",
    "lost": "applied, answer lost",
    "refused": "not applied",
    "unanswered": "not applied",
}

_SCRIPTED: Mapping[str, str] = {
    "success_false": ": no success",
    "html": ": a gateway's page",
    "redirect": ": sent elsewhere",
    "reset_before": ": reset",
    "reset_after": ": reset",
    "hang": ": never answered",
    "truncate": ": cut short",
    "drip": ": byte by byte",
    "huge": ": a huge answer",
}
"""What a fault adds to what the status says; the others add nothing."""

_LOSING = frozenset({"reset_after", "fail_after_applying", "truncate"})
"""Faults after which a client cannot know that its events were applied."""


def news(told: LatestChanges, use: Sequence[Use], *, since_1970: float) -> dict[str, object]:
    """What was added since the page last heard.

    Args:
        told: by the ledger.
        use: of the rate windows.
        since_1970: what added to the ledger's seconds makes them those since 1970.
    """
    tally = told.tally
    return {
        "events": tally.events,
        "players": tally.players,
        "requests": tally.arrived,
        "inFlight": tally.in_flight,
        "applied": told.ended.applied,
        "unapplied": told.ended.unapplied,
        "violations": tally.violations,
        "windows": [attrs.asdict(window) for window in use],
        "seconds": [[second, counts.applied, counts.unapplied] for second, counts in told.seconds],
        "rows": [_row(record, since_1970) for record in told.records],
    }


def _row(record: RequestRecord, since_1970: float) -> dict[str, object]:
    return {
        "number": record.number,
        "time": round((record.end + since_1970) * 1000),
        "took": round((record.end - record.start) * 1000),
        "player": None if record.player is None else clipped(record.player, _LONGEST_PLAYER),
        "events": [clipped(name) for name in record.events[:_MOST_NAMES]],
        "more": max(0, len(record.events) - _MOST_NAMES),
        "status": record.status,
        "outcome": _outcome(record),
        "words": clipped(_words(record)),
    }


def _outcome(record: RequestRecord) -> str:
    if not record.applied:
        return "refused" if record.status is not None else "unanswered"
    return "lost" if record.fault in _LOSING or record.status is None or record.left else "applied"


def _words(record: RequestRecord) -> str:
    code = "" if record.code is None else f"code {record.code}"
    what = ", ".join(filter(None, [_OUTCOMES[_outcome(record)], code]))
    why = ": ".join(filter(None, [what, record.reason]))
    asides = [] if record.fault is None else [f"as scripted{_SCRIPTED.get(record.fault, '')}"]
    asides += ["the client has left"] if record.left else []
    return " ".join(filter(None, [why, *(f"({aside})" for aside in asides)]))


def faults(script: Sequence[Fault], struck: Callable[[Fault], int | None]) -> dict[str, object]:
    """The switches with what they have struck, None for those that are off, and the script's other faults in words."""
    known = [switch.fault for switch in SWITCHES.values()]
    others = [fault for fault in script if fault not in known and struck(fault) is not None]
    return {
        "switches": [
            {"name": name, "title": switch.title, "detail": switch.detail, "struck": struck(switch.fault)}
            for name, switch in SWITCHES.items()
        ],
        "others": [clipped(in_words(fault)) for fault in others[:_MOST_NAMES]],
    }


def standings(players: Sequence[PlayerSummary]) -> list[dict[str, object]]:
    """The players in numbers."""
    return [
        {
            "player": clipped(standing.player, _LONGEST_PLAYER),
            "events": standing.events,
            "applied": standing.requests.applied,
            "unapplied": standing.requests.unapplied,
        }
        for standing in players
    ]


def player(count: int, held: Sequence[HeldEvent]) -> dict[str, object]:
    """A player's events by request, the latest request first, and in each as they stood in it.

    Args:
        count: all events that are held.
        held: the last of them, in order.
    """
    groups = [list(events) for _, events in groupby(held, key=lambda event: event.request)]
    return {"count": count, "shown": len(held), "requests": [_request(events) for events in reversed(groups)]}


def _request(events: Sequence[HeldEvent]) -> dict[str, object]:
    first = events[0]
    return {
        "number": first.request,
        "contact": ", ".join(clipped(value) for value in (first.mobile, first.email) if value is not None),
        "events": [{"name": clipped(event.name), "metadata": _metadata(event)} for event in events],
    }


def _metadata(event: HeldEvent) -> str:
    text = json.dumps(event.metadata, ensure_ascii=False)[1:-1]
    return clipped(text, _LONGEST_METADATA)


def clipped(text: str, longest: int = _LONGEST_TEXT) -> str:
    """A text that a page can show, however long it is."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


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
        found = self._handler.memory.news(self._era, self._position, most=MOST_RECORDS, now=now)
        told = {
            "isFresh": found.era != self._era,
            **news(found, self._handler.use(), since_1970=time.time() - now),
            **faults(self._handler.faults, self._handler.struck),
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
        found = self._handler.memory.standings(request.query_params.get("like", ""), MOST_PLAYERS)
        return Json(standings(found))

    async def player(self, request: Request) -> Response:
        count, held = self._handler.memory.held_by(request.query_params.get("id", ""), MOST_HELD)
        return Json(player(count, held))

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
