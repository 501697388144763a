"""Async Python client for Gameball: events merged, paced, retried, in order per player."""

from __future__ import annotations

from ._client import AsyncGameball
from ._config import Batching, Journal, RateLimit, Retry
from ._events import Event, Metadata, validate_event
from ._flusher import CloseReport, Undelivered
from ._journal._dead_letters import DeadLetters
from ._journal._letters import DeadLetter, DeadLetterKind
from ._journal._status import JournalFile, inspect_journal
from ._observer import ObservedClient, Observer, PauseReason, RequestEnd, RequestStart
from ._receipt import Delivered, Receipt
from ._stats import Stats
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
