"""`Recorder`: the client's calls over a list instead of a network, and a script of what goes wrong."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

import anyio
import anyio.abc
import attrs
from anyio.lowlevel import checkpoint

from .. import (
    AsyncGameball,
    BufferFull,
    ClientClosed,
    ClientHalted,
    CloseReport,
    ConfigurationError,
    Delivered,
    DeliveryError,
    Dropped,
    DropReason,
    Event,
    FlushTimeout,
    InvalidEvent,
    JournalError,
    Metadata,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Stats,
    Undelivered,
    validate_event,
)
from ._assertions import Assertions, event_of
from ._recorded_receipts import Failure, FailureScript, Fatal, RecordedReceipt, Rule
from ._recorder_lifecycle import RecorderLifecycle, RecorderState

_log = logging.getLogger("gameball_async")

_DELIVERED = Delivered(status=200)


@attrs.frozen
class _Held:
    """An accepted event that a scripted error keeps from its outcome."""

    event: Event
    receipt: RecordedReceipt
    error: ClientHalted | FlushTimeout


class Recorder(Assertions, AsyncGameball):
    """Stands in for the client in tests: it records what is tracked, and asserts. No network, no thread, no task.

    ::

        recorder = Recorder()
        await checkout(recorder, player="player123", total=100)
        recorder.assert_tracked("player123", "place_order", total_amount=100)

    Every call of `AsyncGameball` is there, with its arguments, checks and errors. Events are delivered
    at once, unless `fail` was told otherwise. It is an `AsyncGameball` by type, so that it can be passed
    wherever one is expected, but holds nothing of one: there is nothing in it that could send.

    Args:
        on_failure: called as the client's `on_failure`, before the next of `track`, `send`, `flush` and
            `aclose` returns; while one task is in it, the calls of others do not wait.
        started: True lets it behave as one that somebody has started already, in whichever loop; by
            default `send`, `flush` and `track_threadsafe` need `start`, `run` or `async with` first.
    """

    def __init__(  # the client's own constructor is not called: a recorder has no engine, no keys and no address
        self,
        *,
        on_failure: Callable[[Event, DeliveryError], Awaitable[None] | None] | None = None,
        started: bool = False,
    ) -> None:
        if on_failure is not None and not callable(on_failure):
            raise ConfigurationError("on_failure cannot be called: give a function or a coroutine function.")
        self._callback = on_failure
        self._recording = RecorderLifecycle(started=started)
        self._script = FailureScript()
        self._lock = threading.Lock()  # track_threadsafe records in the thread that calls it
        self._events: list[Event] = []
        self._held: list[_Held] = []
        self._halted: ClientHalted | None = None
        self._counts: Counter[type[Delivered | Fatal]] = Counter()
        self._untold: deque[tuple[Event, DeliveryError]] = deque()
        self._is_telling = False
        self._report = CloseReport()

    # ---------------------------------------------------------------- what was recorded

    @property
    def events(self) -> list[Event]:
        """Every event accepted, in order, whatever its outcome. A snapshot."""
        return list(self._events)

    @property
    def closed(self) -> bool:
        """Whether it was closed, as a service must close its client before it ends."""
        return self._recording.state is RecorderState.CLOSED

    def reset(self) -> None:
        """Forget the recorded events, so that the next assertion sees only new ones; all the rest stays."""
        self._events.clear()

    # ---------------------------------------------------------------- what goes wrong

    def fail(
        self,
        error: Failure,
        *,
        player_unique_id: str | None = None,
        name: str | None = None,
        times: int | None = None,
    ) -> None:
        """Let the events from now on fail with an error; of several that match, the first given strikes.

        - `Rejected`, `Dropped` and `OutcomeUnknown` are the event's outcome: its receipt and `send` raise
          it, and `on_failure` gets it.
        - `BufferFull` and `JournalError` are raised by `track`, `track_nowait`, `track_threadsafe` and
          `send`; the event is not accepted.
        - `ClientHalted` and `FlushTimeout` keep the event pending: `flush` raises the error, `recover`
          delivers the event, and `aclose` drops it.

        Args:
            error: the error, as the client would raise it.
            player_unique_id: the only player it strikes; by default all.
            name: the only event name it strikes; by default all.
            times: how many events it strikes; by default any number, until `recover`.

        Raises:
            TypeError: if the client does not raise such an error there.
            ValueError: if `times` is below 1.
        """
        self._script.add(Rule(error, player_unique_id, name, times))

    def recover(self) -> None:
        """Let nothing fail any more, and deliver what is pending; callable from any thread."""
        with self._lock:
            self._script.clear()
            self._halted = None
            held, self._held = self._held, []
            for each in held:
                self._settle(each.event, each.receipt, _DELIVERED)

    # ---------------------------------------------------------------- the client's calls

    async def track(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Record one event, as `AsyncGameball.track` accepts it."""
        event = _prepared(player_unique_id, name, metadata, mobile, email)
        self._recording.check_accepting()
        (receipt,) = self._accept([event])
        await self._tell()
        return receipt

    def track_nowait(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Record one event, as `AsyncGameball.track_nowait` accepts it; without a loop as well."""
        event = _prepared(player_unique_id, name, metadata, mobile, email)
        self._recording.check_accepting()
        (receipt,) = self._accept([event])
        return receipt

    def track_threadsafe(
        self,
        player_unique_id: str,
        name: str,
        metadata: Metadata | None = None,
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Receipt:
        """Record one event, as `AsyncGameball.track_threadsafe` accepts it from another thread."""
        self._recording.check_other_thread()
        (receipt,) = self._accept([_prepared(player_unique_id, name, metadata, mobile, email)])
        return receipt

    async def send(
        self,
        player_unique_id: str,
        events: Mapping[str, Metadata | None],
        *,
        mobile: str | None = None,
        email: str | None = None,
    ) -> Delivered:
        """Record events, as `AsyncGameball.send` accepts them, and return or raise their outcome."""
        if not isinstance(events, Mapping) or not events:
            raise InvalidEvent("send() takes a dict of at least one event: metadata or None by event name.")
        prepared = [_prepared(player_unique_id, name, metadata, mobile, email) for name, metadata in events.items()]
        self._recording.check_running()
        receipts = self._accept(prepared)
        await self._tell()
        for receipt in receipts:
            await receipt.wait()  # the error of the first is raised when all have their outcome
        delivered = [await receipt for receipt in receipts]
        return delivered[-1]

    async def start(self) -> None:
        """Bind the recorder to the running loop; again is allowed."""
        self._recording.start()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Stay in the caller's task group until `aclose`, and close if that is cancelled, as the client does."""
        try:
            await self._recording.run(task_status)
        except anyio.get_cancelled_exc_class():
            self.stop_sending()
            raise

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 as the client's
        """Return at once, or raise the `ClientHalted` or `FlushTimeout` that keeps events pending."""
        if self.closed:
            raise ClientClosed("the client is closed and holds nothing: flush before you close.")
        self._recording.check_running()
        if timeout is not None:
            _check_timeout(timeout)
        await self._tell()
        if self._held:
            raise self._held[0].error.with_traceback(None)

    def stop_sending(self) -> None:
        """Accept nothing more; what is pending is reported as dropped by `aclose`."""
        if not self.closed:
            self._recording.close()
            self._report = CloseReport(self._give_up())

    async def aclose(self, timeout: float = 10) -> CloseReport:  # noqa: ASYNC109 as the client's
        """Accept nothing more; what is pending is reported as dropped."""
        _check_timeout(timeout)
        self.stop_sending()
        await self._tell()
        return self._report

    async def _close_at_exit(self) -> None:
        await self.aclose()

    def stats(self) -> Stats:
        """The client's counters; what a recorder has none of, such as requests and bytes, is 0."""
        with self._lock:
            counts, held = self._counts, tuple(self._held)
            return Stats(
                accepted=counts.total() + len(held),
                delivered=counts[Delivered],
                rejected=counts[Rejected],
                dropped=counts[Dropped],
                unknown=counts[OutcomeUnknown],
                buffered_events=len(held),
                buffered_bytes=0,
                oldest_age=0.0,
                in_flight=0,
                requests=0,
                retries=0,
                ambiguous=0,
                paused_until=None,
                halted=None if self._halted is None else str(self._halted),
            )

    def __repr__(self) -> str:
        return f"<Recorder {self._recording.state.name.lower()}, {len(self._events)} tracked>"

    # ---------------------------------------------------------------- outcomes

    def _accept(self, events: list[Event]) -> list[RecordedReceipt]:
        """Record events, all of them or none, and give each the outcome that the script has for it.

        Raises:
            BufferFull: if the script says so.
            JournalError: likewise.
        """
        with self._lock:
            errors = [self._script.strike(event) for event in events]
            for error in errors:
                if isinstance(error, (BufferFull, JournalError)):
                    raise error.with_traceback(None)
            return [self._record(event, error) for event, error in zip(events, errors, strict=True)]

    def _record(self, event: Event, error: Failure | None) -> RecordedReceipt:
        self._events.append(event)
        receipt = RecordedReceipt(event.name)
        match error:
            case ClientHalted() | FlushTimeout():
                self._held.append(_Held(event, receipt, error))
                self._halted = error if isinstance(error, ClientHalted) else self._halted
            case Rejected() | Dropped() | OutcomeUnknown():
                self._settle(event, receipt, error)
            case _:
                self._settle(event, receipt, _DELIVERED)
        return receipt

    def _settle(self, event: Event, receipt: RecordedReceipt, outcome: Delivered | Fatal) -> None:
        self._counts[type(outcome)] += 1
        if not isinstance(outcome, Delivered):
            self._untold.append((event, outcome))
        receipt.settle(outcome)

    def _give_up(self) -> tuple[Undelivered, ...]:
        """Drop what is pending, and say so."""
        with self._lock:
            held, self._held = self._held, []
            errors = [_dropped(each.error) for each in held]
            for each, error in zip(held, errors, strict=True):
                self._settle(each.event, each.receipt, error)
        return tuple(Undelivered(each.event, error) for each, error in zip(held, errors, strict=True))

    async def _tell(self) -> None:
        """Call `on_failure` for each event that failed since the last time; what it tracks itself joins the queue."""
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._untold:
                await self._tell_one(*self._untold.popleft())
                await checkpoint()  # a callback that lets more fail must not stop the loop
        finally:
            self._is_telling = False

    async def _tell_one(self, event: Event, error: DeliveryError) -> None:
        try:
            result = self._callback(event, error) if self._callback is not None else None
            if inspect.isawaitable(result):
                await result
        except Exception:  # noqa: BLE001 whatever it is, it harms nothing, as in the client
            _log.exception("on_failure raised for event %r", event.name)


def _prepared(
    player_unique_id: str, name: str, metadata: Metadata | None, mobile: str | None, email: str | None
) -> Event:
    """One event, checked as the client checks it, and encoded: changing the metadata later changes nothing."""
    validate_event(player_unique_id, name, metadata, mobile=mobile, email=email)
    return event_of(player_unique_id, name, metadata, mobile, email)


def _dropped(error: ClientHalted | FlushTimeout) -> Dropped:
    why = f": Gameball refused this client (HTTP {error.status})" if isinstance(error, ClientHalted) else ""
    return Dropped(
        f"the client was closed before delivery{why}: track it again if it still matters.", reason=DropReason.CLOSED
    )


def _check_timeout(timeout: float) -> None:
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not (is_number and timeout >= 0):
        raise ConfigurationError(f"timeout is {timeout!r}: give a number of seconds.")
