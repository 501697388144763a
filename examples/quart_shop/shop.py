"""A shop with Quart: the client runs while the app serves."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from uuid import uuid4

from quart import Quart, request

from gameball_async import AsyncGameball, GameballError

log = logging.getLogger("shop")
app = Quart(__name__)


@app.while_serving
async def run_gameball() -> AsyncGenerator[None]:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    async with AsyncGameball() as gameball:
        app.extensions["gameball"] = gameball
        yield


@app.post("/checkout")
async def check_out() -> tuple[dict[str, str], int]:
    """Take an order; the customer's points follow within a second."""
    gameball: AsyncGameball = app.extensions["gameball"]
    order, order_id = await request.get_json(), str(uuid4())
    # ... here the order goes into the shop's database
    try:
        metadata = {"order_id": order_id, "total_amount": order["total"]}
        await gameball.track(order["customer"], "place_order", metadata)
    except GameballError as error:  # the buffer is full, or the shop is closing: the order is kept anyway
        log.warning("order %s earns no points: %s", order_id, error)
    return {"id": order_id}, 201
