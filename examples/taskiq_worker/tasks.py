"""The tasks of a taskiq worker: each worker process has its own client, which tasks get as a dependency.

Here the broker is ZeroMQ, so that no server is needed.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState, ZeroMQBroker

from gameball_async import AsyncGameball

ADDRESS = os.environ.get("ZMQ_ADDRESS", "tcp://127.0.0.1:5555")
broker = ZeroMQBroker(zmq_pub_host=ADDRESS, zmq_sub_host=ADDRESS)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start_gameball(state: TaskiqState) -> None:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    state.gameball = AsyncGameball()
    await state.gameball.start()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_gameball(state: TaskiqState) -> None:
    """Deliver what is left."""
    await state.gameball.aclose()


def get_gameball(context: Annotated[Context, TaskiqDepends()]) -> AsyncGameball:
    """The dependency."""
    gameball: AsyncGameball = context.state.gameball
    return gameball


@broker.task("reward")
async def reward(
    customer: str,
    order: dict[str, Any],
    gameball: AsyncGameball = TaskiqDepends(get_gameball),  # noqa: B008 as taskiq has it
) -> None:
    """Track a paid order."""
    await gameball.track(customer, "place_order", order)
