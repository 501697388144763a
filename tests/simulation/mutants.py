"""Mutants of the core: each breaks one promise, by a patch of one or two of its methods.

The oracle has to catch each of them; a promise whose mutant survives is not watched.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Protocol
from unittest import mock

import anyio
import attrs

from gameball_async import GameballError, Rejected
from gameball_async._core.batch import Batch, BatchState
from gameball_async._core.buffer import Buffer
from gameball_async._core.events import EncodedEvent
from gameball_async._core.outcome import Decision, ServerHealth
from gameball_async._core.pacing import BreakerState, CircuitBreaker, RateWindows, Spacing
from gameball_async._core.receipts import Counters, SharedOutcome
from gameball_async._core.schedule import PlayerState, Schedule
from gameball_async._engine.admission import Admission, FairQueue
from gameball_async._engine.backends import current_backend
from gameball_async._engine.backoff import Backoff
from gameball_async._engine.callbacks import FailureCallbacks
from gameball_async._engine.flusher import Flusher
from gameball_async._engine.lifecycle import ClientState, Lifecycle
from gameball_async._engine.network import Network
from gameball_async._engine.settlement import Settlement

Mutate = Callable[..., Any]
"""A method in the place of another: gets the original, then the arguments of the call."""


class HasFailures(Protocol):
    """What a simulation returns."""

    @property
    def failures(self) -> Sequence[str]:
        """What the oracle found wrong."""
        ...


@attrs.frozen
class Mutant:
    """One broken core.

    Attributes:
        name: what it does wrong.
        finding: a regular expression for what the oracle has to say.
        methods: the changed methods, by their class and name.
    """

    name: str
    finding: str
    methods: tuple[tuple[type[Any], str, Mutate], ...]

    @contextmanager
    def applied(self) -> Generator[None]:
        """Break the core while the context lasts."""
        with ExitStack() as patches:
            for owner, method, mutate in self.methods:
                patches.enter_context(mock.patch.object(owner, method, _changed(owner, method, mutate)))
            yield

    def caught_by(
        self, simulate: Callable[..., HasFailures], seeds: Iterable[int], *others: Iterable[Any], first: int | None
    ) -> int:
        """Simulate with this mutant until the oracle says what it has to, and return the seed with which it does.

        Args:
            simulate: runs one seed.
            seeds: those to try.
            others: values of its further arguments; each seed is tried with all of them.
            first: the seed that is tried first.

        Raises:
            AssertionError: if the oracle says it with no seed.
        """
        unexpected: list[str] = []
        ordered = seeds if first is None else dict.fromkeys((first, *seeds))
        for seed, *arguments in itertools.product(ordered, *others):
            with self.applied():
                failures = simulate(seed, *arguments).failures
            if failures and re.search(self.finding, failures[0]):
                return int(seed)
            unexpected += failures[:1]
        raise AssertionError(f"no seed says {self.finding!r} of one that {self.name}, but {unexpected[:3]}")


def _changed(owner: type[Any], method: str, mutate: Mutate) -> Any:
    original = getattr(owner, method)
    if isinstance(original, property):
        return property(lambda self: mutate(original, self))

    def changed(*args: Any, **options: Any) -> Any:
        return mutate(original, *args, **options)

    return changed


def _mutant(name: str, finding: str, *methods: tuple[type[Any], str, Mutate]) -> Mutant:
    return Mutant(name, finding, methods)


def _nothing(_: Mutate, *__: Any, **___: Any) -> None:
    """Does nothing."""


# -------------------------------------------------------------------- the buffer


def _give_back_nothing(requeue: Mutate, buffer: Buffer, batch: Batch, at: float) -> None:
    if batch.body is not None and batch.ambiguous:
        buffer._unlink(batch, at)
    else:
        requeue(buffer, batch, at)


def _swap(take: Mutate, buffer: Buffer, *args: Any, **options: Any) -> Batch | None:
    batch: Batch | None = take(buffer, *args, **options)
    later = batch.following if batch else None
    if batch and later and not batch.attempts and later.stage is BatchState.OPEN:
        batch.events, later.events = later.events, batch.events
        batch.shared, later.shared = later.shared, batch.shared
    return batch


def _take_without_turn(take: Mutate, buffer: Buffer, *args: Any, **options: Any) -> Batch | None:
    """The player's next batch becomes ready while the first one is in flight."""
    batch: Batch | None = take(buffer, *args, **options)
    if batch and batch.following and not batch.attempts:
        player = buffer._players[batch.player_unique_id]
        player.head = batch.following
        buffer._schedule.make_ready(player)
    return batch


def _halves_without_tail(halves: Mutate, batch: Batch, overhead: int) -> tuple[Batch, Batch]:
    older, newer = halves(batch, overhead)
    newer.following = None
    return older, newer


def _halves_reversed(halves: Mutate, batch: Batch, overhead: int) -> tuple[Batch, Batch]:
    older, newer = halves(batch, overhead)
    older.events, newer.events = newer.events, older.events
    older.shared, newer.shared = newer.shared, older.shared
    return older, newer


def _halves_forget_ambiguity(halves: Mutate, batch: Batch, overhead: int) -> tuple[Batch, Batch]:
    older, newer = halves(batch, overhead)
    older.ambiguous = newer.ambiguous = False
    return older, newer


def _grow_over_names(growth: Mutate, buffer: Buffer, batch: Batch, event: EncodedEvent) -> Any:
    if batch.stage is BatchState.OPEN and event.name in batch.events:
        return 0
    return growth(buffer, batch, event)


def _grow_when_sealed(growth: Mutate, buffer: Buffer, batch: Batch, event: EncodedEvent) -> Any:
    if batch.stage is BatchState.SEALED and batch.attempts and event.name not in batch.events:
        return 0
    return growth(buffer, batch, event)


def _send_encoding_anew(send: Mutate, flusher: Flusher, batch: Batch, *rest: Any) -> Any:
    batch.body = None
    return send(flusher, batch, *rest)


def _settle_wrongly(settle: Mutate, counts: Counters, events: int, size: int, outcome: Any) -> None:
    settle(counts, events, size, outcome)
    if counts.dropped:
        counts.dropped -= 1
        counts.delivered += 1


def _settle_wrong_bytes(settle: Mutate, counts: Counters, events: int, size: int, outcome: Any) -> None:
    settle(counts, events, size - 1, outcome)


def _back_off_for_ever(back_off: Mutate, schedule: Schedule, player: Any, until: float) -> None:
    back_off(schedule, player, until + 1_000_000)


def _back_off_not(back_off: Mutate, schedule: Schedule, player: Any, _until: float) -> None:
    back_off(schedule, player, 0.0)


def _linger_longer(linger: Mutate, schedule: Schedule, player: Any, until: float) -> None:
    linger(schedule, player, until + 1)


def _drop_the_sealed(drop_oldest: Mutate, buffer: Buffer, *args: Any) -> Any:
    in_flight = next((p.head for p in buffer._players.values() if p.player_state is PlayerState.BACKING_OFF), None)
    if in_flight is not None:
        in_flight.stage = BatchState.OPEN
    return drop_oldest(buffer, *args)


# -------------------------------------------------------------------- receipts, callbacks, producers


def _forget_every_tenth() -> Mutate:
    calls = itertools.count(1)

    def settle(original: Mutate, shared: SharedOutcome, outcome: Any) -> None:
        if next(calls) % 10:
            original(shared, outcome)

    return settle


def _tell_twice(add: Mutate, failures: FailureCallbacks, events: Iterable[Any], error: Any) -> None:
    events = list(events)
    add(failures, events, error)
    add(failures, events[:1], error)


def _overtake(_: Mutate, admission: Admission, event: Any, now: float) -> Any:
    return admission._storage.accept(event, now)


def _wait_without_end(wait_for: Mutate, admission: FairQueue, attempt: Callable[[], Any], timeout: float) -> Any:
    """Whoever gave up, and was told so, is admitted all the same as soon as there is room."""

    async def wait() -> Any:
        admitted = None
        try:
            admitted = await wait_for(admission, attempt, timeout)
        finally:
            if admitted is None:
                vars(admission).setdefault("gone", []).append(attempt)
        return admitted

    return wait()


def _admit_the_gone(room_made: Mutate, admission: FairQueue) -> None:
    gone: list[Callable[[], Any]] = vars(admission).get("gone", [])
    with suppress(GameballError):  # a client that closes takes nothing
        while gone and gone[0]() is not None:
            del gone[0]
    room_made(admission)


# -------------------------------------------------------------------- the flusher


def _conclude_with(verdict: Decision, mutate: Mutate) -> Mutate:
    """Change what follows from one verdict."""

    def conclude(original: Mutate, settlement: Settlement, batch: Batch, answer: Any, now: float) -> None:
        if answer.verdict is verdict:
            mutate(original, settlement, batch, answer, now)
        else:
            original(settlement, batch, answer, now)

    return conclude


def _deliver_again(conclude: Mutate, settlement: Settlement, batch: Batch, answer: Any, now: float) -> None:
    if batch.attempts == 1:
        settlement._buffer.requeue(batch, now + 1)
    else:
        conclude(settlement, batch, answer, now)


def _try_again(_: Mutate, settlement: Settlement, batch: Batch, answer: Any, now: float) -> None:
    settlement._try_again(batch, answer, now)


def _try_for_ever(_: Mutate, settlement: Settlement, batch: Batch, _answer: Any, now: float) -> None:
    settlement._buffer.requeue(batch, now + 1)


def _interrupted() -> Mutate:
    return _conclude_with(Decision.INTERRUPTED, _nothing)


def _refuse_all(_: Mutate, settlement: Settlement, batch: Batch, answer: Any, now: float) -> None:
    settlement._buffer.settle(batch, _rejection(answer), now)


def _rejection(answer: Any) -> Any:
    return Rejected("no", status=answer.status)


def _expire_never(_: Mutate, settlement: Settlement, batch: Batch, _why: str, now: float) -> None:
    settlement._buffer.requeue(batch, now + 1)


def _pending_not_the_last(pending_until: Mutate, buffer: Buffer, epoch: int) -> int:
    pending: int = pending_until(buffer, epoch)
    return pending if pending > 2 else 0


def _hurry_within_the_epoch(flush_now: Mutate, buffer: Buffer) -> int:
    flushed: int = flush_now(buffer)
    return flushed + 1


def _pause_shortly(pause: Mutate, backoff: Backoff, *args: Any) -> float:
    pauses: float = pause(backoff, *args)
    return min(0.01, pauses)


def _hold_up_everybody(
    finish: Mutate, breaker: CircuitBreaker, health: ServerHealth, player: str | None, **about: Any
) -> None:
    finish(breaker, health, player, **about)
    if health is ServerHealth.TROUBLED and breaker.state is BreakerState.CLOSED:
        breaker._trip(BreakerState.OUTAGE, about["now"] + about["pause"])


def _skip_every_wait(skip_wait: Mutate, breaker: CircuitBreaker) -> None:
    breaker.until = 0.0
    skip_wait(breaker)


def _let_all_through(_: Mutate, breaker: CircuitBreaker) -> float:
    return breaker.until


def _leak_every_third() -> Mutate:
    calls = itertools.count(1)

    def finish(original: Mutate, windows: RateWindows, now: float) -> None:
        original(windows, now)
        windows._in_flight += next(calls) % 3 == 0

    return finish


def _keep_too_far(_: Mutate, spacing: Spacing, now: float) -> None:
    spacing._next = now + 2 * spacing._distance


def _count_from_the_start(start: Mutate, windows: RateWindows) -> None:
    start(windows)
    windows._in_flight = 0


def _leave_a_task(send: Mutate, flusher: Flusher, *args: Any) -> Any:
    current_backend().spawn(partial(anyio.sleep, 10_000))
    return send(flusher, *args)


# -------------------------------------------------------------------- the engine


def _accept_always(_: Mutate, engine: Lifecycle) -> float:
    return engine.flusher.now()


def _end_as_if_running(end: Mutate, engine: Lifecycle, state: ClientState) -> None:
    before = engine.state
    end(engine, state)
    if state is ClientState.STOPPED:
        engine.state = before


MUTANTS = (
    _mutant("drops an ambiguous batch silently", "deadlock|pending|waits", (Buffer, "requeue", _give_back_nothing)),
    _mutant("swaps two batches", "carries .* due are", (Buffer, "take", _swap)),
    _mutant("sends two requests of a player at once", "two requests in flight", (Buffer, "take", _take_without_turn)),
    _mutant("loses the tail on a split", "pending|due|deadlock|Error", (Batch, "halves", _halves_without_tail)),
    _mutant("sends the newer half first", "carries .* due are", (Batch, "halves", _halves_reversed)),
    _mutant("forgets a lost answer on a split", "receipt|arrived", (Batch, "halves", _halves_forget_ambiguity)),
    _mutant("overwrites a repeated name", "stats say|changed", (Buffer, "_growth", _grow_over_names)),
    _mutant(
        "changes a sealed batch",
        "neither a repetition|mixes",
        (Buffer, "_growth", _grow_when_sealed),
        (Flusher, "_send", _send_encoding_anew),
    ),
    _mutant("adds to a sealed batch", "carries|called delivered", (Buffer, "_growth", _grow_when_sealed)),
    _mutant("counts wrongly", "stats say d", (Counters, "settle", _settle_wrongly)),
    _mutant("counts bytes wrongly", "stats say buffered_bytes", (Counters, "settle", _settle_wrong_bytes)),
    _mutant("never wakes after a backoff", "nobody sends it", (Schedule, "back_off", _back_off_for_ever)),
    _mutant("does not back off", "before the backoff", (Schedule, "back_off", _back_off_not)),
    _mutant("lingers too long", "nobody sends it", (Schedule, "linger", _linger_longer)),
    _mutant("drops what is being retried", "was dropped after|carries", (Buffer, "drop_oldest", _drop_the_sealed)),
    _mutant("ignores what becomes due", "nobody sends it|pending", (Flusher, "_on_due", _nothing)),
    _mutant("forgets a receipt", "stats say", (SharedOutcome, "settle", _forget_every_tenth())),
    _mutant("calls no callback", "told 0 times", (FailureCallbacks, "add", _nothing)),
    _mutant("calls a callback twice", "told 2 times", (FailureCallbacks, "add", _tell_twice)),
    _mutant("wakes no producer", "waits although there is room", (FairQueue, "room_made", _nothing)),
    _mutant(
        "accepts events of cancelled calls",
        "after its call had ended|counts as accepted",
        (FairQueue, "wait_for", _wait_without_end),
        (FairQueue, "room_made", _admit_the_gone),
    ),
    _mutant("lets producers overtake", "overtook", (Admission, "offer", _overtake)),
    _mutant(
        "retries after success",
        "which was DELIVERED",
        (Settlement, "conclude", _conclude_with(Decision.DELIVERED, _deliver_again)),
    ),
    _mutant(
        "resends what it should report",
        "sends again what may have been applied",
        (Settlement, "conclude", _conclude_with(Decision.AMBIGUOUS, _try_again)),
    ),
    _mutant(
        "repeats what was refused",
        "which was REFUSED",
        (Settlement, "conclude", _conclude_with(Decision.REFUSED, _try_for_ever)),
    ),
    _mutant(
        "rejects valid events with the invalid one",
        "without a refusal of its own",
        (Settlement, "conclude", _conclude_with(Decision.REFUSED, _refuse_all)),
    ),
    _mutant("drops a batch on cancel", "nobody sends it|deadlock|waits", (Settlement, "conclude", _interrupted())),
    _mutant("never gives up", "too old", (Settlement, "_drop_expired", _expire_never)),
    _mutant("flushes incompletely", "returned before", (Buffer, "pending_until", _pending_not_the_last)),
    _mutant("flushes what came later", "waits for nothing", (Buffer, "flush_now", _hurry_within_the_epoch)),
    _mutant("flushes without skipping the linger", "waits on after a flush", (Schedule, "end_lingers", _nothing)),
    _mutant("flushes without skipping the backoff", "waits on after a flush", (Schedule, "end_backoffs", _nothing)),
    _mutant("ignores Retry-After", "starts in a pause", (Backoff, "pause", _pause_shortly)),
    _mutant("skips the server's pauses", "starts in a pause|refused", (CircuitBreaker, "skip_wait", _skip_every_wait)),
    _mutant("sends everything as a probe", "second probe", (CircuitBreaker, "next_request_at", _let_all_through)),
    _mutant("delays all players for one", "lets nothing go", (CircuitBreaker, "finish", _hold_up_everybody)),
    _mutant("leaks a slot of the windows", "nobody sends it|pending", (RateWindows, "finish", _leak_every_third())),
    _mutant("spaces requests too far apart", "keeps its distance", (Spacing, "start", _keep_too_far)),
    _mutant("counts no request in flight", "requests in the", (RateWindows, "start", _count_from_the_start)),
    _mutant("takes a written request for unsent", "a receipt that says", (Network, "write_begins", _nothing)),
    _mutant("leaves a task behind each request", "tasks", (Flusher, "_send", _leave_a_task)),
    _mutant("accepts after the close", "takes none", (Lifecycle, "accepting_now", _accept_always)),
    _mutant("hides the flusher's death", "does not know", (Lifecycle, "_end", _end_as_if_running)),
    _mutant("closes late", "after its deadline", (Flusher, "_set_deadlines", _nothing)),
)
"""Every mutant; the tests catch each of them."""
