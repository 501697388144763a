"""The queue of requests beside the events: a call ends, whatever becomes of the task that sends it."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import Any, cast

import anyio
import pytest

from gameball_async._core.outcome import Answer, Decision, ServerHealth
from gameball_async._core.pacing import CircuitBreaker, SharedPacing
from gameball_async._core.receipts import Notifier
from gameball_async._core.wire import Call
from gameball_async._engine.backends import current_backend
from gameball_async._engine.calls import CallQueue

CALL = Call(method="GET", url="http://gameball.invalid/status")


class Delivery:
    async def fetch(self, *_: object) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError


def failed_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker()
    for player in range(5):
        breaker.finish(ServerHealth.TROUBLED, str(player), probe=False, now=0.0, pause=0.0)
    return breaker


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # asyncio does not begin it
def test_a_call_whose_task_is_cancelled_before_its_first_step_ends_and_is_no_probe_any_more() -> None:
    breaker, answers = failed_breaker(), list[Answer]()

    async def main() -> None:
        loop, pacing = asyncio.get_running_loop(), SharedPacing(((1, 1.0),)).calls
        start = pacing.start

        def cancel_others() -> None:  # as `asyncio.run` does at its end
            for task in asyncio.all_tasks() - {requesting, main_task}:
                task.cancel()

        def start_and_cancel(now: float) -> None:
            start(now)
            loop.call_soon(cancel_others)  # before the first step of the task that is about to be made

        def note(answer: Answer, *, probe: bool, now: float) -> None:
            answers.append(answer)
            breaker.finish(answer.health, None, probe=probe, now=now, pause=0.0)

        cast("Any", pacing).start = start_and_cancel
        calls = CallQueue(pacing, breaker, Notifier(), note)
        main_task = asyncio.current_task()
        requesting = asyncio.ensure_future(calls.request(CALL))
        serving = asyncio.ensure_future(calls.serve(cast("Any", Delivery()), current_backend(), loop.time))
        await asyncio.wait([serving])
        answers.append(await requesting)

    asyncio.run(main())
    gc.collect()  # while the warning is ignored
    assert [answer.verdict for answer in answers] == [Decision.INTERRUPTED] * 2
    assert breaker.next_request_at() < math.inf
