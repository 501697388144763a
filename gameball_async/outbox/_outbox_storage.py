"""The flusher's storage in a relay: events come from the table, and leave it when they have their outcome.

An event's states:

=========  =======================================================  ================================================
state      where it is                                              it leaves it when
=========  =======================================================  ================================================
committed  in the table                                             its shard is read, and the buffer has room
held       also in the buffer                                       its batch was sealed in the database, then sent
settled    it has its outcome                                       its deletion has committed, and no read that
                                                                    began before is outstanding
=========  =======================================================  ================================================

A shard is scanned once, player by player, so that whole backlogs merge. From then on new events are read; and once a
minute all of them, which finds nothing else unless the database has lost commits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import anyio
import attrs

from .._config import Batching
from .._core.batch import Batch
from .._core.buffer import Buffer
from .._core.events import EncodedEvent, as_event, stored_event
from .._core.receipts import JobId, Notifier, SharedOutcome
from .._engine.backends import Backend
from .._engine.storage import Storage, StorageCallbacks
from .._log import fields, logger
from ..errors import BufferFull, DeliveryError, Dropped, DropReason, InvalidEvent, LifecycleError
from ._port import Changes, DatabaseUnavailable, DeadLetterRow, OutboxDatabase, OutboxRow, SealedBatch, Settled

_T = TypeVar("_T")

_log = logger("gameball_async.relay")

POLL = 0.2
"""Seconds between two looks for new events. A look takes the database 0.3 ms, and a notification for each event would
cost the application most of its transactions."""

RESCAN = 60.0
"""Seconds between two scans of shards from their beginning. New events are found by the numbers of their transactions;
after a failover to a replica that had not received everything, such numbers are used again."""

_PAGE = 500
"""Events of one read, at most: placing them takes the loop about 2 ms."""

_LONGEST_CLOSE = 2.0
"""Seconds that a close waits for the database."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries while the database is unavailable."""


class Repeating:
    """Repeats statements for as long as the database is unavailable, and logs when that begins and ends."""

    def __init__(self) -> None:
        self._failed_since = -math.inf  # by anyio's clock; -inf while the database works

    async def __call__(self, statement: Callable[[], Awaitable[_T]]) -> _T:
        """Return what a statement returns, once it works."""
        pause = _FIRST_PAUSE
        while True:
            try:
                result = await statement()
            except DatabaseUnavailable as error:
                if self._failed_since == -math.inf:
                    self._failed_since = anyio.current_time()
                    _log.warning(
                        "the database is unavailable (%s): nothing new is sent, and the relay tries again. If this "
                        "lasts, check the database, and the relay's address, role and password for it.",
                        error,
                        extra=fields("database", cause=str(error)),
                    )
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if self._failed_since > -math.inf:
                seconds, self._failed_since = anyio.current_time() - self._failed_since, -math.inf
                _log.warning(
                    "the database works again, after %.1f s", seconds, extra=fields("database", seconds=seconds)
                )
            return result


class Lease:
    """The time during which no other relay can have declared this one dead.

    Args:
        relay: the id of this relay.
        clock: returns seconds, and counts those during which the process was suspended.

    Attributes:
        is_lost: whether this relay was declared dead.
    """

    def __init__(self, relay: int, clock: Callable[[], float]) -> None:
        self.relay = relay
        self.is_lost = False
        self._clock = clock
        self._until = -math.inf
        self._writes = 0
        self._changed = Notifier()

    @property
    def is_valid(self) -> bool:
        """Whether requests may be sent now."""
        return not self.is_lost and self._clock() < self._until

    def extend(self, until: float) -> None:
        """Note that the lease was renewed until this time of its clock."""
        self._until = until
        self._changed.ring()

    def lose(self) -> None:
        """Note that this relay was declared dead."""
        self.is_lost = True
        self._changed.ring()

    def next_write(self) -> int:
        """Number a group of changes."""
        self._writes += 1
        return self._writes

    async def valid(self) -> None:
        """Wait until requests may be sent; forever, if this relay was declared dead."""
        while not self.is_valid:
            await self._changed.wait()

    async def lost(self) -> None:
        """Wait until this relay was declared dead."""
        while not self.is_lost:
            await self._changed.wait()


@attrs.define
class _Scan:
    """A shard that is being read from its beginning.

    Attributes:
        shard: its number.
        after: the player and seq of the last event that was read.
        baseline: what its first page could see; None before.
    """

    shard: int
    after: tuple[str, int] = ("", 0)
    baseline: tuple[int, str] | None = None


class OutboxStorage(Storage):
    """Reads events of this relay's shards, and writes what happens to them.

    Args:
        database: the tables.
        repeating: repeats statements while the database is unavailable.
        lease: of this relay.
        buffer: what events are loaded into.
        batching: the size of the buffer.
        callbacks: report to the flusher.
    """

    is_persistent = True

    def __init__(
        self,
        database: OutboxDatabase,
        repeating: Repeating,
        lease: Lease,
        buffer: Buffer,
        batching: Batching,
        callbacks: StorageCallbacks,
    ) -> None:
        self._database = database
        self._repeating = repeating
        self._lease = lease
        self._buffer = buffer
        self._batching = batching
        self._callbacks = callbacks
        self._claimed: list[int] = []
        self._scans: deque[_Scan] = deque()
        self._tailed: list[int] = []
        self._reads = 0  # numbers snapshots: of two, the one with the lower number saw less
        self._baseline: tuple[int, str] | None = None  # what was visible to the last complete pass over new events
        self._pass: tuple[int, str] | None = None  # what was visible to the first page of the present pass
        self._passed = 0  # the last seq that the present pass has read
        self._rescan_at = math.inf
        self._held: set[int] = set()
        self._deleted: list[int] = []  # held events whose deletion has committed
        self._has_work = Notifier()
        self._changes = Changes()
        self._has_changes = Notifier()
        self._written = Notifier()
        self._writes_queued = self._writes_done = 0
        self._waits_for_room = False

    # ---------------------------------------------------------------- the port

    def accept(self, event: EncodedEvent, now: float) -> SharedOutcome | None:  # noqa: ARG002 the port's signature
        """Refuse: applications insert events into the table."""
        raise LifecycleError("a relay takes its events from the outbox: insert them there.")

    def accept_batch(self, events: Sequence[EncodedEvent], now: float) -> SharedOutcome | None:
        """Refuse: applications insert events into the table."""
        return self.accept(events[0], now)

    def full(self, remedy: str) -> BufferFull:
        """Return an error that no caller can get."""
        return BufferFull(f"the relay's buffer is full. {remedy}")

    async def serve(self, backend: Backend) -> None:
        """Do nothing: `run` reads and writes."""

    def refill(self) -> None:
        """Let the reader look whether the buffer has room again."""
        if self._waits_for_room:
            self._has_work.ring()

    async def seal(self, batch: Batch) -> None:
        """Wait until it is committed that this batch is about to be sent, and until the lease allows to send it."""
        await self.seal_all((batch,))

    async def seal_all(self, batches: Sequence[Batch]) -> None:
        """Wait until it is committed that these batches are about to be sent, and until the lease allows to send."""
        unrecorded = [batch for batch in batches if not batch.is_recorded]
        if unrecorded:
            await self._written_as(self._record(unrecorded, None))
            for batch in unrecorded:
                batch.is_recorded = True
        await self._lease.valid()

    async def record_job(self, batches: Sequence[Batch], job: JobId) -> None:
        """Wait until it is committed that Gameball has accepted these sealed batches as this job."""
        await self._written_as(self._record(batches, job))

    def _record(self, batches: Sequence[Batch], job: JobId | None) -> int:
        """Seal batches, or replace their seals; returns the number of the write."""
        changes = self._changes
        for batch in batches:
            key = _key(batch)
            changes.unseals.discard(key)
            changes.seals[key] = SealedBatch(
                batch.segment, batch.player_unique_id, batch.seqs, batch.mobile, batch.email, job
            )
        return self._queue_write()

    async def _written_as(self, number: int) -> None:
        while self._writes_done < number:
            await self._written.wait()

    def retry(self, batch: Batch) -> None:
        """Remove the seal: the batch was not applied, and is sealed again before it is sent, whole or in parts."""
        batch.is_recorded = False
        key = _key(batch)
        self._changes.seals.pop(key, None)
        self._changes.unseals.add(key)
        self._queue_write()

    def ack(self, batch: Batch) -> None:
        """Delete the events of a batch that was delivered."""
        key = _key(batch)
        self._changes.seals.pop(key, None)
        self._changes.unseals.discard(key)
        self._changes.settled.append(Settled(batch.segment, batch.player_unique_id, batch.seqs))
        self._queue_write()

    def dead_letter(self, batch: Batch, error: DeliveryError) -> None:
        """Move the events of a batch that will not arrive to the dead letters."""
        self._changes.dead_letters.extend(_dead_letter(seq, error) for seq in batch.seqs)
        self.ack(batch)

    async def close(self) -> None:
        """Write what is pending, if the database takes it in time."""
        with anyio.move_on_after(_LONGEST_CLOSE):
            await self._written_as(self._writes_queued)

    # ---------------------------------------------------------------- run

    @property
    def shards(self) -> int:
        """The number of shards that this storage reads, or is going to read."""
        return len(self._claimed) + len(self._scans) + len(self._tailed)

    def add(self, shards: Iterable[int]) -> None:
        """Read these shards, which this relay has claimed, as well."""
        self._claimed.extend(shards)
        self._has_work.ring()

    async def run(self) -> None:
        """Read and write until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_forever)
            tasks.start_soon(self._write_forever)

    async def _read_forever(self) -> None:
        while True:
            if not await self._repeating(self._read):
                with anyio.move_on_after(POLL):
                    await self._has_work.wait()

    async def _read(self) -> bool:
        """Read a page of what is next; False if nothing is, or the buffer has no room."""
        if self._claimed:
            await self._take_over(self._claimed.copy())
            return True
        if self._passed == 0 and self._rescan_at <= self._callbacks.now():
            self._rescan_at = math.inf
            self._scans.extend(map(_Scan, self._tailed))
        has_scanned = has_tailed = False
        if self._scans and (room := self._room()):
            has_scanned = await self._scan(self._scans[0], room)
        if self._tailed and (room := self._room()):
            has_tailed = await self._tail(room)
        return has_scanned or has_tailed

    def _room(self) -> int:
        """Return how many events to read: none until a good part of the buffer is free."""
        counts, batching = self._buffer.counts, self._batching
        events = batching.buffer_events - counts.pending
        is_roomy = 4 * events >= batching.buffer_events and (
            4 * (batching.buffer_bytes - counts.pending_bytes) >= batching.buffer_bytes
        )
        self._waits_for_room = not (is_roomy or not counts.pending)
        return 0 if self._waits_for_room else min(events, _PAGE)

    def _begin_read(self) -> int:
        """Forget what was deleted: a statement that begins now cannot see it."""
        self._held.difference_update(self._deleted)
        self._deleted.clear()
        self._reads += 1
        return self._reads

    async def _take_over(self, shards: list[int]) -> None:
        """Restore the batches that the previous owners may have sent, before anything else is read."""
        self._begin_read()
        for sealed, rows in await self._database.sealed(shards):
            self._restore(sealed, rows)
        del self._claimed[: len(shards)]
        self._scans.extend(map(_Scan, shards))

    async def _scan(self, scan: _Scan, limit: int) -> bool:
        number = self._begin_read()
        within = None if scan.baseline is None else scan.baseline[1]
        page = await self._database.scan(scan.shard, scan.after, limit, within)
        scan.baseline = scan.baseline or (number, page.snapshot)
        for row in page.rows:
            if not self._load(row):
                return False
            scan.after = row.player, row.seq
        if len(page.rows) < limit:
            self._scans.popleft()
            if scan.shard not in self._tailed:
                self._tailed.append(scan.shard)
            if not self._scans:
                self._rescan_at = self._callbacks.now() + RESCAN
            # what has committed behind the scan is read with the new events, and what is read twice is held
            self._baseline = scan.baseline if self._baseline is None else min(self._baseline, scan.baseline)
            self._pass, self._passed = None, 0
        return True

    async def _tail(self, limit: int) -> bool:
        """Read new events; False if there are none, or there is no room for them."""
        assert self._baseline is not None, "a scan has set it"  # noqa: S101 an invariant
        number = self._begin_read()
        if self._passed == 0:
            self._pass = None
        within = None if self._pass is None else self._pass[1]
        page = await self._database.tail(self._tailed, self._baseline[1], self._passed, limit, within)
        if self._pass is None:
            self._pass = number, page.snapshot
        assert self._pass is not None, "the first page has set it"  # noqa: S101 an invariant
        for row in page.rows:
            if not self._load(row):
                return False
            self._passed = row.seq
        if len(page.rows) < limit:
            self._baseline, self._pass, self._passed = self._pass, None, 0
            return False
        return True

    # ---------------------------------------------------------------- place

    def _load(self, row: OutboxRow) -> bool:
        """Put an event into the buffer, unless it is held already; False if the buffer is full."""
        if row.seq in self._held:
            return True
        event = self._valid(row)
        if event is None:
            return True
        try:
            shared = self._buffer.offer(event, self._opened_at(row), row.shard, (row.seq,))
        except InvalidEvent as error:
            self._refuse(row, event, error)
            return True
        if shared is not None:
            self._held.add(row.seq)
        return shared is not None

    def _restore(self, sealed: SealedBatch, rows: Sequence[OutboxRow]) -> None:
        events: list[EncodedEvent] = []
        seqs: list[int] = []
        for row in rows:
            event = None if row.seq in self._held else self._valid(row)
            if event is not None:
                events.append(EncodedEvent(event.player, event.name, event.encoded, sealed.mobile, sealed.email))
                seqs.append(row.seq)
        if tuple(seqs) != sealed.seqs:  # events were deleted by hand, or this batch was restored already
            self._changes.unseals.add((sealed.shard, sealed.seqs[0]))
            self._queue_write()
        if not events:
            return
        self._held.update(seqs)
        batch = self._buffer.restore(events, self._opened_at(rows[0]), sealed.shard, tuple(seqs), job=sealed.job)
        batch.is_recorded = tuple(seqs) == sealed.seqs
        if sealed.job is not None and not batch.is_recorded:
            self._record((batch,), sealed.job)
            batch.is_recorded = True
        self._callbacks.on_restored(batch)

    def _valid(self, row: OutboxRow) -> EncodedEvent | None:
        """Return the event of a row; None if it cannot be sent, then it goes to the dead letters."""
        try:
            return stored_event(row.player, row.name, row.metadata, row.mobile, row.email)
        except InvalidEvent as error:
            self._refuse(row, stored_event(row.player, row.name, b"{}", row.mobile, row.email, check=False), error)
            return None

    def _refuse(self, row: OutboxRow, event: EncodedEvent, why: InvalidEvent) -> None:
        error = Dropped(f"an event of the outbox cannot be sent: {why}", reason=DropReason.INVALID)
        error.__cause__ = why
        self._held.add(row.seq)
        self._buffer.refuse_newest(event, error)
        self._changes.dead_letters.append(_dead_letter(row.seq, error))
        self._changes.settled.append(Settled(row.shard, row.player, (row.seq,)))
        self._queue_write()
        self._callbacks.on_refused([as_event(event)], error)

    def _opened_at(self, row: OutboxRow) -> float:
        return self._callbacks.now() - max(0.0, row.age)

    # ---------------------------------------------------------------- write

    def _queue_write(self) -> int:
        self._writes_queued += 1
        self._has_changes.ring()
        return self._writes_queued

    async def _write_forever(self) -> None:
        while not self._lease.is_lost:
            while not self._changes:
                await self._has_changes.wait()
            changes, self._changes, queued = self._changes, Changes(), self._writes_queued
            if await self._repeating(
                partial(self._database.write, self._lease.relay, self._lease.next_write(), changes)
            ):
                self._writes_done = queued
                self._deleted.extend(seq for settled in changes.settled for seq in settled.seqs)
                self._written.ring()
            else:
                self._lease.lose()


def _key(batch: Batch) -> tuple[int, int]:
    """Identify a sealed batch: its shard, and its first event."""
    return batch.segment, batch.seqs[0]


def _dead_letter(seq: int, error: DeliveryError) -> DeadLetterRow:
    return DeadLetterRow(seq, type(error).__name__, str(error), error.status, error.code)
