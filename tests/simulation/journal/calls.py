"""What the oracle says about calls of a client with a journal: whoever waits has a reason, and every error is true."""

from __future__ import annotations

from collections.abc import Callable

from gameball_async import ClientClosed, CloseReport, FlusherDied, FlushTimeout, JournalError, NotStarted
from gameball_async._engine.flusher import Flusher
from gameball_async._journal.journal_storage import JournalStorage

from ..calls import Call, Calls
from ..ledger import Placed
from ..plan import Plan
from ..requests import EPSILON
from .history import JournalLedger, Kept
from .process import Process
from .requests import JournalRequests

LONGEST_CLOSE = 3.0
"""Seconds by which a close may outlast its timeout: two for the disk, and one for the connections."""


class JournalCalls(Calls):
    """Every call that is open, and whether it may be."""

    def __init__(
        self,
        plan: Plan,
        ledger: JournalLedger,
        requests: JournalRequests,
        now: Callable[[], float],
        fail: Callable[[str], None],
        process: Process,
    ) -> None:
        super().__init__(plan, ledger, requests, now, fail)
        self._kept = ledger
        self._process = process
        self._queued = 0

    def _of(self, call: Call) -> Kept:
        return self._kept.kept[call.placed[0].asked.number]

    def _waits_for_room(self, call: Call) -> bool:
        return call.kind in ("track", "send") and self._of(call).key is None

    def _waits_for_disk(self, call: Call) -> bool:
        return call.kind == "track" and not self._waits_for_room(call)

    # ---------------------------------------------------------------- acceptance

    def accepted(self, placed: Placed) -> None:
        """Check that an event may begin its way to the disk: the client takes events, and nobody is overtaken."""
        if not self.life.accepts:
            self._fail(f"event {placed.asked.number} was taken by a client that takes none")
        if self._plan.batching.when_full != "wait" or not self.life.is_started:
            return
        call = next((call for call in self._open.values() if placed in call.placed), None)
        first = next((c for c in self._open.values() if self._waits_for_room(c) and c is not call), None)
        if first is not None and call is not None and first.number < call.number:
            self._fail(f"event {placed.asked.number} overtook event {first.placed[0].asked.number}, which waits")

    # ---------------------------------------------------------------- when nothing is ready

    def check_idle(self, flusher: Flusher) -> None:
        """Nobody waits for what is there already, or longer than allowed."""
        backlog = flusher.storage
        assert isinstance(backlog, JournalStorage)
        self._queued = backlog._appends.events
        is_first = True
        for call in self._open.values():
            self._check_deadline(call)
            if self._waits_for_room(call):
                if is_first and backlog._has_room(len(call.placed), call.held):
                    self._fail(f"a {call.kind} waits although there is room for it")
                is_first = False
            elif self._waits_for_disk(call):
                if self._process.is_quiet:
                    self._fail(f"the track of {call.began:.4f} waits for a disk that has nothing to do")
            elif self._waits_in_vain(call):
                self._fail(f"{call.kind} of {call.began:.4f} waits for nothing")
            elif self._waits_for_the_dead(call):
                self._fail(f"{call.kind} of {call.began:.4f} waits for a flusher that died")

    def _waits_for_the_dead(self, call: Call) -> bool:
        """Whether a call waits for an outcome that nobody works at; what is on its way to the disk may get there."""
        is_left = self.life.is_dead and self.life.closing_from is None and self._process.is_quiet
        return is_left and call.kind in ("await", "flush", "send")

    def _check_deadline(self, call: Call) -> None:
        if self._waits_for_disk(call) or (call.kind == "track" and call not in self._open.values()):
            return
        late = LONGEST_CLOSE if call.kind == "close" else 0.0
        if self._now() > call.deadline + late + EPSILON:
            self._fail(f"{call.kind} of {call.began:.4f} waited on after its deadline {call.deadline:.4f}")

    def _waits_in_vain(self, call: Call) -> bool:
        if call.kind == "flush":  # what comes into the buffer meanwhile may be waited for as well
            return not self._ledger.pending and not self._queued
        return super()._waits_in_vain(call) and (call.kind != "close" or self._process.is_quiet)

    # ---------------------------------------------------------------- what a call brought

    def _is_true(self, call: Call, error: Exception, flusher: Flusher) -> bool:
        backlog = flusher.storage
        assert isinstance(backlog, JournalStorage)
        match error:
            case JournalError():
                return self._process.failed_since(call.began)
            case ClientClosed() | FlusherDied() if call.kind == "await":
                return self.life.closing_from is not None or self.life.is_killed
            case NotStarted():
                return not self.life.is_started
            case _:
                return super()._is_true(call, error, flusher) or backlog.is_changing

    def _is_timely(self, call: Call, error: Exception) -> bool:
        """What came into the buffer during the flush may be counted as well."""
        unsettled = sum(placed.is_pending for placed in call.placed)
        is_now = abs(self._now() - call.deadline) < EPSILON
        return isinstance(error, FlushTimeout) and is_now and error.unsettled >= max(1, unsettled)

    def _is_full(self, call: Call, flusher: Flusher) -> bool:
        if self._plan.batching.when_full == "wait" and call.kind != "nowait":
            return abs(self._now() - call.began - self._plan.batching.wait_timeout) < EPSILON
        backlog = flusher.storage
        assert isinstance(backlog, JournalStorage)
        has_room = backlog._has_room(len(call.placed), call.held)
        return not has_room or any(self._waits_for_room(other) for other in self._open.values() if other is not call)

    def _check_left(self) -> None:
        """What a close leaves in the folder is what it says it keeps; unless the disk failed, or was too slow."""
        if self._process.is_open or any(file.was_forced for file in self._process.files.values()):
            return
        left = {(file.number, seq) for file in self._process.files.values() for seq in file.rows}
        kept = {self._kept.kept[number].key for number in self._ledger.pending}
        if left != kept:
            self._fail(f"the close leaves {sorted(left)} in the folder, and keeps {kept}")

    def check_closed(self, report: CloseReport) -> None:
        """A close that returns tells what failed, and how much is kept."""
        self._requests.is_over = True
        if self._requests.in_flight:
            self._fail(f"the close left {self._requests.in_flight} in flight")
        if report.kept != len(self._ledger.pending):
            self._fail(f"the close says that {report.kept} events are kept, the truth is {list(self._ledger.pending)}")
        self._check_left()
        told = [self._ledger.events[item.event.metadata["n"]] for item in report.undelivered]
        if any(item.error is not placed.outcome for item, placed in zip(report.undelivered, told, strict=True)):
            self._fail("the close reports other errors than the receipts")
        missing = [placed.asked.number for placed in self._failed_since_close() if placed not in told]
        if missing or len(set(told)) != len(told):
            self._fail(f"the close does not report {missing}, or reports something twice")
