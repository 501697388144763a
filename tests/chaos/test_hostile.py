"""Servers that answer what no client should choke on: bounded in time and memory, and nothing is lost."""

from __future__ import annotations

import gc
import socket
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import pytest
import trustme

from gameball_async import AsyncGameball, Batching, Retry
from gameball_async._engine import delivery
from gameball_async.sandbox import Fault, Sandbox

from .gateway import HOSTILE, Gateway, Mood, deaf, endless_body, loris, through

pytestmark = pytest.mark.anyio

PLAYERS = 30

MEMORY = 12 * 1024 * 1024
"""Bytes that ten connections may take with hostile answers; one answer in full would take more."""


def client(
    url: str,
    *,
    timeout: float = 2,
    batching: Batching = Batching(linger=0.01),  # noqa: B008 frozen
    http_client: httpx.AsyncClient | None = None,
) -> AsyncGameball:
    return AsyncGameball(
        "chaos-key",
        base_url=url,
        rate=None,
        timeout=timeout,
        batching=batching,
        retry=Retry(initial=0.01, maximum=0.05, max_attempts=1000),
        http_client=http_client,
    )


async def track_all(gameball: AsyncGameball) -> None:
    await track_some(gameball, turns=range(3))


async def track_some(gameball: AsyncGameball, *, turns: range) -> None:
    for turn in turns:
        for player in range(PLAYERS):
            await gameball.track(f"player{player}", "event", {"number": player + PLAYERS * turn})


async def tried_again(gameball: AsyncGameball, times: int) -> None:
    """Wait for so many retries; the test's timeout is the limit."""
    while gameball.stats().retries < times:  # noqa: ASYNC110 what is waited for sets no event
        await anyio.sleep(0.001)


def assert_all_held(sandbox: Sandbox) -> None:
    """Everything arrived once and in order."""
    held = {player: [event.metadata["number"] for event in events] for player, events in sandbox.holdings().items()}
    assert held == {f"player{player}": [player + PLAYERS * turn for turn in range(3)] for player in range(PLAYERS)}
    assert sandbox.violations == []


@pytest.mark.parametrize(
    ("anyio_backend", "mood"),
    [("asyncio", mood) for mood in (*HOSTILE, deaf)] + [("trio", endless_body), ("trio", loris)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_hostile_answer_takes_little_memory_and_little_time(
    mood: Mood, sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    """One for each of the ten connections; then the server is itself again."""
    moods = chain(repeat(mood, 10), repeat(through))
    with Gateway(sandbox.url, lambda: next(moods)) as gateway:
        tracemalloc.start()
        try:
            with anyio.fail_after(60):
                async with client(gateway.url) as gameball:
                    await track_all(gameball)
                    await gameball.flush()
                    stats = gameball.stats()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert stats.delivered == 3 * PLAYERS
    assert stats.retries >= 10
    request.node.user_properties.append(("peak", peak))
    assert peak < MEMORY
    assert_all_held(sandbox)


async def test_a_request_that_gets_stuck_half_way_is_given_up_and_goes_again(sandbox: Sandbox) -> None:
    """The network stops reading in the middle of eight megabytes, more than its buffers hold."""
    moods = chain([deaf], repeat(through))
    long = "x" * (8 * 1024 * 1024)
    with Gateway(sandbox.url, lambda: next(moods)) as gateway:
        batching = Batching(linger=0.01, max_bytes=16 * 1024 * 1024)
        async with client(gateway.url, batching=batching, timeout=1) as gameball:
            delivered = await gameball.send("player123", {"event": {"text": long}})
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, True)
    assert [event.metadata["text"] == long for event in sandbox.holdings()["player123"]] == [True]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the gateway's, if it ends amid a handshake
@pytest.mark.parametrize("name", ["127.0.0.1", "elsewhere.example"], ids=["nobody signed it", "of another name"])
async def test_a_certificate_that_proves_nothing_is_waited_out(
    name: str, sandbox: Sandbox, authority: trustme.CA
) -> None:
    """Not one byte of a request went out meanwhile, so nothing can have been counted twice."""
    signer = trustme.CA() if name == "127.0.0.1" else authority
    with Gateway(sandbox.url, context=context_of(signer, name)) as gateway:
        gameball = client(gateway.url)
        await gameball.start()
        await track_all(gameball)
        await tried_again(gameball, 10)
    assert sandbox.requests == []
    with Gateway(sandbox.url, context=context_of(authority), port=gateway.port), anyio.fail_after(60):
        await gameball.flush()
        assert gameball.stats().ambiguous == 0
        await gameball.aclose()
    assert_all_held(sandbox)
    gc.collect()  # while those warnings are ignored


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """The one whose signature this machine believes."""
    authority, path = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    delivery._default_ssl_context.cache_clear()
    yield authority
    delivery._default_ssl_context.cache_clear()


def context_of(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """A server's, with a certificate for a name that this authority signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    return context


NAME = "api.gameball.test"
"""A name that no server of this world knows."""


class Resolver:
    """Looks names up for the process, as the system does, but for one name of its own.

    Attributes:
        address: what it knows of that name; while it is None every look-up fails, in one way after another.
        lookups: how many it was asked for.
    """

    def __init__(self, look_up: Callable[..., list[Any]]) -> None:
        self.address: str | None = None
        self.lookups = 0
        self._look_up = look_up
        self._failures = cycle([socket.EAI_AGAIN, socket.EAI_NONAME, socket.EAI_FAIL])

    def getaddrinfo(self, host: str | bytes | None, *args: Any, **options: Any) -> list[Any]:
        if host not in (NAME, NAME.encode()):
            return self._look_up(host, *args, **options)
        self.lookups += 1
        if self.address is None:
            raise socket.gaierror(next(self._failures), "simulated")
        return self._look_up(self.address, *args, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """In the place of the system's own, which has to be asked for nothing that leaves this machine."""
    resolver = Resolver(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    monkeypatch.setenv("NO_PROXY", NAME)
    return resolver


async def test_a_name_that_does_not_resolve_for_a_while_is_waited_out(sandbox: Sandbox, resolver: Resolver) -> None:
    """Before the first connection, and again when the server has cut them all; no request was ever on its way."""
    async with client(f"http://{NAME}:{urlsplit(sandbox.url).port}") as gameball:
        await track_some(gameball, turns=range(2))
        await while_nothing_resolves(gameball, resolver)
        resolver.address = "127.0.0.1"
        with anyio.fail_after(60):
            await gameball.flush()
        resolver.address = None
        await anyio.to_thread.run_sync(sandbox.stop)
        await anyio.to_thread.run_sync(sandbox.start)
        await track_some(gameball, turns=range(2, 3))
        await while_nothing_resolves(gameball, resolver)
        resolver.address = "127.0.0.1"
        with anyio.fail_after(60):
            await gameball.flush()
        assert gameball.stats().ambiguous == 0
    assert_all_held(sandbox)


async def while_nothing_resolves(gameball: AsyncGameball, resolver: Resolver) -> None:
    """Let every kind of failure come more than once, and the client try again each time."""
    before, lookups = gameball.stats(), resolver.lookups
    await tried_again(gameball, before.retries + 6)
    assert resolver.lookups >= lookups + 6
    assert gameball.stats().delivered == before.delivered


async def test_a_pool_without_a_free_connection_is_waited_for(sandbox: Sandbox) -> None:
    """Ten workers share one connection of the user's own client, and most of the time it is taken."""
    sandbox.script(Fault.latency(0.005))
    limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(5, pool=0.005)
    async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, verify=False) as http_client:
        with anyio.fail_after(60):
            async with client(sandbox.url, http_client=http_client) as gameball:
                await track_all(gameball)
                await gameball.flush()
                stats = gameball.stats()
    assert stats.retries > 0
    assert stats.ambiguous == 0
    assert_all_held(sandbox)
