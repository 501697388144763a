"""The views: an order never fails because of Gameball."""

from __future__ import annotations

import json
import logging
from uuid import uuid4

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse

from gameball_async import GameballError
from gameball_async.integrations.asgi import get_gameball

from .rewards import gameball

log = logging.getLogger("shop")


def check_out(request: HttpRequest) -> JsonResponse:
    """Take an order, under WSGI; the customer's points follow within a second."""
    order, order_id = json.loads(request.body), str(uuid4())
    # ... here the order goes into the shop's database
    try:
        gameball.track(order["customer"], "place_order", {"order_id": order_id, "total_amount": order["total"]})
    except GameballError as error:  # the buffer is full, or the order cannot be sent as it is: it is kept anyway
        log.warning("order %s earns no points: %s", order_id, error)
    return JsonResponse({"id": order_id}, status=201)


async def check_out_async(request: ASGIRequest) -> JsonResponse:
    """Take an order, under ASGI."""
    order, order_id = json.loads(request.body), str(uuid4())
    try:
        metadata = {"order_id": order_id, "total_amount": order["total"]}
        await get_gameball(request.scope).track(order["customer"], "place_order", metadata)
    except GameballError as error:
        log.warning("order %s earns no points: %s", order_id, error)
    return JsonResponse({"id": order_id}, status=201)
