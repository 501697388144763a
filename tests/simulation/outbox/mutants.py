"""Mutants of the relay: each breaks one promise by a patch of one or two methods, and the oracle has to catch it."""

from __future__ import annotations

import math
import sys
from typing import Any

from gameball_async._core.batch import Batch
from gameball_async.outbox._outbox_storage import Lease, OutboxStorage, _Scan
from gameball_async.outbox._port import SHARDS, Membership
from gameball_async.outbox._relay import Relay

from ..mutants import Mutant, Mutate, _mutant
from .database import SimulatedOutbox
from .postgres import Snapshot, Steps, Transaction
from .tables import Tables

# -------------------------------------------------------------------- the lease


def _find_the_dead(
    _: Mutate, tables: Tables, transaction: Transaction, snapshot: Snapshot, relay: int, **how: Any
) -> Any:
    """As without AND NOT dead."""

    def lock() -> Steps[Any]:
        for version in tables.server.select(tables.relays, snapshot):
            if version.values.id == relay:
                return (yield from tables.server.lock(transaction, version, lambda _: True, **how))
        return None

    return lock()


def _valid_until_lost(_: Any, lease: Lease) -> bool:
    return not lease.is_lost


def _extend_generously(extend: Mutate, lease: Lease, until: float) -> None:
    extend(lease, until + 0.5)


# -------------------------------------------------------------------- reading


async def _tail_by_seq(_: Mutate, storage: OutboxStorage, limit: int) -> bool:
    """Read what comes after the last seq that was read, whatever has committed since."""
    storage._begin_read()
    newest = vars(storage).get("newest", 0)
    page = await storage._database.tail(storage._tailed, "0:0:", newest, limit, None)
    for row in page.rows:
        if not storage._load(row):
            return False
        vars(storage)["newest"] = row.seq
    return len(page.rows) >= limit


async def _read_beyond(read: Mutate, outbox: SimulatedOutbox, *place: Any) -> Any:
    return await read(outbox, *place[:-1], None)


async def _restore_nothing(_: Mutate, storage: OutboxStorage, shards: list[int]) -> None:
    del storage._claimed[: len(shards)]
    storage._scans.extend(map(_Scan, shards))


def _load_what_is_held(load: Mutate, storage: OutboxStorage, row: Any) -> bool:
    storage._held.clear()
    is_in: bool = load(storage, row)
    return is_in


# -------------------------------------------------------------------- writing


def _forget_at_once(ack: Mutate, storage: OutboxStorage, batch: Batch) -> None:
    ack(storage, batch)
    storage._deleted.extend(batch.seqs)


async def _send_before_the_seal(_: Mutate, storage: OutboxStorage, batch: Batch) -> None:
    batch.is_recorded = True
    await storage._lease.valid()


def _unseal_whatever_is_there(
    unseal: Mutate, tables: Tables, transaction: Transaction, snapshot: Snapshot, relay: int, _number: int, keys: Any
) -> Any:
    return unseal(tables, transaction, snapshot, relay, sys.maxsize, keys)


async def _wait_for_nothing(_: Mutate, __: OutboxStorage) -> None:
    """Returns at once."""


# -------------------------------------------------------------------- sharing


def _use_all_shards(use: Mutate, relay: Relay, _usable: int) -> None:
    assert relay._membership is not None
    use(relay, len(relay._membership.shards))


def _no_quiet(_: Any, __: Relay) -> float:
    return 0.0


def _share_evenly(_: Mutate, __: Relay, membership: Membership) -> int:
    return math.ceil(SHARDS / membership.relays)


MUTANTS: tuple[Mutant, ...] = (
    _mutant("renews after its death", "although it was declared dead", (Tables, "_lock_relay", _find_the_dead)),
    _mutant(
        "does not check its lease before a request",
        "after the lease was over|declared dead",
        (Lease, "is_valid", _valid_until_lost),
    ),
    _mutant(
        "counts its lease too long", "after the lease was over|declared dead", (Lease, "extend", _extend_generously)
    ),
    _mutant("tails by seq", "left are|carries event", (OutboxStorage, "_tail", _tail_by_seq)),
    _mutant(
        "reads past what its first page saw",
        "carries event|is not in order",
        (SimulatedOutbox, "scan", _read_beyond),
        (SimulatedOutbox, "tail", _read_beyond),
    ),
    _mutant("restores nothing", "may have arrived|was not sealed", (OutboxStorage, "_take_over", _restore_nothing)),
    _mutant("loads events twice", "again|in flight|not sealed|twice", (OutboxStorage, "_load", _load_what_is_held)),
    _mutant("forgets events before their deletion", "again", (OutboxStorage, "ack", _forget_at_once)),
    _mutant("sends before the seal", "was not sealed", (OutboxStorage, "seal", _send_before_the_seal)),
    _mutant("uses new shards at once", "requests in", (Relay, "_use_limits", _use_all_shards)),
    _mutant("owns shards that it cannot send", "left are", (Relay, "_fair_share", _share_evenly)),
    _mutant("leaves no quiet time", "requests in", (Relay, "_quiet", _no_quiet)),
    _mutant("lets a late statement remove a seal", "was not sealed", (Tables, "_unseal", _unseal_whatever_is_there)),
    _mutant("hands over before its deletions", "it delivered|again after", (OutboxStorage, "close", _wait_for_nothing)),
)
