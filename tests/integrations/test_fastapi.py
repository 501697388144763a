"""The client as a dependency of FastAPI's handlers, on both loops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, assert_type

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient

from gameball_async import AsyncGameball, NotStarted
from gameball_async.integrations.fastapi import Gameball, gameball_lifespan, gameball_named, get_gameball
from gameball_async.sandbox import Sandbox

from .support import names

MakeClient = Callable[[], AsyncGameball]
Backend = Literal["asyncio", "trio"]

get_outlet = gameball_named("outlet")
Outlet = Annotated[AsyncGameball, Depends(get_outlet)]

router = APIRouter()


@router.post("/reviews")
async def review(gameball: Gameball) -> None:
    assert_type(gameball, AsyncGameball)
    await gameball.track("player123", "review")


@router.post("/visits")
def visit(gameball: Gameball) -> None:
    gameball.track_threadsafe("player123", "visit")


@router.websocket("/chat")
async def chat(websocket: WebSocket, gameball: Gameball) -> None:
    await websocket.accept()
    await gameball.track("player123", await websocket.receive_text())
    await websocket.close()


async def loyal(gameball: Gameball) -> str:
    await gameball.track("player123", "asked")
    return "player123"


@router.get("/points")
async def points(player: Annotated[str, Depends(loyal)]) -> str:
    return player


@router.post("/bargains")
async def bargain(gameball: Gameball, outlet: Outlet) -> None:
    assert_type(outlet, AsyncGameball)
    await gameball.track("player123", "missed")
    await outlet.track("player123", "bargain")


def shop(make_client: MakeClient) -> FastAPI:
    app = FastAPI(lifespan=gameball_lifespan(client=make_client))
    app.include_router(router)
    return app


def test_handlers_dependencies_threads_and_websockets_get_the_same_client(
    sandbox: Sandbox, make_client: MakeClient, backend: Backend
) -> None:
    with TestClient(shop(make_client), backend=backend) as http:
        assert http.post("/reviews").is_success
        assert http.post("/visits").is_success
        assert http.get("/points").json() == "player123"
        with http.websocket_connect("/chat") as socket:
            socket.send_text("wave")
            assert socket.receive()["type"] == "websocket.close"
    assert names(sandbox) == ["review", "visit", "asked", "wave"]
    assert len(sandbox.requests) == 1  # one client has merged them


def test_the_apps_own_lifespan_and_its_state_stay(sandbox: Sandbox, make_client: MakeClient) -> None:
    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        yield {"database": "open"}

    app = FastAPI(lifespan=gameball_lifespan(own, client=make_client))

    @app.get("/")
    async def show(request: Request, gameball: Gameball) -> str:
        await gameball.track("player123", "review")
        return str(request.state.database)

    with TestClient(app) as http:
        assert http.get("/").json() == "open"
    assert names(sandbox) == ["review"]


def test_a_router_may_bring_the_client_along(sandbox: Sandbox, make_client: MakeClient) -> None:
    loyalty = APIRouter(lifespan=gameball_lifespan(client=make_client))
    loyalty.post("/reviews")(review)
    app = FastAPI()
    app.include_router(loyalty)
    with TestClient(app) as http:
        assert http.post("/reviews").is_success
    assert names(sandbox) == ["review"]


def test_a_mounted_app_gets_the_client_of_the_outermost(sandbox: Sandbox, make_client: MakeClient) -> None:
    mounted, outermost = FastAPI(), FastAPI(lifespan=gameball_lifespan(client=make_client))
    mounted.include_router(router)
    outermost.mount("/shop", mounted)
    with TestClient(outermost) as http:
        assert http.post("/shop/reviews").is_success
    assert names(sandbox) == ["review"]


def test_an_app_may_have_several_clients(sandbox: Sandbox, outlet: Sandbox, make_client: MakeClient) -> None:
    others = gameball_lifespan(client=lambda: AsyncGameball("test-key", base_url=outlet.url), name="outlet")
    app = FastAPI(lifespan=gameball_lifespan(others, client=make_client))
    app.include_router(router)
    with TestClient(app) as http:
        assert http.post("/bargains").is_success
    assert (names(sandbox), names(outlet)) == (["missed"], ["bargain"])


def test_a_users_test_replaces_the_client(outlet: Sandbox) -> None:
    """The app's own client need not even have a key, if the test does not enter its lifespan."""
    app = shop(lambda: pytest.fail("it was made"))

    async def get_other() -> AsyncGenerator[AsyncGameball]:
        async with AsyncGameball("test-key", base_url=outlet.url) as gameball:
            yield gameball

    app.dependency_overrides[get_gameball] = get_other
    assert TestClient(app).post("/reviews").is_success
    assert names(outlet) == ["review"]


@pytest.mark.parametrize("path", ["/reviews", "/visits"])
def test_without_the_lifespan_the_error_says_what_to_do(path: str) -> None:
    app = FastAPI()
    app.include_router(router)
    with TestClient(app) as http, pytest.raises(NotStarted, match="pass lifespan=gameball_lifespan"):
        http.post(path)


def test_without_the_lifespan_a_websocket_is_told_as_well() -> None:
    app = FastAPI()
    app.include_router(router)
    with (
        TestClient(app) as http,
        pytest.raises(NotStarted, match="pass lifespan=gameball_lifespan"),
        http.websocket_connect("/chat"),
    ):
        pass


def test_a_missing_client_of_several_is_named(make_client: MakeClient) -> None:
    with TestClient(shop(make_client)) as http, pytest.raises(NotStarted, match="no client named 'outlet'"):
        http.post("/bargains")


def test_the_dependency_is_not_seen_in_the_schema(make_client: MakeClient) -> None:
    operation = shop(make_client).openapi()["paths"]["/reviews"]["post"]
    assert operation.keys() == {"summary", "operationId", "responses"}
    assert operation["responses"].keys() == {"200"}
