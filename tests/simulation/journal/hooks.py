"""Where this simulation looks into the client: the way of events through the journal into the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent
from gameball_async._core.outcome import Answer, Decision
from gameball_async._core.receipts import SharedOutcome
from gameball_async._engine.flusher import Flusher
from gameball_async._journal.journal_storage import JournalStorage
from gameball_async._journal.pending_appends import PendingAppend

from ..hooks import _TRANSITIONS, _watch_transition


class Watcher(Protocol):
    """Who is told of each step."""

    def opened(self, sources: Any) -> None: ...
    def queued(self, arrival: PendingAppend) -> None: ...
    def accepted(self, arrival: PendingAppend) -> None: ...
    def placing(self, arrival: PendingAppend) -> None: ...
    def buffered(self, segment: int, seq: int, shared: SharedOutcome) -> None: ...
    def refused(self, encoded: bytes, shared: SharedOutcome) -> None: ...
    def sealing(self, batch: Batch) -> None: ...
    def sealed(self, batch: Batch) -> None: ...
    def not_sent(self) -> None: ...
    def look(self, transition: str) -> None: ...


def watch(flusher: Flusher, backlog: JournalStorage, watcher: Watcher) -> None:
    """Tell the watcher of every step of this client's events."""
    buffer = flusher.buffer
    for name in _TRANSITIONS:
        _watch_transition(buffer, name, watcher.look)
    _watch_buffer(buffer, watcher)
    _watch_opening(backlog, watcher)
    _watch_queue(backlog, watcher)
    _watch_seals(flusher, watcher)


def _watch_buffer(buffer: Buffer, watcher: Watcher) -> None:
    offer, offer_batch, restore, refuse = buffer.offer, buffer.offer_batch, buffer.restore, buffer.refuse_newest

    def tell(seqs: Sequence[int], segment: int, shared: SharedOutcome) -> None:
        for seq in seqs:
            watcher.buffered(segment, seq, shared)

    def watched_offer(*event: Any) -> SharedOutcome | None:
        shared = offer(*event)
        if shared is not None:
            *_, segment, seqs = event
            tell(seqs, segment, shared)
        return shared

    def watched_offer_batch(*batch: Any) -> SharedOutcome | None:
        shared = offer_batch(*batch)
        if shared is not None:
            *_, segment, seqs = batch
            tell(seqs, segment, shared)
        return shared

    def watched_restore(*stored: Any, **job: Any) -> Batch:
        batch = restore(*stored, **job)
        *_, segment, seqs = stored
        tell(seqs, segment, batch.shared)
        return batch

    def watched_refuse(event: EncodedEvent, error: Any) -> SharedOutcome:
        shared = refuse(event, error)
        watcher.refused(event.encoded, shared)
        return shared

    changed: Any = buffer
    changed.offer, changed.offer_batch, changed.restore = watched_offer, watched_offer_batch, watched_restore
    changed.refuse_newest = watched_refuse


def _watch_opening(backlog: JournalStorage, watcher: Watcher) -> None:
    on_opened = backlog._on_opened

    def watched(opened: Any) -> None:
        watcher.opened(opened)
        on_opened(opened)
        if backlog._loader is not None:
            _watch_window(backlog._loader, watcher)

    changed: Any = backlog
    changed._on_opened = watched


def _watch_window(window: Any, watcher: Watcher) -> None:
    count, admit = window.count, window.admit

    def watched_count(arrival: PendingAppend) -> None:
        was_counted = arrival.was_counted
        count(arrival)
        if not was_counted:
            watcher.accepted(arrival)

    def watched_admit(arrival: PendingAppend) -> None:
        if not arrival.was_counted:
            watcher.placing(arrival)  # it counts from the moment in which the buffer takes it
        admit(arrival)

    window.count, window.admit = watched_count, watched_admit
    for name in ("admit", "withdraw", "refuse", "refill", "_on_read"):
        _look_after(window, name, watcher)


def _look_after(window: Any, name: str, watcher: Watcher) -> None:
    original = getattr(window, name)

    def watched(*args: Any) -> None:
        original(*args)
        watcher.look(name)

    setattr(window, name, watched)


def _watch_queue(backlog: JournalStorage, watcher: Watcher) -> None:
    changed: Any = backlog._writer
    append = changed.append

    def watched(arrival: PendingAppend) -> None:
        watcher.queued(arrival)
        append(arrival)

    changed.append = watched


def _watch_seals(flusher: Flusher, watcher: Watcher) -> None:
    store: Any = flusher.storage
    settlement: Any = flusher.settlement
    seal, note = store.seal, settlement.note

    async def watched_seal(batch: Batch) -> None:
        watcher.sealing(batch)
        try:
            await seal(batch)
        finally:
            watcher.sealed(batch)

    def watched_note(batch: Batch, answer: Answer, **options: Any) -> None:
        note(batch, answer, **options)
        if answer.verdict is Decision.NOT_SENT:
            watcher.not_sent()

    store.seal, settlement.note = watched_seal, watched_note
