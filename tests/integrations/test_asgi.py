"""The wrapper for ASGI apps without a lifespan, and for those that have one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from gameball_async import AsyncGameball, ConfigurationError, NotStarted
from gameball_async.integrations.asgi import gameball_app, get_gameball
from gameball_async.sandbox import Sandbox

from .support import Timed, names

Make = Callable[[], AsyncGameball]
Backend = Literal["asyncio", "trio"]


async def django(scope: Any, receive: Any, send: Any) -> None:
    """As Django's handler, it raises for a lifespan; its view tracks."""
    if scope["type"] != "http":
        raise ValueError(f"Django can only handle ASGI/HTTP connections, not {scope['type']}.")
    await get_gameball(scope).track("player123", scope["path"][1:])
    await Response("done")(scope, receive, send)


def test_the_last_event_of_an_app_without_a_lifespan_arrives(
    make_client: Make, sandbox: Sandbox, backend: Backend
) -> None:
    app = gameball_app(django, client=make_client)
    for event in ("first", "second"):  # it can be started again
        with TestClient(app, backend=backend) as http:
            assert http.get(f"/{event}").text == "done"
    assert names(sandbox) == ["first", "second"]


def test_an_apps_own_lifespan_starts_after_the_client_and_ends_before_it(
    make_client: Make, sandbox: Sandbox, backend: Backend
) -> None:
    clients: list[AsyncGameball] = []

    def make() -> AsyncGameball:
        clients.append(make_client())
        return clients[-1]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, str]]:
        await clients[0].track("player123", "start")
        yield {"own": "state"}
        await clients[0].track("player123", "end")

    async def view(request: Request) -> Response:
        await get_gameball(request.scope).track("player123", request.state.own)
        return Response()

    app = gameball_app(Starlette(routes=[Route("/", view)], lifespan=lifespan), client=make)
    with TestClient(app, backend=backend) as http:
        http.get("/")
    assert names(sandbox) == ["start", "state", "end"]


def test_an_app_whose_lifespan_fails_does_not_start(make_client: Make) -> None:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError), TestClient(gameball_app(Starlette(lifespan=lifespan), client=make_client)):
        pass


def test_a_client_that_cannot_start_stops_the_server_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """TestClient raises the error of the app; what a server does with the answer is in the tests of the examples."""
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="api_key"), TestClient(gameball_app(django)):
        pass


@pytest.mark.anyio
async def test_a_server_is_answered_that_the_start_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer it would take the app for one without a lifespan, and serve."""
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    answers: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        answers.append(message)

    with pytest.raises(ConfigurationError):
        await gameball_app(django)({"type": "lifespan"}, receive, send)
    (answer,) = answers
    assert answer["type"] == "lifespan.startup.failed"
    assert "api_key is missing" in answer["message"]


def test_without_a_lifespan_the_view_says_what_is_missing(make_client: Make) -> None:
    with pytest.raises(NotStarted, match="lifespans switched on"):
        TestClient(gameball_app(django, client=make_client)).get("/event")


def test_several_clients_have_names_and_the_close_has_its_timeout(
    make_client: Make, sandbox: Sandbox, outlet: Sandbox
) -> None:
    async def view(request: Request) -> Response:
        await get_gameball(request.scope).track("player123", "visit")
        await get_gameball(request.scope, "outlet").track("player123", "bargain")
        return Response()

    def make_outlet() -> AsyncGameball:
        return Timed("outlet-key", base_url=outlet.url)

    inner = gameball_app(Starlette(routes=[Route("/", view)]), client=make_outlet, name="outlet", close_timeout=7)
    Timed.close_timeouts.clear()
    with TestClient(gameball_app(inner, client=make_client)) as http:
        http.get("/")
    assert (names(sandbox), names(outlet)) == (["visit"], ["bargain"])
    assert 7 in Timed.close_timeouts
