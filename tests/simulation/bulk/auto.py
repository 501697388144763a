"""What holds in auto mode: a small job has to show that bulk requests work, and the log says what is done and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from ..requests import EPSILON
from .attempts import BulkRequest

PROOF_ITEMS = 10
"""Items of a bulk request in auto mode before a job was completed, at most."""

DISTRUST = 600.0
"""Seconds after a lost job in which auto mode sends no bulk request."""

PROVING = "a first bulk request"
ON = "bulk requests are on"
OFF = ("bulk requests are off", "bulk requests do not work")
LOST = "the end of a job is unknown"


class AutoRules:
    """What the client may do in auto mode.

    Args:
        now: the virtual time.
        fail: takes what is wrong.

    Attributes:
        is_proven: whether a job was completed, and none was lost since.
        is_logged_on: whether the log says last that bulk requests are sent.
        logged: lines about bulk requests.
    """

    def __init__(self, now: Callable[[], float], fail: Callable[[str], None]) -> None:
        self.is_proven = False
        self.is_logged_on = False
        self.logged: Counter[str] = Counter()
        self._lost_at = -math.inf
        self._now = now
        self._fail = fail

    def check(self, bulk: BulkRequest, *, is_other: bool) -> None:
        """Bulk requests have to work before many players depend on them, and not again soon after a job was lost."""
        if abs(bulk.started - self._lost_at) < EPSILON:
            return  # what begins at that very instant may not know of it
        if bulk.started < self._lost_at + DISTRUST - EPSILON:
            self._fail(f"#{bulk.number} is a bulk request, and a job was lost at {self._lost_at:.4f}")
        if self.is_proven:
            return
        if len(bulk.items) > PROOF_ITEMS:
            self._fail(f"#{bulk.number} has {len(bulk.items)} items, and no job was completed before")
        if is_other:
            self._fail(f"#{bulk.number} is a second bulk request, and no job was completed before")
        if not self.logged[PROVING]:
            self._fail(f"#{bulk.number} is a bulk request, and the log does not say why")

    def lose(self) -> None:
        """Note that bulk requests do not work."""
        self.is_proven, self._lost_at = False, self._now()

    def on_log(self, message: str) -> None:
        """Note what the client has logged about bulk requests."""
        for line in (PROVING, ON, *OFF, LOST):
            if line in message:
                self.logged[line] += 1
                self.is_logged_on = line == ON or (line == LOST and self.is_logged_on)
