"""A call from a thread that is interrupted leaves nothing behind, or returns the receipt of what was accepted."""

from __future__ import annotations

import itertools
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import anyio
import pytest

from gameball_async import AsyncGameball, Batching, ObservedClient, Observer, Receipt, WrongLoop
from gameball_async._engine import backends
from gameball_async._engine.backends import _ThreadCall
from gameball_async._journal.journal_storage import JournalStorage
from gameball_async.sandbox import Sandbox

from .support import assert_conserved, client, until

LOOPS = ["asyncio", "uvloop", "trio"]

FULL = Batching(linger=3600, buffer_events=1, wait_timeout=60)
"""The first event fills the buffer, and is sent at the close."""


class SoftTimeLimit(Exception):
    """What a task queue's signal handler raises."""


@pytest.fixture(params=[SoftTimeLimit, KeyboardInterrupt])
def struck(request: pytest.FixtureRequest) -> Generator[type[BaseException]]:
    """What the handler of SIGUSR1 raises in the main thread, which is the one that waits."""
    error: type[BaseException] = request.param

    def strike(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, strike)
    yield error
    signal.signal(signal.SIGUSR1, before)


@contextmanager
def strike_when(condition: Callable[[], object]) -> Generator[None]:
    """Send the signal to the main thread, from another one, as soon as something is true."""

    def strike() -> None:
        while not condition():
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=strike)
    thread.start()
    yield
    thread.join()


class Life:
    """A loop in a thread of its own, in which a client lives."""

    def __init__(self, gameball: AsyncGameball, loop: str) -> None:
        self.gameball = gameball
        self.blocked, self.unblock = threading.Event(), threading.Event()
        self._loop = loop
        self._is_ready, self._ends = threading.Event(), threading.Event()
        self._shall_block = False

    @contextmanager
    def __call__(self) -> Generator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            assert self._is_ready.wait(30)
            yield
        finally:
            self.unblock.set()
            self._ends.set()
            thread.join(30)

    def block(self) -> None:
        """Keep the loop from doing anything until `unblock` is set."""
        self._shall_block = True
        assert self.blocked.wait(30)

    def _run(self) -> None:
        if self._loop == "trio":
            anyio.run(self._live, backend="trio")
        else:
            anyio.run(self._live, backend_options={"use_uvloop": self._loop == "uvloop"})

    async def _live(self) -> None:
        async with self.gameball:
            self._is_ready.set()
            await until(lambda: self._shall_block or self._ends.is_set())
            if self._shall_block:
                self.blocked.set()
                self.unblock.wait(30)
                await until(self._ends.is_set)


def held(sandbox: Sandbox) -> list[str]:
    return [event.name for event in sandbox.holdings().get("player", [])]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_is_interrupted_while_it_waits_for_room_accepts_nothing(
    loop: str, struck: type[BaseException], sandbox: Sandbox
) -> None:
    gameball = client(sandbox, batching=FULL)
    admission = gameball._lifecycle.flusher.admission.queue
    with Life(gameball, loop)():
        gameball.track_threadsafe("player", "first")
        with strike_when(lambda: bool(admission.turns)), pytest.raises(struck):
            gameball.track_threadsafe("player", "interrupted")
        assert not admission.turns
    assert gameball.stats().accepted == 1
    assert held(sandbox) == ["first"]
    assert_conserved(gameball.stats())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_is_interrupted_before_the_loop_has_begun_it_raises_at_once(
    loop: str, struck: type[BaseException], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is busy all the time, and does not take the event over later."""
    gameball, handed_over = client(sandbox), threading.Event()
    life = Life(gameball, loop)
    with life():
        runtime = gameball._lifecycle._bound_backend
        life.block()
        call_soon = runtime.call_soon_from_thread

        def hand_over(function: Callable[[], object]) -> None:
            call_soon(function)
            handed_over.set()

        monkeypatch.setattr(runtime, "call_soon_from_thread", hand_over)
        with strike_when(handed_over.is_set), pytest.raises(struck):
            gameball.track_threadsafe("player", "interrupted")
        life.unblock.set()
        gameball.track_threadsafe("player", "later")
    assert gameball.stats().accepted == 1
    assert held(sandbox) == ["later"]


class Striker(Observer):
    """Sends the signal when an event is handed over."""

    def on_track(self, client: ObservedClient, name: str) -> None:  # noqa: ARG002 the names are the base class's
        if name == "interrupted":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_is_interrupted_when_its_event_is_accepted_already_returns_the_receipt(
    loop: str, struck: type[BaseException], sandbox: Sandbox
) -> None:
    """But Ctrl-C is raised all the same: the program is to end."""
    gameball = AsyncGameball("test-key", base_url=sandbox.url, observer=Striker())
    receipts: list[Receipt] = []
    with Life(gameball, loop)(), suppress(KeyboardInterrupt):
        receipts.append(gameball.track_threadsafe("player", "interrupted"))
    assert [receipt.done for receipt in receipts] == ([] if struck is KeyboardInterrupt else [True])
    assert held(sandbox) == ["interrupted"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_is_interrupted_on_its_way_to_the_disk_leaves_nothing_there(
    loop: str, struck: type[BaseException], sandbox: Sandbox, tmp_path: Path
) -> None:
    """Or it returns the receipt, if the disk was faster; after Ctrl-C it raises even then."""
    gameball = AsyncGameball("test-key", base_url=sandbox.url, observer=Striker(), journal=tmp_path)
    returned: list[Receipt] = []
    with Life(gameball, loop)():
        for _ in range(10):
            with suppress(struck):
                returned.append(gameball.track_threadsafe("player", "interrupted"))
        gameball.track_threadsafe("player", "later")
    accepted = gameball.stats().accepted - 1
    assert accepted == len(returned) or struck is KeyboardInterrupt
    assert held(sandbox) == ["interrupted"] * accepted + ["later"]


@pytest.mark.parametrize("loop", LOOPS)
def test_further_interruptions_do_not_keep_an_interrupted_call_from_being_withdrawn(
    loop: str, struck: type[BaseException], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gameball = client(sandbox, batching=FULL)
    admission, withdraw, strikes = (
        gameball._lifecycle.flusher.admission.queue,
        _ThreadCall[Receipt].withdraw,
        [1, 2, 3],
    )

    def withdraw_and_strike(call: _ThreadCall[Receipt]) -> anyio.CancelScope | None:
        if strikes:
            strikes.pop()
            signal.raise_signal(signal.SIGUSR1)
        return withdraw(call)

    monkeypatch.setattr(_ThreadCall, "withdraw", withdraw_and_strike)
    with Life(gameball, loop)():
        gameball.track_threadsafe("player", "first")
        with strike_when(lambda: bool(admission.turns)), pytest.raises(struck):
            gameball.track_threadsafe("player", "interrupted")
        assert not admission.turns
    assert (gameball.stats().accepted, strikes) == (1, [])
    assert held(sandbox) == ["first"]


class StepStriker:
    """A trace function that raises at one step of the code that waits for the loop, as a signal handler may.

    Attributes:
        has_struck: whether that step was reached.
    """

    FILES = frozenset({backends.__file__, threading.__file__, queue.__file__})

    def __init__(self, step: int) -> None:
        self.has_struck = False
        self._steps_left = step

    def __call__(self, frame: FrameType, event: str, _: object) -> StepStriker | None:
        if frame.f_code.co_filename not in self.FILES:
            return None
        frame.f_trace_opcodes = True
        self._steps_left -= event == "opcode"
        if self._steps_left < 0 and not self.has_struck:
            self.has_struck = True
            raise SoftTimeLimit
        return self


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_is_interrupted_at_any_step_ends_and_harms_no_later_call(loop: str, sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    struck_at = list[int]()

    def call_and_strike() -> None:
        for step in itertools.count():
            striker = StepStriker(step)
            sys.settrace(striker)
            try:
                with suppress(SoftTimeLimit):
                    gameball.track_threadsafe("player", "interrupted")
            finally:
                sys.settrace(None)
            if not striker.has_struck:
                break
            struck_at.append(step)
        gameball.track_threadsafe("player", "later")

    with Life(gameball, loop)():
        caller = threading.Thread(target=call_and_strike, daemon=True)
        caller.start()
        caller.join(60)
        assert not caller.is_alive(), f"the call that was struck at step {len(struck_at)} never ended"
    assert len(struck_at) > 50
    assert_conserved(gameball.stats())
    assert held(sandbox)[-1] == "later"


def test_the_journals_own_thread_is_refused_because_it_would_wait_for_itself(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log handler that tracks is called there."""
    gameball = client(sandbox, journal=tmp_path)
    store = gameball._lifecycle.flusher.storage
    assert isinstance(store, JournalStorage)
    worker = store._writer._worker
    log, heard = worker.log, list[type[BaseException]]()
    write = log.write

    def write_and_track() -> None:
        write()
        with pytest.raises(WrongLoop, match="QueueListener") as caught:
            gameball.track_threadsafe("player", "logged")
        heard.append(caught.type)

    with Life(gameball, "asyncio")():
        monkeypatch.setattr(log, "write", write_and_track)
        gameball.track_threadsafe("player", "event")
        monkeypatch.undo()
    assert heard
    assert held(sandbox) == ["event"]
