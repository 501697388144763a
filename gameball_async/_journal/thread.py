"""The one thread that reads and writes the journal: it commits at once all that gathered while its last commit ran.

So groups grow with the load, without a timer.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from traceback import format_tb

from .._config import Journal
from .._log import counted, logger
from ..errors import JournalError
from .commands import Close, CommandQueue, Completion, Control, Discard, Open, Operation, refusals
from .dead_letters import DeadLetters
from .disk_reserve import Note
from .folder import Folder, unusable
from .forks import ForkGuard
from .records import SegmentInfo
from .segment import Segment
from .segment_set import SegmentSet

_LOST = "%s could not be written to the journal's file %s: its events may be sent again at the next start"

_log = logger("gameball_async")


class JournalThread:
    """What happens in the thread.

    Args:
        folder: the journal's folder.
        settings: the user's settings.
        account: whose events they are, see `Access.account`.
        exchange: where operations come from and completions go.
        fork_guard: entered around everything that SQLite does.

    Attributes:
        failure: why nothing can be stored at present.
        used_bytes: bytes of the own file in use, as of the last commit.
    """

    def __init__(
        self, folder: Folder, settings: Journal, account: bytes, exchange: CommandQueue, fork_guard: ForkGuard
    ) -> None:
        self.failure: JournalError | None = closed()
        self.used_bytes = 0
        self._folder = folder
        self._max_bytes = settings.max_bytes
        self._exchange = exchange
        self._fork_guard = fork_guard
        self._notes: list[Note] = []
        self._thread: threading.Thread | None = None
        self._dead_letters = DeadLetters(folder.path)
        self._segment_set = SegmentSet(
            folder, account, fork_guard, self._dead_letters, self._notes, adopts_any=settings.adopt == "any"
        )
        fork_guard.keep(self._dead_letters, self._segment_set)

    def start(self) -> None:
        """Start the thread; it ends with the operation Close."""
        self._thread = threading.Thread(target=self._run, name="gameball-journal", daemon=True)
        self._thread.start()

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the thread, as log handlers do."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        is_open = True
        while is_open:
            operations = self._exchange.gather(self._time_to_retry())
            before = self.failure, self.used_bytes
            try:
                with self._fork_guard:
                    completed, is_open = self._turn(operations)
            except Exception as error:  # noqa: BLE001 whatever went wrong here, nobody must wait for ever
                self._refuse(operations, error)
                return
            self._tell()
            self._exchange.answer(completed)
            if (self.failure, self.used_bytes) != before:
                self._exchange.tell()  # somebody may wait for room, or for the end of a failure

    def _refuse(self, operations: Sequence[Operation | Control], error: Exception) -> None:
        """Do nothing any more but refuse, until the close: who knows what state the files are in."""
        self.failure = failure = JournalError(
            f"the journal stopped ({type(error).__name__}); what it holds is kept: make a new client, and tell the "
            "maintainers of gameball-async."
        )
        _log.error("%s\n%s", failure, "".join(format_tb(error.__traceback__)))
        self._exchange.tell()  # somebody may wait for a seal, of which there is nothing to tell
        while not any(isinstance(operation, Close) for operation in operations):
            self._exchange.answer(refusals(operations, failure))
            operations = self._exchange.gather(None)
        with suppress(Exception), self._fork_guard:
            self._segment_set.release()
        self._exchange.answer(refusals(operations, failure))

    def _time_to_retry(self) -> float | None:
        times = [segment.retry_at for segment in self._segment_set.segments.values() if segment.is_behind]
        own, disk_reserve = self._segment_set.own, self._segment_set.disk_reserve
        if own is not None and own.file is not None and disk_reserve.shortage is not None:
            times.append(disk_reserve.look_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _turn(self, operations: Sequence[Operation | Control]) -> tuple[list[Completion], bool]:
        """Everything that is to be done now; returns what is completed, and whether to go on."""
        completed: list[Completion] = []
        group: list[Operation] = []
        for place, operation in enumerate(operations):
            if not isinstance(operation, (Open, Discard, Close)):
                group.append(operation)
                continue
            completed += self._commit(group)
            group = []
            completed += self._control(operation)
            if self._segment_set.own is None:  # closed, or never opened
                return completed + refusals(operations[place + 1 :], self.failure or closed()), False
        completed += self._commit(group)
        now = time.monotonic()
        completed += self._retry(due_at=now)
        self._look_for_room(now)
        self._look_at_own()
        return completed, True

    def _control(self, operation: Control) -> list[Completion]:
        match operation:
            case Open(done):
                return [(done, (self._take_files(),))]
            case Discard(number):
                self._segment_set.discard(number)
                return []
            case Close(done):
                return [*self._let_go(), (done, ())]

    def _take_files(self) -> list[SegmentInfo] | JournalError:
        try:
            self._segment_set.take(self._max_bytes)
        except Exception as error:  # noqa: BLE001 whatever it is, the user must hear of it
            self.failure = unusable(self._folder.path, error)
            return self.failure
        return [
            segment.source(segment.file) for segment in self._segment_set.segments.values() if segment.file is not None
        ]

    def _commit(self, group: Sequence[Operation]) -> list[Completion]:
        """One transaction for each file."""
        own = self._segment_set.own
        by_origin: defaultdict[Segment, list[Operation]] = defaultdict(list)
        for operation in group:
            number = operation.segment
            segment = own if number is None else self._segment_set.segments.get(number)
            if segment is not None:  # what was discarded has no events any more
                by_origin[segment].append(operation)
        now = time.monotonic()
        return [
            completion
            for segment, operations in by_origin.items()
            for completion in segment.run(operations, self._dead_letters, now)
        ]

    def _retry(self, *, due_at: float) -> list[Completion]:
        return [
            completion
            for segment in self._segment_set.segments.values()
            if segment.is_behind and segment.retry_at <= due_at
            for completion in segment.retry(self._dead_letters, due_at)
        ]

    def _look_for_room(self, now: float) -> None:
        """While the disk is full, look whether it is so still."""
        own, disk_reserve = self._segment_set.own, self._segment_set.disk_reserve
        if own is None or own.file is None or disk_reserve.shortage is None or disk_reserve.look_at > now:
            return
        own.shrink(now)
        if own.file is not None:
            disk_reserve.recover(now)
        if disk_reserve.shortage is None:
            self._segment_set.follow_reserve()

    def _look_at_own(self) -> None:
        own = self._segment_set.own
        assert own is not None, "without it the turn has ended"  # noqa: S101 an invariant
        self.failure = self._segment_set.disk_reserve.shortage or own.failure
        if own.file is not None:
            self.used_bytes = own.file.used_bytes

    def _let_go(self) -> list[Completion]:
        now = time.monotonic()
        for segment in self._segment_set.segments.values():
            segment.check_place(now)
        completed = self._retry(due_at=math.inf)  # the last chance
        completed += self._retry(due_at=time.monotonic())  # once more where the reserve has just made room
        for segment in self._segment_set.segments.values():
            if segment.waiting():
                self._notes.append((logging.ERROR, _LOST, (counted(segment.waiting(), "outcome"), segment.stem)))
            completed += segment.abandon(closed())
        self._segment_set.let_go()
        with suppress(Exception):
            self._dead_letters.close()
        self.failure, self.used_bytes = closed(), 0
        return completed

    def _tell(self) -> None:
        """Write the log lines, outside of the guard."""
        for level, message, arguments in self._notes:
            _log.log(level, message, *arguments)
        self._notes.clear()


def closed() -> JournalError:
    """The error for what is asked of a journal that is not open."""
    return JournalError("the journal is closed: start the client first.")
