"""The client in the lifespan of a Starlette app, on both loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Lifespan
from starlette.websockets import WebSocket

from gameball_async import AsyncGameball, ClientClosed, ConfigurationError, NotStarted
from gameball_async.integrations.starlette import gameball_lifespan, get_gameball
from gameball_async.sandbox import Sandbox

from .support import Timed, names

MakeClient = Callable[[], AsyncGameball]
Backend = Literal["asyncio", "trio"]


async def review(request: Request) -> Response:
    await get_gameball(request).track("player123", "review")
    return Response()


async def review_over_a_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await get_gameball(websocket).track("player123", await websocket.receive_text())
    await websocket.close()


ROUTES = [Route("/", review, methods=["POST"]), WebSocketRoute("/chat", review_over_a_websocket)]


def shop(lifespan: Lifespan[Starlette] | None) -> Starlette:
    return Starlette(routes=ROUTES, lifespan=lifespan)


def test_a_handler_finds_the_client_and_its_events_arrive_before_the_app_has_ended(
    sandbox: Sandbox, make_client: MakeClient, backend: Backend
) -> None:
    with TestClient(shop(gameball_lifespan(client=make_client)), backend=backend) as http:
        assert http.post("/").is_success
    assert names(sandbox) == ["review"]


def test_a_websocket_finds_the_client(sandbox: Sandbox, make_client: MakeClient, backend: Backend) -> None:
    app = shop(gameball_lifespan(client=make_client))
    with TestClient(app, backend=backend) as http, http.websocket_connect("/chat") as chat:
        chat.send_text("wave")
        assert chat.receive()["type"] == "websocket.close"
    assert names(sandbox) == ["wave"]


def test_a_mounted_app_finds_the_client_of_the_outermost(
    sandbox: Sandbox, make_client: MakeClient, backend: Backend
) -> None:
    outermost = Starlette(routes=[Mount("/shop", shop(None))], lifespan=gameball_lifespan(client=make_client))
    with TestClient(outermost, backend=backend) as http:
        assert http.post("/shop/").is_success
    assert names(sandbox) == ["review"]


def test_the_default_client_takes_its_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is read from there before the app begins, so that it can be imported without."""

    def show(request: Request) -> Response:
        return PlainTextResponse(repr(get_gameball(request)))

    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    app = Starlette(routes=[Route("/", show)], lifespan=gameball_lifespan())
    monkeypatch.setenv("GAMEBALL_API_KEY", "test-key")
    with TestClient(app) as http:
        assert http.get("/").text == "<AsyncGameball v3.0 at https://api.gameball.co, running>"


# ---------------------------------------------------------------- the app's own lifespan


@pytest.mark.parametrize("state", [None, {"database": "open"}], ids=["without state", "with state"])
def test_the_apps_own_lifespan_lives_within_the_clients(
    state: dict[str, str] | None, sandbox: Sandbox, make_client: MakeClient
) -> None:
    """So what it does at its end can track events, and the database outlives no event that needs it."""
    seen: list[object] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[Any]:
        seen.append(app)
        await get_gameball(app).track("player123", "open")
        yield state
        await get_gameball(app).track("player123", "close")

    def show(request: Request) -> Response:
        seen.append(getattr(request.state, "database", None))
        return Response()

    app = Starlette(routes=[*ROUTES, Route("/state", show)], lifespan=gameball_lifespan(own, client=make_client))
    with TestClient(app) as http:
        assert http.post("/").is_success
        assert http.get("/state").is_success
    assert seen == [app, (state or {}).get("database")]
    assert names(sandbox) == ["open", "review", "close"]
    with pytest.raises(NotStarted, match="the app's lifespan has no client named 'gameball'"):
        get_gameball(app)


def test_a_lifespan_of_ones_own_may_yield_the_client_itself(sandbox: Sandbox, make_client: MakeClient) -> None:
    @asynccontextmanager
    async def own(_: Starlette) -> AsyncGenerator[dict[str, AsyncGameball]]:
        async with make_client() as gameball:
            yield {"gameball": gameball}

    with TestClient(shop(own)) as http:
        assert http.post("/").is_success
    assert names(sandbox) == ["review"]


@pytest.mark.parametrize("moment", ["start", "end"])
def test_a_failure_of_the_apps_own_lifespan_is_told_and_the_client_closed(
    moment: str, sandbox: Sandbox, make_client: MakeClient, backend: Backend
) -> None:
    """An unclosed client would warn, and a warning fails the test."""
    gameball = make_client()

    @asynccontextmanager
    async def own(_: Starlette) -> AsyncGenerator[None]:
        await gameball.track("player123", "open")
        if moment == "start":
            raise OSError("no database")
        yield
        raise OSError("no database")

    lifespan = gameball_lifespan(own, client=gameball)
    with pytest.raises(OSError, match="no database"), TestClient(shop(lifespan), backend=backend):
        pass
    assert names(sandbox) == ["open"]


def test_a_start_that_is_cancelled_leaves_no_client_open(make_client: MakeClient, backend: Backend) -> None:
    gameball = make_client()

    async def begin() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with gameball_lifespan(client=gameball)(Starlette()):
                pass
        with pytest.raises(ClientClosed):
            gameball.track_nowait("player123", "review")

    anyio.run(begin, backend=backend)


def test_a_name_that_the_apps_own_lifespan_yields_is_refused_when_the_app_begins(make_client: MakeClient) -> None:
    @asynccontextmanager
    async def own(_: Starlette) -> AsyncGenerator[dict[str, str]]:
        yield {"gameball": "a ball"}

    with pytest.raises(ConfigurationError, match="use another name for the client"):
        TestClient(shop(gameball_lifespan(own, client=make_client))).__enter__()


# ---------------------------------------------------------------- several clients, several starts


def test_an_app_may_have_several_clients(sandbox: Sandbox, outlet: Sandbox, make_client: MakeClient) -> None:
    async def both(request: Request) -> Response:
        await get_gameball(request).track("player123", "review")
        await get_gameball(request, "outlet").track("player123", "bargain")
        return Response()

    others = gameball_lifespan(client=lambda: AsyncGameball("test-key", base_url=outlet.url), name="outlet")
    app = Starlette(routes=[Route("/", both)], lifespan=gameball_lifespan(others, client=make_client))
    with TestClient(app) as http:
        assert http.get("/").is_success
    assert (names(sandbox), names(outlet)) == (["review"], ["bargain"])


def test_an_app_that_is_started_again_has_a_new_client(sandbox: Sandbox, make_client: MakeClient) -> None:
    app = shop(gameball_lifespan(client=make_client))
    for _ in range(2):
        with TestClient(app) as http:
            assert http.post("/").is_success
    assert names(sandbox) == ["review", "review"]


def test_a_given_client_serves_one_start(sandbox: Sandbox, make_client: MakeClient) -> None:
    app = shop(gameball_lifespan(client=make_client()))
    with TestClient(app) as http:
        assert http.post("/").is_success
    assert names(sandbox) == ["review"]
    with pytest.raises(ClientClosed):
        TestClient(app).__enter__()


# ---------------------------------------------------------------- without, and at the end


def test_without_the_lifespan_the_error_says_what_to_do() -> None:
    with TestClient(shop(None)) as http, pytest.raises(NotStarted, match="pass lifespan=gameball_lifespan"):
        http.post("/")


def test_in_a_test_that_does_not_enter_the_app_the_error_says_what_to_do(make_client: MakeClient) -> None:
    http = TestClient(shop(gameball_lifespan(client=make_client)))
    with pytest.raises(NotStarted, match=r"enter it in tests: `with TestClient\(app\)`"):
        http.post("/")


def test_a_mounted_apps_own_lifespan_does_not_run_and_the_error_says_so(make_client: MakeClient) -> None:
    outermost = Starlette(routes=[Mount("/shop", shop(gameball_lifespan(client=make_client)))])
    with TestClient(outermost) as http, pytest.raises(NotStarted, match="to the outermost app"):
        http.post("/shop/")


def test_a_wrong_name_is_named() -> None:
    with pytest.raises(NotStarted, match="no client named 'outlte'"):
        get_gameball(HTTPConnection({"type": "http", "state": {"outlet": object()}}), "outlte")


def test_the_close_may_take_as_long_as_was_said(backend: Backend) -> None:
    Timed.close_timeouts.clear()
    lifespan = gameball_lifespan(client=lambda: Timed("test-key"), close_timeout=0.5)
    with TestClient(shop(lifespan), backend=backend):
        pass
    assert Timed.close_timeouts == [0.5]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "10", None])
def test_a_close_timeout_that_cannot_work_is_refused_before_anything_is_tracked(timeout: Any) -> None:
    """At the end it would be too late: the close would raise instead of closing."""
    with pytest.raises(ConfigurationError, match="pass a number of seconds"):
        TestClient(shop(gameball_lifespan(close_timeout=timeout))).__enter__()


# ---------------------------------------------------------------- mistakes of those without a type checker


def test_a_client_in_the_place_of_the_lifespan_is_refused_at_once() -> None:
    misplaced: Any = AsyncGameball("test-key")
    with pytest.raises(ConfigurationError, match="pass the client as client="):
        gameball_lifespan(misplaced)


@pytest.mark.parametrize("made", [None, "test-key", AsyncGameball], ids=["None", "a key", "the class"])
def test_what_makes_no_client_is_refused_when_the_app_begins(made: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"is or returns a {type(made).__name__}: pass an AsyncGameball"):
        TestClient(shop(gameball_lifespan(client=lambda: made))).__enter__()


def test_what_is_no_client_and_no_function_is_refused_when_the_app_begins() -> None:
    key: Any = "test-key"
    with pytest.raises(ConfigurationError, match="client is or returns a str: pass an AsyncGameball"):
        TestClient(shop(gameball_lifespan(client=key))).__enter__()
