"""Async Python client for Gameball: events merged, paced, retried, in order per player."""

from __future__ import annotations

from ._client import AsyncGameball
from ._config import Batching, Journal, RateLimit, Retry
from ._core.events import Event, Metadata, validate_event
from ._core.receipts import Delivered, Receipt
from ._core.stats import (
    CloseReport,
    ObservedClient,
    Observer,
    PauseReason,
    RequestEnd,
    RequestStart,
    Stats,
    Undelivered,
)
from ._journal.dead_letters import DeadLetter, DeadLetterKind, DeadLetters
from ._journal.inspection import JournalFile, inspect_journal
from ._version import __version__
from .errors import (
    BufferFull,
    ClientClosed,
    ClientHalted,
    ConfigurationError,
    DeliveryError,
    Dropped,
    DropReason,
    FlusherDied,
    FlushTimeout,
    GameballError,
    InvalidEvent,
    JournalError,
    LifecycleError,
    NotStarted,
    OutcomeUnknown,
    Rejected,
    WrongLoop,
)

__all__ = [
    "AsyncGameball",
    "Batching",
    "BufferFull",
    "ClientClosed",
    "ClientHalted",
    "CloseReport",
    "ConfigurationError",
    "DeadLetter",
    "DeadLetterKind",
    "DeadLetters",
    "Delivered",
    "DeliveryError",
    "DropReason",
    "Dropped",
    "Event",
    "FlushTimeout",
    "FlusherDied",
    "GameballError",
    "InvalidEvent",
    "Journal",
    "JournalError",
    "JournalFile",
    "LifecycleError",
    "Metadata",
    "NotStarted",
    "ObservedClient",
    "Observer",
    "OutcomeUnknown",
    "PauseReason",
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
