"""uvicorn in its own thread, and the responses it sends, including broken ones. The only importer of uvicorn."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ._responses import PlannedResponse, ResponseMode

# seconds, Kestrel's default: Gameball runs on it, and a shorter one would race with the tests' clients
_KEEP_ALIVE = 130

_BACKLOG = 2048

# seconds for the requests in flight to end after a stop; they need microseconds
_PATIENCE = 1.0

# the two numbers of SO_LINGER, on with 0 seconds: closing then sends RST instead of FIN
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

# a truncated response announces this many bytes more than it sends, so that even an empty one is truncated
_MISSING_BYTES = 64

# ---------------------------------------------------------------- sleeps


class Stopped(Exception):
    """The sandbox stops: requests in progress are abandoned."""


class InterruptibleSleep:
    """The sleeps of one running server; a stop ends them at once."""

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()
        self._stopped = False

    async def sleep(self, seconds: float) -> None:
        """Sleep, and raise `Stopped` if the sandbox stops in the meantime."""
        if self._stopped:
            raise Stopped
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        alarm = loop.call_later(seconds, _wake, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            alarm.cancel()
            self._sleepers.discard(sleeper)

    def stop(self) -> None:
        """Let all current and later sleeps raise `Stopped`."""
        self._stopped = True
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_exception(Stopped())


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


# ---------------------------------------------------------------- responses


class ResponseWriter:
    """Sends the response to one request over its connection; the scope's state has the `transport`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, sleeps: InterruptibleSleep) -> None:
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._sleeps = sleeps
        # uvicorn stops reading after 64 KiB of body; without reading, a disconnect goes unnoticed
        self._transport.resume_reading()

    def is_gone(self) -> bool:
        """Whether the connection is closed or broken."""
        return self._transport.is_closing()

    async def gone(self) -> None:
        """Wait until the client has disconnected."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def write(self, response: PlannedResponse, end: Callable[[], None]) -> None:
        """Send a response; call `end` just before the last byte, or when it is certain that none will be sent."""
        match response.mode:
            case ResponseMode.WHOLE:
                end()
                await self._head(response, len(response.body))
                await self._send({"type": "http.response.body", "body": response.body})
            case ResponseMode.TRUNCATED:
                await self._head(response, len(response.body) + _MISSING_BYTES)
                await self._part(response.body[: len(response.body) // 2])
                end()
                self._transport.close()
                await self.gone()
            case ResponseMode.DRIPPING:
                await self._drip(response, end)
            case ResponseMode.RESET:
                end()
                connection: socket.socket = self._transport.get_extra_info("socket")
                with suppress(OSError):  # the client was quicker, and its socket is closed
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                self._transport.abort()
                await self.gone()
            case ResponseMode.NEVER:
                await self.gone()
                end()

    async def _drip(self, response: PlannedResponse, end: Callable[[], None]) -> None:
        await self._head(response, len(response.body))
        for position in range(len(response.body) - 1):
            await self._part(response.body[position : position + 1])
            await self._sleeps.sleep(response.pause)
            if self.is_gone():
                end()
                await self.gone()
                return
        end()
        await self._send({"type": "http.response.body", "body": response.body[-1:]})

    async def _head(self, response: PlannedResponse, length: int) -> None:
        headers = {"content-length": str(length), **response.headers}
        if response.body:
            headers["content-type"] = response.content_type
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": response.status, "headers": pairs})

    async def _part(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


# ---------------------------------------------------------------- the server


class _ServerState(ServerState):
    """What the connections of one server share."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = False


class _Connection(H11Protocol):
    """A connection that passes its transport to the app, which may reset it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # an access log would add a line per request to a test's output
        self.access_log = False
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)
        if cast("_ServerState", self.server_state).stopping:
            transport.abort()


class _Server(Server):
    """A server that waits for one event instead of polling ten times a second, and stops at once."""

    def __init__(self, config: Config, sleeps: InterruptibleSleep, ready: threading.Event) -> None:
        super().__init__(config)
        self.server_state = self._state = _ServerState()
        self._sleeps = sleeps
        self._ready = ready
        self._asked = asyncio.Event()

    async def main_loop(self) -> None:
        self._ready.set()
        await self._asked.wait()

    def ask_to_stop(self) -> None:
        self._asked.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stopping = True
        # asyncio fails when a server is closed under a connection that is just being accepted
        # (https://github.com/python/cpython/issues/109564), so stop accepting first
        for listener in sockets or []:
            asyncio.get_running_loop().remove_reader(listener)
        for connection in list(self._state.connections):
            connection.transport.abort()
        self._sleeps.stop()
        await _others_done()
        for server in self.servers:
            server.close()


async def _others_done() -> None:
    """Wait for the requests in flight and the connections just accepted."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_PATIENCE)
    # an aborted transport closes its socket in the loop's next turn
    await asyncio.sleep(0)


class ServerThread:
    """One run of the server; closes the listening socket at the end."""

    def __init__(self, make_app: Callable[[InterruptibleSleep], ASGIApp], listener: socket.socket) -> None:
        self._make_app = make_app
        self._listener = listener
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gameball-sandbox", daemon=True)

    def start(self) -> None:
        """Start the thread, and wait until the server listens."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RuntimeError("the sandbox's server did not start: see the exception above.") from self._failure

    def stop(self) -> None:
        """Close all connections, and wait until the thread has ended."""
        self._loop.call_soon_threadsafe(self._server.ask_to_stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 start() raises it in the caller's thread
            self._failure = error
        finally:
            self._listener.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        sleeps = InterruptibleSleep()
        config = Config(
            self._make_app(sleeps),
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
            backlog=_BACKLOG,
        )
        self._server = _Server(config, sleeps, self._ready)
        await self._server.serve(sockets=[self._listener])


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address; port 0 is a free one. A port that was just closed can be reused at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol, unlike those of socket.create_server;
    # without it the body of each response waits 40 ms for the acknowledgement of its head
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows the option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
