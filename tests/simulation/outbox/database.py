"""The relay's connection to the model of PostgreSQL: statements take time, and connections break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from random import Random
from typing import Any, TypeVar

import attrs

from gameball_async.outbox._port import (
    Changes,
    DatabaseUnavailable,
    Membership,
    OutboxDatabase,
    OutboxPage,
    OutboxRow,
    RelayReport,
    SealedBatch,
)

from .postgres import Aborted, Snapshot, Steps, Transaction
from .tables import Tables
from .world import Process, Script, World

T = TypeVar("T")
Statement = Callable[[Transaction, Snapshot], Steps[T]]

FAULTS = ("refused", "aborted", "lost", "late", "dark")
"""How a statement can fail: not run; undone; committed without a reply; run after its caller has given up; not run, and
the caller waits for long."""


@attrs.define
class Network:
    """The network between the relays and the database.

    Attributes:
        odds: the share of statements with each fault, at present.
        cut_off: processes that cannot reach the database at present.
        latest: seconds after which a late statement runs, at most.
        timeout: seconds after which a relay gives a connection up that has gone dark.
    """

    odds: dict[str, float] = attrs.Factory(dict[str, float])
    cut_off: set[str] = attrs.Factory(set[str])
    latest: float = 2.0
    timeout: float = 2.0


class SimulatedOutbox(OutboxDatabase):
    """The database as one relay reaches it.

    Args:
        world: has the time.
        process: the relay's.
        tables: the database.
        network: on the way.
        random: decides about faults and how long statements take.
    """

    def __init__(self, world: World, process: Process, tables: Tables, network: Network, random: Random) -> None:
        self.is_closed = False
        self._world = world
        self._process = process
        self._tables = tables
        self._network = network
        self._random = random

    # ---------------------------------------------------------------- the port

    async def check(self) -> None:
        """Find the tables."""
        await self._read(lambda _: None)

    async def register(self, name: str, lease: float) -> int:  # noqa: ARG002 nothing looks at names
        return await self._execute(lambda transaction, _: self._tables.register(transaction, lease))

    async def renew(self, relay: int, lease: float, report: RelayReport) -> Membership | None:
        return await self._execute(
            lambda transaction, snapshot: self._tables.renew(transaction, snapshot, relay, lease, report)
        )

    async def declare_dead(self, relay: int | None = None) -> None:
        await self._execute(lambda transaction, snapshot: self._tables.declare_dead(transaction, snapshot, relay))

    async def claim(self, relay: int, most: int, quiet: float) -> list[int]:
        return await self._execute(
            lambda transaction, snapshot: self._tables.claim(transaction, snapshot, relay, most, quiet)
        )

    async def release(self, relay: int, shards: Collection[int], quiet: float) -> None:
        released = frozenset(shards)
        await self._execute(
            lambda transaction, snapshot: self._tables.release(transaction, snapshot, relay, released, quiet)
        )

    async def sealed(self, shards: Collection[int]) -> list[tuple[SealedBatch, list[OutboxRow]]]:
        return await self._read(lambda snapshot: self._tables.sealed_batches(snapshot, shards))

    async def scan(self, shard: int, after: tuple[str, int], limit: int, within: str | None) -> OutboxPage:
        return await self._read(lambda snapshot: self._tables.scan(snapshot, shard, after, limit, within))

    async def tail(
        self, shards: Collection[int], snapshot: str, after: int, limit: int, within: str | None
    ) -> OutboxPage:
        read = frozenset(shards)
        return await self._read(lambda now: self._tables.tail(now, read, snapshot, after, limit, within))

    async def write(self, relay: int, number: int, changes: Changes) -> bool:
        written = Changes(dict(changes.seals), set(changes.unseals), list(changes.settled), list(changes.dead_letters))
        return await self._execute(
            lambda transaction, snapshot: self._tables.write(transaction, snapshot, relay, number, written)
        )

    async def close(self) -> None:
        self.is_closed = True

    # ---------------------------------------------------------------- statements

    async def _read(self, read: Callable[[Snapshot], T]) -> T:
        def steps(_: Transaction, snapshot: Snapshot) -> Steps[T]:
            yield self._tables.work()
            return read(snapshot)

        return await self._execute(steps)

    async def _execute(self, statement: Statement[T]) -> T:
        """Run a statement in the database, and wait for its reply."""
        if self.is_closed or self._process.is_dead:
            raise DatabaseUnavailable("the connection was closed")
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        run = _Run(self._world, self._process, self._tables, reply)
        fault = self._fault()
        begins_after = self._trip()
        if fault in ("refused", "late"):
            run.fail_after(begins_after)
        elif fault == "dark":
            run.fail_after(self._network.timeout)
        if fault == "late":
            begins_after += self._random.uniform(0, self._network.latest)
        if fault not in ("refused", "dark"):
            aborts_after = self._random.uniform(0, 0.01) * self._tables.slowness if fault == "aborted" else None
            script = run.script(statement, begins_after, aborts_after, self._trip(), is_lost=fault == "lost")
            self._world.begin(script)
        try:
            return await reply
        except asyncio.CancelledError:  # the driver cancels the statement, which may be too late
            if self._random.random() < 0.5:
                self._world.after(self._trip(), run.abort)
            raise

    def _fault(self) -> str | None:
        if self._process.name in self._network.cut_off:
            return self._random.choice(("refused", "dark"))
        draw = self._random.random()
        for fault, share in self._network.odds.items():
            if draw < share:
                return fault
            draw -= share
        return None

    def _trip(self) -> float:
        return self._random.uniform(0.0002, 0.003) * self._tables.slowness


class _Run:
    """One statement."""

    def __init__(self, world: World, process: Process, tables: Tables, reply: asyncio.Future[Any]) -> None:
        self._world = world
        self._process = process
        self._server = tables.server
        self._reply = reply
        self._transaction: Transaction | None = None
        self._is_cancelled = False

    def fail_after(self, seconds: float) -> None:
        """Let the caller know that there is no reply."""
        error = DatabaseUnavailable("simulated")
        self._world.after(seconds, lambda: self._process.post(partial(self._set_error, error)))

    def abort(self) -> None:
        """Undo the statement, unless it has ended."""
        self._is_cancelled = True
        if self._transaction is not None:
            self._server.abort(self._transaction)

    def script(
        self,
        statement: Statement[Any],
        begins_after: float,
        aborts_after: float | None,
        returns_after: float,
        *,
        is_lost: bool,
    ) -> Script:
        """Run it in the server."""
        yield begins_after
        if self._server.is_down or self._is_cancelled:
            self.fail_after(0)
            return
        transaction = self._transaction = self._server.begin()
        snapshot = self._server.snapshot()
        self._server.hold(snapshot)
        if aborts_after is not None:
            self._world.after(aborts_after, self.abort)
        try:
            result = yield from statement(transaction, snapshot)
            self._server.commit(transaction)
        except Aborted:
            self.fail_after(returns_after)
        else:
            if is_lost:
                self.fail_after(returns_after)
            else:
                self._world.after(returns_after, lambda: self._process.post(partial(self._set_result, result)))
        finally:
            self._server.release(snapshot)

    def _set_result(self, result: Any) -> None:
        if not self._reply.done():
            self._reply.set_result(result)

    def _set_error(self, error: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(error)
