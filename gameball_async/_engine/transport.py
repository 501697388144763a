"""The client's own HTTP transport: one connection of httpcore, without httpx's client and without a pool."""

from __future__ import annotations

import copy
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from typing import cast

import anyio
import httpcore
import httpx

from .._endpoint import Proxy
from .._log import logger
from .network import KEEP_ALIVE, Network

_CLOSING = 1.0
"""Seconds that closing a connection may take."""

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
    """Send one request at a time to one URL.

    A request costs half of the CPU that it costs through `httpx.AsyncClient`. What that adds is not needed here:
    cookies, authentication, redirects, hooks, proxies for each URL, and a pool, which looks at all of its connections
    several times for each request.

    Args:
        url: of every request.
        context: for TLS.
        proxy: a proxy on the way, or None.

    Attributes:
        network: what the connection reads from and writes to.
    """

    def __init__(self, url: httpx.URL, context: ssl.SSLContext, proxy: Proxy | None) -> None:
        self.network = Network()
        self._context = context
        self._proxy = None if proxy is None else httpx.Proxy(proxy.url)
        self._template = httpcore.Request("POST", _core_url(url))  # which takes longer to check than to copy
        self._connection = self._new_connection()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, on a new connection if the present one was closed or idle for too long."""
        assert isinstance(request.stream, httpx.AsyncByteStream), "an async client's request"  # noqa: S101 an invariant
        sent = copy.copy(self._template)
        sent.headers, sent.stream, sent.extensions = request.headers.raw, request.stream, request.extensions
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
            _log.warning("closing connections failed: %s", type(error).__name__)

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
