"""A shop with FastAPI: the checkout tracks each order."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import FastAPI
from pydantic import BaseModel, Field

from gameball_async import AsyncGameball, DeliveryError, Event, GameballError, Metadata
from gameball_async.integrations.fastapi import Gameball, gameball_lifespan

log = logging.getLogger("shop")


class Item(BaseModel):
    """A line of a cart."""

    name: str
    category: str
    cents: Annotated[int, Field(gt=0)]
    quantity: Annotated[int, Field(gt=0)] = 1


class Cart(BaseModel):
    """What a customer buys."""

    customer: Annotated[str, Field(min_length=1)]
    items: Annotated[list[Item], Field(min_length=1)]


class Order(BaseModel):
    """A cart that was paid."""

    id: UUID
    total: Decimal


class Review(BaseModel):
    """What a customer thinks of an order."""

    customer: Annotated[str, Field(min_length=1)]
    rating: Annotated[int, Field(ge=1, le=5)]


def tell(event: Event, error: DeliveryError) -> None:
    """Called with each event that will not arrive."""
    log.error("a %s will not arrive: %s", event.name, error)


def make_gameball() -> AsyncGameball:
    """The key comes from GAMEBALL_API_KEY; GAMEBALL_BASE_URL leads to a sandbox instead of Gameball."""
    return AsyncGameball(on_failure=tell)


app = FastAPI(title="Shop", lifespan=gameball_lifespan(client=make_gameball))


@app.post("/checkout", status_code=201)
async def check_out(cart: Cart, gameball: Gameball) -> Order:
    """Take an order; the customer's points follow within a second."""
    order = Order(id=uuid4(), total=Decimal(sum(item.cents * item.quantity for item in cart.items)).scaleb(-2))
    # ... here the order goes into the shop's database
    metadata: Metadata = {
        "order_id": order.id,
        "total_amount": order.total,
        "category": sorted({item.category for item in cart.items}),
    }
    try:
        await gameball.track(cart.customer, "place_order", metadata)
    except GameballError as error:  # the buffer is full, or the shop is closing: the order is kept anyway
        log.warning("order %s earns no points: %s", order.id, error)
    return order


@app.post("/reviews", status_code=202)
def review(review: Review, gameball: Gameball) -> None:
    """Take a review; a handler without `async` runs in a thread, and tracks from there."""
    gameball.track_threadsafe(review.customer, "review", {"rating": review.rating})


@app.get("/health")
async def health(gameball: Gameball) -> dict[str, object]:
    """For whoever watches the shop: what waits for Gameball, and since when."""
    stats = gameball.stats()
    return {"pending": stats.pending, "oldest_age": stats.oldest_age, "halted": stats.halted}
