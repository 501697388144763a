"""The outbox's tables in the model of PostgreSQL, and what the relay's statements mean there.

Written from what `OutboxDatabase` documents, not from the SQL. Each statement is a generator that yields where time
passes or a lock is waited for, so that others run between its snapshot and its commit.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Collection
from random import Random

import attrs

from gameball_async.outbox._port import (
    SHARDS,
    Changes,
    DeadLetterRow,
    Membership,
    OutboxPage,
    OutboxRow,
    RelayReport,
    SealedBatch,
    Settled,
)

from .postgres import Server, Snapshot, Steps, Table, Transaction, Version
from .world import World


def shard_of(player: str) -> int:
    """The shard of a player."""
    return zlib.crc32(player.encode()) % SHARDS


@attrs.frozen
class EventRow:
    """A row of gameball_event."""

    seq: int
    shard: int
    player: str
    name: str
    metadata: bytes
    mobile: str | None
    email: str | None
    accepted_at: float
    xid: int

    @property
    def number(self) -> int:
        """The number that the simulation gave it."""
        number: int = json.loads(self.metadata)["n"]
        return number


@attrs.frozen
class RelayRow:
    """A row of gameball_relay."""

    id: int
    until: float
    dead: bool = False
    paused_until: float = 0.0


@attrs.frozen
class ShardRow:
    """A row of gameball_shard."""

    shard: int
    relay: int | None = None
    quiet_until: float | None = None


@attrs.frozen
class SentRow:
    """A row of gameball_sent."""

    batch: SealedBatch
    relay: int
    number: int

    @property
    def key(self) -> tuple[int, int]:
        """What identifies it."""
        return self.batch.shard, self.batch.seqs[0]


@attrs.frozen
class DeadRow:
    """A row of gameball_dead."""

    event: EventRow
    letter: DeadLetterRow


class History:
    """Is told of what commits; the oracle overrides what it looks at."""

    def sealed(self, relay: int, batch: SealedBatch) -> None: ...
    def declared_dead(self, relay: int, *, itself: bool) -> None: ...
    def renewed(self, relay: int, until: float) -> None: ...
    def claimed(self, relay: int, shard: int, previous: ShardRow) -> None: ...
    def released(self, relay: int, shard: int) -> None: ...
    def deleted(self, event: EventRow) -> None: ...
    def buried(self, row: DeadRow) -> None: ...


class Tables:
    """The tables, and the statements.

    Args:
        world: has the time.
        random: how long a part of a statement takes.
        history: is told of what commits.

    Attributes:
        slowness: how much longer everything takes at present.
    """

    def __init__(self, world: World, random: Random, history: History) -> None:
        self.events = Table[EventRow](lambda row: row.shard)
        self.relays = Table[RelayRow]()
        self.shards = Table[ShardRow]()
        self.sent = Table[SentRow](lambda row: row.batch.shard)
        self.dead = Table[DeadRow]()
        self.server = Server(world, (self.events, self.relays, self.shards, self.sent, self.dead))
        self.slowness = 1.0
        self._world = world
        self._random = random
        self._history = history
        self._seqs = itertools.count(1)
        self._ids = itertools.count(1)
        transaction = self.server.begin()
        for shard in range(SHARDS):
            self.server.insert(transaction, self.shards, ShardRow(shard))
        self.server.commit(transaction)

    def clock(self) -> float:
        """The clock of the database, which no relay's clock agrees with."""
        return self._world.now + 12_345.0

    def work(self) -> float:
        """Seconds that a part of a statement takes."""
        return self._random.uniform(0, 0.004) * self.slowness

    # ---------------------------------------------------------------- the application

    def append(
        self, transaction: Transaction, player: str, name: str, metadata: bytes, mobile: str | None, email: str | None
    ) -> Version[EventRow]:
        """INSERT an event, as applications do."""
        xid, shard = self.server.xid(transaction), shard_of(player)
        row = EventRow(next(self._seqs), shard, player, name, metadata, mobile, email, self.clock(), xid)
        return self.server.insert(transaction, self.events, row)

    # ---------------------------------------------------------------- membership

    def register(self, transaction: Transaction, lease: float) -> Steps[int]:
        yield self.work()
        relay = next(self._ids)
        row = RelayRow(relay, self.clock() + lease)
        self.server.insert(transaction, self.relays, row)
        transaction.on_commit.append(lambda: self._history.renewed(relay, row.until - self.clock()))
        return relay

    def renew(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, lease: float, report: RelayReport
    ) -> Steps[Membership | None]:
        yield self.work()
        me = yield from self._lock_relay(transaction, snapshot, relay)
        if me is None:
            return None
        now = self.clock()
        paused_until = now + report.paused if report.paused else 0.0
        self.server.update(
            transaction, self.relays, me, attrs.evolve(me.values, until=now + lease, paused_until=paused_until)
        )
        transaction.on_commit.append(lambda: self._history.renewed(relay, now + lease - self.clock()))
        return self._membership(snapshot, relay, now)

    def _lock_relay(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, *, share: bool = False
    ) -> Steps[Version[RelayRow] | None]:
        """Lock the row of a relay; None if it was declared dead."""
        for version in self.server.select(self.relays, snapshot):
            if version.values.id == relay and not version.values.dead:
                return (yield from self.server.lock(transaction, version, lambda row: not row.dead, share=share))
        return None

    def _membership(self, snapshot: Snapshot, relay: int, now: float) -> Membership:
        relays = [version.values for version in self.server.select(self.relays, snapshot)]
        shards = [version.values for version in self.server.select(self.shards, snapshot)]
        dead = {row.id for row in relays if row.dead}
        return Membership(
            relays=1 + sum(not row.dead and row.id != relay for row in relays),
            shards={row.shard: max(0.0, (row.quiet_until or 0.0) - now) for row in shards if row.relay == relay},
            free=sum(row.relay is None or row.relay in dead for row in shards),
            expired=sum(not row.dead and row.id != relay and row.until <= now for row in relays),
            paused=max((max(0.0, row.paused_until - now) for row in relays if row.id != relay), default=0.0),
        )

    def declare_dead(self, transaction: Transaction, snapshot: Snapshot, relay: int | None) -> Steps[None]:
        def is_due(row: RelayRow) -> bool:
            return not row.dead and (row.until <= self.clock() if relay is None else row.id == relay)

        for version in self.server.select(self.relays, snapshot):
            if is_due(version.values):
                yield self.work()
                locked = yield from self.server.lock(transaction, version, is_due)
                if locked is not None:
                    self.server.update(transaction, self.relays, locked, attrs.evolve(locked.values, dead=True))
                    self._on_commit_dead(transaction, locked.values.id, itself=relay is not None)

    def _on_commit_dead(self, transaction: Transaction, relay: int, *, itself: bool) -> None:
        transaction.on_commit.append(lambda: self._history.declared_dead(relay, itself=itself))

    def claim(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, most: int, quiet: float
    ) -> Steps[list[int]]:
        yield self.work()
        if (yield from self._lock_relay(transaction, snapshot, relay, share=True)) is None:
            return []
        dead = {version.values.id for version in self.server.select(self.relays, snapshot) if version.values.dead}
        claimed: list[int] = []

        def is_free(row: ShardRow) -> bool:
            return row.relay is None or row.relay in dead

        free = [version for version in self.server.select(self.shards, snapshot) if is_free(version.values)]
        for version in sorted(free, key=lambda version: version.values.shard)[:most]:
            locked = yield from self.server.lock(transaction, version, is_free)
            if locked is not None:
                before = locked.values
                quiet_until = before.quiet_until
                if before.relay is not None:  # else it is quiet since its release
                    quiet_until = self.clock() + quiet
                self.server.update(
                    transaction, self.shards, locked, ShardRow(before.shard, relay, quiet_until=quiet_until)
                )
                claimed.append(before.shard)
                self._on_commit_claimed(transaction, relay, before)
        yield self.work()
        return claimed

    def _on_commit_claimed(self, transaction: Transaction, relay: int, before: ShardRow) -> None:
        transaction.on_commit.append(lambda: self._history.claimed(relay, before.shard, before))

    def release(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, shards: Collection[int], quiet: float
    ) -> Steps[None]:
        yield self.work()
        for version in self.server.select(self.shards, snapshot):
            if version.values.shard in shards and version.values.relay == relay:
                locked = yield from self.server.lock(transaction, version, lambda row: row.relay == relay)
                if locked is not None:
                    released = ShardRow(locked.values.shard, None, self.clock() + quiet)
                    self.server.update(transaction, self.shards, locked, released)
                    self._on_commit_released(transaction, relay, released.shard)

    def _on_commit_released(self, transaction: Transaction, relay: int, shard: int) -> None:
        transaction.on_commit.append(lambda: self._history.released(relay, shard))

    # ---------------------------------------------------------------- reading

    def sealed_batches(self, snapshot: Snapshot, shards: Collection[int]) -> list[tuple[SealedBatch, list[OutboxRow]]]:
        found: list[tuple[SealedBatch, list[OutboxRow]]] = []
        for version in self.server.select(self.sent, snapshot, sorted(shards)):
            batch = version.values.batch
            events = self.server.select(self.events, snapshot, (batch.shard,))
            rows = [self._row(event.values) for event in events if event.values.seq in batch.seqs]
            found.append((batch, sorted(rows, key=lambda row: batch.seqs.index(row.seq))))
        return found

    def scan(
        self, snapshot: Snapshot, shard: int, after: tuple[str, int], limit: int, within: str | None
    ) -> OutboxPage:
        rows = self._within(snapshot, (shard,), within)
        found = sorted((row for row in rows if (row.player, row.seq) > after), key=lambda row: (row.player, row.seq))
        return OutboxPage([self._row(row) for row in found[:limit]], str(snapshot))

    def tail(
        self, snapshot: Snapshot, shards: Collection[int], previous: str, after: int, limit: int, within: str | None
    ) -> OutboxPage:
        seen = Snapshot.parse(previous)
        rows = self._within(snapshot, shards, within)
        found = sorted(
            (row for row in rows if row.seq > after and not seen.has_ended(row.xid)), key=lambda row: row.seq
        )
        return OutboxPage([self._row(row) for row in found[:limit]], str(snapshot))

    def _within(self, snapshot: Snapshot, shards: Collection[int], within: str | None) -> list[EventRow]:
        rows = [version.values for version in self.server.select(self.events, snapshot, sorted(shards))]
        earlier = None if within is None else Snapshot.parse(within)
        return [row for row in rows if earlier is None or earlier.has_ended(row.xid)]

    def _row(self, row: EventRow) -> OutboxRow:
        age = self.clock() - row.accepted_at
        return OutboxRow(row.seq, row.shard, row.player, row.name, row.metadata, row.mobile, row.email, age)

    # ---------------------------------------------------------------- writing

    def write(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, number: int, changes: Changes
    ) -> Steps[bool]:
        yield self.work()
        if (yield from self._lock_relay(transaction, snapshot, relay, share=True)) is None:
            return False
        yield self.work()
        removed = changes.unseals | {(settled.shard, settled.seqs[0]) for settled in changes.settled}
        yield from self._unseal(transaction, snapshot, relay, number, removed)
        letters = {letter.seq: letter for letter in changes.dead_letters}
        for settled in changes.settled:
            yield from self._delete(transaction, snapshot, settled, letters)
        for batch in changes.seals.values():
            yield from self._seal(transaction, relay, number, batch)
        yield self.work()
        return True

    def _unseal(
        self, transaction: Transaction, snapshot: Snapshot, relay: int, number: int, keys: set[tuple[int, int]]
    ) -> Steps[None]:
        """Remove seals of former owners of this relay's shards, and its own earlier ones."""
        shards = [version.values for version in self.server.select(self.shards, snapshot)]
        own = {row.shard for row in shards if row.relay == relay}

        def is_due(row: SentRow) -> bool:
            return row.number < number if row.relay == relay else row.batch.shard in own

        for version in self.server.select(self.sent, snapshot, sorted({shard for shard, _ in keys})):
            if version.values.key in keys and is_due(version.values):
                locked = yield from self.server.lock(transaction, version, is_due)
                if locked is not None:
                    self.server.delete(transaction, locked)

    def _delete(
        self, transaction: Transaction, snapshot: Snapshot, settled: Settled, letters: dict[int, DeadLetterRow]
    ) -> Steps[None]:
        for version in self.server.select(self.events, snapshot, (settled.shard,)):
            event = version.values
            if event.player != settled.player or event.seq not in settled.seqs:
                continue
            if (yield from self.server.lock(transaction, version, lambda _: True)) is None:
                continue
            self.server.delete(transaction, version)
            self._on_commit(transaction, self._history.deleted, event)
            if event.seq in letters:
                row = DeadRow(event, letters[event.seq])
                self.server.insert(transaction, self.dead, row)
                self._on_commit(transaction, self._history.buried, row)

    def _seal(self, transaction: Transaction, relay: int, number: int, batch: SealedBatch) -> Steps[None]:
        row = SentRow(batch, relay, number)

        def is_same(other: SentRow) -> bool:
            return other.key == row.key

        def may_replace(other: SentRow) -> bool:
            return other.relay != relay or other.number <= number

        yield from self.server.upsert(transaction, self.sent, is_same, row, may_replace, part=batch.shard)
        transaction.on_commit.append(lambda: self._history.sealed(relay, batch))

    @staticmethod
    def _on_commit(transaction: Transaction, call: Callable[..., None], *arguments: object) -> None:
        transaction.on_commit.append(lambda: call(*arguments))
