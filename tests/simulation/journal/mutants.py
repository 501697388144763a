"""Mutants of a client with a journal: each breaks one promise, and the oracle has to catch it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from gameball_async import Dropped, DropReason
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.outcome import Decision
from gameball_async._engine.settlement import Settlement
from gameball_async._journal.journal_storage import JournalStorage
from gameball_async._journal.loader import Loader, SegmentCursors
from gameball_async._journal.pending_appends import PendingAppend
from gameball_async._journal.records import SealRecord
from gameball_async._journal.segment import Segment

from ..mutants import Mutant, Mutate, _conclude_with, _mutant, _nothing
from .segment_mutants import SEGMENT_MUTANTS

# -------------------------------------------------------------------- on their way to the disk


def _keep_counting_bytes(advance: Mutate, backlog: JournalStorage) -> None:
    size = backlog._appends.size
    advance(backlog)
    backlog._appends.size = size


def _count_too_few_bytes(queue: Mutate, backlog: JournalStorage, rows: Any, size: int, now: float) -> Any:
    return queue(backlog, rows, size - 1, now)


# -------------------------------------------------------------------- seals and acknowledgements


async def _send_at_once(_: Mutate, backlog: JournalStorage, batch: Batch) -> None:
    if not batch.is_recorded:
        backlog._writer.seal(batch.segment, [SealRecord(batch.seqs, batch.mobile, batch.email)], lambda: None)
        batch.is_recorded = True


async def _seal_nothing(_: Mutate, __: JournalStorage, batch: Batch) -> None:
    batch.is_recorded = True


def _forget_what_is_given_back(requeue: Mutate, buffer: Buffer, batch: Batch, at: float) -> None:
    requeue(buffer, batch, at)
    _backlog_of(buffer)._writer.ack(batch.segment, batch.seqs)


def _backlog_of(buffer: Buffer) -> JournalStorage:
    """The journal of the client that a buffer belongs to."""
    backlog: Any = buffer._on_settled
    store = backlog.__self__.storage
    assert isinstance(store, JournalStorage)
    return store


async def _forget_before_the_answer(seal: Mutate, backlog: JournalStorage, batch: Batch) -> None:
    await seal(backlog, batch)
    backlog._writer.ack(batch.segment, batch.seqs)


def _forget_half(_: Mutate, backlog: JournalStorage, batch: Batch) -> None:
    backlog._writer.ack(batch.segment, batch.seqs[:1])
    backlog._settle(batch)


def _settle_only(_: Mutate, backlog: JournalStorage, batch: Batch, *__: Any) -> None:
    backlog._settle(batch)


def _forget_instead_of_burying(_: Mutate, backlog: JournalStorage, batch: Batch, *__: Any) -> None:
    backlog._writer.ack(batch.segment, batch.seqs)
    backlog._settle(batch)


def _bury_what_is_tried_again(_: Mutate, settlement: Settlement, batch: Batch, answer: Any, now: float) -> None:
    settlement._storage.dead_letter(batch, Dropped(answer.summary, reason=DropReason.EXPIRED))
    settlement._buffer.requeue(batch, now + 1)


# -------------------------------------------------------------------- the way to the disk


def _admit_at_once(queue: Mutate, backlog: JournalStorage, *args: Any) -> PendingAppend:
    arrival: PendingAppend = queue(backlog, *args)
    backlog._opened.admit(arrival)
    return arrival


def _admit_once(admit: Mutate, window: Loader, arrival: PendingAppend) -> None:
    if arrival.rows:
        admit(window, arrival)


def _return_before_it_is_durable(_: Mutate, backlog: JournalStorage, offered: Any) -> Any:
    async def stored() -> None:
        backlog.claim(offered)

    return stored()


def _withdraw_in_memory_only(_: Mutate, window: Loader, arrival: PendingAppend) -> None:
    window._cursors.own.last_seq = max(window._cursors.own.last_seq, arrival.rows[-1].seq)


def _admit_what_was_cancelled(_: Mutate, window: Loader, arrival: PendingAppend) -> None:
    window.admit(arrival)


def _say_stored(complete: Mutate, arrival: PendingAppend, _error: Any) -> None:
    complete(arrival, None)


# -------------------------------------------------------------------- the window


def _admit_past_the_others(admit: Mutate, window: Loader, arrival: PendingAppend) -> None:
    window.count(arrival)
    own, rows = window._cursors.own, arrival.rows
    are_others = window._cursors.next() is not None
    with mock.patch.object(window._cursors, "next", return_value=None):
        admit(window, arrival)
    if are_others and arrival._joined is not None:
        own.skipped.update(row.seq for row in rows)


def _restore_nothing(_: Mutate, __: Loader, cursor: Any) -> None:
    """Leaves the events of sealed batches to be read, which skips them."""
    cursor.sealed = []


def _restore_as_ordinary(_: Mutate, window: Loader, cursor: Any) -> None:
    """Leaves them to be read, and lets them be read."""
    sealed, cursor.sealed = cursor.sealed, []
    for rows in sealed:
        window._writer.unseal(cursor.segment, rows[0].seq)


def _restore_unmarked(restore: Mutate, buffer: Buffer, *args: Any, **job: Any) -> Batch:
    batch: Batch = restore(buffer, *args, **job)
    batch.ambiguous = False
    return batch


def _skip_one(load: Mutate, window: Loader, cursor: Any, rows: Any, limit: float) -> bool:
    is_in: bool = load(window, cursor, rows, limit)
    if is_in:
        cursor.last_seq += 1
    return is_in


def _read_from_the_start(load: Mutate, window: Loader, cursor: Any, rows: Any, limit: float) -> bool:
    is_in: bool = load(window, cursor, rows, limit)
    cursor.last_seq = 0
    return is_in


def _lose_spilled_receipts(place: Mutate, window: Loader, *args: Any) -> bool:
    window._outcomes.clear()
    placed: bool = place(window, *args)
    return placed


def _own_file_first(next_cursor: Mutate, cursors: SegmentCursors) -> Any:
    if cursors.own.remaining:
        return cursors.own
    return next_cursor(cursors)


def _newest_first(order: Any, segment: Segment) -> tuple[int, str]:
    position, stem = order.fget(segment)
    return (-position, stem)


def _room_for_all(_: Mutate, __: Buffer, *___: Any) -> bool:
    return True


# -------------------------------------------------------------------- the close


def _give_up_what_is_kept(_: Mutate, settlement: Settlement, reason: Any, why: str, now: float) -> None:
    settlement.is_ending = True
    for batch in settlement._buffer.unsettled():
        settlement.fail(batch, Dropped(why, reason=reason), now)


MUTANTS: tuple[Mutant, ...] = (
    _mutant("sends before the seal is durable", "before its seal", (JournalStorage, "seal", _send_at_once)),
    _mutant("seals nothing", "before its seal", (JournalStorage, "seal", _seal_nothing)),
    _mutant("forgets requeued events", "without an outcome", (Buffer, "requeue", _forget_what_is_given_back)),
    _mutant(
        "acknowledges before the answer",
        "without an outcome",
        (JournalStorage, "seal", _forget_before_the_answer),
    ),
    _mutant(
        "acknowledges the first of a batch only", "lies in the folder|holds", (JournalStorage, "ack", _forget_half)
    ),
    _mutant("acknowledges nothing", "lies in the folder|holds", (JournalStorage, "ack", _settle_only)),
    _mutant(
        "writes no dead letters", "is no dead letter yet", (JournalStorage, "dead_letter", _forget_instead_of_burying)
    ),
    _mutant(
        "keeps failed events in the journal", "lies in the folder|holds", (JournalStorage, "dead_letter", _settle_only)
    ),
    _mutant(
        "dead-letters what is retried",
        "without an outcome",
        (Settlement, "conclude", _conclude_with(Decision.FAILED, _bury_what_is_tried_again)),
    ),
    _mutant(
        "admits before it is stored",
        "failed, and it counts as accepted|accepted an event and raised",
        (JournalStorage, "_append", _admit_at_once),
        (Loader, "admit", _admit_once),
    ),
    _mutant(
        "returns before it is durable",
        "before event .* was durable",
        (JournalStorage, "durable", _return_before_it_is_durable),
    ),
    _mutant(
        "treats a disk error as success",
        "is called durable|before its seal",
        (PendingAppend, "complete", _say_stored),
    ),
    _mutant(
        "lets a cancelled call stay on disk", "in the folder|holds", (Loader, "withdraw", _withdraw_in_memory_only)
    ),
    _mutant("sends what was cancelled", "although its call", (Loader, "withdraw", _admit_what_was_cancelled)),
    _mutant("loads newer events first", "carries .* due are", (Loader, "admit", _admit_past_the_others)),
    _mutant("loads its own segment first", "carries .* due are", (SegmentCursors, "next", _own_file_first)),
    _mutant(
        "recovers the newest segment first",
        "arrives for the first time|carries",
        (Segment, "order", _newest_first),
    ),
    _mutant("never restores a sealed batch", "stats say dropped", (Loader, "_restore_sealed", _restore_nothing)),
    _mutant(
        "restores a sealed batch as events that merge", "was sealed", (Loader, "_restore_sealed", _restore_as_ordinary)
    ),
    _mutant("does not mark what it restores", "receipt that says|sends again", (Buffer, "restore", _restore_unmarked)),
    _mutant("skips an event when it loads more", "due are|outside|nobody reads|holds", (Loader, "_load", _skip_one)),
    _mutant("loads events twice", "twice|which nobody", (Loader, "_load", _read_from_the_start)),
    _mutant(
        "loses the receipts of spilled events", "pending|waits|stats say", (Loader, "_place", _lose_spilled_receipts)
    ),
    _mutant("never loads more", "nobody reads|nobody sends|pending", (Loader, "refill", _nothing)),
    _mutant("exceeds the memory limit", "holds too much", (Buffer, "has_room", _room_for_all)),
    _mutant(
        "drops at the close what the journal should keep",
        "should have kept",
        (Settlement, "give_up", _give_up_what_is_kept),
    ),
    _mutant(
        "counts stored bytes as pending",
        "on their way to the disk",
        (JournalStorage, "_advance", _keep_counting_bytes),
    ),
    _mutant("counts a byte too few", "on their way to the disk", (JournalStorage, "_append", _count_too_few_bytes)),
    _mutant("does not report what a close keeps", "deadlock", (JournalStorage, "interrupt", _nothing)),
    *SEGMENT_MUTANTS,
)
"""Every mutant; the tests catch each of them."""
