"""The oracle of one life: everything that holds for any client, and what the journal adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gameball_async import AsyncGameball, DeliveryError, JournalError
from gameball_async._core.batch import Batch
from gameball_async._core.receipts import SharedOutcome
from gameball_async._engine.lifecycle import ClientState
from gameball_async._journal.journal_storage import JournalStorage
from gameball_async._journal.pending_appends import PendingAppend
from gameball_async._journal.records import SegmentInfo

from ..hooks import Crash, watch_close
from ..ledger import LONGEST_CONTACT, Placed, Trace, held_bytes
from ..oracle import Oracle, count_tasks
from .calls import JournalCalls
from .disk import StepKind
from .folder import File
from .history import History, JournalLedger, number_of
from .hooks import watch
from .plan import LifePlan
from .process import Process
from .requests import JournalRequests


class JournalOracle(Oracle):
    """All that is known of one life.

    Args:
        life: what it means.
        number: which life it is.
        history: all lives.
        process: the journal of this life.
        trace: takes what happens.
        now: the virtual time.
        stop: ends the life.
    """

    def __init__(
        self,
        life: LifePlan,
        number: int,
        history: History,
        process: Process,
        trace: Trace,
        now: Callable[[], float],
        stop: Callable[[], None],
    ) -> None:
        super().__init__(life.plan, now, stop)
        self.trace = trace
        self.number = number
        self.process = process
        self.is_crashed = False
        self.kept = JournalLedger(now, self.fail, trace, number, history)
        self.journal_requests = JournalRequests(life.plan, self.kept, trace, now, self.fail)
        self.ledger, self.requests = self.kept, self.journal_requests
        self.calls = JournalCalls(life.plan, self.kept, self.journal_requests, now, self.fail, process)
        self.life = self.calls.life
        self._life_plan = life
        self.closed_at = math.inf
        self._placing: PendingAppend | None = None
        self._steps = 0
        self._idle_reads = 0
        self._state_at_read: object = None
        self._on_the_way: list[tuple[PendingAppend, int, int]] = []
        process.on_step = self._disk_step
        history.folder.on_deleted = self._deleted

    def fail(self, what: str) -> None:
        """Note what is wrong, unless the life is over."""
        if not self.is_crashed:
            super().fail(what)

    @property
    def backlog(self) -> JournalStorage:
        """The client's journal, looked into."""
        store = self.flusher.storage
        assert isinstance(store, JournalStorage)
        return store

    def watch(self, gameball: AsyncGameball) -> None:
        """Look at a client from now on."""
        self._gameball = gameball
        self._tasks_before = count_tasks()
        self.requests.flusher = self.flusher
        watch_close(self.flusher, self.calls.begin_close)
        watch(self.flusher, self.backlog, self)

    # ---------------------------------------------------------------- crash

    def _disk_step(self, kind: StepKind) -> None:
        """A commit begins or ends, or a file is made, renamed or removed."""
        crash_in = self._life_plan.crash_in
        if crash_in == "files" or (crash_in == "commits" and kind == "commit" and self.process.files):
            self._step()

    def _step(self) -> None:
        """One more step; at one of them everything in memory may be gone."""
        self._steps += 1
        if self._life_plan.ending == "crash" and self._steps == self._life_plan.crash_at:
            self.crash()

    def crash(self) -> None:
        """The process is gone: what the client does from now on has no effect."""
        if self.is_crashed or self.failures:
            return
        if self._gameball is not None:
            self.kept.collect()
            self.kept.note_promises()
            for placed in self.kept.accepted:
                self.requests.check_outcome(placed)
        self.trace.note("crash", self.number)
        self.process.crash()
        self.is_crashed = not self.failures
        self._stop()

    # ---------------------------------------------------------------- what the hooks tell

    def opened(self, sources: list[Any] | JournalError) -> None:
        """Note what the folder held."""
        if self.is_crashed or isinstance(sources, JournalError):
            return
        self.process.opened()
        for source in sources:
            self._check_opened(source, self.process.files[source.segment])
        left = [file for file in self.kept.history.folder.files if file.rows]
        if missing := [file.number for file in left if file not in self.process.files.values()]:
            self.fail(f"the files {missing} are left in the folder")
        for file in list(self.process.files.values())[:-1]:
            self.kept.found(file, self._life_plan.disk.clock)
        self.trace.note("opened", len(sources))

    def _check_opened(self, source: SegmentInfo, file: File) -> None:
        """What the journal says that it found in a segment is in it."""
        found = (source.events, source.next_seq, source.sealed, dict(source.jobs))
        if found != (truth := (len(file.rows), file.next_seq, file.batches(), file.jobs)):
            self.fail(f"the journal found {found} in file {file.number}, which has {truth}")

    def queued(self, arrival: PendingAppend) -> None:
        """Note that events begin their way to the disk."""
        if self.is_crashed:
            return
        name = self.process.own.number
        for row in arrival.rows:
            kept = self.kept.queued(number_of(row.encoded), (name, row.seq))
            self.trace.note("queued", kept.asked.number, row.seq)
            if row.together is not None:
                kept.group = (name, row.together)
                self.kept.sent_together.setdefault(kept.group, []).append(kept)
            self.calls.accepted(kept)
        self._on_the_way.append((arrival, len(arrival.rows), self._size_of(arrival)))

    def _size_of(self, arrival: PendingAppend) -> int:
        """Bytes that the events of a call count with; those of one request have one contact."""
        asked = [self.kept.kept[number_of(row.encoded)].asked for row in arrival.rows]
        contact = len(asked[0].mobile or "") + len(asked[0].email or "")
        sizes = [held_bytes(track, len(row.encoded)) for track, row in zip(asked, arrival.rows, strict=True)]
        return contact + sum(sizes)

    def accepted(self, arrival: PendingAppend) -> None:
        """Note that events count as accepted."""
        if self.is_crashed:
            return
        for row in arrival.rows:
            kept = self.kept.kept[number_of(row.encoded)]
            self.kept.accepted_from(kept, arrival, row.encoded)

    def placing(self, arrival: PendingAppend) -> None:
        """Note that the buffer may take events that do not count yet."""
        self._placing = arrival

    def buffered(self, segment: int, seq: int, shared: SharedOutcome) -> None:
        """Note that the buffer took an event."""
        if self.is_crashed:
            return
        placing, self._placing = self._placing, None
        is_own = self.process.files[segment] is self.process.own
        if placing is not None and not placing.was_counted and is_own and placing.rows[0].seq == seq:
            self.accepted(placing)
        self.kept.buffered((self.process.files[segment].number, seq), shared)

    def _deleted(self, number: int, seq: int) -> None:
        """Check that a durable event is deleted only when it has its outcome, and is a dead letter if it failed."""
        kept = self.kept.by_key.get((number, seq))
        if self.is_crashed or kept is None or kept.order is None or kept.is_refused:
            return
        outcome = kept.receipt and kept.receipt._shared.outcome_of(kept.asked.name)
        if outcome is None:
            self.fail(f"event {kept.asked.number} is deleted from the folder without an outcome")
        elif isinstance(outcome, DeliveryError) and (number, seq) not in self.kept.history.folder.letters:
            self.fail(f"event {kept.asked.number} is deleted from the folder, and is no dead letter yet")

    def refused(self, encoded: bytes, shared: SharedOutcome) -> None:
        """Note that an event is given up before the buffer."""
        if not self.is_crashed:
            self.kept.refused(encoded, shared)

    def sealing(self, batch: Batch) -> None:
        """Note that a batch waits for its seal."""
        self.journal_requests.sealing[batch.player_unique_id] = batch.seqs

    def sealed(self, batch: Batch) -> None:
        """Note that it does not any more."""
        del self.journal_requests.sealing[batch.player_unique_id]

    def not_sent(self) -> None:
        """Note that a slot was occupied by a request that was never sent."""
        self.journal_requests.note_not_sent()

    def _check_told(self, placed: Placed) -> None:
        if placed.outcome is not None and placed.settled_at <= self.closed_at:  # after it there is nobody to tell
            super()._check_told(placed)

    # ---------------------------------------------------------------- looks

    def look(self, transition: str) -> None:
        """Look after a transition."""
        if self.is_crashed:
            return
        if self._life_plan.crash_in == "loop":
            self._step()
        self._look(transition)
        self._check_on_the_way()
        if transition == "_on_read":
            self._check_progress()

    def _check_on_the_way(self) -> None:
        """What is on its way to the disk is counted, until the disk has answered it and all calls before it."""
        self._on_the_way = [entry for entry in self._on_the_way if not entry[0].is_gone]
        truth = sum(events for _, events, _ in self._on_the_way), sum(size for _, _, size in self._on_the_way)
        counted = self.backlog._appends.events, self.backlog._appends.size
        if counted != truth:
            self.fail(f"the client counts (events, bytes) = {counted} on their way to the disk, the truth is {truth}")

    def _check_progress(self) -> None:
        """A read that lets nothing in is not repeated before something has changed."""
        stats = self.gameball.stats()
        state = (stats.accepted, stats.delivered, stats.pending, stats.journaled_events, self.process.own.next_seq)
        self._idle_reads = self._idle_reads + 1 if state == self._state_at_read else 0
        self._state_at_read = state
        if self._idle_reads > 3:
            self.fail(
                f"{stats.journaled_events} events lie outside, and are read again and again without room for them"
            )

    def _take(self) -> None:
        super_takes = self._takes
        self._takes += 1
        if self._takes % 8 == 0 and count_tasks() > self._tasks_before + 14 + self.plan.most_tasks:
            self.fail(f"there are {count_tasks()} tasks")
        if self._life_plan.ending == "dies" and super_takes + 1 == self.plan.crash_after:
            self.life.is_killed = self.journal_requests.is_broken = True
            raise Crash

    def _check_bounds(self) -> None:
        stats, batching = self.gameball.stats(), self.plan.batching
        restored = [kept for kept in self.kept.kept.values() if kept.is_restored and kept.is_pending]
        inside = [kept for kept in restored if kept.is_buffered]
        events, size = stats.buffered_events - len(inside), stats.buffered_bytes - sum(kept.size for kept in inside)
        most = batching.buffer_bytes + LONGEST_CONTACT * stats.buffered_events  # a split batch has two contacts
        own = [
            kept for kept in self.kept.kept.values() if kept.is_pending and kept.is_buffered and not kept.is_restored
        ]
        is_one_request = len({kept.asked.player for kept in own}) == 1
        if events > batching.buffer_events or (size > most and not is_one_request):
            self.fail(f"the buffer holds too much: {stats}")
        if stats.in_flight != len(self.requests.in_flight) and not self.failures:
            self._check_in_flight(stats.in_flight)

    def idle(self) -> None:
        """Look when every task waits, before time moves on."""
        if self.is_crashed:
            return
        super().idle()
        if self._gameball is not None and not self.failures:
            self.kept.note_promises()
            self._check_on_the_way()
            self._check_reading()
            if self.process.is_failing_in_vain:
                self.fail("the disk works, and the journal refuses events")

    def _check_reading(self) -> None:
        """What lies outside is read as soon as there is room, if the disk has nothing to do."""
        window, backlog = self.backlog._loader, self.backlog
        if window is None or window.is_closed or not self.process.is_quiet or self.state is not ClientState.RUNNING:
            return
        if self.journal_requests.sealing:
            self.fail(f"{self.journal_requests.sealing} wait for a disk that has nothing to do")
        spilled = self.kept.first_outside()
        if not spilled or backlog._appends.events:
            return
        stats, batching = self.gameball.stats(), self.plan.batching
        events, size = batching.buffer_events - stats.buffered_events, batching.buffer_bytes - stats.buffered_bytes
        is_roomy = 4 * events >= batching.buffer_events and 4 * size >= batching.buffer_bytes
        fits = len(spilled) <= events and sum(kept.size + LONGEST_CONTACT for kept in spilled) <= size
        if (is_roomy and fits) or not stats.buffered_events:
            self.fail(f"{stats.journaled_events} events lie outside of the buffer, and nobody reads them")
