"""What keeps events beside the buffer. This one keeps nothing: the client has no journal."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .._core.batch import Batch
from .._core.events import Event
from .._core.receipts import SharedOutcome
from ..errors import DeliveryError, LifecycleError
from .backends import Backend


@attrs.frozen(kw_only=True)
class StorageCallbacks:
    """What the flusher does when something happens to stored events.

    Attributes:
        now: seconds of the loop's clock.
        check_waiting: raises where the outcome of an event cannot be waited for.
        on_progress: called when events were stored, or moved on.
        on_restored: called with each batch that an earlier process had sealed.
        on_refused: called with accepted events that will not arrive, and why.
        on_missing: called with the number of events that the disk has lost.
    """

    now: Callable[[], float]
    check_waiting: Callable[[], object]
    on_progress: Callable[[], object]
    on_restored: Callable[[Batch], object]
    on_refused: Callable[[list[Event], DeliveryError], object]
    on_missing: Callable[[int], object]


class MemoryStorage:
    """A client's memory is all there is: whatever is asked, there is nothing to do.

    Attributes:
        is_journal: whether events outlive the process here.
    """

    is_journal = False

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
        """Whether events are on their way to the disk whose calls may yet accept them."""
        return False

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the thread that writes here."""
        return False

    @property
    def spilled(self) -> int:
        """Accepted events that lie outside of the buffer."""
        return 0

    @property
    def latest(self) -> int:
        """The seq of the latest event that was put on its way here."""
        return 0

    def has_loaded(self, seq: int) -> bool:  # noqa: ARG002 without a journal nothing is outside
        """Whether everything up to this seq of this process's events, and all that was found here, is in the buffer."""
        return True

    @property
    def load(self) -> int:
        """How many events were let into the buffer so far."""
        return 0

    @property
    def used_bytes(self) -> int:
        """Bytes on disk."""
        return 0

    async def open(self, backend: Backend) -> None:
        """Begin, in this loop; again after the loop has changed.

        Raises:
            JournalError: if it cannot be opened.
        """

    async def close(self) -> None:
        """Put in order what is kept, and end."""

    def interrupt(self, error: LifecycleError | None) -> None:
        """Let whoever waits for the outcome of an event outside hear that nobody works at it; None: somebody does."""

    def abandon(self) -> None:
        """Nobody will close it any more: end without being waited for."""

    def claim(self, offered: SharedOutcome) -> None:
        """An event that was offered is accepted, whether it is stored yet or not."""

    async def stored(self, offered: SharedOutcome) -> None:
        """Wait until an event that was offered is stored, and accept it.

        Raises:
            JournalError: if it could not be stored; it is not accepted.
        """

    def check(self) -> None:
        """Raise if nothing can be stored at present.

        Raises:
            JournalError: with the reason.
        """

    def refill(self) -> None:
        """The buffer has room again."""

    async def seal(self, batch: Batch) -> None:
        """Wait until it is recorded that this batch is about to be sent."""

    def unseal(self, batch: Batch) -> None:
        """The batch was clearly not applied: it is sealed anew before it goes again, whole or in parts."""

    def forget(self, batch: Batch) -> None:
        """The batch was delivered."""

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        """The batch will not arrive."""
