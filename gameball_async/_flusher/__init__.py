"""The engine: the one loop that sends, and its life from start to close."""

from __future__ import annotations

from ._engine import Engine, State
from ._loop import Flusher
from ._report import CloseReport, Undelivered

__all__ = ["CloseReport", "Engine", "Flusher", "State", "Undelivered"]
