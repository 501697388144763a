"""Events on disk: they survive the process. The only importer of sqlite3."""

from __future__ import annotations

from .commands import Append
from .records import DeadLetterEntry, Loaded, SegmentInfo, StoredEvent, new_row
from .writer import JournalWriter

__all__ = ["Append", "DeadLetterEntry", "JournalWriter", "Loaded", "SegmentInfo", "StoredEvent", "new_row"]
