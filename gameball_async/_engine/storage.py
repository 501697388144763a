"""The storage port: what keeps accepted events until they have their outcome. `MemoryStorage` is the default."""

# ruff: noqa: B027 the defaults suit a storage without a disk, and each is documented

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import attrs

from .._config import Batching
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.events import EncodedEvent, Event
from .._core.receipts import JobId, SharedOutcome
from .._log import counted
from ..errors import BufferFull, DeliveryError, LifecycleError
from .backends import Backend


@attrs.frozen(kw_only=True)
class StorageCallbacks:
    """What a storage reports to the flusher.

    Attributes:
        now: returns the seconds of the loop's clock.
        on_progress: called when events were stored, or moved on.
        on_restored: called with each batch that an earlier process had sealed.
        on_refused: called with accepted events that will not arrive, and the error.
        on_missing: called with the number of events that the disk has lost.
    """

    now: Callable[[], float]
    on_progress: Callable[[], object]
    on_restored: Callable[[Batch], object]
    on_refused: Callable[[list[Event], DeliveryError], object]
    on_missing: Callable[[int], object]


class Storage(ABC):
    """Accepts events, fills the buffer with them, and keeps them until they have their outcome.

    A batch is sealed before its first byte is sent, and acknowledged, retried or dead-lettered after the response.

    Attributes:
        is_persistent: whether events without an outcome are kept for the next client.
        kept_where: where, for the log; empty if that is not logged.
    """

    is_persistent: ClassVar[bool] = False
    kept_where: ClassVar[str] = ""

    # ---------------------------------------------------------------- events

    @abstractmethod
    def accept(self, event: EncodedEvent, now: float) -> SharedOutcome | None:
        """Accept an event, or return None when full.

        If the outcome says `is_durable` False, the caller either waits for `durable`, or calls `claim`.

        Raises:
            InvalidEvent: if the event alone is larger than a request may be.
            JournalError: if nothing can be stored at present.
        """

    @abstractmethod
    def accept_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        """Accept and claim events of one player that go in one request, or return None when full."""

    @abstractmethod
    def full(self, remedy: str) -> BufferFull:
        """Return the error for an event that found no room; `remedy` is a sentence, or empty."""

    def claim(self, accepted: SharedOutcome) -> None:
        """Accept events for good, whether they are durable yet or not."""

    async def durable(self, accepted: SharedOutcome) -> None:
        """Wait until events are durable, and accept them; a caller that is cancelled withdraws them.

        Raises:
            JournalError: if they could not be stored; they are not accepted.
        """

    def refill(self) -> None:
        """Move stored events into the buffer, which may have room."""

    # ---------------------------------------------------------------- batches

    async def seal(self, batch: Batch) -> None:
        """Wait until it is durable that this batch is about to be sent."""

    async def seal_all(self, batches: Sequence[Batch]) -> None:
        """Wait until it is durable that these batches are about to be sent in one bulk request."""
        for batch in batches:
            await self.seal(batch)

    async def record_job(self, batches: Sequence[Batch], job: JobId) -> None:
        """Wait until it is durable that Gameball has accepted these sealed batches as this job."""

    def ack(self, batch: Batch) -> None:
        """Delete the events of a batch that was delivered."""

    def retry(self, batch: Batch) -> None:
        """Remove the seal of a batch that was not applied and is sent again, whole or in parts."""

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        """Move the events of a batch that will not arrive to the dead letters."""

    # ---------------------------------------------------------------- lifecycle

    async def serve(self, backend: Backend) -> None:
        """Open in this loop; again after the loop has changed.

        Raises:
            JournalError: if it cannot be opened.
        """

    async def close(self) -> None:
        """Store what is pending, and end."""

    def abandon(self) -> None:
        """End without waiting: no task will close it."""

    def interrupt(self, error: LifecycleError | None) -> None:
        """Fail waiting receipts of events outside of the buffer with `error`; None resumes."""

    def check(self) -> None:
        """Raise `JournalError` if nothing can be stored at present."""

    # ---------------------------------------------------------------- statistics

    @property
    def is_open(self) -> bool:
        """Whether it has to be closed."""
        return False

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, so that nothing can be sent any more."""
        return False

    @property
    def is_storing(self) -> bool:
        """Whether events are being stored whose calls have not returned."""
        return False

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the storage's thread."""
        return False

    @property
    def spilled(self) -> int:
        """Accepted events that are not in the buffer."""
        return 0

    @property
    def used_bytes(self) -> int:
        """Bytes in use on disk."""
        return 0

    @property
    def latest(self) -> int:
        """The seq of the latest event."""
        return 0

    @property
    def loaded(self) -> int:
        """The number of events that were moved into the buffer so far."""
        return 0

    def has_loaded(self, seq: int) -> bool:  # noqa: ARG002 of a storage that spills
        """Return whether all events up to this seq, and all that earlier processes left, are in the buffer."""
        return True


MakeStorage = Callable[[Buffer, Batching, StorageCallbacks], Storage]
"""Makes the storage of a client."""


class MemoryStorage(Storage):
    """Events in the buffer only: they do not survive the process."""

    def __init__(self, buffer: Buffer, batching: Batching, _: StorageCallbacks) -> None:
        self._buffer = buffer
        self._batching = batching

    def accept(self, event: EncodedEvent, now: float) -> SharedOutcome | None:
        return self._buffer.offer(event, now)

    def accept_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        return self._buffer.offer_batch(events, now)

    def full(self, remedy: str) -> BufferFull:
        counts, batching = self._buffer.counts, self._batching
        return BufferFull(
            f"the buffer is full: {counts.pending} of {counted(batching.buffer_events, 'event')}, "
            f"{counts.pending_bytes:,} of {counted(batching.buffer_bytes, 'byte')}. {remedy}"
            "Track the event later, raise Batching(buffer_events=..., buffer_bytes=...), or choose what when_full "
            "drops."
        )
