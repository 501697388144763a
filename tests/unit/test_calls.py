"""The queue of requests beside the events: the status of jobs goes before previews."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from gameball_async import ClientClosed
from gameball_async._core.outcome import Answer, Decision
from gameball_async._core.pacing import CircuitBreaker, SharedPacing
from gameball_async._core.receipts import Notifier
from gameball_async._core.wire import Call
from gameball_async._engine.backends import current_backend
from gameball_async._engine.calls import CallQueue

if TYPE_CHECKING:
    from gameball_async._engine.delivery import Delivery


@pytest.fixture
def anyio_backend() -> str:
    """Trio starts tasks in random order."""
    return "asyncio"


class Recording:
    """A delivery that records what it is to send."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def fetch(self, call: Call, private: object) -> Answer:
        del private
        self.urls.append(call.url)
        return Answer(verdict=Decision.DELIVERED, status=200)


def _ignore(answer: Answer, *, probe: bool, now: float) -> None:
    """Do nothing with an answer."""


def queue() -> CallQueue:
    return CallQueue(SharedPacing(()).calls, CircuitBreaker(), Notifier(), _ignore)


@pytest.mark.anyio
async def test_urgent_calls_go_before_the_others_and_each_in_their_order() -> None:
    calls, delivery, ended = queue(), Recording(), list[str]()

    async def request(url: str, *, is_urgent: bool) -> None:
        await calls.request(Call(method="GET", url=url), is_urgent=is_urgent)
        ended.append(url)

    async def serve() -> None:
        await calls.serve(cast("Delivery", delivery), current_backend(), anyio.current_time)

    async with anyio.create_task_group() as serving:
        async with anyio.create_task_group() as requests:
            for url, is_urgent in (("p1", False), ("s1", True), ("p2", False), ("s2", True)):
                requests.start_soon(partial(request, url, is_urgent=is_urgent))
            await anyio.wait_all_tasks_blocked()
            serving.start_soon(serve)
        serving.cancel_scope.cancel()
    assert delivery.urls == ["s1", "s2", "p1", "p2"]
    assert sorted(ended) == ["p1", "p2", "s1", "s2"]


@pytest.mark.anyio
async def test_the_end_fails_all_that_were_not_sent() -> None:
    calls, failed = queue(), list[bool]()

    async def request(*, is_urgent: bool) -> None:
        with pytest.raises(ClientClosed):
            await calls.request(Call(method="GET", url="s"), is_urgent=is_urgent)
        failed.append(is_urgent)

    async with anyio.create_task_group() as requests:
        requests.start_soon(partial(request, is_urgent=False))
        requests.start_soon(partial(request, is_urgent=True))
        await anyio.wait_all_tasks_blocked()
        assert calls.is_due(0.0)
        calls.end(ClientClosed("closed"))
    assert sorted(failed) == [False, True]
    assert not calls.is_due(0.0)
