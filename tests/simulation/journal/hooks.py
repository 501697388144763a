"""Where this simulation looks into the client: the way of events through the journal into the buffer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

from gameball_async import Receipt
from gameball_async._buffer import Batch, Buffer
from gameball_async._flusher import Flusher
from gameball_async._flusher._arrivals import Arrival
from gameball_async._flusher._backlog import Backlog
from gameball_async._receipt import SharedOutcome
from gameball_async._verdict import Answer, Verdict

from ..hooks import _TRANSITIONS, _watch_transition
from .writer import SimulatedWriter


class Watcher(Protocol):
    """Who is told of each step."""

    def opened(self, sources: Any) -> None: ...
    def queued(self, arrival: Arrival) -> None: ...
    def accepted(self, arrival: Arrival) -> None: ...
    def placing(self, arrival: Arrival) -> None: ...
    def buffered(self, origin: int, seq: int, receipt: Receipt) -> None: ...
    def refused(self, encoded: bytes, receipt: Receipt) -> None: ...
    def sealing(self, batch: Batch) -> None: ...
    def sealed(self, batch: Batch) -> None: ...
    def not_sent(self) -> None: ...
    def look(self, transition: str) -> None: ...


def watch(flusher: Flusher, backlog: Backlog, watcher: Watcher) -> None:
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

    def watched_offer(player: str, name: str, *rest: Any) -> Receipt | None:
        receipt = offer(player, name, *rest)
        if receipt is not None:
            stored = rest[-1]
            watcher.buffered(stored.origin, stored.seqs[0], receipt)
        return receipt

    def tell(events: Mapping[str, bytes], stored: Any, shared: SharedOutcome) -> None:
        for name, seq in zip(events, stored.seqs, strict=True):
            watcher.buffered(stored.origin, seq, Receipt(shared, name))

    def watched_offer_batch(player: str, events: dict[str, bytes], *rest: Any) -> SharedOutcome | None:
        shared = offer_batch(player, events, *rest)
        if shared is not None:
            tell(events, rest[-1], shared)
        return shared

    def watched_restore(player: str, events: dict[str, bytes], *rest: Any) -> Batch:
        batch = restore(player, events, *rest)
        tell(events, rest[-1], batch.shared)
        return batch

    def watched_refuse(name: str, encoded: bytes, error: Any) -> Receipt:
        receipt = refuse(name, encoded, error)
        watcher.refused(encoded, receipt)
        return receipt

    changed: Any = buffer
    changed.offer, changed.offer_batch, changed.restore = watched_offer, watched_offer_batch, watched_restore
    changed.refuse_newest = watched_refuse


def _watch_opening(backlog: Backlog, watcher: Watcher) -> None:
    on_opened = backlog._on_opened

    def watched(opened: Any) -> None:
        watcher.opened(opened)
        on_opened(opened)
        if backlog._window is not None:
            _watch_window(backlog._window, watcher)

    changed: Any = backlog
    changed._on_opened = watched


def _watch_window(window: Any, watcher: Watcher) -> None:
    count, place = window.count, window._place_arrival

    def watched_count(arrival: Arrival) -> None:
        was_counted = arrival.was_counted
        count(arrival)
        if not was_counted:
            watcher.accepted(arrival)

    def watched_place(arrival: Arrival) -> bool:
        if not arrival.was_counted:
            watcher.placing(arrival)  # it counts from the moment in which the buffer takes it
        is_placed: bool = place(arrival)
        return is_placed

    window.count, window._place_arrival = watched_count, watched_place
    for name in ("admit", "withdraw", "refuse", "refill", "_on_read"):
        _look_after(window, name, watcher)


def _look_after(window: Any, name: str, watcher: Watcher) -> None:
    original = getattr(window, name)

    def watched(*args: Any) -> None:
        original(*args)
        watcher.look(name)

    setattr(window, name, watched)


def _watch_queue(backlog: Backlog, watcher: Watcher) -> None:
    add = backlog._arrivals.add

    def watched(arrival: Arrival) -> None:
        add(arrival)
        watcher.queued(arrival)

    changed: Any = backlog._arrivals
    changed.add = watched


def _watch_seals(flusher: Flusher, watcher: Watcher) -> None:
    store: Any = flusher.store
    aftermath: Any = flusher.aftermath
    seal, note = store.seal, aftermath.note

    async def watched_seal(batch: Batch) -> None:
        watcher.sealing(batch)
        try:
            await seal(batch)
        finally:
            watcher.sealed(batch)

    def watched_note(batch: Batch, answer: Answer, **options: Any) -> None:
        note(batch, answer, **options)
        if answer.verdict is Verdict.NOT_SENT:
            watcher.not_sent()

    store.seal, aftermath.note = watched_seal, watched_note


@contextmanager
def simulated_journal(writer: SimulatedWriter, wall_now: Callable[[], float], chunk: int) -> Generator[None]:
    """Give the client this writer, the simulation's wall clock, and reads of so many events at once."""
    clock = SimpleNamespace(time=wall_now)
    with ExitStack() as patches:
        patches.enter_context(mock.patch("gameball_async._flusher._loop.JournalWriter", return_value=writer))
        patches.enter_context(mock.patch("gameball_async._flusher._backlog.time", clock))
        patches.enter_context(mock.patch("gameball_async._flusher._window.time", clock))
        patches.enter_context(mock.patch("gameball_async._flusher._window._CHUNK", chunk))
        yield
