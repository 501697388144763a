"""Send requests. `Delivery.post` makes one attempt and never raises what httpx raises."""

from __future__ import annotations

import copy
import functools
import os
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import cast

import anyio
import anyio.to_thread
import attrs
import httpx

from .._core.outcome import Answer, Decision, read_answer
from .._core.redaction import redact_message
from .._core.wire import LONGEST_ANSWER, Call
from .._endpoint import Proxy, proxy_for
from ..errors import ConfigurationError
from .backends import interruption, running_task
from .network import Transport, always

HTTPClient = httpx.AsyncClient

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
"""Errors after which not one byte of the request can have been read; after all others it may have been."""

PHASES = 3
"""An attempt may take this often the timeout in all: connect, write, read."""

_NO_HEADERS = httpx.Headers()


class Delivery:
    """Connections to one address.

    Each request in flight has a transport of one connection to itself: the bookkeeping of a pool looks at all of its
    connections, several times for each request, and took a third of the time.

    Args:
        url: where requests go.
        headers: what they carry; the keys are among it.
        timeout: seconds without progress after which an attempt is given up.
        secrets: what must not appear in any words.
        http_client: the user's own client; it is used as it is, and not closed.
        may_send: is asked right before the first byte of a request on the client's own connections.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        secrets: tuple[str, ...],
        http_client: HTTPClient | None = None,
        may_send: Callable[[], bool] = always,
    ) -> None:
        self._url = url
        self._parsed_url = httpx.URL(url)  # once: for a string httpx does it with each request
        # plain answers are asked for, because they cost less; a compressed one is read all the same
        self._headers = httpx.Headers({**headers, "Accept-Encoding": "identity"})
        # what httpx's client adds
        added = {"Host": httpx.Request("POST", url).headers["Host"], "Accept": "*/*"}
        self._own_headers = httpx.Headers({**added, **self._headers})
        self._timeout = timeout
        self._secrets = secrets
        self._injected = http_client
        self._may_send = may_send
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for http: verifies, and trusts no authority
        self._free: list[Transport] = []  # the last one used is the next: so no more are open than are needed

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
            self._free.append(self._new_transport())
        except Exception as error:  # noqa: BLE001 of many types: an unknown scheme, a port that is none, a missing package
            raise _unusable_proxy(proxy, error) from None

    async def post(
        self, body: bytes, private: Iterable[str | None] = (), task: object = None, call: Call | None = None
    ) -> Answer:
        """Make one attempt. Any failure is an answer; only cancellation passes through.

        Args:
            body: the request's body.
            private: what must not appear in the answer's message, besides the keys.
            task: the running task, by default looked up.
            call: how the request looks, if it is not for a single player; then the answer has its content.
        """
        every_secret = (*self._secrets, *filter(None, private))
        if self._injected is not None:
            if self._injected.is_closed:
                return Answer(verdict=Decision.FAILED, words="the http_client that was given is closed")
            exchange = ClientExchange(self._parsed_url, self._headers, self._timeout, client=self._injected)
            return await self._attempt(exchange, body, every_secret, task, call)
        try:
            transport = self._free.pop() if self._free else self._new_transport()
        except Exception as error:  # noqa: BLE001 the environment has changed since `prepare`, and nothing was sent
            return Answer(verdict=Decision.FAILED, words=type(error).__name__)
        try:
            own_exchange = OwnExchange(self._parsed_url, self._own_headers, self._timeout, transport=transport)
            return await self._attempt(own_exchange, body, every_secret, task, call)
        except BaseException:  # only cancellation: perhaps while the response was being read
            await transport.aclose()
            raise
        finally:
            self._free.append(transport)

    async def fetch(self, call: Call, private: Iterable[str | None] = ()) -> Answer:
        """Make one attempt of a call, as `post` does."""
        return await self.post(call.body, private, None, call)

    async def aclose(self) -> None:
        """Close the connections, unless they are the user's."""
        while self._free:
            await self._free.pop().aclose()

    async def _attempt(
        self, exchange: Exchange, body: bytes, secrets: tuple[str, ...], task: object, call: Call | None
    ) -> Answer:
        task = task or running_task()
        if call is not None:
            exchange.make(call)
        try:
            await exchange.send(body)
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
            return Answer(verdict=Decision.AMBIGUOUS, words=f"nothing within {PHASES * self._timeout:g} s")
        return read_answer(
            exchange.status,
            exchange.headers,
            exchange.content,
            complete=exchange.is_complete,
            wall_now=time.time(),
            secrets=secrets,
            limit=exchange.longest,
            keeps_content=call is not None,
        )

    def _new_transport(self) -> Transport:
        return Transport(self._parsed_url, self._ssl, proxy_for(self._url), self._may_send)


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


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


# ---------------------------------------------------------------- one request and the response to it


@attrs.define(eq=False)
class Exchange(ABC):
    """One request and the response to it.

    Attributes:
        url: where the request goes.
        request_headers: its headers.
        timeout: seconds without progress after which it is given up.
        method: the HTTP method.
        longest: bytes of the response's body that are read.
        status: of the response, or None.
        headers: of the response.
        content: the beginning of its body, as it was sent.
        is_complete: whether the body was read to its end, or up to the limit.
    """

    _url: httpx.URL
    _request_headers: httpx.Headers
    _timeout: float
    method: str = attrs.field(default="POST", init=False)
    longest: int = attrs.field(default=LONGEST_ANSWER, init=False)
    status: int | None = attrs.field(default=None, init=False)
    headers: httpx.Headers = attrs.field(default=_NO_HEADERS, init=False)
    content: bytes = attrs.field(default=b"", init=False)
    is_complete: bool = attrs.field(default=False, init=False)

    def make(self, call: Call) -> None:
        """Make this call instead of the request for a single player."""
        self.method, self._url, self.longest = call.method, httpx.URL(call.url), call.longest_answer
        self._request_headers = httpx.Headers({**self._request_headers, **call.headers})

    @property
    @abstractmethod
    def is_unsent(self) -> bool:
        """Whether it is certain that no byte of the request was written."""

    @abstractmethod
    async def send(self, body: bytes) -> None:
        """Send the request, and keep the response. Without one in time, raise or return."""

    async def find_response(self, error: BaseException) -> None:  # noqa: B027 most errors bring none
        """Keep the response that an error brings, as `httpx.HTTPStatusError` does."""

    async def _read(self, stream: httpx.AsyncByteStream, limit: AbstractContextManager[object]) -> None:
        """Read the body up to a size and within a limit of time; a status is an answer even if the body breaks."""
        content = bytearray()
        with suppress(Exception), limit:
            chunks = aiter(stream)
            async for chunk in chunks:
                content += chunk
                if len(content) > self.longest:
                    await _abandon(chunks)
                    break
            self.is_complete = True
        self.content = bytes(content[: self.longest])
        with suppress(Exception):
            await stream.aclose()


async def _abandon(chunks: AsyncIterator[bytes]) -> None:
    """End an iteration early. Left by `break`, httpcore's generators would make trio warn; cancelled, they unwind."""
    with suppress(Exception), anyio.CancelScope() as reading:
        reading.cancel()
        async for _ in chunks:
            pass


@attrs.define(eq=False)
class OwnExchange(Exchange):
    """An exchange over the client's own transport, which knows what was written and whether the process was suspended.

    Attributes:
        transport: sends the request.
    """

    _transport: Transport = attrs.field(alias="transport", kw_only=True)

    @property
    def is_unsent(self) -> bool:
        """Whether it is certain that no byte of the request was written."""
        return self._transport.network.is_unsent

    async def send(self, body: bytes) -> None:
        """Send the request, and keep the response."""
        network = self._transport.network
        network.begin(PHASES * self._timeout)
        headers = self._request_headers.copy()
        headers["Content-Length"] = str(len(body))
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout)
        request = httpx.Request(
            self.method, self._url, headers=headers, stream=_Body(body), extensions={"timeout": timeouts}
        )
        response = await self._transport.handle_async_request(request)
        self.status, self.headers = response.status_code, response.headers
        network.limit(self._timeout)
        await self._read(cast("httpx.AsyncByteStream", response.stream), nullcontext())


@attrs.define(eq=False)
class ClientExchange(Exchange):
    """An exchange through a user's HTTP client. The response is kept before any hook of theirs can raise.

    The responses to requests for another URL, such as an authentication's, are no answers.

    Attributes:
        client: is used as it is.
        is_built: whether the client has built the request.
    """

    _client: httpx.AsyncClient = attrs.field(alias="client", kw_only=True)
    _is_built: bool = attrs.field(default=False, init=False)

    @property
    def is_unsent(self) -> bool:
        """Whether the request was not built, which their client may refuse; later, only their transport knows."""
        return not self._is_built

    async def send(self, body: bytes) -> None:
        """Send the request as their client does, and keep the response."""
        request = self._client.build_request(self.method, self._url, headers=self._request_headers, content=body)
        request.stream = _Body(body)
        # shares everything with the user's client, and this exchange comes before the user's hooks
        client, hooks = copy.copy(self._client), self._client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self._on_request],
            "response": [self._on_response, *hooks["response"]],
        }
        self._is_built = True
        with anyio.move_on_after(PHASES * self._timeout):
            # no redirect is ever followed: the keys would go with it
            await client.send(request, stream=True, follow_redirects=False)

    async def _on_request(self, request: httpx.Request) -> None:
        """Forget the response if the request is sent again, as some kinds of authentication do."""
        if self.status is not None and request.url == self._url:
            self.status, self.headers, self.content, self.is_complete = None, _NO_HEADERS, b"", False

    async def _on_response(self, response: httpx.Response) -> None:
        """Keep a response, and leave a copy of its body to the hooks that follow."""
        if not self._is_mine(response):
            return
        self.status, self.headers = response.status_code, response.headers
        if response.is_stream_consumed:  # by the user's transport, which has decoded it
            self.headers = httpx.Headers(response.headers)
            self.headers.pop("Content-Encoding", None)
            with suppress(httpx.StreamError):
                self.content, self.is_complete = response.content[: self.longest], True
            return
        await self._read(cast("httpx.AsyncByteStream", response.stream), anyio.move_on_after(self._timeout))
        response.stream = _Body(self.content)

    def _is_mine(self, response: httpx.Response) -> bool:
        try:
            return response.request.url == self._url
        except RuntimeError:  # made by hand, without a request
            return True

    async def find_response(self, error: BaseException) -> None:
        """Keep the response that an error brings, as `httpx.HTTPStatusError` does."""
        if self.status is not None:
            return
        response = next(filter(None, map(_response, _causes(error))), None)
        if response is not None and not (response.is_closed and not response.is_stream_consumed):
            await self._on_response(response)
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
