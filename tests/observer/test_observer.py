"""An observer is told what its client does, costs nothing where it looks away, and can harm nothing."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import (
    AsyncGameball,
    Batching,
    ConfigurationError,
    ObservedClient,
    Observer,
    PauseReason,
    RequestEnd,
    RequestStart,
    Retry,
)
from gameball_async._core import pacing
from gameball_async.sandbox import Fault, Sandbox

from .support import KEY, QUICK, Notebook, client, settled, until

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------- what it is told


async def test_it_is_told_of_a_life_in_order(sandbox: Sandbox) -> None:
    notebook = Notebook()
    async with client(sandbox, notebook) as gameball:
        await gameball.track("player123", "place_order")
        await gameball.track("player123", "review")
        await gameball.flush()
        assert notebook.clients[0].stats() == gameball.stats()
    assert notebook.told == [
        "start",
        "track place_order",
        "track review",
        "request start",
        "settled 2: Delivered",
        "request end: delivered",
        "close",
    ]
    assert notebook.clients[0].base_url == sandbox.url
    assert notebook.clients[0].api_version == "v3.0"


async def test_a_request_is_told_with_its_events_size_attempt_answer_and_duration(sandbox: Sandbox) -> None:
    notebook = Notebook()
    sandbox.script(Fault.status(503, times=1), Fault.latency(0.02))
    async with client(sandbox, notebook) as gameball:
        await gameball.send("player123", {"place_order": {"total_amount": 100}, "review": None})
    (failed, failure), (delivered, delivery) = notebook.ends
    assert [start.events for start in notebook.starts] == [("place_order", "review")] * 2
    assert [start.attempt for start in notebook.starts] == [1, 2]
    assert {start.size for start in notebook.starts} == {
        len(b'{"playerUniqueId":"player123","events":{"place_order":{"total_amount":100},"review":{}}}')
    }
    assert (failed, delivered) == tuple(notebook.starts)
    assert (failure.verdict, failure.status, failure.code) == ("failed", 503, None)
    assert (delivery.verdict, delivery.status) == ("delivered", 200)
    assert 0.02 <= delivery.seconds < 60


async def test_a_request_that_is_cut_short_is_told_as_interrupted(sandbox: Sandbox) -> None:
    notebook = Notebook()
    sandbox.script(Fault.hang())
    async with client(sandbox, notebook) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().in_flight)
        await gameball.aclose(timeout=0)
    ((_, end),) = notebook.ends
    assert (end.verdict, end.status) == ("interrupted", None)
    assert notebook.told[-3:] == ["request end: interrupted", "settled 1: OutcomeUnknown", "close"]


VERDICTS = {
    "refused": Fault.status(422, code=3003),
    "busy": Fault.busy(times=1),
    "failed": Fault.status(503, times=1),
    "ambiguous": Fault.reset_after(times=1),
    "rate limited": Fault.status(429, retry_after=0, times=1),
    "halt": Fault.status(401),
}


@pytest.mark.parametrize("verdict", VERDICTS)
async def test_a_verdict_is_told_in_the_words_of_the_delivery_semantics(verdict: str, sandbox: Sandbox) -> None:
    notebook = Notebook()
    sandbox.script(VERDICTS[verdict])
    async with client(sandbox, notebook) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: notebook.ends)
        await gameball.aclose(timeout=5)
    assert notebook.ends[0][1].verdict == verdict


async def test_every_event_is_told_with_its_outcome_whatever_happens(sandbox: Sandbox) -> None:
    notebook = Notebook()
    sandbox.script(
        Fault.status(422, code=3003, events={"event3"}),
        Fault.status(503, probability=0.1),
        Fault.reset_after(probability=0.05),
        Fault.hang(players={"player0"}),
    )
    batching = Batching(linger=0, buffer_events=100, when_full="drop_oldest", max_events=5)
    retry = Retry(initial=0.001, maximum=0.002, ambiguous="report")
    async with client(sandbox, notebook, batching=batching, retry=retry) as gameball:
        for number in range(600):
            await gameball.track(f"player{number % 30}", f"event{number % 7}")
            if number % 50 == 0:
                await checkpoint()
        await until(lambda: gameball.stats().delivered > 20 and gameball.stats().rejected)
        await gameball.aclose(timeout=0.2)
    assert notebook.settled == settled(gameball.stats())
    assert set(notebook.settled) == {"delivered", "rejected", "dropped", "unknown"}
    assert notebook.told[-1] == "close"
    assert len(notebook.starts) == len(notebook.ends) == gameball.stats().requests


async def test_with_a_journal_every_event_is_told_too(sandbox: Sandbox, tmp_path: Path) -> None:
    notebook = Notebook()
    sandbox.script(Fault.status(422, code=3003, probability=0.2), Fault.status(503, probability=0.2))
    batching = Batching(linger=0, buffer_events=20, max_events=5)
    async with client(sandbox, notebook, batching=batching, journal=tmp_path) as gameball:
        for number in range(200):
            await gameball.track(f"player{number % 30}", f"event{number % 7}")
        await gameball.flush()
    assert notebook.settled == settled(gameball.stats())
    assert set(notebook.settled) == {"delivered", "rejected"}


def damage(folder: Path) -> None:
    """Do to one event what a bad disk would."""
    (path,) = folder.glob("*.journal")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE events SET encoded = x'00' WHERE player = 'player1'")


async def test_events_that_a_disk_has_lost_are_told_as_dropped(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.stop()
    async with client(sandbox, journal=tmp_path) as gameball:
        for number in range(3):
            await gameball.track(f"player{number}", "event")
        assert (await gameball.aclose(timeout=0)).kept == 3
    damage(tmp_path)
    sandbox.start()
    notebook = Notebook()
    async with client(sandbox, notebook, journal=tmp_path) as gameball:
        await gameball.flush()
    assert notebook.settled == settled(gameball.stats()) == {"delivered": 2, "dropped": 1}


async def test_pauses_outages_and_halts_are_told_when_they_begin_and_when_they_end(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "HALT_PROBE_INTERVAL", 0.01)
    notebook = Notebook()
    async with client(sandbox, notebook) as gameball:
        for fault in (
            Fault.status(429, retry_after=0, times=3),
            Fault.status(503, times=15),
            Fault.status(401, times=3),
        ):
            sandbox.script(fault)
            for number in range(10):
                await gameball.track(f"player{number}", "event")
            await until(lambda: not gameball.stats().pending)
    assert notebook.pauses == [PauseReason.REQUESTED, PauseReason.OUTAGE, PauseReason.HALT]
    assert len(notebook.lengths) == 3
    assert all(0 <= seconds < 30 for seconds in notebook.lengths)
    told = [line for line in notebook.told if line.startswith(("pause", "resume"))]
    assert told == [f"{what}: {reason}" for reason in notebook.pauses for what in ("pause", "resume")]


async def test_one_observer_may_watch_several_clients(sandbox: Sandbox) -> None:
    notebook = Notebook()
    async with client(sandbox, notebook) as first, client(sandbox, notebook, api_version="v4.0") as second:
        await first.track("player123", "event")
        await second.track("player123", "event")
        await second.aclose()
    assert [observed.api_version for observed in notebook.clients] == ["v3.0", "v4.0"]
    assert notebook.settled == {"delivered": 2}


# ---------------------------------------------------------------- marks


async def test_a_mark_comes_back_with_every_request_that_holds_its_event(sandbox: Sandbox) -> None:
    notebook = Notebook()
    sandbox.script(Fault.status(503, times=1), Fault.status(422, code=3003, events={"bad"}))
    async with client(sandbox, notebook) as gameball:
        for name in ("a", "bad", "b"):
            await gameball.track("player123", name)
        await gameball.flush()
    assert len(notebook.starts) >= 4
    assert {start.events for start in notebook.starts} >= {("a", "bad", "b"), ("a",), ("bad",), ("b",)}
    for start in notebook.starts:
        assert start.marks == tuple(f"mark of {name}" for name in start.events)


async def test_the_mark_of_a_dropped_event_goes_with_it(sandbox: Sandbox) -> None:
    notebook = Notebook()
    batching = Batching(linger=60, buffer_events=2, when_full="drop_oldest")
    async with client(sandbox, notebook, batching=batching) as gameball:
        for name in ("a", "b", "c"):
            await gameball.track("player123", name)
    assert [mark for start in notebook.starts for mark in start.marks] == ["mark of b", "mark of c"]


async def test_marks_go_through_a_journal(sandbox: Sandbox, tmp_path: Path) -> None:
    """Also outside of the buffer, as long as somebody holds the receipt."""
    notebook = Notebook()
    async with client(sandbox, notebook, journal=tmp_path, batching=Batching(buffer_events=1, linger=0)) as gameball:
        receipts = [await gameball.track("player123", f"event{number}") for number in range(20)]
        for receipt in receipts:
            await receipt
    marks = [mark for start in notebook.starts for mark in start.marks]
    assert marks == [f"mark of event{number}" for number in range(20)]


async def test_events_without_a_mark_bring_none(sandbox: Sandbox) -> None:
    class Picky(Notebook):
        def on_track(self, client: ObservedClient, name: str) -> object:
            del client
            return 0 if name == "b" else None

    picky = Picky()
    async with client(sandbox, picky) as gameball:
        await gameball.send("player123", {"a": None, "b": None})
    assert picky.starts[0].marks == (0,)


async def test_a_mark_lives_no_longer_than_its_event_waits(sandbox: Sandbox) -> None:
    class Mark:
        pass

    marks: list[weakref.ref[Mark]] = []

    class Marking(Observer):
        def on_track(self, client: ObservedClient, name: str) -> object:
            del client, name
            marks.append(weakref.ref(mark := Mark()))
            return mark

    async with client(sandbox, Marking()) as gameball:
        receipt = await gameball.track("player123", "event")
        assert marks[0]() is not None
        await receipt
        await gameball.flush()
        await until(lambda: not gameball.stats().in_flight)
        gc.collect()
        assert marks[0]() is None
        assert receipt.done


async def test_nobody_pays_for_a_look_at_tracks_that_does_not_look() -> None:
    class Requests(Observer):
        def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
            pass

    for observer in (None, Observer(), Requests()):
        assert not AsyncGameball(KEY, observer=observer)._admission._is_observed
    assert AsyncGameball(KEY, observer=Notebook())._admission._is_observed


# ---------------------------------------------------------------- contexts


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Contexts(Observer):
    """Writes down in whose context it is called, and leaves its own for the request."""

    def __init__(self) -> None:
        self.tracked: list[str] = []
        self.requested: list[str] = []

    def on_track(self, client: ObservedClient, name: str) -> object:
        del client, name
        self.tracked.append(WHO.get())
        return None

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
        del client, start
        self.requested.append(WHO.get())
        WHO.set("the request")

    def on_request_end(self, client: ObservedClient, start: RequestStart, end: RequestEnd) -> None:
        del client, start, end
        self.requested.append(WHO.get())
        WHO.set("nobody")


async def test_a_track_is_told_in_the_context_of_its_caller(sandbox: Sandbox) -> None:
    contexts = Contexts()
    batching = Batching(linger=0, buffer_events=1)
    sandbox.script(Fault.latency(0.02))
    async with client(sandbox, contexts, batching=batching) as gameball:

        async def track(who: str) -> None:
            WHO.set(who)
            await gameball.track("player123", who)

        async with anyio.create_task_group() as tasks:  # all but the first wait for room
            for number in range(5):
                tasks.start_soon(track, f"task {number}")
        WHO.set("the sender")
        await gameball.send("player123", {"event": None})
        WHO.set("a thread")
        await anyio.to_thread.run_sync(gameball.track_threadsafe, "player123", "event")
        await gameball.flush()
    assert sorted(contexts.tracked) == ["a thread", *(f"task {number}" for number in range(5)), "the sender"]
    assert set(contexts.requested) == {"nobody", "the request"}


async def test_a_requests_start_and_end_and_the_http_client_share_a_context(sandbox: Sandbox) -> None:
    contexts = Contexts()
    seen: list[str] = []

    async def look(request: httpx.Request) -> None:
        del request
        seen.append(WHO.get())

    async with (
        httpx.AsyncClient(event_hooks={"request": [look]}, trust_env=False, verify=False) as http_client,
        client(sandbox, contexts, http_client=http_client) as gameball,
    ):
        for number in range(30):
            await gameball.track(f"player{number}", "event")
        await gameball.flush()
    assert seen == ["the request"] * 30
    assert sorted(contexts.requested) == ["nobody"] * 30 + ["the request"] * 30


# ---------------------------------------------------------------- what it does wrong


class Raising(Observer):
    """Raises wherever it is called."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, "raise_it" if name.startswith("on_") else name)

    def raise_it(self, *_: object) -> None:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("error", [ValueError("player-of-the-north"), asyncio.CancelledError(), SystemError()])
async def test_what_it_raises_is_logged_once_and_harms_nothing(
    error: BaseException, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    raising = Raising(error)
    sandbox.script(Fault.status(429, retry_after=0, times=1), Fault.status(422, code=3003, events={"bad"}))
    async with client(sandbox, raising) as gameball:
        for number in range(50):
            await gameball.track(f"player{number}", "event")
        await gameball.track("player123", "bad")
        await gameball.flush()
        assert (gameball.stats().delivered, gameball.stats().rejected) == (50, 1)
    assert raising.calls > 150
    told = [record.getMessage() for record in caplog.records if "the observer's" in record.getMessage()]
    assert told == [f"the observer's raise_it raised {type(error).__name__}; this is logged once."]
    assert "player-of-the-north" not in caplog.text


async def test_each_method_that_raises_is_logged(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    class Both(Observer):
        def on_track(self, client: ObservedClient, name: str) -> object:
            raise ValueError(client, name)

        def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:
            raise TypeError(client, start)

    async with client(sandbox, Both()) as gameball:
        for number in range(5):
            await gameball.track(f"player{number}", "event")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "the observer's on_track raised ValueError; this is logged once.",
        "the observer's on_request_start raised TypeError; this is logged once.",
    ]


class Tracking(Observer):
    """Tracks wherever it is called, and asks for everything else that can be asked for at once."""

    gameball: AsyncGameball

    def __init__(self) -> None:
        self.called: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return object.__getattribute__(self, name)
        self.called.append(name)
        return self.track

    def track(self, *_: object) -> None:
        self.gameball.stats()
        self.gameball.track_nowait("observer", f"event{len(self.called) % 50}")


@pytest.mark.parametrize("when_full", ["wait", "drop_oldest", "drop_newest"])
async def test_it_may_track_itself_without_end_or_harm(when_full: str, sandbox: Sandbox) -> None:
    tracking = Tracking()
    sandbox.script(Fault.status(503, times=20), Fault.status(429, retry_after=0, times=1, start=0.1))
    batching = Batching(linger=0.01, buffer_events=30, when_full=when_full, wait_timeout=60)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] one of them
    tracking.gameball = gameball = client(sandbox, tracking, batching=batching)
    async with gameball:
        for number in range(200):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().delivered > 50)
        await gameball.aclose(timeout=1)
        assert gameball.stats().pending == 0
    stats = gameball.stats()
    assert stats.accepted > 200
    assert {"on_start", "on_track", "on_request_start", "on_request_end", "on_settled", "on_close"} <= {
        *tracking.called
    }


async def test_an_observer_with_a_journal_may_track_itself_as_well(sandbox: Sandbox, tmp_path: Path) -> None:
    tracking = Tracking()
    tracking.gameball = gameball = client(sandbox, tracking, journal=tmp_path)
    async with gameball:
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().delivered > 50)
        await gameball.aclose(timeout=1)
    assert not gameball.stats().pending or gameball.stats().accepted > 50


async def test_what_is_no_observer_is_refused() -> None:
    class Coroutine(Observer):
        async def on_settled(self, *_: object) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride] the mistake
            pass

    with pytest.raises(ConfigurationError, match=r"observer is of type function: give Observer\(\.\.\.\)"):
        AsyncGameball(KEY, observer=lambda _: None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] the mistake
    with pytest.raises(ConfigurationError, match="on_settled is a coroutine function: give a plain one"):
        AsyncGameball(KEY, observer=Coroutine())


# ---------------------------------------------------------------- lives


async def test_a_client_that_is_never_started_is_not_told(sandbox: Sandbox) -> None:
    notebook = Notebook()
    await client(sandbox, notebook).aclose()
    assert notebook.told == []


async def test_a_client_that_is_closed_before_its_start_is_told_with_what_it_sends(sandbox: Sandbox) -> None:
    notebook = Notebook()
    gameball = client(sandbox, notebook)
    await gameball.track("player123", "event")
    await gameball.aclose()
    assert [notebook.told[0], notebook.told[1], notebook.told[-1]] == ["track event", "start", "close"]


async def test_a_client_whose_task_was_cancelled_starts_once_and_closes_once(sandbox: Sandbox) -> None:
    notebook = Notebook()
    gameball = client(sandbox, notebook, batching=Batching(linger=60))
    async with anyio.create_task_group() as tasks:
        await tasks.start(gameball.run)
        await gameball.track("player123", "event")
        tasks.cancel_scope.cancel()
    await gameball.aclose()
    await gameball.aclose()
    assert notebook.told[:2] == ["start", "track event"]
    assert (notebook.told.count("start"), notebook.told.count("close")) == (1, 1)
    assert notebook.settled == {"delivered": 1}


async def test_an_observer_keeps_no_client_alive(sandbox: Sandbox) -> None:
    notebook = Notebook()
    async with client(sandbox, notebook) as gameball:
        await gameball.send("player123", {"event": None})
    gone = weakref.ref(gameball)
    del gameball
    gc.collect()
    assert gone() is None
    assert notebook.clients[0].stats().delivered == 1


async def test_stats_may_be_asked_for_from_any_thread(sandbox: Sandbox) -> None:
    """The loop changes what is read meanwhile; the test fails if that raises."""
    notebook = Notebook()
    done = threading.Event()
    failures: list[BaseException] = []

    def scrape(ask: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                ask()
        except BaseException as error:  # noqa: BLE001 whatever it is
            failures.append(error)

    async with client(sandbox, notebook, batching=Batching(linger=0), retry=QUICK) as gameball:
        thread = threading.Thread(target=scrape, args=(notebook.clients[0].stats,))
        thread.start()
        try:
            for number in range(100):
                await gameball.track(f"player{number % 20}", "event")
            await gameball.flush()
        finally:
            done.set()
    thread.join()
    assert failures == []


async def test_a_snapshot_from_a_thread_survives_a_buffer_that_changes_under_it() -> None:
    gameball = AsyncGameball(KEY)
    await gameball.track("player123", "event")
    answers: list[Any] = [RuntimeError("mutated"), StopIteration(), 5.0]

    def oldest_at() -> float:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return float(answer)

    flusher = gameball._lifecycle.flusher
    flusher.buffer.oldest_at = oldest_at  # type: ignore[method-assign]
    flusher.now = lambda: 7.0
    assert gameball.stats().oldest_age == 2.0
    await gameball.aclose(timeout=0)
