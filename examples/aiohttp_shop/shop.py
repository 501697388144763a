"""A shop with aiohttp: the checkout tracks each order."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated
from uuid import uuid4

from aiohttp import web
from msgspec import DecodeError, Meta, Struct, json

from gameball_async import AsyncGameball, DeliveryError, Event, GameballError, Metadata
from gameball_async.integrations.aiohttp import GAMEBALL, gameball_context

log = logging.getLogger("shop")


class Item(Struct):
    """A line of a cart."""

    name: str
    category: str
    cents: Annotated[int, Meta(gt=0)]
    quantity: Annotated[int, Meta(gt=0)] = 1


class Cart(Struct):
    """What a customer buys."""

    customer: Annotated[str, Meta(min_length=1)]
    items: Annotated[list[Item], Meta(min_length=1)]


async def check_out(request: web.Request) -> web.Response:
    """Take an order; the customer's points follow within a second."""
    try:
        cart = json.decode(await request.read(), type=Cart)
    except DecodeError as error:
        raise web.HTTPUnprocessableEntity(text=str(error)) from error
    order_id, total = uuid4(), Decimal(sum(item.cents * item.quantity for item in cart.items)).scaleb(-2)
    # ... here the order goes into the shop's database
    metadata: Metadata = {
        "order_id": order_id,
        "total_amount": total,
        "category": sorted({item.category for item in cart.items}),
    }
    try:
        await request.config_dict[GAMEBALL].track(cart.customer, "place_order", metadata)
    except GameballError as error:  # the buffer is full, or the shop is closing: the order is kept anyway
        log.warning("order %s earns no points: %s", order_id, error)
    return web.json_response({"id": str(order_id), "total": str(total)}, status=201)


async def health(request: web.Request) -> web.Response:
    """For whoever watches the shop: what waits for Gameball, and since when."""
    stats = request.config_dict[GAMEBALL].stats()
    return web.json_response({"pending": stats.pending, "oldest_age": stats.oldest_age, "halted": stats.halted})


def tell(event: Event, error: DeliveryError) -> None:
    """Called with each event that will not arrive."""
    log.error("a %s will not arrive: %s", event.name, error)


def make_gameball() -> AsyncGameball:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    return AsyncGameball(on_failure=tell)


def make_app(make_client: Callable[[], AsyncGameball] = make_gameball) -> web.Application:
    """The shop, with a client of its own; tests give it another."""
    app = web.Application()
    app.add_routes([web.post("/checkout", check_out), web.get("/health", health)])
    app.cleanup_ctx.append(gameball_context(client=make_client))
    return app


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    main()
