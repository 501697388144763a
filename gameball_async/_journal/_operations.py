"""What the event loop asks of the journal's thread, one object for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeAlias

import attrs

from ..errors import JournalError
from ._dead_letters import DeadLetters
from ._file import SegmentFile
from ._rows import DeadLetterEntry, Loaded, SegmentInfo, StoredEvent


class Append:
    """The events of one call are to be stored in the own file. Who asks for that derives from it: one object less.

    Attributes:
        rows: the events; their seqs are the next after `SegmentInfo.next_seq` and what was appended since.
    """

    __slots__ = ()

    segment: ClassVar[None] = None
    rows: Sequence[StoredEvent]

    def answer(self, error: JournalError | None) -> None:
        """Hear that the events are durable, or why they are not stored; called in the loop's thread."""


Completion: TypeAlias = "Append | tuple[Callable[..., object], tuple[object, ...]]"
"""An append that is durable, or a `done` that the loop's thread is to call, and with what."""


@attrs.define
class Seal:
    """A batch is about to be sent."""

    segment: int
    members: Sequence[int]
    mobile: str | None
    email: str | None
    done: Callable[[], None]

    def apply(self, file: SegmentFile, _: DeadLetters) -> Completion:
        """Note it in the file."""
        file.seal(self.members, self.mobile, self.email)
        return self.done, ()


@attrs.define
class Unseal:
    """A batch was split."""

    segment: int
    first: int

    def apply(self, file: SegmentFile, _: DeadLetters) -> None:
        """Make its events ordinary ones."""
        file.unseal(self.first)


@attrs.define
class Ack:
    """Events have their outcome."""

    segment: int
    members: Sequence[int]

    def apply(self, file: SegmentFile, _: DeadLetters) -> None:
        """Delete them."""
        file.forget(self.members)


@attrs.define
class AddDeadLetters:
    """Events will not arrive."""

    segment: int
    letters: Sequence[DeadLetterEntry]

    def apply(self, file: SegmentFile, dead_letters: DeadLetters) -> None:
        """Make them durable among the dead letters, then delete them."""
        dead_letters.add(file.file_id, self.letters)
        file.forget([letter.seq for letter in self.letters])


@attrs.define
class Read:
    """Events are wanted."""

    segment: int
    after: int
    most_events: int
    most_bytes: int
    done: Callable[[Loaded | JournalError], None]


@attrs.define
class Open:
    """The thread is to take its files."""

    done: Callable[[list[SegmentInfo] | JournalError], None]


@attrs.define
class Discard:
    """An adopted file is finished."""

    segment: int


@attrs.define
class Close:
    """The thread is to end."""

    done: Callable[[], None]


Operation: TypeAlias = Append | Seal | Unseal | Ack | AddDeadLetters | Read
"""What is done within a transaction of one file."""

Control: TypeAlias = Open | Discard | Close
"""What is done between two transactions."""


def refusals(operations: Iterable[Operation | Control], failure: JournalError) -> list[Completion]:
    """What is answered when these will never be done; a seal is not, since nothing of it is durable."""
    refused: list[Completion] = []
    for operation in operations:
        match operation:
            case Append():
                refused.append((operation.answer, (failure,)))
            case Read() | Open():
                refused.append((operation.done, (failure,)))
            case Close():
                refused.append((operation.done, ()))
            case _:
                pass
    return refused
