"""Those who call the client: from tasks that may be cancelled, callbacks, logging handlers, finalizers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from gameball_async import CloseReport, Delivered, DeliveryError, Event, GameballError

from .awaits import interrupted
from .calls import Call, Kind
from .ledger import Placed
from .loops import START
from .oracle import Oracle
from .plan import Await, Cancel, Close, Flush, Send, Step, Track

FOLLOW_UPS = 1_000_000
"""Events with this number and above are tracked by callbacks, logging handlers and finalizers."""

MOST_FOLLOW_UPS = 50

CUT = "cut"
"""What the trace says when a call is cancelled in one of its awaits."""

Callback = Callable[[Event, DeliveryError], Awaitable[None] | None]


class Users:
    """Calls the client, and tells the oracle of each call and of what it brought.

    Args:
        oracle: it knows the client.
        backend: "asyncio", where a task can be cancelled natively, or "trio".

    Attributes:
        done: set when every script was played to its end.
    """

    def __init__(self, oracle: Oracle, backend: str) -> None:
        self._oracle = oracle
        self._ledger = oracle.ledger
        self._plan = oracle.plan
        self._backend = backend
        self._follow_ups = 0
        self._acting = len(oracle.plan.scripts)
        self._is_tracking_inside = False
        self.done = anyio.Event()

    # ---------------------------------------------------------------- scripts

    async def act(self, script: tuple[Step, ...]) -> None:
        """Play one script."""
        for step in script:
            await anyio.sleep_until(START + step.at)
            await self.cancellable(partial(self._do, step.act), step.cancel)
        self._acting -= 1
        if not self._acting:
            self.done.set()

    async def _do(self, act: Track | Send | Flush | Await) -> None:
        match act:
            case Track():
                await self.track(act)
            case Send():
                await self.send(act)
            case Flush():
                await self.flush(act.timeout)
            case Await():
                await self._await_one(act.which)

    async def cancellable(self, call: Callable[[], Awaitable[None]], cancel: Cancel | None) -> None:
        """Await a call that is cancelled, if the plan says so."""
        if cancel is None:
            await call()
        elif cancel.at_await:
            is_native = cancel.native and self._backend == "asyncio"
            await _cancelled_in_await(call, cancel.at_await, partial(self._oracle.trace.note, CUT), is_native=is_native)
        elif cancel.native and self._backend == "asyncio":
            await _cancelled_natively(call, cancel)
        else:
            await _cancelled(call, cancel)

    # ---------------------------------------------------------------- calls

    @contextmanager
    def _calling(self, kind: Kind, placed: tuple[Placed, ...] = (), timeout: float = float("inf")) -> Generator[Call]:
        """Tell the oracle of a call, and of what it raised."""
        call = self._oracle.calls.begin(kind, placed, timeout)
        try:
            yield call
        except DeliveryError as error:
            if kind not in ("send", "await") or error not in [event.outcome for event in call.placed]:
                self._oracle.fail(f"{kind} raised {error!r}, which none of its events has")
        except GameballError as error:
            self._oracle.trace.observe("raised", kind, type(error).__name__)
            self._oracle.calls.check_error(call, error, self._oracle.flusher)
        finally:
            self._oracle.calls.end(call)

    async def track(self, track: Track) -> None:
        """Track one event, and change its metadata afterwards."""
        placed = self._ledger.asked(track)
        given = dict(track.metadata)
        returned = False
        try:
            with self._calling("nowait" if track.nowait else "track", (placed,), self._plan.batching.wait_timeout):
                method: Any = self._oracle.gameball.track_nowait if track.nowait else self._oracle.gameball.track
                result = method(track.player, track.name, given, mobile=track.mobile, email=track.email)
                receipt = result if track.nowait else await result
                returned = True
                if placed.receipt is None or receipt._shared is not placed.receipt._shared:
                    self._oracle.fail(f"track returned a receipt for event {track.number}, which was not accepted")
        finally:
            if placed.order is not None and not returned:
                self._oracle.fail(f"the call of event {track.number} failed, and it counts as accepted")
        given["n"] = -1

    async def send(self, send: Send) -> None:
        """Send events as one request."""
        placed = tuple(self._ledger.asked(track) for track in send.events)
        player, mobile, email = send.events[0].player, send.events[0].mobile, send.events[0].email
        events = {track.name: track.metadata for track in send.events}
        with self._calling("send", placed):
            delivered = await self._oracle.gameball.send(player, events, mobile=mobile, email=email)
            if not _is_joint(delivered, [event.outcome for event in placed]):
                self._oracle.fail(f"send returned {delivered}, which is not what its events have")

    async def flush(self, timeout: float | None) -> None:  # noqa: ASYNC109 the call's own
        """Flush what is pending."""
        covered = tuple(self._ledger.pending.values())
        self._oracle.trace.note("flush", timeout, len(covered))
        with self._calling("flush", covered, float("inf") if timeout is None else timeout) as call:
            await self._oracle.gameball.flush(timeout)
            self._ledger.collect()
            self._oracle.calls.check_flushed(call)

    async def await_receipt(self, placed: Placed) -> None:
        """Await the outcome of one event."""
        assert placed.receipt is not None
        with self._calling("await", (placed,)):
            if await placed.receipt is not placed.outcome:
                self._oracle.fail(f"the receipt of event {placed.asked.number} says two things")

    async def _await_one(self, which: float) -> None:
        if accepted := self._ledger.accepted:
            await self.await_receipt(accepted[int(which * len(accepted))])

    async def close(self, close: Close) -> None:
        """Close the client."""
        await anyio.sleep(close.after)
        self._oracle.calls.begin_close()
        self._oracle.trace.note("close", close.timeout)
        with self._calling("close", timeout=close.timeout):
            report: CloseReport = await self._oracle.gameball.aclose(close.timeout)
            self._ledger.collect()
            self._oracle.calls.check_closed(report)
            self._oracle.trace.note("closed", len(report.undelivered))

    async def call_later(self) -> None:
        """Call a closed client, which takes nothing and says so."""
        accepted = len(self._ledger.accepted)
        await self.track(self._follow_up("late"))
        await self.track(self._follow_up("late", nowait=False))
        await self.send(Send((self._follow_up("late"),)))
        with self._calling("flush"):
            await self._oracle.gameball.flush(0)
            self._oracle.fail("a closed client was flushed")
        with self._calling("start"):
            await self._oracle.gameball.start()
            self._oracle.fail("a closed client was started")
        if len(self._ledger.accepted) > accepted:
            self._oracle.fail("a closed client accepted an event")

    # ---------------------------------------------------------------- from where nobody expects it

    def _follow_up(self, player: str, *, nowait: bool = True) -> Track:
        self._follow_ups += 1
        number = FOLLOW_UPS + self._follow_ups
        return Track(number=number, player=player, name="follow_up", metadata={"n": number}, nowait=nowait)

    def track_now(self, player: str) -> None:
        """Track from inside the client: a callback, a logging handler, a finalizer."""
        if self._follow_ups >= MOST_FOLLOW_UPS or self._oracle.failures:
            return
        track = self._follow_up(player)
        with self._calling("nowait", (self._ledger.asked(track),)):
            self._oracle.gameball.track_nowait(player, track.name, track.metadata)

    def finalize(self) -> None:
        """Track as a finalizer would that runs in the midst of a change of the buffer."""
        if not self._is_tracking_inside:
            self._is_tracking_inside = True
            self.track_now("finalizer")
            self._is_tracking_inside = False

    def on_log(self, record: logging.LogRecord) -> None:
        """Track from a logging handler."""
        self._oracle.trace.note("log", record.getMessage())
        self._oracle.requests.on_log(record.getMessage())
        if self._plan.logging:
            self.track_now("operations")

    # ---------------------------------------------------------------- on_failure

    @property
    def callback(self) -> Callback | None:
        """The `on_failure` that the plan has."""
        return {
            "none": None,
            "plain": self._told,
            "slow": self._told_slowly,
            "raises": self._told_and_raises,
            "tracks": self._told_and_tracks,
            "awaits": self._told_and_awaits,
        }[self._plan.callback]

    def _told(self, event: Event, error: DeliveryError) -> None:
        placed = self._ledger.events[event.metadata["n"]]
        self._oracle.trace.note("told", placed.asked.number)
        self._ledger.collect()
        placed.told.append(error)
        if error is not placed.outcome:
            self._oracle.fail(f"on_failure was told {error!r} of {event!r}, whose receipt says {placed.outcome!r}")
        if (event.player_unique_id, event.name) != (placed.asked.player, placed.asked.name):
            self._oracle.fail(f"on_failure was told of {event!r} under another player or name")

    async def _told_slowly(self, event: Event, error: DeliveryError) -> None:
        self._told(event, error)
        with self._in_callback():
            await anyio.sleep(0.3)

    def _told_and_raises(self, event: Event, error: DeliveryError) -> None:
        self._told(event, error)
        raise RuntimeError("simulated")

    def _told_and_tracks(self, event: Event, error: DeliveryError) -> None:
        self._told(event, error)
        self.track_now(event.player_unique_id)

    async def _told_and_awaits(self, event: Event, error: DeliveryError) -> None:
        self._told(event, error)
        if self._follow_ups < MOST_FOLLOW_UPS:
            with self._in_callback():
                await self.track(self._follow_up(event.player_unique_id, nowait=False))

    @contextmanager
    def _in_callback(self) -> Generator[None]:
        self._oracle.life.callbacks += 1
        try:
            yield
        finally:
            self._oracle.life.callbacks -= 1


# -------------------------------------------------------------------- cancelling


def _is_joint(delivered: Delivered, outcomes: Sequence[object]) -> bool:
    """Whether an outcome is true of events that were sent together, whose request may have been split since."""
    each = [outcome for outcome in outcomes if isinstance(outcome, Delivered)]
    return (
        len(each) == len(outcomes)
        and delivered.attempts == max(outcome.attempts for outcome in each)
        and delivered.maybe_duplicate == any(outcome.maybe_duplicate for outcome in each)
        and delivered.confirmed == all(outcome.confirmed for outcome in each)
        and any((delivered.status, delivered.job) == (outcome.status, outcome.job) for outcome in each)
    )


async def _cancelled(call: Callable[[], Awaitable[None]], cancel: Cancel) -> None:
    """Await a call, and cancel it by a scope after some seconds or turns."""
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def cancel_later() -> None:
            await _pass(cancel)
            scope.cancel()

        tasks.start_soon(cancel_later)
        with scope:
            await call()
        tasks.cancel_scope.cancel()


async def _cancelled_natively(call: Callable[[], Awaitable[None]], cancel: Cancel) -> None:
    """Await a call in a task of its own, and cancel that as asyncio does."""

    async def run() -> None:
        await call()

    done = anyio.Event()
    task = asyncio.get_running_loop().create_task(run())
    task.add_done_callback(lambda _: done.set())
    await _pass(cancel)
    task.cancel()
    await _ended(task, done)


async def _ended(task: asyncio.Task[None], done: anyio.Event) -> None:
    await done.wait()
    if not task.cancelled() and (error := task.exception()):
        raise error


async def _pass(cancel: Cancel) -> None:
    if cancel.after is not None:
        await anyio.sleep(cancel.after)
    for _ in range(cancel.turns):
        await anyio.lowlevel.checkpoint()


async def _cancelled_in_await(
    call: Callable[[], Awaitable[None]], in_await: int, note: Callable[[], None], *, is_native: bool
) -> None:
    """Await a call, and cancel it as soon as it waits for the so-manieth time, by a scope or as asyncio does."""

    async def run() -> None:
        await call()

    if not is_native:
        with anyio.CancelScope() as scope:
            await interrupted(run(), in_await, _both(note, scope.cancel))
        return

    async def run_natively() -> None:
        await interrupted(run(), in_await, _both(note, task.cancel))

    done = anyio.Event()
    task = asyncio.get_running_loop().create_task(run_natively())
    task.add_done_callback(lambda _: done.set())
    await _ended(task, done)


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call
