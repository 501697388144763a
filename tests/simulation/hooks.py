"""Where the simulation looks into the client: the buffer's transitions, each followed by a look of the oracle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent
from gameball_async._core.receipts import Counters, SharedOutcome
from gameball_async._core.schedule import Schedule
from gameball_async._engine.flusher import Flusher

_TRANSITIONS = ("take", "take_items", "settle", "requeue", "split", "drop_oldest", "flush_now", "skip_backoff")

Look = Callable[[str], None]


class Crash(Exception):
    """What the simulation raises inside the flusher."""


def watch(buffer: Buffer, *, accepted: Callable[[str | None, bytes, SharedOutcome], None], look: Look) -> None:
    """Tell of every acceptance, and let the oracle look after every transition of this buffer."""
    _watch_acceptance(buffer, accepted, look)
    for name in _TRANSITIONS:
        _watch_transition(buffer, name, look)


def watch_close(flusher: Flusher, begin_close: Callable[[], None]) -> None:
    """Tell of the begin of a close: a client in a task group begins it itself, when the group is cancelled."""
    close = flusher.close

    def watched(deadline: float) -> None:
        begin_close()
        close(deadline)

    changed: Any = flusher
    changed.close = watched


def _watch_acceptance(buffer: Buffer, accepted: Callable[[str | None, bytes, SharedOutcome], None], look: Look) -> None:
    offer, offer_batch, refuse_newest = buffer.offer, buffer.offer_batch, buffer.refuse_newest

    def watched_offer(event: EncodedEvent, *rest: Any) -> SharedOutcome | None:
        shared = offer(event, *rest)
        if shared is not None:
            accepted(event.player, event.encoded, shared)
            look("offer")
        return shared

    def watched_offer_batch(events: Sequence[EncodedEvent], *rest: Any) -> Any:
        shared = offer_batch(events, *rest)
        if shared is not None:
            for event in events:
                accepted(event.player, event.encoded, shared)
            look("offer_batch")
        return shared

    def watched_refuse(event: EncodedEvent, error: Any) -> SharedOutcome:
        shared = refuse_newest(event, error)
        accepted(None, event.encoded, shared)
        look("refuse_newest")
        return shared

    changed: Any = buffer
    changed.offer, changed.offer_batch, changed.refuse_newest = watched_offer, watched_offer_batch, watched_refuse


def _watch_transition(buffer: Buffer, name: str, look: Look) -> None:
    transition = getattr(buffer, name)

    def watched(*args: Any, **options: Any) -> Any:
        result = transition(*args, **options)
        look(name)
        return result

    setattr(buffer, name, watched)


@contextmanager
def determined(seed: int, wall_now: Callable[[], float]) -> Generator[None]:
    """Give the client the seed's chance and the simulation's wall clock."""
    with ExitStack() as patches:
        patches.enter_context(mock.patch("gameball_async._engine.flusher.random", Random(seed + 2).random))
        patches.enter_context(mock.patch("gameball_async._engine.lifecycle.reminder"))  # it lives in real time
        patches.enter_context(mock.patch("gameball_async._engine.delivery.time", SimpleNamespace(time=wall_now)))
        yield


@contextmanager
def finalizers(finalize: Callable[[], None], seed: int) -> Generator[None]:
    """Run a finalizer now and then in the midst of a change of the buffer, as a garbage collection would."""
    random, settle, move = Random(seed + 4), Counters.settle, Schedule.move

    def settle_and_finalize(counts: Counters, *args: Any) -> None:
        settle(counts, *args)
        if random.random() < 0.1:
            finalize()

    def finalize_and_move(schedule: Schedule, *args: Any) -> None:
        if random.random() < 0.1:
            finalize()
        move(schedule, *args)

    with (
        mock.patch.object(Counters, "settle", settle_and_finalize),
        mock.patch.object(Schedule, "move", finalize_and_move),
    ):
        yield
