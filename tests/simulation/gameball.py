"""The simulated Gameball: a transport that answers as the weather has it, in virtual time, and keeps the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from random import Random

import anyio
import anyio.lowlevel
import attrs
import httpcore
import httpx

from gameball_async._engine.delivery import PHASES
from gameball_async._engine.network import Network, Stream, Transport

from .plan import Plan, Span
from .replies import REPLIES, Meaning, Reply
from .requests import Attempt, Requests

EPOCH = 1_800_000_000
"""The wall clock, in seconds of Unix time, at the loop's time 0."""

_CALM = Span(float("inf"), (("ok", 1.0),), (0.0, 0.05))
"""The weather after the faults stopped."""


class SimulatedGameball(httpx.AsyncBaseTransport):
    """Answers requests.

    Args:
        plan: the weather, and when it ends.
        requests: checks and keeps the requests.
    """

    def __init__(self, plan: Plan, requests: Requests) -> None:
        self._plan = plan
        self._requests = requests
        self._random = Random(plan.seed + 1)
        self._began = anyio.current_time()
        self.is_calm = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take one request, and answer, raise or hang."""
        return await self.answer(request, lambda: None)

    async def answer(self, request: httpx.Request, on_written: Callable[[], object]) -> httpx.Response:
        """Take one request, call back when its first byte is written, and answer, raise or hang."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([chunk async for chunk in request.stream])
        attempt = self._requests.start(request, body)
        try:
            return await self._answer(attempt, on_written)
        except BaseException as error:
            is_mine = attempt.reply is not None and type(error) is attempt.reply.error
            self._requests.end(attempt, attempt.reply.meaning if is_mine and attempt.reply else Meaning.INTERRUPTED)
            raise

    async def _answer(self, attempt: Attempt, on_written: Callable[[], object]) -> httpx.Response:
        span = self._weather()
        attempt.label = self._drawn(span, attempt)
        reply = attempt.reply = self._reply(attempt)
        before, after = (self._random.uniform(*span.latency) for _ in range(2))
        is_late = self._random.random() < 0.5
        await anyio.sleep(before)
        on_written()
        self._requests.arrive(attempt)
        reply = attempt.reply = self._with_content(attempt, reply)
        if reply.applies:
            self._requests.apply(attempt)
        await anyio.sleep(after)
        if reply.hangs:
            await anyio.sleep_forever()
        if reply.error is not None:
            await anyio.sleep(self._plan.timeout if is_late and "imeout" in reply.error.__name__ else 0)
            raise reply.error("simulated")
        headers = {} if reply.retry_after is None else {"Retry-After": self._retry_after(attempt, reply)}
        return httpx.Response(reply.status or 0, headers=headers, stream=_Content(attempt, reply, self._requests))

    def _reply(self, attempt: Attempt) -> Reply:
        return REPLIES[attempt.label]

    def _with_content(self, attempt: Attempt, reply: Reply) -> Reply:  # noqa: ARG002 of more than single requests
        """The reply as it is when the request has arrived."""
        return reply

    def _weather(self) -> Span:
        if self.is_calm or len(self._requests.all) > self._plan.most_requests:
            return _CALM
        elapsed = anyio.current_time() - self._began
        return next(span for span in self._plan.weather if elapsed < span.until)

    def _drawn(self, span: Span, attempt: Attempt) -> str:
        label = self._random.choices([label for label, _ in span.odds], [share for _, share in span.odds])[0]
        if not REPLIES[label].applies:
            return label
        if any("poison" in placed.asked.metadata for placed in attempt.placed):
            return "bad"
        if span is not _CALM and any("toxic" in placed.asked.metadata for placed in attempt.placed):
            return "error_5000"
        return label

    def _retry_after(self, attempt: Attempt, reply: Reply) -> str:
        attempt.pause = reply.pause
        if reply.retry_after != "date":
            return reply.retry_after or ""
        wall_now = EPOCH + anyio.current_time()
        date = int(wall_now) + 7
        attempt.pause = date - wall_now
        return formatdate(date, usegmt=True)


class SimulatedTransport(Transport):
    """The client's own transport, without a network; the real one's knowledge of what was written is kept.

    Args:
        server: answers.
        timeout: of the client.
    """

    def __init__(self, server: SimulatedGameball, timeout: float) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.network = Network()
        self._server = server
        self._timeout = timeout
        self._response: httpx.Response | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Take one request, on a new connection."""
        stream = Stream(httpcore.AsyncMockStream([]), self.network)
        self.network.is_unsent = True
        with anyio.move_on_after(PHASES * self._timeout):
            self._response = await self._server.answer(request, lambda: self.network.write_begins(stream))
            return self._response
        raise httpx.ReadTimeout("simulated: the network's own limit")

    async def aclose(self) -> None:
        """Close the connection; a response that was still being read ends with it."""
        if self._response is not None:
            await self._response.aclose()


@attrs.define(eq=False)
class _Content(httpx.AsyncByteStream):
    """An answer's body; when it is read to its end, or breaks, the client has its answer."""

    attempt: Attempt
    reply: Reply
    requests: Requests

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Chunks(self.attempt, self.reply, self.requests)

    async def aclose(self) -> None:
        self.requests.end(self.attempt, Meaning.INTERRUPTED)


class _Chunks(AsyncIterator[bytes]):
    def __init__(self, attempt: Attempt, reply: Reply, requests: Requests) -> None:
        body = reply.body
        self._rest = [body[:-1]] if reply.cut else [body[:5], body[5:]] if body else []
        self._attempt, self._reply, self._requests = attempt, reply, requests

    async def __anext__(self) -> bytes:
        if self._rest:
            await anyio.lowlevel.checkpoint()
            return self._rest.pop(0)
        self._requests.end(self._attempt, self._reply.meaning)
        if self._reply.cut:
            raise httpx.RemoteProtocolError("simulated: the connection broke")
        raise StopAsyncIteration
