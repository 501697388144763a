"""Outages, pauses and answers that get lost: waited out, honoured, and told."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from pathlib import Path

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from gameball_async import AsyncGameball, Delivered, Dropped, DropReason, FlushTimeout, OutcomeUnknown, Retry
from gameball_async.sandbox import Fault, Sandbox

from .support import (
    QUICK,
    SOON,
    assert_all_arrived,
    assert_conserved,
    assert_well_behaved,
    client,
    track_all,
    until,
    workload,
)

pytestmark = pytest.mark.anyio


async def test_an_outage_of_everybody_is_waited_out_with_one_probe_at_a_time(sandbox: Sandbox) -> None:
    sandbox.stop()
    placed = list(workload(500, 100))
    async with client(sandbox) as gameball:
        await track_all(gameball, placed)
        await until(lambda: gameball.stats().requests > 15)
        assert gameball.stats().in_flight <= 1
        sandbox.start()
        await gameball.flush()
    assert_all_arrived(sandbox, placed)
    assert_well_behaved(sandbox)


async def test_max_attempts_does_not_count_in_an_outage(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(503, times=30))
    async with client(sandbox, retry=Retry(initial=0.001, maximum=0.002, max_attempts=1)) as gameball:
        receipt = await gameball.track("player123", "event")
        assert (await receipt).attempts == 31


async def test_a_429_pauses_every_player_for_as_long_as_it_says(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(429, retry_after=1, times=1))
    async with client(sandbox) as gameball:
        await gameball.track("first", "event")
        await until(lambda: gameball.stats().paused_until)
        receipts = [await gameball.track(f"player{number}", "event") for number in range(20)]
        for receipt in receipts:
            await receipt
    refused, *others = sandbox.requests
    assert refused.status == 429
    assert min(request.start for request in others) >= refused.end + 0.99


async def test_an_absurd_retry_after_is_capped(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(503, retry_after=10**9, times=1))
    async with client(sandbox) as gameball:
        await gameball.track("player123", "event")
        await until(lambda: gameball.stats().paused_until)
        paused_until = gameball.stats().paused_until
        assert paused_until is not None
        assert 290 < paused_until.timestamp() - time.time() <= 300
        await gameball.aclose(timeout=0)


async def test_what_cannot_be_delivered_in_time_is_dropped_with_the_reason(sandbox: Sandbox) -> None:
    sandbox.stop()
    retry = Retry(initial=0.02, maximum=0.2, give_up_after=0.5)
    dropped: list[str] = []
    async with client(sandbox, retry=retry, on_failure=lambda event, _: dropped.append(event.name)) as gameball:
        receipts = [await gameball.track(f"player{number}", f"event{number}") for number in range(50)]
        for receipt in receipts:
            with pytest.raises(Dropped, match="give_up_after") as caught:
                await receipt
            assert caught.value.reason is DropReason.EXPIRED
        assert gameball.stats().dropped == 50
        assert_conserved(gameball.stats())
    assert sorted(dropped) == sorted(f"event{number}" for number in range(50))


LOST_ANSWERS = {
    "a reset after applying": Fault.reset_after(times=1),
    "a bare 500 after applying": Fault.fail_after_applying(times=1),
    "a hang": Fault.hang(times=1),
}


@pytest.mark.parametrize("fault", LOST_ANSWERS)
async def test_report_never_sends_twice_and_says_that_the_outcome_is_unknown(fault: str, sandbox: Sandbox) -> None:
    sandbox.script(LOST_ANSWERS[fault])
    async with client(sandbox, retry=Retry(ambiguous="report"), timeout=2) as gameball:
        lost = await gameball.track("player123", "lost")
        with pytest.raises(OutcomeUnknown) as caught:
            await lost
        assert caught.value.may_have_arrived
        assert (await gameball.send("player123", {"next": None})).status == 200
        stats = gameball.stats()
        assert (stats.unknown, stats.delivered, stats.ambiguous, stats.retries) == (1, 1, 1, 0)
        assert_conserved(stats)
    assert [request.events for request in sandbox.requests] == [("lost",), ("next",)]


@pytest.mark.parametrize("fault", LOST_ANSWERS)
async def test_resend_arrives_at_least_once_and_names_the_possible_duplicate(fault: str, sandbox: Sandbox) -> None:
    sandbox.script(LOST_ANSWERS[fault])
    async with client(sandbox, timeout=2) as gameball:
        receipt = await gameball.track("player123", "event")
        assert await receipt == Delivered(status=200, attempts=2, maybe_duplicate=True)
        assert gameball.stats().ambiguous == 1
    first, second = sandbox.requests
    assert first.digest == second.digest


async def test_an_answer_that_drips_does_not_hold_a_worker_for_ever(sandbox: Sandbox) -> None:
    sandbox.script(Fault.drip(pause=0.05, size=10_000, times=1))
    async with client(sandbox, timeout=1) as gameball:
        started = anyio.current_time()
        receipt = await gameball.track("player123", "event")
        assert await receipt == Delivered(status=200)  # the status was an answer, whatever came after it
        assert anyio.current_time() - started < 100  # all of it would take 500 s


async def test_flush_tells_how_much_is_unsettled_at_its_deadline(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox) as gameball:
        for number in range(7):
            await gameball.track(f"player{number}", "event")
        with pytest.raises(FlushTimeout, match="7 events") as caught:
            await gameball.flush(timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.unsettled == 7
        await gameball.aclose(timeout=0)


async def test_flush_covers_what_was_accepted_before_it_and_nothing_else(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        await gameball.track("player123", "before")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.flush)
            await checkpoint()
            sandbox.script(Fault.hang(events={"after"}))
            await until(lambda: not gameball.stats().pending)
            await gameball.track("player123", "after")
        assert gameball.stats().pending == 1
        await gameball.aclose(timeout=0)


PATIENT = Retry(initial=3600, maximum=3600)
"""Without an end to the wait between two tries, a test with these would not end either."""


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
@pytest.mark.parametrize("fault", [Fault.reset_before(times=2), Fault.status(503, times=2)], ids=["reset", "503"])
@pytest.mark.parametrize("call", ["flush", "aclose"])
async def test_what_is_waited_for_is_tried_again_within_a_second(
    call: str, fault: Fault, *, has_journal: bool, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(fault)
    async with client(sandbox, retry=PATIENT, journal=tmp_path if has_journal else None) as gameball:
        await gameball.track("player123", "event")
        await (gameball.flush() if call == "flush" else gameball.aclose(timeout=3600))
        assert gameball.stats().delivered == 1
        assert gameball.stats().retries == 2


async def test_what_nobody_waits_for_keeps_its_long_wait(sandbox: Sandbox) -> None:
    sandbox.script(Fault.reset_before(players={"first"}))
    async with client(sandbox, retry=PATIENT) as gameball:
        await gameball.track("first", "event")
        await until(lambda: gameball.stats().requests == 1 and not gameball.stats().in_flight)
        for _ in range(5):
            await gameball.send("another", {"event": None})
        assert (gameball.stats().retries, gameball.stats().pending) == (0, 1)
        sandbox.script()


async def test_a_flush_of_players_that_all_fail_again_opens_the_circuit_breaker(sandbox: Sandbox) -> None:
    """Each of them failed while others did not, so that without a flush its retries would count for nothing."""
    async with client(sandbox, retry=PATIENT) as gameball:
        for number in range(6):
            sandbox.script(Fault.reset_before(players={f"player{number}"}))
            await gameball.track(f"player{number}", "event")
            await until(lambda: gameball.stats().pending == gameball.stats().requests - gameball.stats().delivered)
            await until(lambda: not gameball.stats().in_flight)
            await gameball.send("another", {"event": None})
        assert (gameball.stats().pending, gameball.stats().retries) == (6, 0)
        sandbox.script(Fault.status(503))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.flush)
            await until(lambda: gameball.stats().paused_until)
            tasks.cancel_scope.cancel()
        with pytest.raises(FlushTimeout, match=r"6 events have no outcome .* \(the latest failure: HTTP 503\)"):
            await gameball.flush(timeout=0.01)
        await gameball.aclose(timeout=0)


async def test_one_players_failures_delay_no_other(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(500, players={f"bad{number}" for number in range(30)}))
    retry = Retry(initial=0.05, maximum=3600, max_attempts=1000, give_up_after=math.inf)
    async with client(sandbox, retry=retry) as gameball:
        for number in range(30):
            await gameball.track(f"bad{number}", "event")
            await gameball.send(f"good{number}", {"event": None})
        with anyio.fail_after(60):
            for number in range(30):
                await gameball.send(f"good{number}", {"event": None})
        assert gameball.stats().pending == 30
        await gameball.aclose(timeout=0)


async def test_closing_against_a_black_hole_ends_at_its_deadline(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    gameball = client(sandbox, retry=QUICK)
    await gameball.start()
    for number in range(20):
        await gameball.track(f"player{number}", "event", {"number": number})
    await until(lambda: gameball.stats().in_flight == 10)
    started = anyio.current_time()
    report = await gameball.aclose(timeout=0.3)
    assert 0.25 < anyio.current_time() - started < 60
    assert len(report.undelivered) == 20
    in_flight = [entry for entry in report.undelivered if isinstance(entry.error, OutcomeUnknown)]
    assert len(in_flight) == 10
    stats = gameball.stats()
    assert (stats.unknown, stats.dropped, stats.pending) == (10, 10, 0)
    assert_conserved(stats)


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
async def test_closing_against_a_black_hole_leaves_no_socket_thread_or_task(
    *, has_journal: bool, tmp_path: Path
) -> None:
    """The kernel takes the connections, and nobody ever reads from them."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        held = what_is_held()
        gameball = AsyncGameball(
            "key",
            base_url=f"http://127.0.0.1:{hole.getsockname()[1]}",
            batching=SOON,
            rate=None,
            journal=tmp_path if has_journal else None,
        )
        await gameball.start()
        for number in range(20):
            await gameball.track(f"player{number}", "event")
        await until(lambda: gameball.stats().in_flight == 10)
        report = await gameball.aclose(timeout=0.1)
        assert (len(report.undelivered), report.kept) == ((0, 20) if has_journal else (20, 0))
        await until(lambda: what_is_held() == held)  # a journal's thread ends right after it has said so
        for _ in range(10):
            connection, _address = hole.accept()
            with connection:
                connection.settimeout(10)
                while connection.recv(65_536):  # the request, then the end
                    pass


def what_is_held() -> tuple[int, set[str], int]:
    """How many descriptors are open, which threads run but those that trio keeps for a while, and how many tasks."""
    threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}
    try:
        tasks = len(asyncio.all_tasks())
    except RuntimeError:
        tasks = trio.lowlevel.current_statistics().tasks_living
    return len(list(Path("/dev/fd").iterdir())), threads, tasks


@pytest.mark.parametrize(
    "fault",
    [Fault.huge(), Fault.drip(pause=0.2), Fault.hang(), Fault.truncate(), Fault.latency(0.2), Fault.reset_before()],
    ids=lambda fault: fault.kind,
)
async def test_a_close_in_the_middle_of_anything_leaves_nothing_open(fault: Fault, sandbox: Sandbox) -> None:
    """Warnings are errors here: an unclosed socket, generator or task would fail this test."""
    for timeout in (0, 0.001, 0.01, 0.1):
        sandbox.script(fault)
        gameball = client(sandbox)
        await gameball.start()
        for number in range(20):
            await gameball.track(f"player{number}", "event", {"number": number})
        await until(lambda: gameball.stats().in_flight)  # noqa: B023
        await gameball.aclose(timeout=timeout)
        assert gameball.stats().pending == 0
        assert_conserved(gameball.stats())
