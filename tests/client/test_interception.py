"""What tools that hook into httpx see of the client's own requests, and of those through a client that it is given."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
import respx

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox

from .support import SOON

pytestmark = pytest.mark.anyio

PATH = "/api/v3.0/integrations/event"


@asynccontextmanager
async def client(url: str, *, is_given_one: bool) -> AsyncGenerator[AsyncGameball]:
    async with httpx.AsyncClient(trust_env=False) as http_client:
        given = http_client if is_given_one else None
        async with AsyncGameball("key", base_url=url, http_client=given, batching=SOON, rate=None) as gameball:
            yield gameball


@pytest.mark.parametrize("is_given_one", [False, True], ids=["its own", "an injected one"])
async def test_httpx_logs_the_requests_of_an_injected_client_only_and_the_client_logs_all(
    *, is_given_one: bool, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "httpx")
    caplog.set_level(logging.DEBUG, "gameball_async.requests")
    async with client(sandbox.url, is_given_one=is_given_one) as gameball:
        await gameball.send("player123", {"event": None})
    expected = [f'HTTP Request: POST {sandbox.url}{PATH} "HTTP/1.1 200 OK"'] if is_given_one else []
    assert [record.getMessage() for record in caplog.records if record.name == "httpx"] == expected
    own_lines = [record.getMessage() for record in caplog.records if record.name == "gameball_async.requests"]
    assert len(own_lines) == 1
    assert "delivered (HTTP 200)" in own_lines[0]


@pytest.mark.parametrize("is_given_one", [False, True], ids=["its own", "an injected one"])
async def test_respx_sees_all_requests(*, is_given_one: bool) -> None:
    with respx.mock:
        route = respx.post(f"https://gameball.invalid{PATH}").respond(200)
        async with client("https://gameball.invalid", is_given_one=is_given_one) as gameball:
            await gameball.send("player123", {"event": None})
    assert route.call_count == 1
    assert route.calls.last.request.headers["APIKey"] == "key"


@pytest.mark.parametrize("is_given_one", [False, True], ids=["its own", "an injected one"])
async def test_what_replaces_the_transport_of_httpx_sees_the_requests_of_an_injected_client_only(
    *, is_given_one: bool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's instrumentation of httpx and pytest-httpx replace this method."""
    seen: list[str] = []
    handle = httpx.AsyncHTTPTransport.handle_async_request

    async def watched(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return await handle(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", watched)
    async with client(sandbox.url, is_given_one=is_given_one) as gameball:
        await gameball.send("player123", {"event": None})
    assert seen == ([PATH] if is_given_one else [])
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("is_given_one", [False, True], ids=["its own", "an injected one"])
async def test_what_replaces_the_transport_of_httpx_clients_sees_the_requests_of_an_injected_client_only(
    *, is_given_one: bool, sandbox: Sandbox
) -> None:
    with respx.mock(using="httpx", assert_all_called=False) as router:
        route = router.post(f"{sandbox.url}{PATH}").respond(200)
        async with client(sandbox.url, is_given_one=is_given_one) as gameball:
            await gameball.send("player123", {"event": None})
    assert (route.call_count, len(sandbox.requests)) == ((1, 0) if is_given_one else (0, 1))
