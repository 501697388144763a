"""Async Python client for Gameball: events merged, paced, retried, in order per player."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._client import AsyncGameball
from ._config import Batching, Conversion, JobOptions, Journal, RateLimit, Retry
from ._core.draft import EventDraft
from ._core.events import Event, Metadata, MetadataRecord, validate_event
from ._core.receipts import Delivered, Receipt
from ._core.reward_preview import CampaignPreview, CampaignProgress, EventPreview, Preview
from ._core.stats import (
    CloseReport,
    JobReport,
    JobState,
    ObservedClient,
    Observer,
    PauseReason,
    RequestEnd,
    RequestStart,
    Stats,
    Undelivered,
)
from ._version import __version__
from .errors import (
    BufferFull,
    ClientClosed,
    ClientHalted,
    ConfigurationError,
    CustomerNotFound,
    DeliveryError,
    Dropped,
    DropReason,
    FlusherDied,
    FlushTimeout,
    GameballError,
    InvalidEvent,
    JobError,
    JournalError,
    LifecycleError,
    NotStarted,
    OutcomeUnknown,
    PreviewError,
    PreviewTimeout,
    Rejected,
    WrongLoop,
)

if TYPE_CHECKING:
    from ._journal.dead_letters import DeadLetter, DeadLetterKind, DeadLetters
    from ._journal.inspection import JournalFile, inspect_journal

__all__ = [
    "AsyncGameball",
    "Batching",
    "BufferFull",
    "CampaignPreview",
    "CampaignProgress",
    "ClientClosed",
    "ClientHalted",
    "CloseReport",
    "ConfigurationError",
    "Conversion",
    "CustomerNotFound",
    "DeadLetter",
    "DeadLetterKind",
    "DeadLetters",
    "Delivered",
    "DeliveryError",
    "DropReason",
    "Dropped",
    "Event",
    "EventDraft",
    "EventPreview",
    "FlushTimeout",
    "FlusherDied",
    "GameballError",
    "InvalidEvent",
    "JobError",
    "JobOptions",
    "JobReport",
    "JobState",
    "Journal",
    "JournalError",
    "JournalFile",
    "LifecycleError",
    "Metadata",
    "MetadataRecord",
    "NotStarted",
    "ObservedClient",
    "Observer",
    "OutcomeUnknown",
    "PauseReason",
    "Preview",
    "PreviewError",
    "PreviewTimeout",
    "RateLimit",
    "Receipt",
    "Rejected",
    "RequestEnd",
    "RequestStart",
    "Retry",
    "Stats",
    "Undelivered",
    "WrongLoop",
    "__version__",
    "inspect_journal",
    "validate_event",
]


def __getattr__(name: str) -> object:
    """Import the journal's names when they are used: most programs have no journal, and do not need SQLite."""
    if name not in {"DeadLetter", "DeadLetterKind", "DeadLetters", "JournalFile", "inspect_journal"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ._journal import dead_letters, inspection  # noqa: PLC0415 on demand

    value = globals()[name] = getattr(inspection if hasattr(inspection, name) else dead_letters, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
