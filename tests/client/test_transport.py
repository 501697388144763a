"""The connection itself: TLS, names, proxies, connections kept, an HTTP client of the user's own."""

from __future__ import annotations

import gc
import socket

import anyio
import anyio.to_thread
import httpx
import pytest

from gameball_async import AsyncGameball, ConfigurationError, Rejected
from gameball_async._engine import delivery
from gameball_async.sandbox import Fault, Sandbox

from .support import QUICK, SOON, client, until

pytestmark = pytest.mark.anyio


async def test_tls_is_verified(tls_url: str) -> None:
    """A server whose certificate nobody signed gets no request, and nothing is lost."""
    gameball = AsyncGameball("key", base_url=tls_url, batching=SOON, retry=QUICK, rate=None)
    await gameball.start()
    await gameball.track("player123", "event")
    await until(lambda: gameball.stats().retries)
    assert gameball.stats().ambiguous == 0
    assert len((await gameball.aclose(timeout=0)).undelivered) == 1


async def test_closing_in_the_midst_of_a_handshake_closes_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gameball = AsyncGameball(
            "key", base_url=f"https://127.0.0.1:{silent.getsockname()[1]}", batching=SOON, retry=QUICK, rate=None
        )
        await gameball.start()
        await gameball.track("player123", "event")
        connection, _ = await anyio.to_thread.run_sync(silent.accept)
        with connection:
            assert await anyio.to_thread.run_sync(connection.recv, 65_536)  # the client's hello
            assert len((await gameball.aclose(timeout=0)).undelivered) == 1
            gc.collect()  # a connection left to it is a ResourceWarning, and so an error
            assert await anyio.to_thread.run_sync(connection.recv, 1) == b""


async def test_a_name_that_does_not_resolve_is_waited_out() -> None:
    gameball = AsyncGameball("key", base_url="https://api.gameball.invalid", batching=SOON, retry=QUICK, rate=None)
    await gameball.start()
    await gameball.track("player123", "event")
    await until(lambda: gameball.stats().retries)
    assert gameball.stats().ambiguous == 0
    await gameball.aclose(timeout=0)


async def test_proxy_variables_do_not_lead_away_from_this_machine(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with client(sandbox) as gameball:
        assert (await gameball.send("player123", {"event": None})).status == 200


@pytest.mark.parametrize(
    "variable", [{"ALL_PROXY": "gopher://user:secret@127.0.0.1:9"}, {"SSL_CERT_FILE": "/nowhere"}], ids=["proxy", "CA"]
)
async def test_an_environment_that_cannot_work_is_told_at_the_start(
    variable: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delivery._default_ssl_context.cache_clear()
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    gameball = AsyncGameball("key", base_url="https://api.gameball.invalid", batching=SOON)
    with pytest.raises(ConfigurationError, match="gameball-async doctor") as caught:
        await gameball.start()
    assert "secret" not in f"{caught.value} {caplog.text}"
    assert (await gameball.aclose()).undelivered == ()


async def test_an_environment_that_cannot_work_any_more_counts_as_a_failure(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(sandbox) as gameball:
        await gameball.send("player123", {"before": None})
        with monkeypatch.context() as patched:
            patched.setattr(delivery.Delivery, "_new_transport", _refuse)
            sandbox.stop()  # so the present connection is given up, and another cannot be made
            await gameball.track("player123", "after")
            await until(lambda: gameball.stats().retries > 1)
        sandbox.start()
        await gameball.flush(10)
    assert gameball.stats().ambiguous == 0
    assert [event.name for event in sandbox.holdings()["player123"]] == ["before", "after"]


def _refuse(_: object) -> None:
    raise ValueError


async def test_a_client_of_the_users_own_is_used_and_left_open(sandbox: Sandbox) -> None:
    seen: list[str] = []

    async def on_request(request: httpx.Request) -> None:
        seen.append(request.url.path)

    async with httpx.AsyncClient(event_hooks={"request": [on_request]}, trust_env=False, verify=False) as http_client:
        for _ in range(2):
            async with AsyncGameball("key", base_url=sandbox.url, http_client=http_client, batching=SOON) as gameball:
                await gameball.send("player123", {"event": None})
        assert not http_client.is_closed
    assert seen == ["/api/v3.0/integrations/event"] * 2


async def test_a_logging_hook_of_the_users_own_client_hides_no_answer(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003))

    async def log(response: httpx.Response) -> None:
        await response.aread()

    async with (
        httpx.AsyncClient(event_hooks={"response": [log]}, trust_env=False, verify=False) as http_client,
        AsyncGameball("key", base_url=sandbox.url, http_client=http_client, batching=SOON) as gameball,
    ):
        with pytest.raises(Rejected) as caught:
            await gameball.send("player123", {"event": None})
    assert (caught.value.status, caught.value.code) == (422, 3003)


async def test_connections_are_kept(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        for _ in range(20):
            await gameball.send("player123", {"event": None})
    assert len(sandbox.holdings()["player123"]) == 20


async def test_connections_that_the_server_closed_are_replaced(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        await gameball.send("player123", {"before": None})
        sandbox.stop()
        sandbox.start()
        assert (await gameball.send("player123", {"after": None})).status == 200
    assert [event.name for event in sandbox.holdings()["player123"]] == ["before", "after"]


async def test_a_redirect_is_not_followed(sandbox: Sandbox) -> None:
    with Sandbox() as elsewhere:
        sandbox.script(Fault.redirect(f"{elsewhere.url}/api/v3.0/integrations/event"))
        gameball = client(sandbox)
        await gameball.start()
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().halted)
        await gameball.aclose()
        assert elsewhere.requests == []
