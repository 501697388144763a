"""A function that tracks an order, for AWS Lambda and platforms like it: frozen as soon as it has returned.

The client is global, so that a warm function keeps its connection. `flush` sends the event before the function returns:
afterwards the process may be frozen, and never wake again.
"""

from __future__ import annotations

import logging
from typing import Any

from gameball_async import FlushTimeout, GameballError
from gameball_async.sync import Gameball

log = logging.getLogger("shop")
gameball = Gameball()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Take an order."""
    try:
        metadata = {"order_id": event["id"], "total_amount": event["total"]}
        gameball.track(event["customer"], "place_order", metadata)
        gameball.flush(timeout=3)  # shorter than the function's own limit
    except FlushTimeout as error:  # it is sent when the function runs again, if it does
        log.warning("order %s earns its points later: %s", event["id"], error)
    except GameballError as error:
        log.warning("order %s earns no points: %s", event["id"], error)
    return {"statusCode": 201, "body": event["id"]}
