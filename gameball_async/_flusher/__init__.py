"""The engine: the one loop that sends, and its life from start to close."""

from __future__ import annotations

from ._engine import CLOSE_TIMEOUT, Engine, State, engines
from ._loop import Flusher
from ._report import CloseReport, Undelivered

__all__ = ["CLOSE_TIMEOUT", "CloseReport", "Engine", "Flusher", "State", "Undelivered", "engines"]
