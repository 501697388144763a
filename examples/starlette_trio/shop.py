"""A shop with Starlette, which runs on trio as it would on asyncio: the checkout tracks each order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated
from uuid import uuid4

from msgspec import DecodeError, Meta, Struct, json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gameball_async import AsyncGameball, DeliveryError, Event, GameballError, Metadata
from gameball_async.integrations.starlette import gameball_lifespan, get_gameball

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


async def check_out(request: Request) -> JSONResponse:
    """Take an order; the customer's points follow within a second."""
    try:
        cart = json.decode(await request.body(), type=Cart)
    except DecodeError as error:
        raise HTTPException(422, str(error)) from error
    order_id, total = uuid4(), Decimal(sum(item.cents * item.quantity for item in cart.items)).scaleb(-2)
    # ... here the order goes into the shop's database
    metadata: Metadata = {
        "order_id": order_id,
        "total_amount": total,
        "category": sorted({item.category for item in cart.items}),
    }
    try:
        await get_gameball(request).track(cart.customer, "place_order", metadata)
    except GameballError as error:  # the buffer is full, or the shop is closing: the order is kept anyway
        log.warning("order %s earns no points: %s", order_id, error)
    return JSONResponse({"id": str(order_id), "total": str(total)}, 201)


async def health(request: Request) -> JSONResponse:
    """For whoever watches the shop: what waits for Gameball, and since when."""
    stats = get_gameball(request).stats()
    return JSONResponse({"pending": stats.pending, "oldest_age": stats.oldest_age, "halted": stats.halted})


def tell(event: Event, error: DeliveryError) -> None:
    """Called with each event that will not arrive."""
    log.error("a %s will not arrive: %s", event.name, error)


def make_gameball() -> AsyncGameball:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    return AsyncGameball(on_failure=tell)


def make_app(make_client: Callable[[], AsyncGameball] = make_gameball) -> Starlette:
    """The shop, with a client of its own; tests give it another."""
    routes = [Route("/checkout", check_out, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=gameball_lifespan(client=make_client))


app = make_app()
