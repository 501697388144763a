"""Gameball and the network before it: what was written arrives, whatever happens to the process that wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from random import Random

import anyio
import httpcore
import httpx

from gameball_async._engine.delivery import _NEVER_SENT, PHASES, Delivery
from gameball_async._engine.network import Network, Stream, Transport

from ..gameball import _CALM, EPOCH, _Content
from ..plan import Span
from ..replies import REPLIES, Meaning, Reply
from .attempts import Attempt, Attempts
from .plan import OutboxPlan
from .world import Process, World


class WorldGameball:
    """Answers the requests of all relays.

    Args:
        world: has the time.
        plan: the weather.
        attempts: keeps and checks the requests.

    Attributes:
        is_calm: whether the faults have stopped.
    """

    def __init__(self, world: World, plan: OutboxPlan, attempts: Attempts) -> None:
        self.is_calm = False
        self._world = world
        self._plan = plan
        self._attempts = attempts
        self._random = Random(plan.seed + 1)
        self._began = world.now

    def transport(self, delivery: Delivery) -> Transport:
        """A connection of the process that is running."""
        process = self._world.running
        assert process is not None
        return WorldTransport(self, process, self._plan.timeout, delivery._may_send)

    def weather(self) -> Span:
        """The weather of this moment."""
        if self.is_calm or len(self._attempts.all) > self._plan.most_requests:
            return _CALM
        elapsed = self._world.now - self._began
        return next(span for span in self._plan.weather if elapsed < span.until)

    def connects_after(self) -> float:
        """Seconds until a connection is open: none if one is open already."""
        if self._random.random() >= self._plan.connecting:
            return 0.0
        return self._random.uniform(*self.weather().latency)

    def label(self, span: Span) -> str:
        """Draw how a request is answered."""
        return self._random.choices([label for label, _ in span.odds], [share for _, share in span.odds])[0]

    def sleep(self, process: Process, seconds: float) -> asyncio.Future[None]:
        """Something that arrives from the network after some time."""
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._world.after(seconds, lambda: process.post(partial(_set, arrived)))
        return arrived

    def take(self, attempt: Attempt, span: Span) -> None:
        """Take a request that was written, and answer it."""
        attempt.label = self._fate(attempt, span)
        reply = attempt.reply = REPLIES[attempt.label]
        before, after = (self._random.uniform(*span.latency) for _ in range(2))
        is_late = self._random.random() < 0.5 and reply.error is not None and "imeout" in reply.error.__name__
        self._world.after(before, lambda: self._arrive(attempt, reply))
        if not reply.hangs:
            answers_after = before + after + (self._plan.timeout if is_late else 0.0)
            self._world.after(answers_after, lambda: attempt.process.post(partial(self._answer, attempt, reply)))

    @staticmethod
    def _fate(attempt: Attempt, span: Span) -> str:
        if not REPLIES[attempt.label].applies:
            return attempt.label
        if any("poison" in event.metadata for event in attempt.events):
            return "bad"
        if span is not _CALM and any("toxic" in event.metadata for event in attempt.events):
            return "error_5000"
        return attempt.label

    def _arrive(self, attempt: Attempt, reply: Reply) -> None:
        if attempt.is_cancelled and self._random.random() < 0.5:
            return  # the connection was reset before
        self._attempts.arrive(attempt)
        if reply.applies:
            self._attempts.apply(attempt)

    def _answer(self, attempt: Attempt, reply: Reply) -> None:
        if attempt.response.done():
            return
        if reply.error is not None:
            attempt.response.set_exception(reply.error("simulated"))
            return
        headers = {} if reply.retry_after is None else {"Retry-After": self._retry_after(attempt, reply)}
        content = _Content(attempt, reply, self._attempts)  # type: ignore[arg-type]
        attempt.response.set_result(httpx.Response(reply.status or 0, headers=headers, stream=content))

    def _retry_after(self, attempt: Attempt, reply: Reply) -> str:
        attempt.pause = reply.pause
        if reply.retry_after != "date":
            return reply.retry_after or ""
        wall_now = EPOCH + self._world.now
        date = int(wall_now) + 7
        attempt.pause = date - wall_now
        return formatdate(date, usegmt=True)

    def write(self, process: Process, request: httpx.Request, body: bytes, label: str, span: Span) -> Attempt:
        """Note that a request is being written."""
        response: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        attempt = self._attempts.begin(process, request, body, label, response)
        self.take(attempt, span)
        return attempt

    def end(self, attempt: Attempt, error: BaseException) -> None:
        """Note that a request ended without a response."""
        reply = attempt.reply
        if isinstance(error, asyncio.CancelledError):
            attempt.is_cancelled = True
        is_mine = reply is not None and type(error) is reply.error
        self._attempts.end(attempt, reply.meaning if is_mine and reply else Meaning.INTERRUPTED)


class WorldTransport(Transport):
    """The relay's own transport up to the first byte, and then this world's network.

    Args:
        gameball: answers.
        process: whose it is.
        timeout: of the relay.
        may_send: is asked before the first byte.
    """

    def __init__(  # pyright: ignore[reportMissingSuperCall]
        self, gameball: WorldGameball, process: Process, timeout: float, may_send: Callable[[], bool]
    ) -> None:
        self.network = Network(may_send)
        self._gameball = gameball
        self._process = process
        self._timeout = timeout

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Connect, write a request, and wait for its response."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([chunk async for chunk in request.stream])
        self.network.is_unsent = True
        with anyio.move_on_after(PHASES * self._timeout):
            span = self._gameball.weather()
            label = self._gameball.label(span)
            if connects_after := self._gameball.connects_after():
                await self._gameball.sleep(self._process, connects_after)
            if (error := REPLIES[label].error) is not None and issubclass(error, _NEVER_SENT):
                raise error("simulated")
            self._begin()
            attempt = self._gameball.write(self._process, request, body, label, span)
            try:
                return await attempt.response
            except BaseException as ended_by:
                self._gameball.end(attempt, ended_by)
                raise
        raise httpx.ReadTimeout("simulated: the network's own limit")

    def _begin(self) -> None:
        """Begin to write, as the relay's own connections do."""
        if not self.network.may_send():
            raise httpx.ConnectError("simulated: the request may not be sent any more")
        self.network.write_begins(Stream(httpcore.AsyncMockStream([]), self.network))

    async def aclose(self) -> None:
        """There is nothing to close."""


def _set(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)
