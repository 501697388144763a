"""A worker on plain asyncio: it takes paid orders from a queue, and the client runs in its task group.

Here the queue is a TCP connection with one order on each line. An order is answered with `ok` when its event is
accepted; a real queue would forget it then. What is not answered comes again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from decimal import Decimal
from functools import partial
from types import FrameType

import anyio
from msgspec import DecodeError, Struct, json

from gameball_async import AsyncGameball, BufferFull, DeliveryError, Event, JournalError, LifecycleError

log = logging.getLogger("worker")


class Order(Struct):
    """What comes out of the queue."""

    order_id: str
    customer: str
    total: Decimal


async def consume(gameball: AsyncGameball, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take orders from one connection until it ends, or the worker does."""
    try:
        async for line in reader:
            writer.write(await answer(gameball, line))
            await writer.drain()
    except (LifecycleError, ConnectionError, ValueError) as error:  # it closes, they do, or a line has no end
        log.warning("a connection ends: %s", error)
    finally:
        writer.close()


async def answer(gameball: AsyncGameball, line: bytes) -> bytes:
    """Track one order, and say what the queue shall do with it."""
    try:
        order = json.decode(line, type=Order)
        await gameball.track(order.customer, "place_order", {"order_id": order.order_id, "total_amount": order.total})
    except (DecodeError, ValueError) as error:
        log.warning("an order is dropped: %s", error)
        return b"drop\n"
    except (BufferFull, JournalError) as error:
        log.warning("an order is put back: %s", error)
        return b"again\n"
    return b"ok\n"


def tell(event: Event, error: DeliveryError) -> None:
    """Called with each event that will not arrive."""
    log.error("a %s will not arrive: %s", event.name, error)


def make_gameball() -> AsyncGameball:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_JOURNAL is a journal's folder."""
    return AsyncGameball(
        journal=os.environ.get("GAMEBALL_JOURNAL"),
        on_failure=tell,
    )


async def work() -> None:
    """Consume until SIGTERM or Ctrl-C; then deliver what is left."""
    gameball = make_gameball()
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)  # not loop.add_signal_handler(), which Windows lacks
    async with anyio.create_task_group() as tasks:  # asyncio's own has no start(), which waits until the client runs
        await tasks.start(gameball.run)
        queue = await asyncio.start_server(partial(consume, gameball), "127.0.0.1", int(os.environ.get("PORT", "9000")))
        log.info("takes orders at 127.0.0.1:%s", queue.sockets[0].getsockname()[1])
        await stop.wait()
        queue.close()
        report = await gameball.aclose()  # run() ends, and with it the task group
        log.info("ends; %s events are kept in the journal, %s are lost", report.kept, len(report.undelivered))


def main() -> None:
    """Work, and log what happens."""
    logging.basicConfig()
    log.setLevel(logging.INFO)
    asyncio.run(work())


if __name__ == "__main__":
    main()
