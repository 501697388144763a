"""A client's life: start and close from anywhere, more than once, in loops, threads and task groups."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from sniffio import current_async_library

from gameball_async import (
    AsyncGameball,
    Batching,
    ClientClosed,
    ClientHalted,
    CloseReport,
    Dropped,
    FlusherDied,
    InvalidEvent,
    LifecycleError,
    NotStarted,
    Receipt,
    WrongLoop,
)
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_all_arrived, assert_conserved, client, until

pytestmark = pytest.mark.anyio


async def test_start_in_one_task_and_close_in_another(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.start)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.track, "player123", "event")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.aclose)
    assert [event.name for event in sandbox.holdings()["player123"]] == ["event"]


async def test_the_task_that_started_it_may_be_cancelled(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    with anyio.CancelScope() as scope:
        await gameball.start()
        scope.cancel()
        await checkpoint()
    assert scope.cancelled_caught
    assert (await gameball.send("player123", {"event": None})).status == 200
    await gameball.aclose()


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
async def test_an_async_with_that_is_cancelled_at_its_beginning_leaves_no_client_open(
    *, has_journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    gameball = client(sandbox, journal=tmp_path if has_journal else None)
    early = None if has_journal else gameball.track_nowait("player123", "early")
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with gameball:
            pytest.fail("it was entered")
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "event")
    assert (await gameball.aclose()).undelivered == ()
    assert early is None or (await early).status == 200


async def test_an_async_with_around_a_client_whose_task_was_cancelled_leaves_its_events_to_close(
    sandbox: Sandbox,
) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))
    receipt = await track_in_a_loop_that_ends(gameball)
    with pytest.raises(FlusherDied):
        async with gameball:
            pytest.fail("it was entered")
    assert not receipt.done
    await gameball.aclose()
    assert (await receipt).status == 200


async def test_close_twice_and_at_once_gives_the_same_report(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox)
    await gameball.start()
    await gameball.track("player123", "event")
    reports: list[CloseReport] = []

    async def close() -> None:
        reports.append(await gameball.aclose(timeout=0.1))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(close)
    reports.append(await gameball.aclose())
    assert len(reports) == 4
    assert all(report == reports[0] for report in reports)
    assert len(reports[0].undelivered) == 1


async def test_the_earliest_deadline_of_several_closes_rules(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox)
    await gameball.start()
    await gameball.track("player123", "event")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.aclose, 3600)
            await checkpoint()
            await gameball.aclose(timeout=0)


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
async def test_a_client_that_stops_sending_finishes_the_requests_in_flight(
    *, has_journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.latency(1))
    placed = [(f"player{number}", "event", number) for number in range(30)]
    gameball = client(sandbox, journal=tmp_path if has_journal else None)
    await gameball.start()
    receipts = [gameball.track_nowait(player, name, {"number": number}) for player, name, number in placed]
    await until(lambda: gameball.stats().in_flight == 10)
    sent = gameball.stats().requests
    gameball.stop_sending()
    with pytest.raises(ClientClosed):
        gameball.track_nowait("player123", "late")
    report = await gameball.aclose()
    assert 10 <= sent == gameball.stats().delivered == len(sandbox.requests) < 30
    assert gameball.stats().unknown == 0
    assert_conserved(gameball.stats())
    if not has_journal:
        assert {type(entry.error) for entry in report.undelivered} == {Dropped}
        assert len(report.undelivered) == 30 - sent
        assert all(receipt.done for receipt in receipts)
        return
    assert report.kept == 30 - sent
    async with client(sandbox, journal=tmp_path) as following:
        await following.flush()
    assert_all_arrived(sandbox, placed)


async def test_a_client_that_stops_sending_repeats_no_failed_request(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(503), Fault.latency(0.2))
    gameball = client(sandbox)
    await gameball.start()
    await gameball.track("player123", "event")
    await until(lambda: gameball.stats().in_flight)
    gameball.stop_sending()
    (entry,) = (await gameball.aclose()).undelivered
    assert isinstance(entry.error, Dropped)
    assert len(sandbox.requests) == 1


async def test_a_client_that_stops_sending_waits_for_no_answer_beyond_the_timeout_of_its_close(
    sandbox: Sandbox,
) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox)
    await gameball.start()
    await gameball.track("player123", "event")
    await until(lambda: gameball.stats().in_flight)
    gameball.stop_sending()
    report = None
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.aclose, 3600)
            await checkpoint()
            report = await gameball.aclose(timeout=0)
    assert report is not None
    assert [entry.error.may_have_arrived for entry in report.undelivered] == [True]


async def test_a_client_that_stops_sending_before_its_start_sends_nothing(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    receipt = gameball.track_nowait("player123", "event")
    gameball.stop_sending()
    await gameball.aclose()
    with pytest.raises(Dropped):
        await receipt
    assert sandbox.requests == []


async def test_a_cancelled_close_goes_on_in_the_background(sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.2))
    gameball = client(sandbox)
    await gameball.start()
    receipt = await gameball.track("player123", "event")
    with anyio.move_on_after(0.05):
        await gameball.aclose()
    assert (await receipt).status == 200
    assert (await gameball.aclose()).undelivered == ()


async def test_calls_after_the_close_raise(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    async with gameball:
        pass
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "event")
    with pytest.raises(ClientClosed):
        gameball.track_nowait("player123", "event")
    with pytest.raises(ClientClosed):
        await gameball.send("player123", {"event": None})
    with pytest.raises(ClientClosed):
        await gameball.flush()
    with pytest.raises(ClientClosed):
        await gameball.start()
    with pytest.raises(ClientClosed):
        await anyio.to_thread.run_sync(gameball.track_threadsafe, "player123", "event")
    assert gameball.stats().accepted == 0
    assert "closed" in repr(gameball)


async def test_before_the_start_events_are_buffered_and_sent_once_it_starts(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    receipt = gameball.track_nowait("player123", "early")
    await gameball.track("player123", "too")
    with pytest.raises(NotStarted, match="async with"):
        await gameball.flush()
    with pytest.raises(NotStarted):
        await gameball.send("player123", {"event": None})
    assert gameball.stats().oldest_age == 0
    async with gameball:
        assert (await receipt).status == 200
    assert [event.name for event in sandbox.holdings()["player123"]] == ["early", "too"]


async def test_closing_a_client_that_never_started_sends_what_it_holds(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    gameball.track_nowait("player123", "early")
    assert (await gameball.aclose()).undelivered == ()
    assert [event.name for event in sandbox.holdings()["player123"]] == ["early"]


async def test_run_lives_in_the_callers_task_group(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gameball.run)
        with pytest.raises(WrongLoop):
            await gameball.run()
        assert (await gameball.send("player123", {"event": None})).status == 200
        await gameball.aclose()


async def test_a_cancelled_task_group_closes_the_client_that_runs_in_it(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))
    receipt = gameball.track_nowait("player123", "event")
    async with anyio.create_task_group() as tasks:
        await tasks.start(gameball.run)
        tasks.cancel_scope.cancel()
    assert (await receipt).status == 200
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "event")
    assert (await gameball.aclose()).undelivered == ()


async def test_a_client_whose_loop_has_ended_leaves_the_rest_to_close(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))
    receipt = await track_in_a_loop_that_ends(gameball)
    with pytest.raises(FlusherDied, match="aclose"):
        await gameball.track("player123", "event")
    with pytest.raises(FlusherDied):
        await gameball.flush()
    with pytest.raises(FlusherDied):
        await receipt
    assert (await gameball.aclose()).undelivered == ()
    assert (await receipt).status == 200


async def track_in_a_loop_that_ends(gameball: AsyncGameball) -> Receipt:
    async def live() -> Receipt:
        await gameball.start()
        return await gameball.track("player123", "event")

    backend = current_async_library()
    return await anyio.to_thread.run_sync(lambda: anyio.run(live, backend=backend))


def cancel_flusher() -> None:
    """Cancel the background task, as asyncio does when its loop ends."""
    for task in asyncio.all_tasks():
        if task.get_name() == "gameball_async flusher":
            task.cancel()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio ends the task only with the run
async def test_a_receipt_of_a_cancelled_client_says_so_and_gets_its_outcome_from_the_close(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))
    receipt = gameball.track_nowait("player123", "event")
    told: list[type[Exception]] = []

    async def wait() -> None:
        with pytest.raises(FlusherDied) as caught:
            await receipt
        told.append(caught.type)

    await gameball.start()
    async with anyio.create_task_group() as waiters:
        waiters.start_soon(wait)
        await checkpoint()
        cancel_flusher()
    assert told == [FlusherDied]
    with pytest.raises(FlusherDied):
        await receipt
    await gameball.aclose()
    assert (await receipt).status == 200


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # likewise
async def test_a_task_cancelled_with_a_request_in_flight_leaves_it_to_close(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox)
    await gameball.start()
    receipt = gameball.track_nowait("player123", "event")
    await until(lambda: gameball.stats().in_flight)
    cancel_flusher()
    await until(lambda: not gameball.stats().in_flight)
    sandbox.script()
    assert (await gameball.aclose()).undelivered == ()
    delivered = await receipt
    assert (delivered.attempts, delivered.maybe_duplicate) == (2, True)


async def test_a_crash_is_told_by_the_next_call_and_nothing_hangs(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    gameball = client(sandbox, on_failure=lambda event, _: failed.append(event.name))
    await gameball.start()

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(gameball._lifecycle.flusher.buffer, "take", crash)
    receipt = await gameball.track("player123", "event")
    with pytest.raises(Dropped, match="crashed"):
        await receipt
    await until(lambda: failed)
    for call in (gameball.flush(), gameball.track("player123", "event"), gameball.send("player123", {"event": None})):
        with pytest.raises(FlusherDied) as caught:
            await call
        assert caught.value.__cause__ is not None
    report = await gameball.aclose()
    assert [entry.event.name for entry in report.undelivered] == ["event"]
    assert failed == ["event"]
    assert_conserved(gameball.stats())


@pytest.mark.parametrize("is_started", [True, False])
async def test_a_crash_during_the_close_ends_it_and_everything_is_reported(
    *, is_started: bool, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))
    if is_started:
        await gameball.start()
    receipt = await gameball.track("player123", "event")

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(gameball._lifecycle.flusher.buffer, "take", crash)
    report = await gameball.aclose()
    assert [entry.event.name for entry in report.undelivered] == ["event"]
    with pytest.raises(Dropped, match="crashed"):
        await receipt
    assert_conserved(gameball.stats())


async def test_threads_track_through_the_loop(sandbox: Sandbox) -> None:
    placed = [(f"player{number % 7}", "event", number) for number in range(200)]
    async with client(sandbox) as gameball:

        def track_one_players(player: str) -> None:
            for name, number in [(name, number) for owner, name, number in placed if owner == player]:
                gameball.track_threadsafe(player, name, {"number": number})

        def track_all() -> None:
            with ThreadPoolExecutor(4) as pool:  # a player's events from one thread, so that their order is defined
                list(pool.map(track_one_players, [f"player{number}" for number in range(7)]))

        await anyio.to_thread.run_sync(track_all)
        await gameball.flush()
        assert gameball.stats().delivered == 200
    assert_all_arrived(sandbox, placed)


async def test_a_thread_hears_of_a_bad_event(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        with pytest.raises(InvalidEvent):
            await anyio.to_thread.run_sync(gameball.track_threadsafe, "player123", "")


async def test_track_threadsafe_refuses_the_loops_own_thread(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    with pytest.raises(NotStarted):
        gameball.track_threadsafe("player123", "event")
    async with gameball:
        with pytest.raises(WrongLoop, match="use track"):
            gameball.track_threadsafe("player123", "event")


def test_a_thread_whose_loop_has_ended_is_told_so_and_does_not_hang(sandbox: Sandbox, anyio_backend: str) -> None:
    gameball = client(sandbox)
    heard: list[type[Exception]] = []

    def track_until_it_fails() -> None:
        try:
            for number in range(1_000_000):
                gameball.track_threadsafe("player123", f"event{number}")
        except LifecycleError as error:
            heard.append(type(error))

    async def live() -> None:
        await gameball.start()
        thread.start()
        await until(lambda: gameball.stats().accepted > 5)

    thread = threading.Thread(target=track_until_it_fails)
    anyio.run(live, backend=anyio_backend)
    thread.join(timeout=20)
    assert heard == [FlusherDied]
    anyio.run(gameball.aclose, backend=anyio_backend)
    assert_conserved(gameball.stats())


async def test_another_thread_is_refused_and_told_what_to_use(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        with pytest.raises(WrongLoop, match="track_threadsafe"):
            await anyio.to_thread.run_sync(gameball.track_nowait, "player123", "event")
        assert gameball.stats().accepted == 0


async def test_another_loop_is_refused(sandbox: Sandbox, anyio_backend: str) -> None:
    async with client(sandbox) as gameball:
        for call in (gameball.track, gameball.start, gameball.aclose):
            args = ("player123", "event") if call == gameball.track else ()

            def elsewhere(call: object = call, args: tuple[str, ...] = args) -> None:
                anyio.run(call, *args, backend=anyio_backend)  # type: ignore[arg-type]

            with pytest.raises(WrongLoop):
                await anyio.to_thread.run_sync(elsewhere)
        assert (await gameball.send("player123", {"event": None})).status == 200


def test_stats_can_be_asked_after_the_loop_and_from_anywhere(sandbox: Sandbox, anyio_backend: str) -> None:
    gameball = client(sandbox)

    async def live() -> None:
        async with gameball:
            await gameball.track("player123", "event")
            assert (await anyio.to_thread.run_sync(gameball.stats)).accepted == 1

    anyio.run(live, backend=anyio_backend)
    assert gameball.stats().delivered == 1


def test_two_loops_in_two_threads_have_a_client_each(sandbox: Sandbox, anyio_backend: str) -> None:
    async def live(player: str) -> None:
        async with client(sandbox) as gameball:
            for number in range(50):
                await gameball.track(player, "event", {"number": number})

    threads = [
        threading.Thread(target=anyio.run, args=(live, f"player{number}"), kwargs={"backend": anyio_backend})
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_all_arrived(sandbox, [(f"player{which}", "event", number) for which in range(2) for number in range(50)])


def test_a_forgotten_close_warns_with_the_count(sandbox: Sandbox, anyio_backend: str) -> None:
    async def forget() -> None:
        gameball = client(sandbox, batching=Batching(linger=3600))
        await gameball.start()
        for number in range(3):
            await gameball.track("player123", f"event{number}")

    def live_and_collect() -> None:
        anyio.run(forget, backend=anyio_backend)
        gc.collect()

    with pytest.warns(ResourceWarning, match=re.escape("3 events have no outcome: use `async with`")):
        live_and_collect()


async def test_a_closed_or_unused_client_goes_silently(sandbox: Sandbox) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        AsyncGameball("test-key")
        async with client(sandbox) as gameball:
            await gameball.track("player123", "event")
        del gameball
        gc.collect()
    assert [warning for warning in caught if isinstance(warning.source, AsyncGameball)] == []


async def test_events_left_by_a_loop_that_ended_can_still_be_closed(sandbox: Sandbox, anyio_backend: str) -> None:
    gameball = client(sandbox, batching=Batching(linger=3600))

    async def live() -> None:
        await gameball.start()
        await gameball.track("player123", "event")

    await anyio.to_thread.run_sync(lambda: anyio.run(live, backend=anyio_backend))
    assert (await gameball.aclose()).undelivered == ()
    assert [event.name for event in sandbox.holdings()["player123"]] == ["event"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # only there a callback can meet another's cancellation
async def test_on_failure_that_meets_a_cancelled_task_harms_nothing(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(400, code=3000, times=1))

    async def on_failure(*_: object) -> None:
        task = asyncio.get_running_loop().create_task(anyio.sleep_forever())
        task.cancel()
        await task

    async with client(sandbox, on_failure=on_failure) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().rejected)
        assert (await gameball.send("player123", {"later": None})).status == 200


@pytest.mark.parametrize("how", ["function", "coroutine function"])
async def test_on_failure_may_raise_and_may_track_again(
    how: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.status(400, code=3000, times=1))

    def track_again_and_raise() -> None:
        gameball.track_nowait("player123", "again")
        raise ValueError("a secret: jon.snow@example.com")

    async def coroutine_function(*_: object) -> None:
        await checkpoint()
        track_again_and_raise()

    def function(*_: object) -> None:
        track_again_and_raise()

    gameball = client(sandbox, on_failure=function if how == "function" else coroutine_function)
    async with gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().accepted == 2)
        await gameball.flush()
    assert [event.name for event in sandbox.holdings()["player123"]] == ["again"]
    assert "on_failure raised ValueError" in caplog.text
    assert "jon.snow" not in caplog.text


async def test_a_finalizer_in_the_midst_of_a_change_is_told_so_and_corrupts_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(sandbox) as gameball:
        buffer = gameball._lifecycle.flusher.buffer
        told: list[BaseException] = []
        open_batch = buffer._open

        def finalize_meanwhile(*args: Any) -> Any:
            with pytest.raises(LifecycleError, match="call_soon") as caught:
                gameball.track_nowait("player123", "event")
            told.append(caught.value)
            return open_batch(*args)

        monkeypatch.setattr(buffer, "_open", finalize_meanwhile)
        await gameball.track("player123", "event")
        assert_conserved(gameball.stats())
    assert len(told) == 1
    assert [event.name for event in sandbox.holdings()["player123"]] == ["event"]


async def test_a_logging_handler_may_track(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """It neither deadlocks nor recurses, whatever is being logged."""
    batching = Batching(linger=0.01, buffer_events=3, when_full="drop_oldest")
    sandbox.script(Fault.status(500, times=8), Fault.status(422, code=3001, times=1), Fault.status(401, times=1))
    logger, handler = logging.getLogger("gameball_async"), logging.Handler()
    async with client(sandbox, batching=batching) as gameball:

        def emit(record: logging.LogRecord) -> None:
            assert record.getMessage()
            with contextlib.suppress(ClientClosed):
                gameball.track_nowait("log", "logged")

        monkey = pytest.MonkeyPatch()
        monkey.setattr(handler, "emit", emit)
        logger.addHandler(handler)
        try:
            for number in range(20):
                await gameball.track(f"player{number}", "event")
                await checkpoint()
            with contextlib.suppress(ClientHalted):
                await gameball.flush(timeout=5)
            assert_conserved(gameball.stats())
            await gameball.aclose(timeout=0.1)
            assert_conserved(gameball.stats())
        finally:
            logger.removeHandler(handler)
            monkey.undo()
    assert caplog.records
