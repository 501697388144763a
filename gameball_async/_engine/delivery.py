"""Send requests: the only importer of httpx. `Delivery.post` makes one attempt and never raises what httpx raises."""

from __future__ import annotations

import copy
import functools
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import cast

import anyio
import anyio.to_thread
import attrs
import httpx

from .._core.outcome import Answer, Decision, read_answer
from .._core.redaction import redact_message
from .._endpoint import Proxy, proxy_for
from .._log import logger
from ..errors import ConfigurationError
from .backends import interruption, running_task
from .network import KEEP_ALIVE, Network

HTTPClient = httpx.AsyncClient

CONNECTIONS = 10
"""Requests in flight at once: ten at 100 ms of latency reach the documented 100 requests a second."""

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read. Gameball's are below 1 KiB; a gateway's page may be any."""

_PHASES = 3
"""An attempt may take this often the timeout in all: connect, write, read."""

_NO_HEADERS = httpx.Headers()

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
"""Errors after which not one byte of the request can have been read; after all others it may have been."""

_log = logger("gameball_async")


class Delivery:
    """Connections to one address.

    Each request in flight has an HTTP client of one connection to itself: a pool's bookkeeping looks
    at all of its connections, several times for each request, and took a third of the time.

    Args:
        url: where requests go.
        headers: what they carry; the keys are among it.
        timeout: seconds without progress after which an attempt is given up.
        secrets: what must not appear in any words.
        http_client: the user's own client; it is used as it is, and not closed.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        secrets: tuple[str, ...],
        http_client: HTTPClient | None = None,
    ) -> None:
        self._url = url
        self._parsed_url = httpx.URL(url)  # once: for a string httpx does it with each request
        # plain answers are asked for, because they cost less; a compressed one is read all the same
        self._headers = httpx.Headers({**headers, "Accept-Encoding": "identity"})
        self._timeout = timeout
        self._secrets = secrets
        self._injected = http_client
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for http: verifies, and trusts no authority
        self._free: list[HTTPClient] = []  # the last one used is the next: so no more are open than are needed
        self._spent: list[HTTPClient] = []

    async def prepare(self) -> None:
        """Load the authorities' certificates in a thread, once in a process: it takes a tenth of a second.

        Raises:
            ConfigurationError: if no HTTP client can be made with the environment's proxies or certificates.
        """
        if self._injected is not None:
            return
        if self._parsed_url.scheme == "https":
            try:
                self._ssl = await anyio.to_thread.run_sync(_default_ssl_context)
            except Exception as error:  # noqa: BLE001 of many types: a file that is missing, or holds something else
                raise ConfigurationError(
                    f"the certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be loaded "
                    f"({type(error).__name__}): correct the variable or unset it, and check with "
                    "`gameball-async doctor`."
                ) from None
        proxy = proxy_for(self._url)
        try:
            self._free.append(self._new_client())
        except Exception as error:  # noqa: BLE001 of many types: an unknown scheme, a port that is none, a missing package
            raise _unusable_proxy(proxy, error) from None

    async def post(self, body: bytes, private: Iterable[str | None] = (), task: object = None) -> Answer:
        """Make one attempt. Any failure is an answer; only cancellation passes through.

        Args:
            body: the request's body.
            private: what must not appear in the answer's message, besides the keys.
            task: the running task, by default looked up.
        """
        if self._spent:
            await self._close_spent()
        try:
            client = self._injected or (self._free.pop() if self._free else self._new_client())
        except Exception as error:  # noqa: BLE001 the environment has changed since `prepare`, and nothing was sent
            return Answer(verdict=Decision.FAILED, words=type(error).__name__)
        is_fit = False
        try:
            answer = await self._attempt(client, body, (*self._secrets, *filter(None, private)), task or running_task())
            # without a status the state of the connection is unknown; and a request that was cancelled may never
            # release its connection (httpcore issue 1093)
            is_fit = answer.status is not None
            return answer
        finally:
            if client is not self._injected:
                (self._free if is_fit else self._spent).append(client)

    async def aclose(self) -> None:
        """Close the connections, unless they are the user's."""
        self._spent += self._free
        self._free = []
        await self._close_spent()

    async def _close_spent(self) -> None:
        spent, self._spent = self._spent, []  # all at once, before another task can close the same ones
        for client in spent:
            try:
                with anyio.move_on_after(1, shield=True):
                    await client.aclose()
            except Exception as error:  # noqa: BLE001 a client that does not close in order must harm no request
                _log.warning("closing connections failed: %s", type(error).__name__)

    async def _attempt(self, client: HTTPClient, body: bytes, secrets: tuple[str, ...], task: object) -> Answer:
        if client.is_closed:
            return Answer(verdict=Decision.FAILED, words="the http_client that was given is closed")
        if isinstance(client, _OwnClient):
            exchange: _HttpExchange = client.exchange
            exchange.begin()
        else:
            exchange = _HttpExchange(self._parsed_url, self._timeout)
        try:
            request = client.build_request("POST", self._parsed_url, headers=self._headers, content=body)
            sender = client if isinstance(client, _OwnClient) else exchange.joined(client)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 an injected client may raise anything; nothing was sent
            return Answer(verdict=Decision.FAILED, words=_described(error, secrets))
        request.stream = _Body(body)
        try:
            with exchange.limit(_PHASES):
                # no redirect is ever followed: the keys would go with it
                await sender.send(request, stream=True, follow_redirects=False)
        except BaseException as error:  # noqa: BLE001 a transport or hook may raise anything; the batch needs an answer
            if (own := interruption(error, task)) is not None:
                raise own from None
            with suppress(Exception):  # an error of the user's may be of any shape
                await exchange.find_response(error)
            if exchange.status is None:
                is_unsent = exchange.is_unsent or isinstance(error, _NEVER_SENT)
                verdict = Decision.FAILED if is_unsent else Decision.AMBIGUOUS
                return Answer(verdict=verdict, words=_described(error, secrets))
        if exchange.status is None:
            return Answer(verdict=Decision.AMBIGUOUS, words=f"nothing within {_PHASES * self._timeout:g} s")
        return read_answer(
            exchange.status,
            exchange.headers,
            exchange.content,
            complete=exchange.is_complete,
            wall_now=time.time(),
            secrets=secrets,
        )

    def _new_client(self) -> HTTPClient:
        return _OwnClient(self._parsed_url, self._timeout, self._ssl, proxy_for(self._url))


def _described(error: BaseException, secrets: tuple[str, ...]) -> str:
    name = type(error).__name__
    if not isinstance(error, httpx.TransportError):
        return name  # an error of an unknown kind may quote what it was given, keys included
    words = redact_message(_system_words(error) or str(error), secrets)
    return f"{name}: {words}" if words else name


def _system_words(error: BaseException) -> str:
    """What the operating system says of a failed connection; httpx often says nothing, or that all attempts failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLWantReadError):
            if isinstance(cause, (ssl.SSLError, socket.gaierror)):
                return str(cause)
            words = os.strerror(cause.errno)
            return type(cause).__name__ if words.startswith("Unknown error") else words
        inner = cast("Sequence[BaseException]", getattr(cause, "exceptions", ()))  # of a group: one for each address
        cause = inner[0] if inner else cause.__cause__ or cause.__context__
    return ""


def _unusable_proxy(proxy: Proxy | None, error: Exception) -> ConfigurationError:
    """Say which variable is wrong, without its value, which may hold a password."""
    if proxy is None:
        return ConfigurationError(f"no HTTP client can be made here ({type(error).__name__}): reinstall httpx.")
    if isinstance(error, ImportError):
        return ConfigurationError(
            f'the proxy in {proxy.variable} needs a package that is missing: pip install "httpx[socks]".'
        )
    return ConfigurationError(
        f"the proxy in {proxy.variable} cannot be used ({type(error).__name__}): give an address such as "
        "http://proxy.example:3128 or socks5://proxy.example:1080, or list the host in NO_PROXY; check with "
        "`gameball-async doctor`."
    )


# ---------------------------------------------------------------- one request and its response


@attrs.define(slots=False, eq=False)
class _HttpExchange:
    """One request and the response to it, which is kept before any hook of the user's client can raise.

    Args:
        url: the request's; the responses to others, such as an authentication's, are no answers.
        timeout: seconds.

    Attributes:
        status: of the response, or None.
        headers: of the response.
        content: the beginning of its body, as it was sent.
        is_complete: whether the body was read to its end, or up to the limit.
    """

    _url: httpx.URL
    _timeout: float
    status: int | None = attrs.field(init=False, default=None)
    headers: httpx.Headers = attrs.field(init=False, default=_NO_HEADERS)
    content: bytes = attrs.field(init=False, default=b"")
    is_complete: bool = attrs.field(init=False, default=False)

    def begin(self) -> None:
        """Forget the last response."""
        self.status, self.headers, self.content, self.is_complete = None, _NO_HEADERS, b"", False

    @property
    def is_unsent(self) -> bool:
        """Whether it is certain that no byte of the request was written."""
        return False

    def limit(self, timeouts: int) -> AbstractContextManager[object]:
        """Give up after this many timeouts."""
        return anyio.move_on_after(timeouts * self._timeout)

    def joined(self, client: HTTPClient) -> HTTPClient:
        """Return a user's client that shares everything, and in which this exchange comes before the user's hooks."""
        hooks = client.event_hooks
        client = copy.copy(client)
        client.event_hooks = {
            "request": [*hooks["request"], self.on_request],
            "response": [self.on_response, *hooks["response"]],
        }
        return client

    async def on_request(self, request: httpx.Request) -> None:
        """Forget the response if the request is sent again, as some kinds of authentication do."""
        if self.status is not None and request.url == self._url:
            self.begin()

    async def on_response(self, response: httpx.Response) -> None:
        """Keep a response, and leave a copy of its body to the hooks that follow."""
        if not self._is_mine(response):
            return
        self.status, self.headers = response.status_code, response.headers
        if response.is_stream_consumed:  # by the user's transport, which has decoded it
            self.headers = httpx.Headers(response.headers)
            self.headers.pop("Content-Encoding", None)
            with suppress(httpx.StreamError):
                self.content, self.is_complete = response.content[:LONGEST_ANSWER], True
            return
        await self._read(response)
        response.stream = _Body(self.content)

    def _is_mine(self, response: httpx.Response) -> bool:
        try:
            return response.request.url == self._url
        except RuntimeError:  # made by hand, without a request
            return True

    async def _read(self, response: httpx.Response) -> None:
        """Read the body up to the limit; a status is an answer even if the body breaks."""
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream), "an async client's response"  # noqa: S101 an invariant
        content = bytearray()
        is_ended = False
        # left by `break`, httpcore's generators would make trio warn; cancelled, they unwind
        with suppress(Exception), anyio.CancelScope() as reading, self.limit(1):
            async for chunk in stream:
                content += chunk
                if len(content) > LONGEST_ANSWER:
                    reading.cancel()
            is_ended = True
        self.content = bytes(content[:LONGEST_ANSWER])
        self.is_complete = is_ended or len(content) > LONGEST_ANSWER
        with suppress(Exception):
            await stream.aclose()

    async def find_response(self, error: BaseException) -> None:
        """Keep the response that an error brings, as `httpx.HTTPStatusError` does."""
        if self.status is not None:
            return
        response = next(filter(None, map(_response, _causes(error))), None)
        if response is not None and not (response.is_closed and not response.is_stream_consumed):
            await self.on_response(response)
        elif response is not None and self._is_mine(response):
            self.status, self.headers = response.status_code, response.headers


def _causes(error: BaseException | None, depth: int = 10) -> Iterator[BaseException]:
    """An error, those that it wraps, and those that led to it."""
    if error is None or not depth:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _causes(inner, depth - 1)
    yield from _causes(error.__cause__ or error.__context__, depth - 1)


def _response(error: BaseException) -> httpx.Response | None:
    response = getattr(error, "response", None)
    return response if isinstance(response, httpx.Response) else None


@attrs.define(slots=False, eq=False)
class _OwnExchange(_HttpExchange):
    """An exchange over this client's own network, which knows what was sent and whether the process was suspended."""

    _transport: _Transport

    def begin(self) -> None:
        """Forget the last response."""
        super().begin()
        self._transport.network.begin()

    @property
    def is_unsent(self) -> bool:
        """Whether it is certain that no byte of the request was written."""
        return self._transport.network.is_unsent

    def limit(self, timeouts: int) -> AbstractContextManager[object]:
        """Give up after this many timeouts, without the time during which the process was suspended."""
        network = self._transport.network
        network.limit(timeouts * self._timeout)
        if network.stream is not None:
            return nullcontext()
        network.backstop = anyio.move_on_after(timeouts * self._timeout)
        return network.backstop

    async def on_response(self, response: httpx.Response) -> None:
        """Keep a response, and close its connection if more than the response has arrived."""
        await super().on_response(response)
        await self._transport.close_surplus()


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's transport with one connection over this client's own network."""

    def __init__(self, context: ssl.SSLContext, proxy: Proxy | None) -> None:
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
        super().__init__(verify=context, trust_env=False, limits=limits, proxy=None if proxy is None else proxy.url)
        self.network = Network(self._pool._network_backend)  # noqa: SLF001 httpx has no argument for it
        self._pool._network_backend = self.network  # noqa: SLF001 likewise

    async def close_surplus(self) -> None:
        """Close the connection if bytes have arrived that do not belong to the last response.

        They would be taken for the response to the next request.
        """
        stream = self.network.stream
        if stream is not None and (self._has_unparsed_bytes or not stream.is_quiet):
            await stream.aclose()

    @property
    def _has_unparsed_bytes(self) -> bool:
        for connection in self._pool.connections:
            inner: object = connection
            while (wrapped := getattr(inner, "_connection", None)) is not None:  # of a proxy, or of any protocol
                inner = wrapped
            parser = getattr(inner, "_h11_state", None)
            if parser is not None and parser.trailing_data[0]:
                return True
        return False


class _OwnClient(httpx.AsyncClient):
    """An HTTP client with one connection."""

    def __init__(self, url: httpx.URL, timeout: float, context: ssl.SSLContext, proxy: Proxy | None) -> None:
        transport = _Transport(context, proxy)
        self.exchange = _OwnExchange(url, timeout, transport)
        hooks = {"response": [self.exchange.on_response]}
        super().__init__(transport=transport, timeout=timeout, trust_env=False, event_hooks=hooks)


@attrs.frozen
class _Body(httpx.AsyncByteStream):
    """A body in one piece. httpx's own is an async generator, which trio warns of if it is cancelled."""

    _body: bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Piece([self._body])


@attrs.frozen
class _Piece(AsyncIterator[bytes]):
    _rest: list[bytes]

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.pop()


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()
