"""A shop with Litestar: the client runs in the app's lifespan, and handlers find it in the app's state."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

from litestar import Litestar, post
from litestar.datastructures import State
from msgspec import Struct

from gameball_async import AsyncGameball, GameballError

log = logging.getLogger("shop")


class Order(Struct):
    """What a customer has paid."""

    customer: str
    total: float


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None]:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    async with AsyncGameball() as gameball:
        app.state.gameball = gameball
        yield


@post("/checkout")
async def check_out(data: Order, state: State) -> dict[str, str]:
    """Take an order; the customer's points follow within a second."""
    gameball: AsyncGameball = state.gameball
    order_id = str(uuid4())
    # ... here the order goes into the shop's database
    try:
        await gameball.track(data.customer, "place_order", {"order_id": order_id, "total_amount": data.total})
    except GameballError as error:  # the buffer is full, or the shop is closing: the order is kept anyway
        log.warning("order %s earns no points: %s", order_id, error)
    return {"id": order_id}


app = Litestar([check_out], lifespan=[lifespan])
