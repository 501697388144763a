"""A gateway between the client and the sandbox that misbehaves as it is told, on real sockets, in a thread of its own.

Each request that arrives gets a mood: to be passed through, to be swallowed, cut, slowed down, or
answered by the gateway itself with something no client should choke on.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

_PIECE = 64 * 1024

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with 0 seconds: closing sends RST instead of FIN."""


class Cut(Exception):
    """The connection ends here."""


class Line:
    """One connection from the client, with one to the sandbox behind it.

    Attributes:
        client: writes to the client.
        sandbox: writes to the sandbox.
        deliver: how the sandbox's answers reach the client.
    """

    def __init__(self, client: asyncio.StreamWriter, sandbox: asyncio.StreamWriter) -> None:
        self.client = client
        self.sandbox = sandbox
        self.deliver: Callable[[bytes], Awaitable[None]] = self.whole

    async def whole(self, data: bytes) -> None:
        self.client.write(data)
        await self.client.drain()

    async def never(self, _: bytes) -> None:
        """Swallow the answer; the client waits."""

    async def half(self, data: bytes) -> None:
        await self.whole(data[: len(data) // 2])
        self.client.close()

    async def bytewise(self, data: bytes) -> None:
        for position in range(len(data)):
            await self.whole(data[position : position + 1])
            await asyncio.sleep(0.001)

    async def late(self, data: bytes) -> None:
        await asyncio.sleep(0.1)
        await self.whole(data)

    async def pass_on(self, data: bytes) -> None:
        self.sandbox.write(data)
        await self.sandbox.drain()

    def reset(self) -> None:
        """Cut the client off with a RST."""
        connection: socket.socket = self.client.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.transport.abort()
        raise Cut


Mood = Callable[[Line, bytes], Awaitable[None]]
"""What becomes of a request: the line it came on, and its bytes, or the next of them."""


# ---------------------------------------------------------------- the network's moods


async def through(line: Line, data: bytes) -> None:
    line.deliver = line.whole
    await line.pass_on(data)


async def mute(line: Line, data: bytes) -> None:
    """The request arrives, its answer does not."""
    line.deliver = line.never
    await line.pass_on(data)


async def halved(line: Line, data: bytes) -> None:
    """The request arrives, and half of its answer."""
    line.deliver = line.half
    await line.pass_on(data)


async def slow(line: Line, data: bytes) -> None:
    line.deliver = line.bytewise
    await line.pass_on(data)


async def late(line: Line, data: bytes) -> None:
    line.deliver = line.late
    await line.pass_on(data)


async def deaf(_: Line, __: bytes) -> None:
    """Half-open: nothing more is read from the client, who is not told."""
    await asyncio.Event().wait()


async def cut(line: Line, data: bytes) -> None:
    """Half of the request arrives, and the client is reset."""
    await line.pass_on(data[: len(data) // 2])
    line.reset()


async def gone(line: Line, _: bytes) -> None:
    """Nothing arrives, and the client is reset."""
    line.reset()


NETWORK = (mute, halved, slow, late, deaf, cut, gone)
"""What a network does to requests; each of them can lose an answer, none an event."""


# ---------------------------------------------------------------- answers no client should choke on


async def endless_body(line: Line, _: bytes) -> None:
    await line.whole(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    while True:
        await line.whole(piece)


async def hundred_megabytes(line: Line, _: bytes) -> None:
    await line.whole(b"HTTP/1.1 500 Oops\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n")
    piece = b" " * 0x10000
    for _piece in range(1600):
        await line.whole(piece)


_BOMB = gzip.compress(gzip.compress(bytes(64 * 1024 * 1024))) + bytes(128 * 1024)
"""64 MiB of zeros, compressed twice, and more than a client reads behind it."""


async def gzip_bomb(line: Line, _: bytes) -> None:
    await line.whole(b"HTTP/1.1 503 Oops\r\nContent-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(_BOMB))
    await line.whole(_BOMB)


async def endless_headers(line: Line, _: bytes) -> None:
    await line.whole(b"HTTP/1.1 200 OK\r\n")
    while True:
        await line.whole(b"X-More: and more\r\n" * 100)


async def endless_continue(line: Line, _: bytes) -> None:
    while True:
        await line.whole(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.005)


async def loris(line: Line, _: bytes) -> None:
    """A head that never ends, a byte at a time, each before the client's patience is over."""
    await line.whole(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await line.whole(b"y")
        await asyncio.sleep(0.02)


async def garbage(line: Line, _: bytes) -> None:
    await line.whole(b"\x16\x03\x01\x00\xff no HTTP at all \r\n\r\n")
    line.client.close()
    raise Cut


async def wrong_length(line: Line, _: bytes) -> None:
    """A length that contradicts itself."""
    await line.whole(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello")
    line.client.close()
    raise Cut


HOSTILE = (
    endless_body,
    hundred_megabytes,
    gzip_bomb,
    endless_headers,
    endless_continue,
    loris,
    garbage,
    wrong_length,
)
"""Answers that were never the sandbox's; the events of such a request were not applied."""


def _ignore(_: asyncio.AbstractEventLoop, __: dict[str, object]) -> None:
    pass


class Gateway:
    """Listens at a port of its own and passes requests on to the sandbox, each in the mood it is given.

    Args:
        upstream: the sandbox's address.
        mood: gives the mood of the next request; called in the gateway's thread.
        port: where to listen; 0 takes a free port.
        context: for TLS.
    """

    def __init__(
        self,
        upstream: str,
        mood: Callable[[], Mood] = lambda: through,
        *,
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._upstream = urlsplit(upstream)
        self.mood = mood
        self.port = port
        self.connections = 0
        self._context = context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway")

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # a client that refuses the certificate is expected, and asyncio would log it
        self._loop.set_exception_handler(_ignore)
        lines: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = self._loop.create_task(self._talk(reader, writer))
            lines.add(task)
            task.add_done_callback(lines.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", self.port, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        while lines:
            await asyncio.wait(lines)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        with suppress(OSError, Cut):
            try:
                answers, sandbox = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
                writers.append(sandbox)
                await self._pass_both_ways(Line(writer, sandbox), reader, answers)
            finally:
                for each in writers:
                    each.transport.abort()
                    with suppress(OSError):
                        await each.wait_closed()

    async def _pass_both_ways(self, line: Line, requests: asyncio.StreamReader, answers: asyncio.StreamReader) -> None:
        directions: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._pass_requests(line, requests)),
            asyncio.create_task(self._pass_answers(line, answers)),
            asyncio.create_task(self._stop.wait()),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _pass_requests(self, line: Line, requests: asyncio.StreamReader) -> None:
        mood: Mood = through
        while data := await requests.read(_PIECE):
            if data.startswith(b"POST"):
                mood = self.mood()
            await mood(line, data)

    async def _pass_answers(self, line: Line, answers: asyncio.StreamReader) -> None:
        while data := await answers.read(_PIECE):
            await line.deliver(data)
