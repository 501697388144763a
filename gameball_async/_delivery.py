"""How a request leaves, and when it goes again: the only importer of httpx and tenacity.

`Delivery.post` makes one attempt and never raises what httpx raises; `Backoff` asks tenacity how
long to wait, and leaves the waiting to the flusher, so that no task is held by a batch that waits.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import tenacity

from ._config import Retry
from ._interruption import interruption, running_task
from ._logger import logger
from ._outcome import clean_words, read_answer
from ._verdict import Answer, Verdict
from .errors import ConfigurationError

HTTPClient = httpx.AsyncClient

CONNECTIONS = 10
"""Requests in flight at once: ten at 100 ms of latency reach the documented 100 requests a second."""

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read. Gameball's are below 1 KiB; a gateway's page may be any."""

_PHASES = 3
"""An attempt may take this often the timeout in all: connect, write, read."""

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
        # plain answers, so that reading is bounded by what arrives
        self._headers = httpx.Headers({**headers, "Accept-Encoding": "identity"})
        self._timeout = timeout
        self._secrets = secrets
        self._injected = http_client
        self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for http: verifies, and trusts nobody
        self._free: list[HTTPClient] = []  # the last one used is the next: so no more are open than are needed
        self._spent: list[HTTPClient] = []

    async def prepare(self) -> None:
        """Load the authorities' certificates in a thread, once in a process: it takes a tenth of a second.

        Raises:
            ConfigurationError: if no HTTP client can be made with the environment's proxies or certificates.
        """
        if self._injected is not None:
            return
        try:
            if self._url.startswith("https:"):
                self._ssl = await anyio.to_thread.run_sync(_default_ssl_context)
            self._free.append(self._new_client())
        except Exception as error:  # noqa: BLE001 of many types: an unknown scheme, a package or a file that is missing
            raise ConfigurationError(  # without the error's text: a proxy's address may hold a password
                f"no HTTP client can be made here ({type(error).__name__}): look at HTTPS_PROXY, ALL_PROXY and "
                "SSL_CERT_FILE, with `gameball-async doctor` for one."
            ) from None

    async def post(self, body: bytes, private: Iterable[str] = ()) -> Answer:
        """Make one attempt. Whatever happens to it is an answer; only cancellation passes through.

        Args:
            body: the request's body.
            private: what must not appear in the answer's words, beside the keys.
        """
        if self._spent:
            await self._close_spent()
        return await self._attempt(body, (*self._secrets, *private))

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

    async def _attempt(self, body: bytes, secrets: tuple[str, ...]) -> Answer:
        try:
            client = self._take()
        except Exception as error:  # noqa: BLE001 the environment has changed since `prepare`, and nothing was sent
            return Answer(verdict=Verdict.FAILED, words=type(error).__name__)
        is_fit = False
        try:
            answer = await self._answer(client, body, secrets)
            # without a status nobody knows in which state the connection is; and a request that was cancelled may
            # never give its connection free (httpcore issue 1093)
            is_fit = answer.status is not None
            return answer
        finally:
            self._put_back(client, is_fit=is_fit)

    async def _answer(self, client: HTTPClient, body: bytes, secrets: tuple[str, ...]) -> Answer:
        if client.is_closed:
            return Answer(verdict=Verdict.FAILED, words="the http_client that was given is closed")
        try:
            request = client.build_request("POST", self._parsed_url, headers=self._headers, content=body)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 whatever an injected client raises, nothing was sent
            return Answer(verdict=Verdict.FAILED, words=_described(error, secrets))
        request.stream = _Body(body)
        if request.url.scheme == "https" and client is not self._injected:
            request.extensions["trace"] = _Connecting()
        task = running_task()
        try:
            return await self._exchange(client, request, secrets)
        except _NEVER_SENT as error:
            return Answer(verdict=Verdict.FAILED, words=_described(error, secrets))
        except BaseException as error:  # noqa: BLE001 whatever a transport or hook raises, the batch must get an answer
            if (own := interruption(error, task)) is not None:
                raise own from None
            return Answer(verdict=Verdict.AMBIGUOUS, words=_described(error, secrets))

    async def _exchange(self, client: HTTPClient, request: httpx.Request, secrets: tuple[str, ...]) -> Answer:
        limit = _PHASES * self._timeout
        response = None
        with anyio.move_on_after(limit):
            # no redirect is ever followed: the keys would go with it
            response = await client.send(request, stream=True, follow_redirects=False)
        if response is None:
            return Answer(verdict=Verdict.AMBIGUOUS, words=f"nothing within {limit:g} s")
        try:
            content, complete = await _bounded_body(response, self._timeout)
        finally:
            await response.aclose()
        return read_answer(
            response.status_code,
            response.headers,
            content,
            complete=complete,
            wall_now=time.time(),
            secrets=secrets,
        )

    def _take(self) -> HTTPClient:
        if self._injected is not None:
            return self._injected
        return self._free.pop() if self._free else self._new_client()

    def _put_back(self, client: HTTPClient, *, is_fit: bool) -> None:
        if client is not self._injected:
            (self._free if is_fit else self._spent).append(client)

    def _new_client(self) -> HTTPClient:
        return httpx.AsyncClient(
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            timeout=self._timeout,
            trust_env=not _is_loopback(self._url),  # a proxy is never the way to this machine
            verify=self._ssl,
        )


def _described(error: BaseException, secrets: tuple[str, ...]) -> str:
    name = type(error).__name__
    if not isinstance(error, httpx.TransportError):
        return name  # an error of an unknown kind may quote what it was given, keys included
    words = clean_words(_system_words(error) or str(error), secrets)
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


class _Connecting:
    """Closes a connection whose TLS handshake ends in cancellation; httpcore 1.0 leaves it to the garbage collector.

    httpx calls it with the name of each step of a request, and what the step brought.
    """

    def __init__(self) -> None:
        self._connection: Any = None

    async def __call__(self, step: str, brought: Mapping[str, Any]) -> None:
        if step.endswith("connect_tcp.complete"):
            self._connection = brought["return_value"]
        elif step.endswith("start_tls.failed") and self._connection is not None:
            await self._connection.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body in one piece. httpx's own is an async generator, which trio warns of if it is cancelled."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Piece(self._body)


class _Piece(AsyncIterator[bytes]):
    def __init__(self, body: bytes) -> None:
        self._rest = [body]

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.pop()


@functools.cache
def _default_ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def _bounded_body(response: httpx.Response, timeout: float) -> tuple[bytes, bool]:  # noqa: ASYNC109 one of two limits
    """The body as far as it is needed, and whether that is all; a status is an answer even if the body breaks."""
    if response.is_stream_consumed:  # by an event hook of the user's client
        return response.content[:LONGEST_ANSWER], True
    content = bytearray()
    try:
        with anyio.move_on_after(timeout) as reading:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > LONGEST_ANSWER:
                    # cancelled, httpcore's generators unwind; left by `break`, trio would warn of them
                    reading.cancel()
    except (httpx.TransportError, httpx.StreamError):
        return bytes(content), False
    return bytes(content[:LONGEST_ANSWER]), len(content) > LONGEST_ANSWER or not reading.cancelled_caught


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class Backoff:
    """How long to wait before a batch, or the whole client, tries again; tenacity decides.

    Args:
        retry: the user's settings.
        random: gives numbers from 0 up to 1; tests give their own.
    """

    def __init__(self, retry: Retry, random: Callable[[], float]) -> None:
        self._retry = retry
        self._random = random
        self._exponential = tenacity.wait_exponential(
            multiplier=retry.initial, max=retry.maximum, exp_base=retry.multiplier
        )
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answer: answer.verdict in _RETRIABLE),
            stop=lambda state: state.kwargs["strikes"] >= retry.max_attempts,
            wait=self._wait,
            retry_error_callback=lambda _: None,
        )

    def after(self, answer: Answer, *, attempts: int, strikes: int) -> float | None:
        """Seconds until a batch goes again, or None if it must not go again as it is.

        Args:
            answer: what the last attempt brought.
            attempts: requests sent with this batch so far.
            strikes: those that failed although other players' requests succeeded meanwhile.
        """
        state = self._state(answer, attempts, strikes=strikes)
        self._retrying.begin()
        action = self._retrying.iter(state)
        return float(action) if isinstance(action, tenacity.DoSleep) else None

    def pause(self, answer: Answer, failed_probes: int) -> float:
        """Seconds that the whole client waits after an answer, if it has to."""
        if answer.retry_after is not None:
            return answer.retry_after
        if answer.verdict is Verdict.RATE_LIMITED:
            return max(_SHORTEST_PAUSE, self._spread(self._exponential(self._state(answer, failed_probes + 1))))
        return self._spread(self._exponential(self._state(answer, failed_probes + 1)))

    def _wait(self, state: tenacity.RetryCallState) -> float:
        assert state.outcome is not None, "tenacity waits after an outcome"  # noqa: S101 an invariant
        match state.outcome.result().verdict:
            case Verdict.RATE_LIMITED | Verdict.HALT:
                return 0.0  # the whole client waits
            case Verdict.BUSY:
                return self._spread(self._retry.initial)  # somebody else's request is soon over
            case _:
                return self._spread(self._exponential(state))

    def _spread(self, seconds: float) -> float:
        return seconds * (1 - self._retry.jitter * self._random())

    def _state(self, answer: Answer, attempts: int, **known: int) -> tenacity.RetryCallState:
        state = tenacity.RetryCallState(self._retrying, None, (), known)
        state.attempt_number = attempts
        state.set_result(answer)
        return state


_SHORTEST_PAUSE = 1.0
"""Seconds after a 429 that names none: they clear the window of one second."""

_RETRIABLE = frozenset(Verdict) - {Verdict.DELIVERED, Verdict.REFUSED}
