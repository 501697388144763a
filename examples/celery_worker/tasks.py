"""The tasks of a Celery worker. Each child process has its own client, which starts with the child's first event.

Here the queue is a folder, so that no broker is needed: set CELERY_BROKER_URL for a real one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery

from gameball_async import RateLimit
from gameball_async.sync import Gameball

CHILDREN = 2
FOLDER = Path(os.environ.get("QUEUE", "queue"))
FOLDER.mkdir(exist_ok=True)

app = Celery("shop", broker=os.environ.get("CELERY_BROKER_URL", "filesystem://"))
app.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER),
    "data_folder_out": str(FOLDER),
    "control_folder": str(FOLDER / "control"),
}
app.conf.worker_concurrency = CHILDREN

gameball = Gameball(rate=RateLimit(share=1 / CHILDREN))


@app.task(name="reward")
def reward(customer: str, order: dict[str, Any]) -> None:
    """Track a paid order. If it was not accepted, the task fails, and Celery can retry it."""
    gameball.track(customer, "place_order", order)
