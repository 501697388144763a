"""Events on disk: they survive the process. The only importer of sqlite3."""

from __future__ import annotations

from ._operations import Append
from ._rows import DeadLetterEntry, Loaded, SegmentInfo, StoredEvent, new_row
from ._writer import JournalWriter

__all__ = ["Append", "DeadLetterEntry", "JournalWriter", "Loaded", "SegmentInfo", "StoredEvent", "new_row"]
