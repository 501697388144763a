"""The web page, its data, and who may access it. All below `PATH`; the API's own routes are in `_sandbox`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from ipaddress import ip_address
from itertools import groupby
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ._faults import SWITCHES, FaultScript, describe
from ._handler import RequestHandler
from ._jobs import JobRecord
from ._memory import HeldEvent, LatestChanges, PlayerSummary, RequestRecord, is_answer
from ._responses import EFFECTS
from ._rules import Use
from ._server import InterruptibleSleep, ResponseWriter, Stopped


class Json(JSONResponse):
    """JSON in ASCII: names in a refused request may contain lone surrogates, which UTF-8 cannot encode."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 as in the class above
        return json.dumps(content).encode()


def bad_request(message: str) -> Json:
    return Json({"error": message}, status_code=400)


async def _json_object(request: Request) -> dict[str, object]:
    """Return the JSON object in a request's body, or an empty one."""
    try:
        given: object = json.loads(await request.body())
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", given) if isinstance(given, dict) else {}


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request by lower-case name."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


# ---------------------------------------------------------------- access

_READING = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # responses contain personal data, and the page belongs to the version that serves it
    "cache-control": "no-store",
}
"""The headers of every response outside of the API's routes."""


def refusal(host: str, method: str, headers: Mapping[str, str]) -> str | None:
    """Return why a request outside of the API's routes is refused, or None; `host` is where the sandbox listens."""
    if not _is_own_name(host, headers.get("host", "")):
        return "the Host header is not a name of this sandbox: use its IP address."
    if not _comes_from_here(method, headers):
        return "the request comes from another web page: open the sandbox's own page, or use a program."
    return None


def _is_own_name(host: str, asked: str) -> bool:
    """Whether a Host header can be meant for this sandbox.

    A web page can make its own name resolve to any address (DNS rebinding) and then read from it. It cannot do so
    with an address, nor with a name that its visitor's machine resolves itself.
    """
    name = _name(asked)
    if name in {"localhost", host.lower()} or name.endswith(".localhost") or _is_address(name):
        return True
    # names without a dot belong to the local network, such as a container's
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
    """Whether a request does not come from a foreign page: browsers send headers about that, programs do not."""
    site = headers.get("sec-fetch-site")
    if site is None:
        # a program, an older browser, or one that does not trust the network
        return headers.get("origin") in {None, f"http://{headers['host']}", f"https://{headers['host']}"}
    # following a link from another site shows the page to the user, but not to that site
    return site in _OWN or (method in _READING and headers.get("sec-fetch-mode") == "navigate")


class AccessGuard:
    """Refuses requests of foreign web pages, and adds the security headers; `host` is where the sandbox listens."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_GUARDS]}
            await send(message)

        reason = refusal(self._host, scope["method"], headers_of(scope))
        app = self._app if reason is None else PlainTextResponse(f"{reason}\n", status_code=403)
        await app(scope, receive, send_guarded)


_GUARDS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

# ---------------------------------------------------------------- the page's data

MOST_RECORDS = 100
MOST_JOBS = 10
MOST_PLAYERS = 50
MOST_HELD = 200
_MOST_NAMES = 12
_LONGEST_TEXT = 200  # characters
_LONGEST_PLAYER = 1000  # characters, beyond which no player can be looked up
_LONGEST_METADATA = 1000  # characters

_OUTCOMES: Mapping[str, str] = {
    "applied": "",
    "answered": "",
    "lost": "applied, answer lost",
    "refused": "not applied",
    "unanswered": "not applied",
}


def _changes(found: LatestChanges, use: tuple[list[Use], list[Use]], *, since_1970: float) -> dict[str, object]:
    """Return the latest changes; `since_1970` converts monotonic seconds to those since 1970."""
    tally = found.tally
    return {
        "events": tally.events,
        "players": tally.players,
        "requests": tally.arrived,
        "inFlight": tally.in_flight,
        "applied": found.ended.applied,
        "unapplied": found.ended.unapplied,
        "violations": tally.violations,
        "windows": [attrs.asdict(window) for window in use[0]],
        "otherWindows": [attrs.asdict(window) for window in use[1]],
        "seconds": [[second, counts.applied, counts.unapplied, counts.others] for second, counts in found.seconds],
        "unfinishedJobs": tally.unfinished_jobs,
        "jobCount": tally.jobs,
        "jobs": [_job(job) for job in reversed(found.jobs)],
        "rows": [_row(record, since_1970) for record in found.records],
    }


def _job(job: JobRecord) -> dict[str, object]:
    return {
        "id": job.id,
        "state": job.state,
        "items": job.items,
        "processed": job.processed,
        "failed": len(job.failed),
        "polls": job.polls,
        "accepted": job.accepted,
        "finished": job.finished,
    }


def _row(record: RequestRecord, since_1970: float) -> dict[str, object]:
    return {
        "number": record.number,
        "time": round((record.end + since_1970) * 1000),
        "took": round((record.end - record.start) * 1000),
        "player": None if record.player is None else clipped(record.player, _LONGEST_PLAYER),
        "events": [clipped(name) for name in record.events[:_MOST_NAMES]],
        "more": max(0, len(record.events) - _MOST_NAMES),
        "route": record.route,
        "items": record.items,
        "job": record.job,
        "status": record.status,
        "outcome": _outcome(record),
        "words": clipped(_description(record)),
    }


def _outcome(record: RequestRecord) -> str:
    if not record.applied:
        if is_answer(record):
            return "answered"
        return "refused" if record.status is not None else "unanswered"
    is_lost = record.status is None or record.left or (record.fault is not None and EFFECTS[record.fault].loses_answer)
    return "lost" if is_lost else "applied"


def _description(record: RequestRecord) -> str:
    code = "" if record.code is None else f"code {record.code}"
    outcome = _OUTCOMES[_outcome(record)]
    if record.route == "batch":
        outcome = outcome.replace("applied", "accepted")
    elif record.route in {"status", "stop", "preview"}:
        outcome = ""
    what = ", ".join(filter(None, [outcome, code]))
    why = ": ".join(filter(None, [what, record.reason]))
    asides: list[str] = []
    if record.fault is not None:
        asides.append(": ".join(filter(None, ["as scripted", EFFECTS[record.fault].words])))
    asides += ["the client has left"] if record.left else []
    return " ".join(filter(None, [why, *(f"({aside})" for aside in asides)]))


def _faults(script: FaultScript) -> dict[str, object]:
    """Return the switches with their number of affected requests (None if off), and the script's other faults."""
    known = [switch.fault for switch in SWITCHES.values()]
    others = [fault for fault in script.faults if fault not in known and script.hits(fault) is not None]
    return {
        "switches": [
            {"name": name, "title": switch.title, "detail": switch.detail, "struck": script.hits(switch.fault)}
            for name, switch in SWITCHES.items()
        ],
        "others": [clipped(describe(fault)) for fault in others[:_MOST_NAMES]],
    }


def _player_row(player: PlayerSummary) -> dict[str, object]:
    return {
        "player": clipped(player.player, _LONGEST_PLAYER),
        "events": player.events,
        "applied": player.requests.applied,
        "unapplied": player.requests.unapplied,
    }


def _player_events(count: int, held: Sequence[HeldEvent]) -> dict[str, object]:
    """Return a player's events by request, the latest request first; `held` are the last ones of `count`."""
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
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


# ---------------------------------------------------------------- live updates

# seconds; short enough to look live, long enough to merge a burst into one message
_UPDATE_INTERVAL = 0.25

# seconds; a comment shows both sides that the connection is alive
_KEEP_ALIVE_INTERVAL = 15.0

# milliseconds until a browser reconnects
_RECONNECT_AFTER = 1000


class EventStream:
    """The route of the live updates, as server-sent events."""

    def __init__(self, handler: RequestHandler, sleeps: InterruptibleSleep) -> None:
        self._handler = handler
        self._sleeps = sleeps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = ResponseWriter(scope, receive, send, self._sleeps)
        # a browser that reconnects sends the last message's id in a header, a page that is shown again in the query
        last = headers_of(scope).get("last-event-id") or Request(scope).query_params.get("last", "")
        source = _EventSource(self._handler, last)
        head = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            while not writer.is_gone():
                if message := source.next():
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                await self._sleeps.sleep(_UPDATE_INTERVAL)
        except Stopped:
            pass
        await writer.gone()


class _EventSource:
    """What one browser has received; `last` is the id of its last message, or any other text."""

    def __init__(self, handler: RequestHandler, last: str) -> None:
        self._handler = handler
        self._era, _, position = last.partition(".")
        self._position = 0
        with suppress(ValueError):
            self._position = int(position)
        self._sent: dict[str, object] = {}
        self._sent_at = -math.inf

    def next(self) -> bytes:
        """Return the next message, or empty bytes if nothing has changed."""
        now = time.monotonic()
        found = self._handler.memory.changes_since(
            self._era, self._position, most=MOST_RECORDS, most_jobs=MOST_JOBS, now=now
        )
        state = {
            "isFresh": found.era != self._era,
            **_changes(found, self._handler.use(), since_1970=time.time() - now),
            **_faults(self._handler.script),
        }
        if state == self._sent:
            return self._keep_alive(now)
        self._era, self._position = found.era, found.position
        self._sent, self._sent_at = {**state, "isFresh": False, "rows": []}, now
        text = json.dumps({**state, "now": now})
        return f"id: {found.era}.{found.position}\nretry: {_RECONNECT_AFTER}\ndata: {text}\n\n".encode()

    def _keep_alive(self, now: float) -> bytes:
        if now - self._sent_at < _KEEP_ALIVE_INTERVAL:
            return b""
        self._sent_at = now
        return b":\n\n"


# ---------------------------------------------------------------- routes


PATH = "/_sandbox/"

_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page/style.css": ("style.css", "text/css; charset=utf-8"),
    "page/theme.js": ("theme.js", "text/javascript; charset=utf-8"),
    "page/script.js": ("script.js", "text/javascript; charset=utf-8"),
    "page/minute.js": ("minute.js", "text/javascript; charset=utf-8"),
    "page/jobs.js": ("jobs.js", "text/javascript; charset=utf-8"),
    "page/tools.js": ("tools.js", "text/javascript; charset=utf-8"),
    "page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The page's files by their paths below `PATH`."""

_LONGEST_DOWNTIME = 600.0


class Page:
    """The page's routes below `PATH`; `refuse_connections` takes seconds and returns at once."""

    def __init__(
        self, handler: RequestHandler, sleeps: InterruptibleSleep, refuse_connections: Callable[[float], None]
    ) -> None:
        self._handler = handler
        self._sleeps = sleeps
        self._refuse_connections = refuse_connections

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
        found = self._handler.memory.players(request.query_params.get("like", ""), MOST_PLAYERS)
        return Json([_player_row(player) for player in found])

    async def player(self, request: Request) -> Response:
        count, held = self._handler.memory.held_by(request.query_params.get("id", ""), MOST_HELD)
        return Json(_player_events(count, held))

    async def switch(self, request: Request) -> Response:
        given = await _json_object(request)
        switch, on = SWITCHES.get(str(given.get("name"))), given.get("on")
        if switch is None or not isinstance(on, bool):
            names = ", ".join(SWITCHES)
            return bad_request(f'send a JSON object such as {{"name": "outage", "on": true}}; names: {names}.')
        self._handler.switch(switch.fault, on=on)
        return Json({})

    async def leave(self, request: Request) -> Response:
        seconds = (await _json_object(request)).get("seconds")
        if not isinstance(seconds, (int, float)) or not 0 < seconds <= _LONGEST_DOWNTIME:
            return bad_request(f'send a JSON object such as {{"seconds": 10}}, at most {_LONGEST_DOWNTIME:g}.')
        # after the response, because this connection is closed too
        return Json({}, background=BackgroundTask(self._refuse_connections, float(seconds)))


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        content = resources.files("gameball_async.sandbox").joinpath("page", name).read_bytes()
        return Response(content, media_type=media_type)

    return answer


class RootRedirect:
    """The root address: redirects browsers to the page, and passes programs to `otherwise`."""

    def __init__(self, otherwise: ASGIApp) -> None:
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_browser = scope["method"] == "GET" and "text/html" in headers_of(scope).get("accept", "")
        app = RedirectResponse(PATH) if is_browser else self._otherwise
        await app(scope, receive, send)
