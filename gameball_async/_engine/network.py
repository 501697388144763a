"""The client's own HTTP transport: one connection of httpcore, without httpx's client and without a pool.

`Transport` is above httpcore, as an httpx transport. `Network` and `Stream` are below, as its network backend: they see
every byte, and so know what a timer proves, and when a connection may be used again.
"""

from __future__ import annotations

import copy
import math
import select
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, cast

import anyio
import httpcore
import httpx
import sniffio

from .._endpoint import Proxy
from .._log import fields, logger
from .backends import current_backend

KEEP_ALIVE = 1.0
"""Seconds a connection may be idle and still be used again.

It must be well below the idle timeouts of common servers, because a server that closes a connection while a request is
on its way leaves its outcome unknown: 2 s for gunicorn, 5 s for uvicorn, Node.js and Apache, 60 s for AWS's load
balancers, 75 s for nginx, 130 s for Kestrel, 900 s for Cloudflare.
"""

_LOOK = 0.1
"""Seconds to look into the socket once more after a timer has fired. What is there already is read at once."""

_LATE = 0.05
"""Seconds by which a timer is late if the process was suspended or starved."""

_MOST_LOOKS = 10

_REQUEST_LINE = b"POST "
"""How each request begins; a proxy is sent CONNECT first, and a body begins with a brace."""

_CLOSING = 1.0
"""Seconds that closing a connection may take."""


def always() -> bool:
    """Allow each request."""
    return True


_ERRORS: dict[type[BaseException], type[httpx.TransportError]] = {
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.WriteError: httpx.WriteError,
    httpcore.WriteTimeout: httpx.WriteTimeout,
}
"""The errors of httpcore by the names that httpx gives them."""

_log = logger("gameball_async")


class Transport(httpx.AsyncBaseTransport):
    """Send one request at a time to one server.

    A request costs half of the CPU that it costs through `httpx.AsyncClient`. What that adds is not needed here:
    cookies, authentication, redirects, hooks, proxies for each URL, and a pool, which looks at all of its connections
    several times for each request.

    Args:
        url: of nearly every request.
        context: for TLS.
        proxy: a proxy on the way, or None.
        may_send: is asked right before the first byte of a request.

    Attributes:
        network: what the connection reads from and writes to.
    """

    def __init__(
        self, url: httpx.URL, context: ssl.SSLContext, proxy: Proxy | None, may_send: Callable[[], bool] = always
    ) -> None:
        self.network = Network(may_send)
        self._context = context
        self._proxy = None if proxy is None else httpx.Proxy(proxy.url)
        self._path = url.raw_path
        self._template = httpcore.Request("POST", _core_url(url))  # which takes longer to check than to copy
        self._connection = self._new_connection()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a new connection if the present one was closed or idle for too long."""
        assert isinstance(request.stream, httpx.AsyncByteStream), "an async client's request"  # noqa: S101 an invariant
        sent = copy.copy(self._template)
        sent.headers, sent.stream, sent.extensions = request.headers.raw, request.stream, request.extensions
        if request.url.raw_path != self._path:  # a call
            sent.method, sent.url = request.method.encode(), _core_url(request.url)
        try:
            try:
                response = await self._connection.handle_async_request(sent)
            except httpcore.ConnectionNotAvailable:
                await self._renew()
                response = await self._connection.handle_async_request(sent)
        except BaseException as error:
            # its state is unknown; and a request that was cancelled may never release it (httpcore issue 1093)
            await self._renew()
            if (raised := _ERRORS.get(type(error))) is not None:
                raise raised(str(error)) from error
            raise
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_ResponseBody(self, response),
            extensions=dict(response.extensions),  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        )

    async def aclose(self) -> None:
        """Close the connection; the next request opens another one."""
        await self._renew()

    async def _renew(self) -> None:
        connection, self._connection = self._connection, self._new_connection()
        try:
            with anyio.move_on_after(_CLOSING, shield=True):
                await connection.aclose()
        except Exception as error:  # noqa: BLE001 a connection that does not close in order must harm no request
            _log.warning(
                "closing connections failed: %s", name := type(error).__name__, extra=fields("connections", cause=name)
            )

    def _new_connection(self) -> httpcore.AsyncHTTPConnection | httpcore.AsyncConnectionPool:
        """An unconnected one; through a proxy, it is a pool with room for one."""
        context, proxy, network = self._context, self._proxy, self.network
        if proxy is None:
            return httpcore.AsyncHTTPConnection(self._template.url.origin, context, network_backend=network)
        if proxy.url.scheme.startswith("socks"):
            try:
                return httpcore.AsyncSOCKSProxy(
                    _core_url(proxy.url),
                    proxy_auth=proxy.raw_auth,
                    ssl_context=context,
                    max_connections=1,
                    keepalive_expiry=KEEP_ALIVE,
                    network_backend=network,
                )
            except RuntimeError as error:  # of the class that takes its place
                raise ImportError("socksio is not installed") from error
        return httpcore.AsyncHTTPProxy(
            _core_url(proxy.url),
            proxy_auth=proxy.raw_auth,
            proxy_headers=proxy.headers.raw,
            ssl_context=context,
            max_connections=1,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=network,
        )


class _ResponseBody(httpx.AsyncByteStream):
    """The body of a response, as it was sent. Its errors are httpcore's: `Exchange`, which reads it, ignores them."""

    def __init__(self, transport: Transport, response: httpcore.Response) -> None:
        self._transport = transport
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(cast("AsyncIterable[bytes]", self._response.stream))

    async def aclose(self) -> None:
        """End the exchange. If more has arrived than the response, the connection is closed: it answers nothing."""
        await self._response.aclose()
        if self._transport.network.has_surplus:
            await self._transport.aclose()


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


class Network(httpcore.AsyncNetworkBackend):
    """The connections of one HTTP transport, one at a time. It belongs to the loop in which it is made.

    Args:
        may_send: is asked right before the first byte of a request.

    Attributes:
        now: returns the seconds of the loop's clock; `anyio.current_time` looks for the loop each time.
        is_unsent: whether a connection was being opened and no byte of the request has been written.
        stream: what the latest request was written to.
    """

    def __init__(self, may_send: Callable[[], bool] = always) -> None:
        self.now = current_backend().now
        self.may_send = may_send
        self.is_unsent = False
        self.stream: Stream | None = None
        self._ends_at = math.inf
        self._looks = 0

    def begin(self, seconds: float) -> None:
        """Begin another request, and limit its total time."""
        self.is_unsent = False
        self.stream = None
        self.limit(seconds)

    def write_begins(self, stream: Stream) -> None:
        """Note that the first byte of the request is being written: from now on its outcome is unknown."""
        self.is_unsent = False
        self.stream = stream

    @property
    def has_surplus(self) -> bool:
        """Whether more has arrived than the response to the latest request."""
        return self.stream is not None and self.stream.has_surplus

    def limit(self, seconds: float) -> None:
        """Limit the total time of the following reads."""
        self._ends_at = self.now() + seconds
        self._looks = 0

    def left(self) -> float:
        """How long the next read may take; after the limit there is one short look into the socket.

        Raises:
            httpcore.ReadTimeout: if the time is over.
        """
        left = self._ends_at - self.now()
        if left > 0:
            return left
        if self._looks:
            raise httpcore.ReadTimeout("the answer took too long")
        return self._look()

    def extend(self, seconds: float) -> None:
        """Do not count time during which the process was suspended."""
        if seconds > 0:
            self._ends_at += seconds

    def expire(self, late: float, *, is_readable: bool) -> None:
        """Decide whether a timer that has fired proves that there is no answer.

        If the process was suspended, the answer may be in the socket: then the next read is a short look.

        Args:
            late: by how many seconds the timer was late.
            is_readable: whether there is something to read.

        Raises:
            httpcore.ReadTimeout: if it does.
        """
        if self._looks and (self._looks >= _MOST_LOOKS or not (late >= _LATE or is_readable)):
            raise httpcore.ReadTimeout("no answer in time")
        self._look()

    def _look(self) -> float:
        self._looks += 1
        self._ends_at = self.now() + _LOOK
        return _LOOK

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a server or a proxy."""
        self.is_unsent = True
        return Stream(await _new_backend().connect_tcp(host, port, timeout, local_address, socket_options), self)


class Stream(httpcore.AsyncNetworkStream):
    """One connection.

    Args:
        stream: httpcore's own.
        network: whose it is.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream, network: Network) -> None:
        self._stream = stream
        self._network = network
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._tls: ssl.SSLObject | None = stream.get_extra_info("ssl_object")
        self._head = b""
        self._last_byte = b""
        self._is_used = False
        self._is_closed = False
        self._is_reading_behind = False
        self._used_at = (-math.inf, -math.inf)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 httpcore's interface
        """Read what comes next. Of a response, the last byte that has arrived is kept for the next read.

        httpcore reads on until a response is complete. A byte that is still kept then does not belong to it.
        """
        if self._last_byte:
            data, self._last_byte = self._last_byte, b""
            return data
        data = await self._read(max_bytes, timeout)
        if self._is_used and len(data) > 1:
            self._last_byte = data[-1:]
            return data[:-1]
        return data

    async def _read(self, max_bytes: int, timeout: float | None) -> bytes:  # noqa: ASYNC109 httpcore's interface
        """Read, and never give up while there is something in the socket."""
        network = self._network
        while True:
            left = network.left() if timeout is None else min(network.left(), timeout)
            began = self._network.now()
            try:
                data = await self._stream.read(max_bytes, left)
            except httpcore.ReadTimeout:
                self._is_reading_behind = True  # on asyncio, a cancelled read continues to fill anyio's buffer
                late = self._network.now() - began - left
                network.expire(late, is_readable=self._is_readable)
            else:
                now = self._network.now()
                network.extend(now - began - left)
                self._used_at = now, time.time()
                return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 httpcore's interface
        """Write, unless it would be a request's first byte and the connection cannot be used any more.

        The head of a request is kept and written together with the body, in one packet if it fits.
        """
        if buffer.startswith(_REQUEST_LINE):
            self._head = buffer
            return
        if self._head:
            buffer, self._head = self._head + buffer, b""
            self._begin_request()
        if not buffer:
            return
        try:
            await self._stream.write(buffer, timeout)
        except httpcore.WriteTimeout:
            if self._is_readable:
                # the server answers without reading on; after this error httpcore reads the answer
                raise httpcore.WriteError("the server stopped reading") from None
            raise

    def _begin_request(self) -> None:
        if not self._network.may_send():
            raise httpcore.ConnectError("the request may not be sent any more")
        if self._is_used:
            if not (self._is_fresh and self.is_quiet):
                raise httpcore.ConnectionNotAvailable  # the transport opens another one
        elif not self.is_quiet:
            raise httpcore.ConnectError("the server closed the connection or sent data before the request")
        self._is_used = True
        self._network.write_begins(self)

    @property
    def has_surplus(self) -> bool:
        """Whether more has been read than the response."""
        return bool(self._last_byte)

    @property
    def _is_readable(self) -> bool:
        """Whether something has arrived, or the connection is closed; trio does not report a closed socket."""
        return self._is_closed or _is_readable(self._socket)

    @property
    def _is_fresh(self) -> bool:
        # by the wall clock as well: the monotonic one may stand still while a machine sleeps
        monotonic, wall = self._used_at
        return self._network.now() - monotonic < KEEP_ALIVE and 0 <= time.time() - wall < KEEP_ALIVE

    @property
    def is_quiet(self) -> bool:
        """Whether the connection is open and nothing has arrived that was not read yet."""
        if self._is_reading_behind or self._last_byte:
            return False
        secured = self._tls
        # a server may send session tickets right after the handshake, which are no data
        if (secured is None or self._is_used) and self._is_readable:
            return False
        if secured is None:
            return True
        try:
            secured.read(1)
        except ssl.SSLWantReadError:
            return True
        except (OSError, ValueError):
            pass
        return False

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 httpcore's interface
    ) -> httpcore.AsyncNetworkStream:
        """Secure the connection, or close it."""
        try:
            secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            # httpcore 1.0 leaves the connection of a cancelled handshake to the garbage collector
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        return Stream(secured, self._network)

    async def aclose(self) -> None:
        """Close the connection."""
        self._is_closed = True
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 httpcore's interface
        """What httpcore asks about a connection."""
        if info == "is_readable":
            return self._is_readable
        return self._stream.get_extra_info(info)


def _new_backend() -> httpcore.AsyncNetworkBackend:
    # pyright does not find their methods, because httpcore may put other classes in their place
    trio, asyncio = cast("Any", httpcore.TrioBackend), cast("Any", httpcore.AnyIOBackend)
    backend: httpcore.AsyncNetworkBackend = trio() if sniffio.current_async_library() == "trio" else asyncio()
    return backend


def _is_readable(sock: socket.socket) -> bool:
    """Like httpcore's answer to `is_readable`, which looks for the socket among a stream's attributes each time."""
    number = sock.fileno()
    if number < 0:
        return True
    if sys.platform == "win32" or not hasattr(select, "poll"):
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))
