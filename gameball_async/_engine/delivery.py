"""Send requests. `Delivery.post` makes one attempt and never raises what httpx raises."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import cast

import anyio.to_thread
import httpx

from .._core.outcome import Answer, Decision, read_answer
from .._core.redaction import redact_message
from .._endpoint import Proxy, proxy_for
from ..errors import ConfigurationError
from .backends import interruption, running_task
from .exchange import PHASES, ClientExchange, Exchange, OwnExchange
from .transport import Transport

HTTPClient = httpx.AsyncClient

CONNECTIONS = 10
"""Requests in flight at once: ten at 100 ms of latency reach the documented 100 requests a second."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)
"""Errors after which not one byte of the request can have been read; after all others it may have been."""


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
        # what httpx's client adds
        added = {"Host": httpx.Request("POST", url).headers["Host"], "Accept": "*/*"}
        self._own_headers = httpx.Headers({**added, **self._headers})
        self._timeout = timeout
        self._secrets = secrets
        self._injected = http_client
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

    async def post(self, body: bytes, private: Iterable[str | None] = (), task: object = None) -> Answer:
        """Make one attempt. Any failure is an answer; only cancellation passes through.

        Args:
            body: the request's body.
            private: what must not appear in the answer's message, besides the keys.
            task: the running task, by default looked up.
        """
        every_secret = (*self._secrets, *filter(None, private))
        if self._injected is not None:
            if self._injected.is_closed:
                return Answer(verdict=Decision.FAILED, words="the http_client that was given is closed")
            exchange = ClientExchange(self._injected, self._parsed_url, self._headers, self._timeout)
            return await self._attempt(exchange, body, every_secret, task)
        try:
            transport = self._free.pop() if self._free else self._new_transport()
        except Exception as error:  # noqa: BLE001 the environment has changed since `prepare`, and nothing was sent
            return Answer(verdict=Decision.FAILED, words=type(error).__name__)
        try:
            own_exchange = OwnExchange(transport, self._parsed_url, self._own_headers, self._timeout)
            return await self._attempt(own_exchange, body, every_secret, task)
        except BaseException:  # only cancellation: perhaps while the response was being read
            await transport.aclose()
            raise
        finally:
            self._free.append(transport)

    async def aclose(self) -> None:
        """Close the connections, unless they are the user's."""
        while self._free:
            await self._free.pop().aclose()

    async def _attempt(self, exchange: Exchange, body: bytes, secrets: tuple[str, ...], task: object) -> Answer:
        task = task or running_task()
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
        )

    def _new_transport(self) -> Transport:
        return Transport(self._parsed_url, self._ssl, proxy_for(self._url))


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
