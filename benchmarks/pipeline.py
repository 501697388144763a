"""The whole way of an event, from the call to the answer, in processor time and in events a second.

Everything that the process does counts, threads included; the server is another process. Ours sends requests of eight
merged events, without pacing. *Bare httpx* is the smallest possible client for the same requests: bytes that are ready,
ten tasks, the same pool. *Bare sockets* are the same without an HTTP library: what the loop and the kernel take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import httpx

from gameball_async import AsyncGameball, Batching
from gameball_async._config import Mode
from gameball_async._core.events import encode_event
from gameball_async._core.wire import dialect
from gameball_async._engine.flusher import CONNECTIONS

from .harness import Benchmark, Column, Figures, Goal, Measurement, Setting
from .peers import AsyncPosthog, OfficialCall, Peer, Segment, Snowplow
from .shop import METADATA, NAMES, events, many_names

_EVENTS = 20_000
_TWO_KEYS: dict[str, Any] = {"secret_key": "any", "api_version": "v4.0"}
_OURS = "gameball_async"
BULK = "gameball_async, bulk requests"
_BARE = "bare httpx, the same requests"
_SOCKETS = "bare sockets, the same requests"
_HEADERS = {"APIKey": "key", "Content-Type": "application/json", "Accept-Encoding": "identity"}


async def _timed(count: int, work: Callable[[], Awaitable[object]]) -> Figures:
    begun, cpu = time.perf_counter(), time.process_time()
    await work()
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
    return {"cpu": 1e6 * cpu / count, "per_second": count / seconds}


async def _ours(setting: Setting, names: tuple[str, ...] = NAMES, mode: Mode = "single") -> Figures:
    count, keys = setting.of(_EVENTS, least=len(NAMES)), {} if mode == "single" else _TWO_KEYS
    async with AsyncGameball("key", base_url=setting.url, rate=None, batching=Batching(mode=mode), **keys) as gameball:

        async def work() -> None:
            for number, (player, name) in enumerate(events(count, names=names)):
                await gameball.track(player, name, METADATA)
                if not number % 100:
                    await asyncio.sleep(0)
            await gameball.flush()

        return await _timed(count, work)


def _run_ours(setting: Setting) -> Figures:
    return asyncio.run(_ours(setting))


def _run_ours_in_large_requests(setting: Setting) -> Figures:
    return asyncio.run(_ours(setting, many_names(100)))


def _run_ours_in_bulk(setting: Setting) -> Figures:
    return asyncio.run(_ours(setting, mode="bulk"))


def _run_ours_in_uvloop(setting: Setting) -> Figures:
    uvloop: Any = import_module("uvloop")
    figures: Figures = uvloop.run(_ours(setting))
    return figures


def _bodies(count: int) -> Iterator[bytes]:
    encoded = [encode_event(name, METADATA) for name in NAMES]
    for number in range(count // len(NAMES)):
        yield dialect("v3.0").body(f"player{number}", encoded, None, None)


async def _bare(setting: Setting) -> Figures:
    count = setting.of(_EVENTS, least=len(NAMES))
    url, bodies = f"{setting.url}/api/v3.0/integrations/event", iter(list(_bodies(count)))
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as client:
        headers = httpx.Headers(_HEADERS)

        async def send() -> None:
            for body in bodies:
                (await client.post(url, content=body, headers=headers)).raise_for_status()

        async def work() -> None:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(CONNECTIONS):
                    tasks.create_task(send())

        return await _timed(count, work)


async def _on_sockets(setting: Setting) -> Figures:
    count = setting.of(_EVENTS, least=len(NAMES))
    host, port = setting.url.removeprefix("http://").split(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    head = f"POST /api/v3.0/integrations/event HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}Content-Length: "
    requests = iter([b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body) for body in _bodies(count)])

    async def send() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        for request in requests:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.rsplit(b":", 1)[1]))
        writer.close()

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(send())

    return await _timed(count, work)


async def _peer(make: Callable[[str], Peer], setting: Setting, full: int) -> Figures:
    count, peer = setting.of(full, least=len(NAMES)), make(setting.url)

    async def work() -> None:
        for number, (player, name) in enumerate(events(count)):
            peer.track(player, name, METADATA)
            if not number % 100:
                await asyncio.sleep(0)
        await peer.finish()

    return await _timed(count, work)


def _run_peer(make: Callable[[str], Peer], setting: Setting, full: int = _EVENTS) -> Figures:
    return asyncio.run(_peer(make, setting, full))


BENCHMARK = Benchmark(
    name="pipeline",
    title="The whole pipeline to a local server, without pacing",
    columns=(
        Column(figure="cpu", heading="CPU µs/event"),
        Column(figure="per_second", heading="events/s", digits=0),
    ),
    measurements=(
        Measurement(_OURS, _run_ours, (_BARE, "segment-analytics-python", "AsyncPosthog")),
        Measurement("gameball_async, uvloop", _run_ours_in_uvloop, (_OURS,), needs="uvloop"),
        Measurement("gameball_async, requests of 100 events", _run_ours_in_large_requests, (_OURS,)),
        Measurement(BULK, _run_ours_in_bulk, ("segment-analytics-python", "AsyncPosthog")),
        Measurement(_BARE, lambda setting: asyncio.run(_bare(setting)), (_OURS,)),
        Measurement(_SOCKETS, lambda setting: asyncio.run(_on_sockets(setting)), (_OURS,)),
        Measurement("snowplow-tracker", partial(_run_peer, Snowplow), needs=Snowplow.library),
        Measurement("segment-analytics-python", partial(_run_peer, Segment), needs=Segment.library),
        Measurement("AsyncPosthog", partial(_run_peer, AsyncPosthog), needs=AsyncPosthog.library),
        Measurement(
            "gameball-python, one blocking request",
            partial(_run_peer, OfficialCall, full=2_000),
            needs=OfficialCall.library,
        ),
    ),
    goals=(
        Goal(
            text="CPU per event, from the call to the answer: at most segment's",
            label=_OURS,
            figure="cpu",
            beside="segment-analytics-python",
            at_most=1.0,
        ),
    ),
)
