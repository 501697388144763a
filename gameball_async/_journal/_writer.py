"""The one thread that reads and writes the journal: order, group commit, failing and recovering.

Nothing of this room is called in the thread by others, and nothing here blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._config import Journal
from ..errors import JournalError
from ._rows import Letter, Loaded, Row, Source


class JournalWriter:
    """The journal as the event loop sees it: every call returns at once, `done` is called by `dispatch`.

    Operations are applied strictly in the order of the calls.

    Args:
        settings: the folder, and the bytes that the own file may have.
    """

    def __init__(self, settings: Journal) -> None:
        self._settings = settings

    @property
    def failure(self) -> JournalError | None:
        """Why nothing can be stored at present."""
        raise NotImplementedError

    @property
    def used_bytes(self) -> int:
        """Bytes of the own file in use, as of the last commit."""
        raise NotImplementedError

    def open(self, notify: Callable[[], object], done: Callable[[list[Source] | JournalError], None]) -> None:
        """Start the thread: make the folder, take the own file, adopt the files whose owner is gone.

        Args:
            notify: called from the thread when something is completed; it lets the loop call `dispatch`.
            done: gets the sources, oldest first, the own file last.
        """
        raise NotImplementedError

    def rebind(self, notify: Callable[[], object]) -> None:
        """From now on another loop is to be notified."""
        raise NotImplementedError

    def append(self, row: Row, done: Callable[[JournalError | None], None]) -> None:
        """Add an event to the own file; its seq is the next one after `Source.next_seq` and what was appended since.

        Args:
            row: the event.
            done: called when it is durable, or with the reason why it is not stored.
        """
        raise NotImplementedError

    def seal(self, origin: int, members: Sequence[int], done: Callable[[], None]) -> None:
        """The batch of these events is about to be sent; `done` is called when that is durable."""
        raise NotImplementedError

    def unseal(self, origin: int, first: int) -> None:
        """The sealed batch that begins with `first` was split: its events may merge again."""
        raise NotImplementedError

    def forget(self, origin: int, members: Sequence[int]) -> None:
        """These events have their outcome: delete them, and the sealed batch that begins with the first."""
        raise NotImplementedError

    def bury(self, origin: int, letters: Sequence[Letter]) -> None:
        """Add these events to the dead letters, then forget them."""
        raise NotImplementedError

    def read(
        self,
        origin: int,
        after: int,
        most_events: int,
        most_bytes: int,
        done: Callable[[Loaded | JournalError], None],
    ) -> None:
        """Read events that are in no sealed batch, in order.

        Args:
            origin: the file.
            after: only events with a greater seq.
            most_events: events to read, at most; at least one is read if there is one.
            most_bytes: bytes of encoded events, at most. What must go together is never cut in two,
                and may go over both limits.
            done: gets the events.
        """
        raise NotImplementedError

    def discard(self, origin: int) -> None:
        """Close and remove an adopted file; it is kept if it still holds events."""
        raise NotImplementedError

    def close(self, done: Callable[[], None]) -> None:
        """Commit what is queued, close all files, remove those without events, end the thread."""
        raise NotImplementedError

    def dispatch(self) -> None:
        """Call the `done` of all that is completed, in order; runs in the loop's thread after `notify`."""
        raise NotImplementedError
