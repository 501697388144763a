"""The engine: the one loop that sends, and its life from start to close."""

from __future__ import annotations

from ._engine import CLOSE_TIMEOUT, ClientState, Lifecycle, lifecycles
from ._loop import Flusher
from ._report import CloseReport, Undelivered

__all__ = ["CLOSE_TIMEOUT", "ClientState", "CloseReport", "Flusher", "Lifecycle", "Undelivered", "lifecycles"]
