"""The journal as a step function: commands in, completions out, without threads, clocks or waiting.

One step commits everything that was queued while the previous step ran, so commit groups grow with the load, without
a timer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from traceback import format_tb

from .._config import Journal
from ..errors import JournalError
from .commands import Close, Command, Completion, Discard, Open, SegmentCommand, refuse
from .dead_letters import DeadLetters
from .disk_reserve import DiskReserve
from .folder import Folder, cannot_open
from .forks import DeferredLog, ForkGuard
from .records import SegmentInfo
from .segment import Segment, SegmentContext
from .segment_set import SegmentSet


class JournalWorker:
    """Apply commands to the segments of one client.

    Args:
        settings: the user's settings.
        account: the account of the events, see `Endpoint.account`.
        fork_guard: held while SQLite is used.
        sleep: waits some seconds while another process inspects an orphaned segment.
        clock: returns the seconds since the epoch, for dead letters.

    Attributes:
        failure: why events cannot be stored now.
        used_bytes: bytes in use in the active segment, as of the last commit.
        log: the log lines of the last steps, to be written outside the fork guard.
        is_running: whether `step` expects more commands; False after Close, and after a failed Open.
    """

    def __init__(
        self,
        settings: Journal,
        account: bytes,
        fork_guard: ForkGuard,
        *,
        sleep: Callable[[float], object],
        clock: Callable[[], float],
    ) -> None:
        self.failure: JournalError | None = closed()
        self.used_bytes = 0
        self.log = DeferredLog()
        self.is_running = False
        self._is_stopped = False
        self._max_bytes = settings.max_bytes
        self._fork_guard = fork_guard
        folder = Folder(settings.folder)
        dead_letters, disk_reserve = DeadLetters(folder.path), DiskReserve(self.log)
        self._context = SegmentContext(folder, fork_guard, dead_letters, self.log, disk_reserve, clock)
        self._segments = SegmentSet(self._context, account, adopts_any=settings.adopt == "any", sleep=sleep)
        fork_guard.pin(self._segments)

    @property
    def wake_at(self) -> float:
        """When `step` must be called even without commands, on the clock of its `now`; `inf` for never."""
        if self._is_stopped:
            return math.inf
        times = [segment.retry_at for segment in self._segments.by_number.values() if segment.needs_retry]
        active, disk_reserve = self._segments.active, self._context.disk_reserve
        if active is not None and active.file is not None and disk_reserve.shortage is not None:
            times.append(disk_reserve.check_at)
        return min(times, default=math.inf)

    def step(self, commands: Sequence[Command], now: float) -> list[Completion]:
        """Apply commands in order, and retry what is due.

        Args:
            commands: what was queued since the last step.
            now: seconds of a monotonic clock.
        """
        if self._is_stopped:
            return self._refuse_all(commands)
        try:
            with self._fork_guard:
                return self._step(commands, now)
        except Exception as error:  # noqa: BLE001 no caller may hang because of a bug
            self._is_stopped = self.is_running = True
            self.failure = JournalError(
                f"the journal stopped ({type(error).__name__}); its events are kept: create a new client, and report "
                "this to the maintainers of gameball-async."
            )
            # no logger.exception: the message of an unexpected exception may quote an event
            self.log.error("%s\n%s", self.failure, "".join(format_tb(error.__traceback__)))  # noqa: TRY400 see above
            return self._refuse_all(commands)

    def _step(self, commands: Sequence[Command], now: float) -> list[Completion]:
        completions: list[Completion] = []
        group: list[SegmentCommand] = []
        for index, command in enumerate(commands):
            if not isinstance(command, (Open, Discard, Close)):
                group.append(command)
                continue
            completions += self._commit(group, now)
            group = []
            match command:
                case Open(done):
                    completions.append((done, (self._open(),)))
                case Discard(number):
                    self._segments.discard(number)
                case Close(done):
                    completions += [*self._close(now), (done, ())]
            if not self.is_running:
                return completions + refuse(commands[index + 1 :], self.failure or closed())
        completions += self._commit(group, now)
        completions += self._retry(now, due_at=now)
        self._check_disk(now)
        self._update()
        return completions

    def _refuse_all(self, commands: Sequence[Command]) -> list[Completion]:
        """Refuse everything after a bug, until the close: the state of the files is unknown."""
        assert self.failure is not None, "set when the worker stopped"  # noqa: S101 an invariant
        if any(isinstance(command, (Open, Close)) for command in commands):
            self._is_stopped = self.is_running = False
            with suppress(Exception), self._fork_guard:
                self._segments.release()
        return refuse(commands, self.failure)

    def _open(self) -> list[SegmentInfo] | JournalError:
        try:
            self._segments.open(self._max_bytes)
        except Exception as error:  # noqa: BLE001 the user gets any error as a JournalError
            self.failure = cannot_open(self._context.folder.path, error)
            return self.failure
        self.is_running = True
        return [segment.info(segment.file) for segment in self._segments.by_number.values() if segment.file is not None]

    def _commit(self, group: Sequence[SegmentCommand], now: float) -> list[Completion]:
        """Run one transaction per segment."""
        active = self._segments.active
        by_segment: defaultdict[Segment, list[SegmentCommand]] = defaultdict(list)
        for command in group:
            number = command.segment
            segment = active if number is None else self._segments.by_number.get(number)
            if segment is not None:  # a discarded segment has no events
                by_segment[segment].append(command)
        return [completion for segment, commands in by_segment.items() for completion in segment.commit(commands, now)]

    def _retry(self, now: float, *, due_at: float) -> list[Completion]:
        return [
            completion
            for segment in self._segments.by_number.values()
            if segment.needs_retry and segment.retry_at <= due_at
            for completion in segment.retry(now)
        ]

    def _check_disk(self, now: float) -> None:
        """While the disk is full, check whether it has room again."""
        active, disk_reserve = self._segments.active, self._context.disk_reserve
        if active is None or active.file is None or disk_reserve.shortage is None or disk_reserve.check_at > now:
            return
        active.shrink(now)
        if active.file is not None:
            disk_reserve.recover(now)
        if disk_reserve.shortage is None:
            self._segments.limit_wal()

    def _update(self) -> None:
        active = self._segments.active
        if active is not None:
            self.failure = self._context.disk_reserve.shortage or active.failure
            if active.file is not None:
                self.used_bytes = active.file.used_bytes

    def _close(self, now: float) -> list[Completion]:
        segments = self._segments.by_number.values()
        for segment in segments:
            segment.check_path(now)
        completions = self._retry(now, due_at=math.inf)
        completions += self._retry(now, due_at=now)  # again where the reserve has just made room
        for segment in segments:
            completions += segment.refuse_pending(closed())
        self._segments.close()
        self.failure, self.used_bytes, self.is_running = closed(), 0, False
        return completions


def closed() -> JournalError:
    """Return the error for calls to a journal that is not open."""
    return JournalError("the journal is closed: start the client first.")
