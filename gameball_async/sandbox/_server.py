"""uvicorn in a thread of its own: up when `start` returns, gone when `stop` returns; alone in importing uvicorn."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import TYPE_CHECKING, cast

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ._response_writer import InterruptibleSleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

# Kestrel's default, in seconds: Gameball runs on it, and a shorter one would race with the tests' clients
_KEEP_ALIVE = 130

_BACKLOG = 2048

# seconds for the requests in flight to notice the end, which takes them microseconds
_PATIENCE = 1.0


class _ServerState(ServerState):
    """What the connections of one server share."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = False


class _Connection(H11Protocol):
    """A connection that hands its transport to the app, so that it can be reset."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # an access log would add a line per request to a test's output
        self.access_log = False
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)
        if cast("_ServerState", self.server_state).stopping:
            transport.abort()


class _Server(Server):
    """A server that waits for one event instead of looking ten times a second, and leaves without ceremony."""

    def __init__(self, config: Config, pauses: InterruptibleSleep, ready: threading.Event) -> None:
        super().__init__(config)
        self.server_state = self._state = _ServerState()
        self._sleeps = pauses
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
        # (https://github.com/python/cpython/issues/109564), so first nothing more is accepted
        for listener in sockets or []:
            asyncio.get_running_loop().remove_reader(listener)
        for connection in list(self._state.connections):
            connection.transport.abort()
        self._sleeps.stop()
        await _others_done()
        for server in self.servers:
            server.close()


async def _others_done() -> None:
    """Let the requests in flight and the connections just accepted come to their end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_PATIENCE)
    # an aborted transport closes its socket in the loop's next turn
    await asyncio.sleep(0)


class ServerThread:
    """One run of the server.

    Args:
        make_app: makes the app of the sleeps that end with this run.
        listener: the listening socket; closed at the end.
    """

    def __init__(self, make_app: Callable[[InterruptibleSleep], ASGIApp], listener: socket.socket) -> None:
        self._make_app = make_app
        self._listener = listener
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gameball-sandbox", daemon=True)

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise RuntimeError("The sandbox's server has not started; the cause is above.") from self._failure

    def stop(self) -> None:
        """Cut all connections and wait until the thread has ended."""
        self._loop.call_soon_threadsafe(self._server.ask_to_stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told by start(), in the caller's thread
            self._failure = error
        finally:
            self._listener.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        pauses = InterruptibleSleep()
        config = Config(
            self._make_app(pauses),
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
        self._server = _Server(config, pauses, self._ready)
        await self._server.serve(sockets=[self._listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address, port 0 being a free one; a port just left can be had again at once.

    Raises:
        OSError: if the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol, which socket.create_server's
    # do not; without it each answer's body waits 40 ms for the acknowledgement of its head
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere the option lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
