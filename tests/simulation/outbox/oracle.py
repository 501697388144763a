"""The oracle of the outbox: what must hold in the database, in each relay, and at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gameball_async import Stats
from gameball_async.outbox._port import SHARDS, SealedBatch
from gameball_async.outbox._relay import HANDOVER_TIMEOUT, QUIET

from ..ledger import Trace
from ..loops import START
from ..replies import Meaning
from .plan import OutboxPlan
from .tables import DeadRow, EventRow, History, ShardRow, Tables, shard_of
from .truth import Truths
from .world import Process, World

if TYPE_CHECKING:
    from .attempts import Attempts
    from .relays import RelayProcess

MOST_FAILURES = 5
HALT_PAUSE = 60.0
MOST_REQUESTS = 4000


class Oracle(History):
    """Everything that is known of one run, and what is wrong with it.

    Args:
        plan: what the seed means.
        world: has the time.
        truths: all events.
        trace: takes what happened.

    Attributes:
        is_calm: whether all faults have stopped.
        calm_at: since when.
        is_database_calm: whether those of the database have.
    """

    STOP_BOUND = HANDOVER_TIMEOUT + 15
    """Seconds in which a relay has to stop."""

    def __init__(self, plan: OutboxPlan, world: World, truths: Truths, trace: Trace) -> None:
        self.failures: list[str] = []
        self.trace = trace
        self.is_calm = False
        self.calm_at = math.inf
        self.is_database_calm = False
        self._plan = plan
        self._world = world
        self._truths = truths
        self._dead: set[int] = set()
        self._tables: Tables
        self._attempts: Attempts
        self._relays: Sequence[RelayProcess] = ()

    def watch(self, tables: Tables, attempts: Attempts, relays: Sequence[RelayProcess]) -> None:
        """Look at this database, these requests and these relays from now on."""
        self._tables, self._attempts, self._relays = tables, attempts, relays
        self._world.after(0.0, self._look)

    def now(self) -> float:
        """The virtual time."""
        return self._world.now

    def fail(self, what: str) -> None:
        """Note what is wrong, and end the run."""
        if self._world.is_over and self.failures:
            return
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(what)
            self.trace.note("FAILED", what.splitlines()[0])
        self._world.is_over = True

    # ---------------------------------------------------------------- what commits

    def sealed(self, relay: int, batch: SealedBatch) -> None:
        self.trace.note("sealed", relay, batch.shard, batch.seqs)
        self._check_living(relay, "seals a batch")

    def renewed(self, relay: int, until: float) -> None:
        self._check_living(relay, f"is alive for {until:.4f} s")

    def _check_living(self, relay: int, what: str) -> None:
        if relay in self._dead:
            self.fail(f"relay {relay} {what} although it was declared dead")

    def declared_dead(self, relay: int, *, itself: bool) -> None:
        self.trace.note("dead", relay, "by itself" if itself else "")
        self._dead.add(relay)

    def claimed(self, relay: int, shard: int, previous: ShardRow) -> None:
        if previous.relay is not None and previous.relay not in self._dead:
            self.fail(f"relay {relay} takes shard {shard} from relay {previous.relay}, which lives")
        if self._is_in_use(shard):
            self.trace.note("claimed", relay, shard, "from", previous.relay)
        self._check_living(relay, f"claims shard {shard}")

    def _is_in_use(self, shard: int) -> bool:
        return any(shard_of(player) == shard for player in self._truths.by_player)

    def released(self, relay: int, shard: int) -> None:
        """A living relay releases a shard only when the deletions of what it has delivered have committed."""
        if self._is_in_use(shard):
            self.trace.note("released", relay, shard)
        for row in self._tables.server.rows(self._tables.events, (shard,)):
            last = next(reversed(self._truths.by_seq[row.seq].attempts), None)
            if last is not None and last.relay == relay and last.meaning is Meaning.DELIVERED and self._is_reliable():
                self.fail(f"relay {relay} releases shard {shard} before seq {row.seq}, which it delivered, is deleted")
            if last is not None and last.relay == relay and last.is_in_flight:
                self.fail(f"relay {relay} releases shard {shard} with {last} in flight")

    def _is_reliable(self) -> bool:
        return self.is_database_calm and self.is_calm

    def deleted(self, event: EventRow) -> None:
        truth = self._truths.by_seq[event.seq]
        if truth.is_deleted:
            self.fail(f"seq {event.seq} is deleted twice")
        truth.is_deleted = True

    def buried(self, row: DeadRow) -> None:
        truth = self._truths.by_seq[row.event.seq]
        self.trace.note("buried", row.event.seq, row.letter.kind)
        truth.buried, truth.buried_at = row, self.now()
        retry = self._plan.retry
        self._truths.check_buried(truth, retry.give_up_after, retry.ambiguous)

    # ---------------------------------------------------------------- now and then

    def _look(self) -> None:
        for relay in self._relays:
            if (stats := relay.stats()) is not None:
                self._check_conservation(relay.process, stats)
            for failure in relay.process.failures:
                self.fail(f"{relay.process}: {failure}")
        if len(self._attempts.all) > MOST_REQUESTS:
            self.fail("the simulation does not come to an end")
        self._world.after(0.25, self._look)

    def _check_conservation(self, process: Process, stats: Stats) -> None:
        settled = stats.delivered + stats.rejected + stats.dropped + stats.unknown
        if stats.accepted != settled + stats.pending:
            self.fail(f"{process} does not account for its events: {stats}")

    def check_ended(self, process: Process, stats: Stats, *, is_closed: bool, stopped_at: float) -> None:
        """Look at a relay that has returned."""
        relay = self._attempts.ids.get(process.name)
        owned = [row.shard for row in self._tables.server.rows(self._tables.shards) if row.relay == relay is not None]
        if owned and stopped_at > self.calm_at + self._plan.latest:
            self.fail(f"{process} has ended without handing over {len(owned)} of {SHARDS} shards")
        self.trace.note("ended", process, stats.accepted, stats.delivered)
        self._check_conservation(process, stats)
        if stats.pending:
            self.fail(f"{process} has ended with {stats.pending} pending events")
        if not is_closed:
            self.fail(f"{process} has left its connection open")

    # ---------------------------------------------------------------- the end

    def is_drained(self) -> bool:
        """Whether every transaction has ended, and nothing is left to deliver."""
        server, tables = self._tables.server, self._tables
        return not self._truths.writing and not server.rows(tables.events)

    def has_seals(self) -> bool:
        """Whether batches are sealed."""
        return bool(self._tables.server.rows(self._tables.sent))

    def drain_bound(self) -> float:
        """Seconds in which everything has to be delivered once the faults have stopped."""
        plan, events = self._plan, len(self._truths.by_seq)
        limits = plan.rate.windows()
        pacing = sum(seconds * (3 * events / max(1, most // 4) + 2) for most, seconds in limits)
        halted = HALT_PAUSE if any(attempt.meaning is Meaning.HALT for attempt in self._attempts.all) else 0.0
        writing = max(0.0, writers_end(plan) - self._world.now)
        return (
            writing
            + QUIET
            + HANDOVER_TIMEOUT
            + 4 * plan.lease
            + pacing
            + halted
            + (3 * plan.timeout + 2 * plan.retry.maximum + 40)
        )

    def fail_undrained(self) -> None:
        """Say what is left."""
        server, tables = self._tables.server, self._tables
        left = [(row.seq, row.player) for row in server.rows(tables.events)][:10]
        sent = [(row.relay, row.batch.seqs) for row in server.rows(tables.sent)][:10]
        relays = [row for row in server.rows(tables.relays) if not row.dead]
        self.fail(f"left are {left}, sealed {sent}, with the relays {relays}\n{self._world.who_waits()}")

    def check_end(self) -> None:
        """Look at everything when all relays have stopped."""
        for relay in self._relays:
            if not relay.process.is_dead and (tasks := relay.process.tasks()):
                self.fail(f"{len(tasks)} tasks outlive {relay.process}\n" + "\n".join(relay.process.who_waits()))
        for truth in self._truths.committed:
            number = truth.append.number
            if not truth.applied and truth.buried is None:
                self.fail(f"event {number} (seq {truth.seq}) is lost, after {[str(a) for a in truth.attempts]}")
            if not truth.is_deleted:
                self.fail(f"event {number} is left")


def writers_end(plan: OutboxPlan) -> float:
    """When the last application has ended its transaction, if none has to wait."""
    ends = [
        writing.at + sum(append.after for append in writing.appends) + writing.ends_after for writing in plan.writings
    ]
    return START + max(ends, default=0.0) + 1
