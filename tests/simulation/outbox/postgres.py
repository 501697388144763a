"""A model of PostgreSQL: transactions, snapshots, row versions and row locks, at the level READ COMMITTED.

Written from PostgreSQL's documentation (chapter 13, "Concurrency Control", and pg_snapshot in 9.27), not from the
relay's statements.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from enum import Enum, auto
from typing import Any, Generic, TypeVar

import attrs

from .world import Wait, World

T = TypeVar("T")
Steps = Generator[float | Wait, None, T]
"""A part of a statement: takes time, waits for locks, and returns something."""


class Ending(Enum):
    """How a transaction has ended."""

    COMMITTED = auto()
    ABORTED = auto()


class Aborted(Exception):
    """The transaction of the running statement was aborted by the server."""


@attrs.frozen
class Snapshot:
    """What a statement sees: all transactions that had ended when it began.

    Attributes:
        xmin: every transaction below has ended.
        xmax: no transaction from here on had ended.
        running: those between that had not.
    """

    xmin: int
    xmax: int
    running: frozenset[int]

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read the text that pg_snapshot has."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def has_ended(self, xid: int) -> bool:
        """As pg_visible_in_snapshot: whether this transaction had ended, however it did."""
        return xid < self.xmax and xid not in self.running


@attrs.define(eq=False)
class Transaction:
    """A transaction.

    Attributes:
        xid: its id; None until it writes.
        ending: how it has ended; None while it runs.
        ended: happens when it ends.
        on_commit: called when it commits.
    """

    xid: int | None = None
    ending: Ending | None = None
    ended: Wait = attrs.Factory(Wait)
    on_commit: list[Callable[[], object]] = attrs.Factory(list[Callable[[], object]])

    def check(self) -> None:
        """Raise if it was aborted."""
        if self.ending is not None:
            raise Aborted


@attrs.define(eq=False)
class Version(Generic[T]):
    """One version of a row.

    Attributes:
        values: its columns.
        creator: the transaction that wrote it.
        remover: the transaction that deleted or replaced it, or is about to.
        following: what it was replaced with; None if it was deleted.
        sharers: transactions that hold FOR SHARE on it.
    """

    values: T
    creator: Transaction
    remover: Transaction | None = None
    following: Version[T] | None = None
    sharers: list[Transaction] = attrs.Factory(list[Transaction])


class Table(Generic[T]):
    """The versions of a table's rows, in parts for quicker reading.

    Args:
        part: the part that a row belongs to.
    """

    def __init__(self, part: Callable[[T], int] = lambda _: 0) -> None:
        self._part = part
        self._parts: dict[int, list[Version[T]]] = {}

    def versions(self, parts: Iterable[int] | None = None) -> list[Version[T]]:
        """All versions, of all rows."""
        chosen = sorted(self._parts) if parts is None else parts
        return [version for part in chosen for version in self._parts.get(part, ())]

    def add(self, version: Version[T]) -> None:
        """Add a version."""
        self._parts.setdefault(self._part(version.values), []).append(version)

    def vacuum(self, is_needed: Callable[[Version[Any]], bool]) -> None:
        """Remove versions that no statement can see any more."""
        for part, versions in self._parts.items():
            self._parts[part] = [version for version in versions if is_needed(version)]


class Server:
    """Transactions over some tables.

    Args:
        world: has the time.

    Attributes:
        is_down: whether nobody can connect.
        commits: transactions that have committed so far.
    """

    def __init__(self, world: World, tables: Iterable[Table[Any]]) -> None:
        self.is_down = False
        self.commits = 0
        self._world = world
        self._tables = tuple(tables)
        self._running: list[Transaction] = []
        self._snapshots: list[Snapshot] = []
        self._next_xid = 700
        self._latest_ended = 699

    # ---------------------------------------------------------------- transactions

    def begin(self) -> Transaction:
        """Begin a transaction."""
        transaction = Transaction()
        self._running.append(transaction)
        return transaction

    def xid(self, transaction: Transaction) -> int:
        """As pg_current_xact_id: the transaction's id, which it gets with its first write."""
        if transaction.xid is None:
            transaction.xid = self._next_xid
            self._next_xid += 1
        return transaction.xid

    def commit(self, transaction: Transaction) -> None:
        """End a transaction: from now on, new snapshots see what it has written."""
        self._end(transaction, Ending.COMMITTED)
        self.commits += 1
        for call in transaction.on_commit:
            call()
        if self.commits % 64 == 0:
            self._vacuum()

    def abort(self, transaction: Transaction) -> None:
        """End a transaction, and undo what it has written."""
        if transaction.ending is None:
            self._end(transaction, Ending.ABORTED)

    def _end(self, transaction: Transaction, ending: Ending) -> None:
        transaction.check()
        transaction.ending = ending
        self._running.remove(transaction)
        if transaction.xid is not None:
            self._latest_ended = max(self._latest_ended, transaction.xid)
        transaction.ended.happen()

    def restart(self) -> None:
        """Abort every transaction."""
        for transaction in self._running.copy():
            self.abort(transaction)

    # ---------------------------------------------------------------- reading

    def snapshot(self) -> Snapshot:
        """What a statement that begins now sees."""
        xmax = self._latest_ended + 1
        running = frozenset(t.xid for t in self._running if t.xid is not None and t.xid < xmax)
        return Snapshot(min(running, default=xmax), xmax, running)

    def hold(self, snapshot: Snapshot) -> None:
        """Keep what a snapshot sees until it is released."""
        self._snapshots.append(snapshot)

    def release(self, snapshot: Snapshot) -> None:
        """Let what only this snapshot sees be removed."""
        self._snapshots.remove(snapshot)

    @staticmethod
    def sees(snapshot: Snapshot, version: Version[Any]) -> bool:
        """Whether a statement with this snapshot sees a version."""
        return _has_committed(snapshot, version.creator) and not _has_committed(snapshot, version.remover)

    def select(self, table: Table[T], snapshot: Snapshot, parts: Iterable[int] | None = None) -> list[Version[T]]:
        """The versions of a table that a snapshot sees."""
        return [version for version in table.versions(parts) if self.sees(snapshot, version)]

    def rows(self, table: Table[T], parts: Iterable[int] | None = None) -> list[T]:
        """What everybody can see at present."""
        return [version.values for version in self.select(table, self.snapshot(), parts)]

    def _vacuum(self) -> None:
        snapshots = [*self._snapshots, self.snapshot()]

        def is_needed(version: Version[Any]) -> bool:
            if version.creator.ending is Ending.ABORTED:
                return False
            return not all(_has_committed(snapshot, version.remover) for snapshot in snapshots)

        for table in self._tables:
            table.vacuum(is_needed)

    # ---------------------------------------------------------------- writing

    def insert(self, transaction: Transaction, table: Table[T], values: T) -> Version[T]:
        """Insert a row."""
        transaction.check()
        self.xid(transaction)
        version = Version(values, transaction)
        table.add(version)
        return version

    def lock(
        self, transaction: Transaction, version: Version[T], condition: Callable[[T], bool], *, share: bool = False
    ) -> Steps[Version[T] | None]:
        """Lock a row for a change, or against one; None if it does not meet the condition any more.

        Waits while another transaction holds a lock that conflicts. What that has committed counts.
        """
        while True:
            transaction.check()
            remover = version.remover
            if remover is not None and remover.ending is None and remover is not transaction:
                yield remover.ended
            elif remover is not None and remover.ending is Ending.COMMITTED:
                if version.following is None:
                    return None
                version = version.following
            elif holder := self._sharer(version, transaction, share=share):
                yield holder.ended
            elif not condition(version.values):
                return None
            else:
                self.xid(transaction)  # also a lock needs one
                if share:
                    version.sharers.append(transaction)
                return version

    @staticmethod
    def _sharer(version: Version[Any], transaction: Transaction, *, share: bool) -> Transaction | None:
        """Another transaction whose FOR SHARE prevents a change."""
        if share:
            return None
        return next((t for t in version.sharers if t.ending is None and t is not transaction), None)

    def update(self, transaction: Transaction, table: Table[T], version: Version[T], values: T) -> Version[T]:
        """Replace a version that was locked."""
        version.following = self.insert(transaction, table, values)
        version.remover = transaction
        return version.following

    @staticmethod
    def delete(transaction: Transaction, version: Version[Any]) -> None:
        """Delete a version that was locked."""
        transaction.check()
        version.remover = transaction
        version.following = None

    def upsert(
        self,
        transaction: Transaction,
        table: Table[T],
        is_same: Callable[[T], bool],
        values: T,
        may_replace: Callable[[T], bool],
        part: int,
    ) -> Steps[bool]:
        """Insert a row, or replace the one with the same key if it may be; whether it was inserted."""
        while True:
            transaction.check()
            versions = [v for v in table.versions((part,)) if is_same(v.values)]
            present = [v for v in versions if _may_be_there(v, transaction)]
            if not present:
                self.insert(transaction, table, values)
                return True
            version = present[-1]
            if version.creator.ending is None and version.creator is not transaction:
                yield version.creator.ended
            elif (locked := (yield from self.lock(transaction, version, lambda _: True))) is not None:
                if may_replace(locked.values):
                    self.update(transaction, table, locked, values)
                return False


def _has_committed(snapshot: Snapshot, transaction: Transaction | None) -> bool:
    return (
        transaction is not None
        and transaction.ending is Ending.COMMITTED
        and transaction.xid is not None
        and snapshot.has_ended(transaction.xid)
    )


def _may_be_there(version: Version[Any], transaction: Transaction) -> bool:
    """Whether a unique index finds this version: written and not undone, and not removed for good."""
    remover = version.remover
    is_removed = remover is not None and (remover is transaction or remover.ending is Ending.COMMITTED)
    return version.creator.ending is not Ending.ABORTED and not is_removed
