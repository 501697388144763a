"""`sync.Gameball`: calls from any thread, their errors, and mistakes, none of which is silent."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    ClientClosed,
    ConfigurationError,
    DeliveryError,
    Event,
    FlusherDied,
    FlushTimeout,
    InvalidEvent,
    JournalError,
    NotStarted,
    Rejected,
    WrongLoop,
    _loop_thread,
)
from gameball_async.sandbox import Fault, Sandbox
from gameball_async.sync import Gameball

from .support import QUICK, SOON, assert_conserved

Make = Callable[..., Gameball]

KEPT = Batching(linger=3600)
"""Events stay in the buffer until a flush or a close."""


@pytest.fixture
def make(sandbox: Sandbox) -> Iterator[Make]:
    """Makes clients of the sandbox that lose no time; their threads end with the test."""
    made: list[Gameball] = []

    def make(**settings: Any) -> Gameball:
        defaults: dict[str, Any] = {"batching": SOON, "retry": QUICK, "rate": None}
        made.append(Gameball("test-key", base_url=sandbox.url, **(defaults | settings)))
        return made[-1]

    yield make
    for gameball in made:
        gameball.close(timeout=0)
    assert not [thread for thread in threading.enumerate() if thread.name == "gameball_async"]


def names(sandbox: Sandbox, player: str = "player123") -> list[str]:
    return [event.name for event in sandbox.holdings().get(player, [])]


# ---------------------------------------------------------------- calls


def test_it_takes_the_arguments_of_the_async_client() -> None:
    assert inspect.signature(Gameball) == inspect.signature(AsyncGameball)
    with pytest.raises(ConfigurationError, match="timeout"):
        Gameball("test-key", timeout=-1)
    with pytest.raises(TypeError, match="colour"):
        Gameball("test-key", colour="red")  # type: ignore[call-arg]


def test_events_are_merged_and_their_receipts_have_the_outcome(make: Make, sandbox: Sandbox) -> None:
    with make(batching=KEPT) as gameball:
        first = gameball.track("player123", "place_order", {"total_amount": 100})
        second = gameball.track("player123", "review")
        assert not first.done
        gameball.flush(timeout=30)
        assert first.done
        assert first.result().status == second.result(timeout=0).status == 200
        assert gameball.send("player123", {"reserve": {"rooms": 2}}).attempts == 1
        assert gameball.stats().delivered == 3
    assert [request.events for request in sandbox.requests] == [("place_order", "review"), ("reserve",)]
    assert second.result().status == 200, "also when the client is closed"


def test_a_result_is_waited_for_as_long_as_is_asked(make: Make) -> None:
    gameball = make(batching=KEPT)
    receipt = gameball.track("player123", "review")
    with pytest.raises(TimeoutError, match=r"not known after 0\.01 s"):
        receipt.result(timeout=0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receipt.result)
        gameball.close()
        assert waiting.result(30).status == 200


def test_threads_share_a_client_and_the_first_of_them_starts_it(make: Make, sandbox: Sandbox) -> None:
    gameball, together = make(), threading.Barrier(8)

    def track(player: int) -> None:
        together.wait()
        for number in range(10):
            gameball.track(f"player{player}", f"event{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(track, range(8)))
    assert gameball.close().undelivered == ()
    assert gameball.stats().delivered == 80
    assert all(names(sandbox, f"player{n}") == [f"event{k}" for k in range(10)] for n in range(8))


def test_a_running_loop_in_the_callers_thread_does_not_matter(make: Make, sandbox: Sandbox) -> None:
    """As in a notebook."""

    async def cell() -> int:
        with make() as gameball:
            return gameball.track("player123", "review").result(30).status

    assert asyncio.run(cell()) == 200
    assert names(sandbox) == ["review"]


def test_with_a_journal_an_event_is_durable_when_track_returns(make: Make, tmp_path: Path) -> None:
    gameball = make(journal=tmp_path, batching=KEPT)
    assert gameball.track("player123", "review").durable
    assert gameball.close(timeout=0).kept == 1


# ---------------------------------------------------------------- errors


def test_what_was_not_accepted_is_raised_by_the_call(make: Make) -> None:
    gameball = make(batching=Batching(linger=3600, buffer_events=1, wait_timeout=0.01))
    with pytest.raises(InvalidEvent, match="'nothing'"):
        gameball.track("player123", "review", {"nothing": None})  # type: ignore[dict-item]
    gameball.track("player123", "review")
    with pytest.raises(BufferFull):
        gameball.track("player123", "review")
    with pytest.raises(FlushTimeout):
        gameball.flush(timeout=0)
    assert gameball.stats().accepted == 1


def test_what_gameball_refuses_is_raised_by_result_and_passed_to_on_failure(make: Make, sandbox: Sandbox) -> None:
    """The callback runs in the client's thread, where it may track, and may not wait."""
    sandbox.script(Fault.status(400, events={"review"}))
    failed: list[object] = []

    def on_failure(event: Event, error: DeliveryError) -> None:
        failed.extend([event.name, type(error), threading.current_thread().name])
        receipt = gameball.track("player123", "review_failed")
        for wait in (receipt.result, gameball.flush, gameball.close, lambda: gameball.send("player123", {"a": None})):
            with pytest.raises(WrongLoop, match="in the client's thread"):
                wait()

    gameball = make(on_failure=on_failure)
    with pytest.raises(Rejected):
        gameball.track("player123", "review").result(30)
    gameball.close()
    assert failed == ["review", Rejected, "gameball_async"]
    assert names(sandbox) == ["review_failed"]


def test_after_the_close_every_call_says_so(make: Make) -> None:
    used, unused = make(), make()
    used.track("player123", "review")
    assert used.close().undelivered == used.close().undelivered == unused.close().undelivered == ()
    for gameball in (used, unused):
        calls: list[Callable[[], object]] = [
            gameball.start,
            gameball.flush,
            lambda: gameball.track("player123", "review"),  # noqa: B023 called at once
            lambda: gameball.send("player123", {"review": None}),  # noqa: B023 likewise
        ]
        for call in calls:
            with pytest.raises(ClientClosed):
                call()
    assert (used.stats().accepted, unused.stats().accepted) == (1, 0)


def test_a_close_returns_what_it_could_not_deliver(make: Make, sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(503))
    gameball = make()
    receipt = gameball.track("player123", "review")
    assert [entry.event.name for entry in gameball.close(timeout=0.1).undelivered] == ["review"]
    with pytest.raises(DeliveryError):
        receipt.result()
    with pytest.raises(ConfigurationError, match="number of seconds"):
        gameball.close(float("nan"))


def test_a_client_that_cannot_start_says_why_at_every_call(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    gameball = make(journal=tmp_path / "file")
    for _ in range(2):
        with pytest.raises(JournalError, match="cannot be opened"):
            gameball.track("player123", "review")
    assert gameball.close().undelivered == ()


def test_a_thread_that_cannot_start_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the interpreter is ending."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gameball = make()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(NotStarted, match="can't start new thread"):
        gameball.track("player123", "review")


def test_a_callback_that_blocks_the_thread_is_named_by_the_close(
    make: Make, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.script(Fault.status(400))
    blocked, unblock = threading.Event(), threading.Event()

    def block(_: Event, __: DeliveryError) -> None:
        blocked.set()
        unblock.wait(30)

    gameball = make(on_failure=block)
    gameball.track("player123", "review")
    assert blocked.wait(30)
    monkeypatch.setattr(_loop_thread, "_GRACE", 0.01)
    with pytest.raises(FlusherDied, match="0 events have no outcome: check whether on_failure"):
        gameball.close(timeout=0)
    monkeypatch.undo()
    unblock.set()
    gameball.close()


def test_a_thread_that_crashes_logs_it_and_loses_nothing(
    make: Make, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    gameball = make(batching=KEPT)
    gameball.track("player123", "review")

    def crash() -> None:
        raise SystemExit

    gameball._thread.backend.call_soon_from_thread(crash)
    gameball._thread.join(30)
    assert "the client's thread crashed: SystemExit" in caplog.text
    assert names(sandbox) == ["review"]
    with pytest.raises(ClientClosed):
        gameball.track("player123", "review")


def test_a_client_that_is_forgotten_delivers_and_logs_a_warning(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    thread = (receipt := Gameball("test-key", base_url=sandbox.url, batching=KEPT).track("player123", "review"))._thread
    gc.collect()
    thread.join(30)
    assert receipt.result().status == 200
    assert [record.levelno for record in caplog.records if record.name == "gameball_async"] == [logging.WARNING]
    assert "garbage-collected and not closed" in caplog.text


# ---------------------------------------------------------------- signal handlers


class StepTracer:
    """A trace function that does something at one step of a call, as a signal handler may.

    Attributes:
        was_reached: whether there was such a step.
    """

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.was_reached = False
        self._steps_left = step
        self._action = action

    def __call__(self, frame: FrameType, event: str, _: object) -> StepTracer | None:
        if frame.f_code.co_filename != _loop_thread.__file__:
            return None
        frame.f_trace_opcodes = True
        self._steps_left -= event == "opcode"
        if self._steps_left < 0 and not self.was_reached:
            self.was_reached = True
            self._action()
        return self


class SoftTimeLimit(Exception):
    """What a task queue's signal handler raises."""


@pytest.mark.parametrize("handler", ["raises", "tracks"])
def test_a_signal_at_any_step_of_the_first_call_harms_no_later_call(handler: str, make: Make, sandbox: Sandbox) -> None:
    def strike() -> None:
        if handler == "raises":
            raise SoftTimeLimit
        gameball.track("player123", "nested").result(30)

    steps = 0
    for step in itertools.count():
        gameball, tracer = make(), StepTracer(step, strike)
        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            with suppress(SoftTimeLimit):
                gameball.track("player123", "struck")
        finally:
            sys.settrace(before)
        gameball.track("player123", "later").result(30)
        assert gameball.close().undelivered == ()
        assert_conserved(gameball.stats())
        if not tracer.was_reached:
            break
        steps += 1
    assert steps >= 20
    assert names(sandbox).count("later") == steps + 1
    assert names(sandbox).count("nested") == (steps if handler == "tracks" else 0)
