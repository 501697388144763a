"""The client in a cleanup context of an aiohttp app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import assert_type

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gameball_async import AsyncGameball, ConfigurationError
from gameball_async.integrations.aiohttp import GAMEBALL, gameball_context
from gameball_async.sandbox import Sandbox

from .support import Timed, names

MakeClient = Callable[[], AsyncGameball]

OUTLET = web.AppKey("OUTLET", AsyncGameball)

pytestmark = pytest.mark.anyio


async def review(request: web.Request) -> web.Response:
    gameball = request.app[GAMEBALL]
    assert_type(gameball, AsyncGameball)
    await gameball.track("player123", "review")
    return web.Response()


async def review_anywhere(request: web.Request) -> web.Response:
    gameball = request.config_dict[GAMEBALL]
    assert_type(gameball, AsyncGameball)
    await gameball.track("player123", "review")
    return web.Response()


def shop() -> web.Application:
    app = web.Application()
    app.router.add_post("/", review)
    return app


async def ask(app: web.Application, path: str = "/") -> int:
    """Start the app, send it one request, and end it."""
    async with TestClient(TestServer(app)) as http, http.post(path) as response:
        return response.status


async def test_a_handler_finds_the_client_and_its_events_arrive_before_the_app_has_ended(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    app = shop()
    app.cleanup_ctx.append(gameball_context(client=make_client))
    assert await ask(app) == 200
    assert names(sandbox) == ["review"]


async def test_a_subapp_finds_the_client_of_the_app(sandbox: Sandbox, make_client: MakeClient) -> None:
    app, subapp = web.Application(), web.Application()
    subapp.router.add_post("/", review_anywhere)
    app.add_subapp("/shop/", subapp)
    app.cleanup_ctx.append(gameball_context(client=make_client))
    assert await ask(app, "/shop/") == 200
    assert names(sandbox) == ["review"]


async def test_an_app_may_have_several_clients(sandbox: Sandbox, outlet: Sandbox, make_client: MakeClient) -> None:
    async def both(request: web.Request) -> web.Response:
        await request.app[GAMEBALL].track("player123", "review")
        await request.app[OUTLET].track("player123", "bargain")
        return web.Response()

    app = web.Application()
    app.router.add_post("/", both)
    app.cleanup_ctx.append(gameball_context(client=make_client))
    app.cleanup_ctx.append(gameball_context(client=AsyncGameball("test-key", base_url=outlet.url), key=OUTLET))
    assert await ask(app) == 200
    assert (names(sandbox), names(outlet)) == (["review"], ["bargain"])


async def test_a_context_behind_the_clients_may_track_at_its_end(sandbox: Sandbox, make_client: MakeClient) -> None:
    async def own(app: web.Application) -> AsyncIterator[None]:
        await app[GAMEBALL].track("player123", "open")
        yield
        await app[GAMEBALL].track("player123", "close")

    app = shop()
    app.cleanup_ctx.extend([gameball_context(client=make_client), own])
    assert await ask(app) == 200
    assert names(sandbox) == ["open", "review", "close"]


async def start_as_run_app_does(app: web.Application) -> None:
    """Start the app, and clean up even if that fails; aiohttp's test utilities do not."""
    runner = web.AppRunner(app)
    try:
        await runner.setup()
    finally:
        await runner.cleanup()


async def test_a_context_that_fails_at_the_start_leaves_no_client_open(
    sandbox: Sandbox, make_client: MakeClient
) -> None:
    """An unclosed client would warn, and a warning fails the test."""

    async def own(app: web.Application) -> AsyncIterator[None]:
        await app[GAMEBALL].track("player123", "open")
        raise OSError("no database")
        yield

    app = shop()
    app.cleanup_ctx.extend([gameball_context(client=make_client), own])
    with pytest.raises(OSError, match="no database"):
        await start_as_run_app_does(app)
    assert names(sandbox) == ["open"]


async def test_the_default_client_takes_its_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    app = web.Application()
    app.cleanup_ctx.append(gameball_context())
    monkeypatch.setenv("GAMEBALL_API_KEY", "test-key")
    async with TestServer(app):
        assert repr(app[GAMEBALL]) == "<AsyncGameball v3.0 at https://api.gameball.co, running>"
    assert repr(app[GAMEBALL]) == "<AsyncGameball v3.0 at https://api.gameball.co, closed>"


async def test_without_the_context_the_key_in_the_error_names_this_module() -> None:
    with pytest.raises(KeyError, match=r"gameball_async\.integrations\.aiohttp\.GAMEBALL"):
        web.Application()[GAMEBALL]


async def test_the_close_may_take_as_long_as_was_said() -> None:
    Timed.close_timeouts.clear()
    app = web.Application()
    app.cleanup_ctx.append(gameball_context(client=Timed("test-key"), close_timeout=0.5))
    async with TestServer(app):
        pass
    assert Timed.close_timeouts == [0.5]


async def test_a_close_timeout_that_cannot_work_is_refused_before_anything_is_tracked() -> None:
    app = web.Application()
    app.cleanup_ctx.append(gameball_context(close_timeout=-1))
    with pytest.raises(ConfigurationError, match="pass a number of seconds"):
        await start_as_run_app_does(app)
