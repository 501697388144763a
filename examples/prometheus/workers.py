"""A shop with several workers, which any of them gives the metrics of all."""

from __future__ import annotations

import os

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gameball_async import AsyncGameball, RateLimit
from gameball_async.integrations.fastapi import Gameball, gameball_lifespan

from .observer import PrometheusObserver, scrape

WORKERS = int(os.environ.get("WEB_CONCURRENCY", "1"))

observer = PrometheusObserver()


def make_gameball() -> AsyncGameball:
    """The client of one worker."""
    return AsyncGameball(rate=RateLimit(share=1 / WORKERS), observer=observer)


app = FastAPI(lifespan=gameball_lifespan(client=make_gameball))


@app.post("/orders/{customer}")
async def place_order(customer: str, gameball: Gameball) -> int:
    """Track an order; the answer is the worker's process id."""
    await gameball.track(customer, "place_order", {"total_amount": 100})
    return os.getpid()


@app.get("/metrics")
def metrics() -> Response:
    """What Prometheus scrapes."""
    return Response(scrape(), media_type=CONTENT_TYPE_LATEST)
