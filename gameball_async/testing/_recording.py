"""The engine of a `Recorder`: it takes events like the client's engine, and gives them scripted outcomes at once."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import anyio
import anyio.abc
import attrs
from anyio.lowlevel import current_token

from .. import (
    BufferFull,
    CampaignPreview,
    ClientHalted,
    CloseReport,
    Delivered,
    Dropped,
    DropReason,
    Event,
    EventPreview,
    FlushTimeout,
    JournalError,
    OutcomeUnknown,
    Preview,
    PreviewError,
    Rejected,
    Stats,
    Undelivered,
    WrongLoop,
)
from .._core.draft import NotSent
from .._core.events import EncodedEvent, as_event
from .._core.receipts import Outcome, SharedOutcome
from .._endpoint import check_switched_on
from .._engine.backends import Backend, current_backend
from .._engine.callbacks import FailureCallbacks, OnFailure
from .._engine.lifecycle import RUNS_ALREADY, ClientState, Lifecycle
from .._engine.settlement import drop_message

Fatal = Rejected | Dropped | OutcomeUnknown
"""The event is accepted; this is its outcome."""

Failure = Fatal | BufferFull | JournalError | ClientHalted | FlushTimeout | PreviewError
"""The errors that `Recorder.fail` accepts."""

_T = TypeVar("_T")

# ---------------------------------------------------------------- the script


@attrs.define
class Rule:
    """One error, the player and event name that it affects (None for all), and how many more events (None for any)."""

    error: Failure
    player_unique_id: str | None
    name: str | None
    left: int | None

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.error, Failure):
            given = self.error.__name__ if isinstance(self.error, type) else type(self.error).__name__
            raise TypeError(
                f"fail() does not accept {given}: pass an instance of Rejected, Dropped, OutcomeUnknown, BufferFull, "
                "JournalError, ClientHalted, FlushTimeout or PreviewError."
            )
        if self.left is not None and self.left < 1:
            raise ValueError(f"fail(times={self.left}) affects no event: pass at least 1, or None for every event.")

    def matches(self, event: Event) -> bool:
        is_same_player = self.player_unique_id in (None, event.player_unique_id)
        return self.left != 0 and is_same_player and self.name in (None, event.name)


# ---------------------------------------------------------------- outcomes


class _Waiter:
    """A task that waits for an outcome; `wake` is callable from any thread."""

    def __init__(self) -> None:
        self.event = anyio.Event()
        native: Any = current_token().native_token
        is_asyncio = isinstance(native, asyncio.AbstractEventLoop)
        self._call_soon = native.call_soon_threadsafe if is_asyncio else native.run_sync_soon

    def wake(self) -> None:
        with suppress(RuntimeError):  # its loop has ended, and the task with it
            self._call_soon(self.event.set)


class RecordedOutcome(SharedOutcome):
    """The outcomes of events by name; settled in any thread, awaited in any loop.

    Args:
        report: awaited before an outcome is returned to `send`; None for single events.
    """

    __slots__ = ("_outcomes", "_report", "_waiters", "is_durable")

    def __init__(self, report: Callable[[], Awaitable[None]] | None, *, is_durable: bool | None) -> None:
        super().__init__()
        self._report = report
        self.is_durable = is_durable
        self._outcomes: dict[str, Outcome] = {}
        self._waiters: list[_Waiter] = []

    def settle_event(self, name: str, outcome: Outcome) -> None:
        """Set the outcome of one event, and wake the tasks that wait for it."""
        self._outcomes[name] = outcome
        for waiter in list(self._waiters):
            waiter.wake()

    def outcome_of(self, name: str) -> Outcome | None:
        return self._outcomes.get(name)

    async def wait(self, name: str) -> Outcome:
        if self._report is not None:
            await self._report()
        waiter = _Waiter()
        self._waiters.append(waiter)  # before the check: another thread may settle it at any time
        try:
            while (outcome := self.outcome_of(name)) is None:
                await waiter.event.wait()
                waiter.event = anyio.Event()
            return outcome
        finally:
            self._waiters.remove(waiter)


@attrs.frozen
class _Held:
    """An accepted event without an outcome, because of a scripted error."""

    event: Event
    shared: RecordedOutcome
    error: ClientHalted | FlushTimeout


_DELIVERED = Delivered(status=200)


class RecordingEngine:
    """Takes the place of a client's admission, storage and flusher.

    Attributes:
        events: the accepted events, in order.
        rules: which events fail; the first one that matches applies.
        rewards: what previews of events return, by the event's name.
    """

    def __init__(self, on_failure: OnFailure | None) -> None:
        self.events: list[Event] = []
        self.rules: list[Rule] = []
        self.rewards: dict[str, float | EventPreview] = {}
        self._failures = FailureCallbacks(on_failure)
        self._lock = threading.Lock()  # track_threadsafe records in the thread that calls it
        self._held: list[_Held] = []
        self._halted: ClientHalted | None = None
        self._counts: Counter[type[Outcome]] = Counter()
        self._is_reporting = False
        self._filtered = 0
        self._invalid = 0

    # ---------------------------------------------------------------- as the client's admission and storage

    def offer(self, event: EncodedEvent, _: float) -> SharedOutcome:
        """Record one event; `track` awaits `durable` after it, unless it is called from another thread."""
        return self._accept([event], RecordedOutcome(None, is_durable=None if _calls.is_threadsafe else False))

    def offer_batch(self, events: Sequence[EncodedEvent], _: float) -> SharedOutcome:
        return self._accept(events, RecordedOutcome(self.report, is_durable=None))

    def settle_not_sent(self, not_sent: NotSent, _: float) -> SharedOutcome:
        """Count an event that is not sent, and does not count as tracked."""
        shared, event, error = RecordedOutcome(None, is_durable=None), not_sent.event, not_sent.error
        with self._lock:
            self._counts[Dropped] += not_sent.is_accepted
            self._invalid += not not_sent.is_accepted
            self._filtered += not_sent.is_meant
            if not not_sent.is_meant:
                self._failures.add([event], error)
        shared.settle_event(event.name, error)
        return shared

    def claim(self, shared: SharedOutcome) -> None:
        """Do nothing: recorded events are accepted."""

    async def durable(self, _: SharedOutcome) -> None:
        """Call `on_failure` for the events that have failed."""
        await self.report()

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the storage's thread; it has none."""
        return False

    # ---------------------------------------------------------------- as the client's flusher

    @property
    def storage(self) -> RecordingEngine:
        return self

    def now(self) -> float:
        """Return any time: a recorder has no clock."""
        return 0.0

    async def flush(self, _: float | None, __: Callable[[], object]) -> None:
        """Raise the scripted error that keeps events pending."""
        await self.report()
        if self._held:
            raise self._held[0].error.with_traceback(None)

    def stats(self) -> Stats:
        """Return the client's counts; those that a recorder does not have are 0."""
        with self._lock:
            counts, held, halted = self._counts.copy(), len(self._held), self._halted
            filtered, invalid = self._filtered, self._invalid
        return Stats(
            accepted=counts.total() + held,
            delivered=counts[Delivered],
            rejected=counts[Rejected],
            dropped=counts[Dropped],
            unknown=counts[OutcomeUnknown],
            buffered_events=held,
            buffered_bytes=0,
            oldest_age=0.0,
            in_flight=0,
            requests=0,
            retries=0,
            ambiguous=0,
            paused_until=None,
            halted=None if halted is None else str(halted),
            filtered=filtered,
            invalid=invalid,
        )

    def preview(self, encoded: Sequence[EncodedEvent]) -> Preview:
        """Return what these events would earn, or raise the scripted error."""
        with self._lock:
            for event in map(as_event, encoded):
                if (error := self._error_for(event, of_preview=True)) is not None:
                    raise error.with_traceback(None)
            if self._halted is not None and encoded:
                raise self._halted.with_traceback(None)
            previews = [_event_preview(event.name, self.rewards.get(event.name, 0)) for event in encoded]
        return Preview(total_points=sum(each.total_points for each in previews), events=tuple(previews))

    # ---------------------------------------------------------------- outcomes

    def recover(self) -> None:
        """Remove the script, and deliver pending events."""
        with self._lock:
            self.rules.clear()
            self._halted = None
            held, self._held = self._held, []
            for each in held:
                self._settle(each.event, each.shared, _DELIVERED)

    def give_up(self) -> tuple[Undelivered, ...]:
        """Drop pending events, and return them."""
        with self._lock:
            held, self._held = self._held, []
            errors = [_dropped(each.error) for each in held]
            for each, error in zip(held, errors, strict=True):
                self._settle(each.event, each.shared, error)
        return tuple(Undelivered(each.event, error) for each, error in zip(held, errors, strict=True))

    async def report(self) -> None:
        """Call `on_failure` for each event that has failed since the last time, including those that it tracks."""
        if self._is_reporting:
            return
        self._is_reporting = True
        try:
            await self._failures.report_queued()
        finally:
            self._is_reporting = False

    def _accept(self, encoded: Sequence[EncodedEvent], shared: RecordedOutcome) -> RecordedOutcome:
        """Record all events or, if the script says so, none of them."""
        events = [Event(each.player, each.name, each.mobile, each.email, each.encoded) for each in encoded]
        with self._lock:
            errors = [self._error_for(event) for event in events]
            for error in errors:
                if isinstance(error, (BufferFull, JournalError)):
                    raise error.with_traceback(None)
            for event, error in zip(events, errors, strict=True):
                self._record(event, shared, error)
        return shared

    def _error_for(self, event: Event, *, of_preview: bool = False) -> Failure | None:
        """Return the error of the first matching rule, and count it."""
        rules = (rule for rule in self.rules if isinstance(rule.error, PreviewError) is of_preview)
        rule = next((rule for rule in rules if rule.matches(event)), None)
        if rule is None:
            return None
        if rule.left is not None:
            rule.left -= 1
        return rule.error

    def _record(self, event: Event, shared: RecordedOutcome, error: Failure | None) -> None:
        self.events.append(event)
        match error:
            case ClientHalted() | FlushTimeout():
                self._held.append(_Held(event, shared, error))
                self._halted = error if isinstance(error, ClientHalted) else self._halted
            case Rejected() | Dropped() | OutcomeUnknown():
                self._settle(event, shared, error)
            case _:
                self._settle(event, shared, _DELIVERED)

    def _settle(self, event: Event, shared: RecordedOutcome, outcome: Delivered | Fatal) -> None:
        self._counts[type(outcome)] += 1
        if not isinstance(outcome, Delivered):
            self._failures.add([event], outcome)
        shared.settle_event(event.name, outcome)


def _event_preview(name: str, reward: float | EventPreview) -> EventPreview:
    if isinstance(reward, EventPreview):
        return attrs.evolve(reward, name=name)
    if not reward:
        return EventPreview(name=name)
    campaign = CampaignPreview(
        eligible=True, reason="Rewarded", reward_type="Points", reward_points=reward, points=reward, times_achieved=1
    )
    return EventPreview(name=name, total_points=reward, campaigns=(campaign,))


def _dropped(error: ClientHalted | FlushTimeout) -> Dropped:
    return Dropped(drop_message(error if isinstance(error, ClientHalted) else None), reason=DropReason.CLOSED)


# ---------------------------------------------------------------- the lifecycle


class _Calls(threading.local):
    """Whether `track_threadsafe` runs in this thread."""

    is_threadsafe = False


_calls = _Calls()


class RecorderBackend:
    """The loop that a recorder is bound to, or any loop. Calls from other threads run in those threads."""

    token = True

    def __init__(self, loop: Backend | None) -> None:
        self._loop = loop

    def running(self) -> bool:
        """Return `token` if the caller may track here."""
        return self.is_current

    @property
    def is_current(self) -> bool:
        """Whether the caller may track here."""
        return _calls.is_threadsafe or self._loop is None or self._loop.is_current

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller runs in the loop's thread."""
        if self._loop is not None:
            return self._loop.is_own_thread
        try:
            current_token()
        except RuntimeError:
            return False
        return True

    def run_from_thread(self, function: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine function that does not wait."""
        _calls.is_threadsafe = True
        try:
            function().send(None)
        except StopIteration as end:
            result: _T = end.value
            return result
        finally:
            _calls.is_threadsafe = False
        raise AssertionError("recording waits for nothing")


class RecorderLifecycle(Lifecycle):
    """The client's states and checks, without a background task."""

    def __init__(self, engine: RecordingEngine, *, started: bool) -> None:
        self.state = ClientState.RUNNING if started else ClientState.NEW
        self.flusher: Any = engine
        self._backend: Any = RecorderBackend(None) if started else None
        self._is_bound = False
        self._cause = None
        self._closed: anyio.Event | None = None
        self._report = CloseReport()

    async def start(self) -> None:
        """Bind to the caller's loop; again is allowed."""
        if self.state is not ClientState.NEW:
            self.check_running()
        if not self._is_bound:
            self._backend, self._is_bound = RecorderBackend(current_backend()), True
        self.state = ClientState.RUNNING

    async def run(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Bind to the caller's loop, and wait for the close; if the caller is cancelled, close."""
        if self._is_bound:
            self.check_running()
            raise WrongLoop(RUNS_ALREADY)
        await self.start()
        self._closed = anyio.Event()
        task_status.started()
        try:
            await self._closed.wait()
        except anyio.get_cancelled_exc_class():
            self.stop_sending()
            raise

    def stop_sending(self) -> None:
        """Close, and drop pending events."""
        if self.state is ClientState.CLOSED:
            return
        if self.state is ClientState.RUNNING:
            self._check_loop()
        self._backend = self._backend or RecorderBackend(None)
        self.state = ClientState.CLOSED
        if self._closed is not None:
            self._closed.set()
        self._report = CloseReport(self.flusher.give_up())

    async def close(self, timeout: float, *, shield: bool = False) -> CloseReport:  # noqa: ARG002, ASYNC109 the client's
        """Close, drop pending events, and report them."""
        self.stop_sending()
        await self.flusher.report()
        return self._report

    def _watch_waiting(self) -> None:
        """Do nothing: events do not wait for the start."""


class RecorderPreviews:
    """Takes the place of a client's previews: returns what was scripted."""

    def __init__(self, engine: RecordingEngine, lifecycle: RecorderLifecycle, switched_off_by: str | None) -> None:
        self._engine = engine
        self._lifecycle = lifecycle
        self._switched_off_by = switched_off_by

    def check(self) -> None:
        check_switched_on(self._switched_off_by, "a preview")

    async def request(self, events: Sequence[EncodedEvent], _: str | None) -> Preview:
        self._lifecycle.check_running()
        return self._engine.preview(events)
