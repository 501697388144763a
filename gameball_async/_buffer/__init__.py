"""The events that wait: batches of one player's events, and the queues they wait in. No I/O, no clock."""

from __future__ import annotations

from ._batch import Batch, event_bytes, held_bytes
from ._counts import Counters
from ._one_change import non_reentrant, reentrant
from ._queues import Buffer

__all__ = ["Batch", "Buffer", "Counters", "event_bytes", "held_bytes", "non_reentrant", "reentrant"]
