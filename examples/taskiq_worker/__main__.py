"""Five orders a second, until Ctrl-C: `python -m examples.taskiq_worker`."""

from __future__ import annotations

import asyncio
import itertools

from .tasks import broker, reward


async def main() -> None:
    """Send orders to the worker."""
    await broker.startup()
    for number in itertools.count():
        await reward.kiq(f"customer{number % 3}", {"order_id": f"order-{number}", "total_amount": 25.5})
        await asyncio.sleep(0.2)


asyncio.run(main())
