"""One request and the response to it: through the client's own transport, or through a user's HTTP client."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import cast

import anyio
import attrs
import httpx

from .transport import Transport

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read. Gameball's are below 1 KiB; a gateway's page may be any."""

PHASES = 3
"""An attempt may take this often the timeout in all: connect, write, read."""

_NO_HEADERS = httpx.Headers()


class Exchange(ABC):
    """One request and the response to it.

    Args:
        url: where the request goes.
        headers: its headers.
        timeout: seconds without progress after which it is given up.

    Attributes:
        status: of the response, or None.
        headers: of the response.
        content: the beginning of its body, as it was sent.
        is_complete: whether the body was read to its end, or up to the limit.
    """

    def __init__(self, url: httpx.URL, headers: httpx.Headers, timeout: float) -> None:
        self._url = url
        self._request_headers = headers
        self._timeout = timeout
        self.status: int | None = None
        self.headers = _NO_HEADERS
        self.content = b""
        self.is_complete = False

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
                if len(content) > LONGEST_ANSWER:
                    await _abandon(chunks)
                    break
            self.is_complete = True
        self.content = bytes(content[:LONGEST_ANSWER])
        with suppress(Exception):
            await stream.aclose()


async def _abandon(chunks: AsyncIterator[bytes]) -> None:
    """End an iteration early. Left by `break`, httpcore's generators would make trio warn; cancelled, they unwind."""
    with suppress(Exception), anyio.CancelScope() as reading:
        reading.cancel()
        async for _ in chunks:
            pass


class OwnExchange(Exchange):
    """An exchange over the client's own transport, which knows what was written and whether the process was suspended.

    Args:
        transport: sends the request.
        url: where the request goes.
        headers: its headers.
        timeout: seconds without progress after which it is given up.
    """

    def __init__(self, transport: Transport, url: httpx.URL, headers: httpx.Headers, timeout: float) -> None:
        super().__init__(url, headers, timeout)
        self._transport = transport

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
            "POST", self._url, headers=headers, stream=_Body(body), extensions={"timeout": timeouts}
        )
        response = await self._transport.handle_async_request(request)
        self.status, self.headers = response.status_code, response.headers
        network.limit(self._timeout)
        await self._read(_async_stream(response), nullcontext())


class ClientExchange(Exchange):
    """An exchange through a user's HTTP client. The response is kept before any hook of theirs can raise.

    Args:
        client: is used as it is.
        url: where the request goes; the responses to others, such as an authentication's, are no answers.
        headers: its headers.
        timeout: seconds without progress after which it is given up.
    """

    def __init__(self, client: httpx.AsyncClient, url: httpx.URL, headers: httpx.Headers, timeout: float) -> None:
        super().__init__(url, headers, timeout)
        self._client = client
        self._is_built = False

    @property
    def is_unsent(self) -> bool:
        """Whether the request was not built, which their client may refuse; later, only their transport knows."""
        return not self._is_built

    async def send(self, body: bytes) -> None:
        """Send the request as their client does, and keep the response."""
        request = self._client.build_request("POST", self._url, headers=self._request_headers, content=body)
        request.stream = _Body(body)
        client = self._joined(self._client)
        self._is_built = True
        with anyio.move_on_after(PHASES * self._timeout):
            # no redirect is ever followed: the keys would go with it
            await client.send(request, stream=True, follow_redirects=False)

    def _joined(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """Return a user's client that shares everything, and in which this exchange comes before the user's hooks."""
        hooks = client.event_hooks
        client = copy.copy(client)
        client.event_hooks = {
            "request": [*hooks["request"], self._on_request],
            "response": [self._on_response, *hooks["response"]],
        }
        return client

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
                self.content, self.is_complete = response.content[:LONGEST_ANSWER], True
            return
        await self._read(_async_stream(response), anyio.move_on_after(self._timeout))
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


def _async_stream(response: httpx.Response) -> httpx.AsyncByteStream:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream), "an async transport's"  # noqa: S101 an invariant
    return stream


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
