"""With a journal an event is on disk when `track` returns, and reaches Gameball whatever becomes of the client."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    ClientClosed,
    ConfigurationError,
    DeadLetters,
    DeliveryError,
    Dropped,
    DropReason,
    Event,
    Journal,
    JournalError,
    LifecycleError,
    Metadata,
    NotStarted,
    OutcomeUnknown,
    Receipt,
    Rejected,
    Retry,
    inspect_journal,
)
from gameball_async._engine.lifecycle import ClientState
from gameball_async._journal.journal_storage import JournalStorage
from gameball_async._journal.worker import JournalWorker
from gameball_async._journal.writer import JournalWriter
from gameball_async.sandbox import Fault, Sandbox

from .support import (
    Placed,
    assert_all_arrived,
    assert_conserved,
    assert_well_behaved,
    client,
    track_all,
    until,
    workload,
)

pytestmark = pytest.mark.anyio

DOWN = Fault.status(503)

SMALL = Batching(linger=0.01, buffer_events=40, max_events=8)
"""A window that is soon full."""


async def keep(folder: Path, placed: list[Placed], batching: Batching = SMALL) -> None:
    """Leave events in a folder, as a client does that is closed while Gameball is down."""
    with Sandbox(limits=None) as down:  # another one than the test's, which a late request must not reach
        down.script(DOWN)
        gameball = client(down, journal=folder, batching=batching)
        await gameball.start()
        await track_all(gameball, placed)
        found = gameball.stats().accepted - len(placed)
        report = await gameball.aclose(timeout=0)
        assert (report.undelivered, report.kept) == ((), found + len(placed))


def backlog_of(gameball: AsyncGameball) -> JournalStorage:
    backlog = gameball._lifecycle.flusher.storage
    assert isinstance(backlog, JournalStorage)
    return backlog


@contextlib.contextmanager
def busy_disk(gameball: AsyncGameball) -> Generator[None]:
    """Let nothing be read or written meanwhile."""
    guard = backlog_of(gameball)._writer._fork_guard
    guard.acquire()
    try:
        yield
    finally:
        guard.release()


def damage(folder: Path, *statements: str) -> None:
    """What a bad disk would do to the one file that was left in a folder."""
    (path,) = folder.glob("*.journal")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


# ---------------------------------------------------------------- durable


async def test_track_returns_when_the_event_is_on_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, journal=tmp_path) as gameball:
        receipt = await gameball.track("player123", "place_order", {"number": 1})
        soon = gameball.track_nowait("player123", "review", {"number": 2})
        assert receipt.durable
        assert not soon.durable
        await until(lambda: soon.durable)
        await receipt
        await soon
    assert_all_arrived(sandbox, [("player123", "place_order", 1), ("player123", "review", 2)])


async def test_without_a_journal_no_receipt_is_durable(sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        receipt = await gameball.track("player123", "place_order")
        await receipt
        assert not receipt.durable


async def test_a_workload_arrives_as_it_does_without_a_journal(sandbox: Sandbox, tmp_path: Path) -> None:
    placed = list(workload(500, 50))
    async with client(sandbox, journal=tmp_path) as gameball, anyio.create_task_group() as tasks:
        for player in {player for player, _, _ in placed}:
            tasks.start_soon(track_all, gameball, [event for event in placed if event[0] == player])
    assert_all_arrived(sandbox, placed)
    assert_well_behaved(sandbox)
    assert_conserved(gameball.stats())
    assert gameball.stats().delivered == 500
    assert files(tmp_path) == set()


async def test_a_cancelled_track_leaves_nothing_behind(sandbox: Sandbox, tmp_path: Path) -> None:
    returned: list[Placed] = []

    async def track(number: int) -> None:
        with anyio.CancelScope() as scope:
            if number % 3:
                scope.cancel()
            await gameball.track(f"player{number % 5}", f"event{number % 4}", {"number": number})
            returned.append((f"player{number % 5}", f"event{number % 4}", number))

    async with client(sandbox, journal=tmp_path) as gameball:
        for number in range(200):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(track, number)
                if number % 2:
                    tasks.start_soon(anyio.lowlevel.checkpoint)
        await gameball.flush()
        assert gameball.stats().accepted == gameball.stats().delivered == len(returned)
    assert 0 < len(returned) < 200
    assert_all_arrived(sandbox, returned)


async def test_a_client_with_a_journal_takes_events_from_its_start_on(sandbox: Sandbox, tmp_path: Path) -> None:
    gameball = client(sandbox, journal=tmp_path / "folder")
    with pytest.raises(NotStarted, match="when it starts"):
        await gameball.track("player123", "event")
    with pytest.raises(NotStarted):
        gameball.track_nowait("player123", "event")
    await gameball.aclose()
    assert not (tmp_path / "folder").exists()


async def test_send_is_one_request_behind_what_was_tracked_before(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, journal=tmp_path, batching=Batching(linger=30)) as gameball:
        await gameball.track("player123", "first", {"number": 1})
        outcome = await gameball.send("player123", {"second": {"number": 2}, "third": {"number": 3}})
        assert outcome.attempts == 1
    assert [request.events for request in sandbox.requests] == [("first",), ("second", "third")]


async def test_a_finalizer_in_the_midst_of_a_call_is_told_so_and_harms_nothing(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(sandbox, journal=tmp_path) as gameball:
        writer = backlog_of(gameball)._writer
        append, told = writer.append, list[BaseException]()

        def finalize_meanwhile(*arguments: Any) -> None:
            with pytest.raises(LifecycleError, match="call_soon") as caught:
                gameball.track_nowait("player123", "too_early")
            told.append(caught.value)
            append(*arguments)

        monkeypatch.setattr(writer, "append", finalize_meanwhile)
        await gameball.track("player123", "event", {"number": 1})
        await gameball.send("player123", {"sent": {"number": 2}})
        assert len(told) == 2
        assert_conserved(gameball.stats())
    assert_all_arrived(sandbox, [("player123", "event", 1), ("player123", "sent", 2)])


# ---------------------------------------------------------------- from client to client


async def test_what_a_client_leaves_the_next_one_sends_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    placed = list(workload(200, 7))
    await keep(tmp_path, placed[:120])
    async with client(sandbox, journal=tmp_path) as gameball:
        await track_all(gameball, placed[120:])
        await gameball.flush()
        assert gameball.stats().accepted == gameball.stats().delivered == 200
        assert_conserved(gameball.stats())
    assert_all_arrived(sandbox, placed)
    assert files(tmp_path) == set()


async def test_several_clients_leave_events_and_one_sends_them(sandbox: Sandbox, tmp_path: Path) -> None:
    placed = [*workload(300, 5)]
    for start in range(0, 250, 50):
        await keep(tmp_path, placed[start : start + 50])
    async with client(sandbox, journal=tmp_path, batching=SMALL) as gameball:
        await track_all(gameball, placed[250:])
        await gameball.flush()
        # each file but the own one is removed with its last event
        await until(lambda: len(list(tmp_path.glob("*.journal"))) == 1)
    assert_all_arrived(sandbox, placed)
    assert_well_behaved(sandbox)


async def test_the_receipts_of_kept_events_say_so(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    gameball = client(sandbox, journal=tmp_path, batching=SMALL)
    await gameball.start()
    receipts = [await gameball.track("player123", "event", {"number": number}) for number in range(60)]
    await gameball.aclose(timeout=0)
    for receipt in receipts:
        assert not receipt.done
        with pytest.raises(ClientClosed, match="kept in the journal"):
            await receipt
    assert gameball.stats().pending == 60


async def test_a_close_takes_along_what_is_on_its_way_to_the_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    receipts: list[Receipt] = []

    async def track(number: int) -> None:
        with contextlib.suppress(ClientClosed):
            receipts.append(await gameball.track(f"player{number}", "event", {"number": number}))

    gameball = client(sandbox, journal=tmp_path, batching=SMALL)
    await gameball.start()
    report = None
    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(track, number)
        for _ in range(3):  # they run in between, in any order
            await anyio.lowlevel.checkpoint()
        report = await gameball.aclose(timeout=0)
    assert receipts
    assert report is not None
    assert report.kept == len(receipts) == gameball.stats().pending
    for receipt in receipts:
        with pytest.raises(ClientClosed, match="kept in the journal"):
            await receipt


async def test_a_close_delivers_what_is_stored_while_it_has_time(sandbox: Sandbox, tmp_path: Path) -> None:
    gameball = client(sandbox, journal=tmp_path)
    await gameball.start()
    async with anyio.create_task_group() as tasks:
        with busy_disk(gameball):
            tasks.start_soon(gameball.track, "player123", "event", {"number": 1})
            await until(lambda: backlog_of(gameball).is_storing)
            tasks.start_soon(gameball.aclose)
            for _ in range(20):  # whoever may think that nothing is left to do has the time to
                await checkpoint()
    assert (await gameball.aclose()).kept == 0
    assert_all_arrived(sandbox, [("player123", "event", 1)])


async def test_a_close_while_events_are_read_back_keeps_them(sandbox: Sandbox, tmp_path: Path) -> None:
    placed = list(workload(30, 30))
    await keep(tmp_path, placed)
    sandbox.script(Fault.latency(0.1))
    window = Batching(linger=0.01, buffer_events=4, max_events=4)
    async with client(sandbox, journal=tmp_path, batching=window) as gameball:
        backlog = backlog_of(gameball)
        await until(lambda: gameball.stats().in_flight)
        async with anyio.create_task_group() as tasks:
            with busy_disk(gameball):
                await until(lambda: backlog._loader and backlog._loader._is_reading)
                tasks.start_soon(gameball.aclose, 0)
                await until(lambda: backlog.is_closed)
        assert (await gameball.aclose()).kept == 30 - gameball.stats().delivered
    sandbox.script()
    async with client(sandbox, journal=tmp_path) as gameball:
        await gameball.flush()
    assert_all_arrived(sandbox, placed, duplicates=True)  # those that were in flight


async def test_an_event_that_is_stored_after_the_client_was_cancelled_is_delivered_by_its_close(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    gameball = client(sandbox, journal=tmp_path)
    receipts: list[Receipt] = []
    async with anyio.create_task_group() as tasks:
        await tasks.start(gameball.run)
        with busy_disk(gameball):
            receipts.append(gameball.track_nowait("player123", "event", {"number": 1}))
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await until(lambda: gameball._lifecycle.state is ClientState.CLOSING)
    (receipt,) = receipts
    assert (await receipt).status == 200
    assert (await gameball.aclose()).kept == 0


async def test_a_batch_whose_answer_got_lost_with_the_client_may_have_arrived(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.reset_after())
    async with client(sandbox, journal=tmp_path, retry=Retry(initial=30)) as gameball:
        await gameball.track("player123", "place_order", {"number": 1})
        await until(lambda: gameball.stats().ambiguous)
        assert (await gameball.aclose(timeout=0)).kept == 1
    sandbox.script()
    async with client(sandbox, journal=tmp_path) as gameball:
        later = await gameball.track("player123", "review", {"number": 2})
        await gameball.flush()
        assert gameball.stats().ambiguous == 1
        assert not (await later).maybe_duplicate
    first, second, third = sandbox.requests
    assert first.digest == second.digest
    assert third.events == ("review",)


async def test_a_sealed_batch_of_an_earlier_client_that_is_refused_is_split_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.reset_before(events="guilty"), Fault.status(503, events="later"))
    placed = [(f"player{number % 10}", "later", number) for number in range(30)]
    async with client(sandbox, journal=tmp_path, retry=Retry(initial=30)) as gameball:
        for number, name in enumerate(["first", "second", "guilty", "third"], 100):
            gameball.track_nowait("player123", name, {"number": number})
        await until(lambda: gameball.stats().ambiguous)
        await track_all(gameball, placed)
        assert (await gameball.aclose(timeout=0)).kept == 34
    sandbox.script(Fault.status(400, events="guilty"))
    async with client(sandbox, journal=tmp_path) as gameball:
        await gameball.flush()
        assert (gameball.stats().delivered, gameball.stats().rejected) == (33, 1)
        assert_conserved(gameball.stats())
    assert_all_arrived(
        sandbox, [*placed, *(("player123", name, 100 + at) for name, at in (("first", 0), ("second", 1), ("third", 3)))]
    )
    assert files(tmp_path) == {".db"}


async def test_what_is_split_before_the_rest_of_its_file_is_read_arrives_once(sandbox: Sandbox, tmp_path: Path) -> None:
    names = ["first", "second", "third", "guilty"]
    with Sandbox(limits=None) as down:
        down.script(Fault.reset_before())
        async with client(down, journal=tmp_path, retry=Retry(initial=30)) as gameball:
            for number, name in enumerate(names):
                gameball.track_nowait("player123", name, {"number": number})
            await until(lambda: gameball.stats().ambiguous)
            for number in range(4, 10):
                await gameball.track(f"player{number}", "later", {"number": number})
            assert (await gameball.aclose(timeout=0)).kept == 10
    sandbox.script(Fault.status(400, events="guilty"))
    window = Batching(linger=0.01, buffer_events=4, max_events=4)  # the sealed batch takes all of it
    async with client(sandbox, journal=tmp_path, batching=window) as gameball:
        await gameball.flush()
        assert (gameball.stats().delivered, gameball.stats().rejected) == (9, 1)
        assert_conserved(gameball.stats())
    later = ((f"player{number}", "later", number) for number in range(4, 10))
    assert_all_arrived(sandbox, [*(("player123", name, number) for number, name in enumerate(names[:3])), *later])


async def test_a_request_that_an_earlier_client_left_waits_until_all_of_it_has_room(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with Sandbox(limits=None) as down:
        down.script(DOWN)
        async with client(down, journal=tmp_path) as gameball, anyio.create_task_group() as tasks:
            for number in range(5):
                await gameball.track(f"player{number}", "event", {"number": number})
            tasks.start_soon(_send_in_vain, gameball, {f"part{number}": {"number": number} for number in range(5, 9)})
            await until(lambda: gameball.stats().pending == 9)
            assert (await gameball.aclose(timeout=0)).kept == 9
    window = Batching(linger=0.01, buffer_events=6, max_events=6)
    async with client(sandbox, journal=tmp_path, batching=window) as gameball:
        await gameball.flush()
        assert gameball.stats().delivered == 9
    assert ("part5", "part6", "part7", "part8") in [request.events for request in sandbox.requests]


async def _send_in_vain(gameball: AsyncGameball, events: Mapping[str, Metadata]) -> None:
    with pytest.raises(ClientClosed, match="kept in the journal"):
        await gameball.send("player123", events)


async def test_two_clients_share_a_folder_without_each_others_events(sandbox: Sandbox, tmp_path: Path) -> None:
    async with client(sandbox, journal=tmp_path) as first, client(sandbox, journal=tmp_path) as second:
        await first.track("player123", "first", {"number": 1})
        await second.track("player456", "second", {"number": 2})
        assert {file.owner_pid is not None for file in inspect_journal(tmp_path)} == {True}
        await first.flush()
        await second.flush()
        assert first.stats().delivered == second.stats().delivered == 1


# ---------------------------------------------------------------- a backlog larger than memory


async def test_what_does_not_fit_in_memory_lies_on_disk_and_arrives_in_order(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    placed = list(workload(300, 9))
    async with client(sandbox, journal=tmp_path, batching=SMALL) as gameball:
        receipts = [await gameball.track(player, name, {"number": number}) for player, name, number in placed]
        stats = gameball.stats()
        assert stats.buffered_events <= 40
        assert stats.journaled_events == stats.pending - stats.buffered_events
        assert stats.pending == 300
        assert stats.journal_bytes > 0
        sandbox.script()
        await gameball.flush()
        assert all(receipt.done for receipt in receipts)
        assert gameball.stats().delivered == 300
    assert_all_arrived(sandbox, placed)
    assert_well_behaved(sandbox)


async def test_send_keeps_its_place_and_its_request_in_a_backlog(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    async with client(sandbox, journal=tmp_path, batching=SMALL) as gameball:
        for number in range(50):
            await gameball.track(f"player{number}", "event", {"number": number})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gameball.send, "player123", {"first": None, "second": None})
            await until(lambda: gameball.stats().pending == 52)
            await gameball.track("player123", "third")
            sandbox.script()
        await gameball.flush()
    sent = [request.events for request in sandbox.requests if request.player == "player123"]
    assert sent == [("first", "second"), ("third",)]


async def test_without_room_on_disk_track_waits_and_then_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    journal = Journal(tmp_path, max_bytes=1024 * 1024)
    batching = Batching(linger=0.01, wait_timeout=0.01)
    async with client(sandbox, journal=journal, batching=batching) as gameball:
        with pytest.raises(BufferFull, match="max_bytes"):
            await track_all(gameball, (("player123", "x" * 20_000, number) for number in range(1_000)))
        accepted = gameball.stats().accepted
        assert 20 < accepted < 60
        sandbox.script()
        await gameball.flush()
        assert gameball.stats().delivered == accepted
        await until(lambda: gameball.stats().journal_bytes < 512 * 1024)
        await gameball.track("player123", "event")


# ---------------------------------------------------------------- dead letters


async def test_what_gameball_refuses_is_a_dead_letter_with_its_words(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.status(422, code=9, words="No such event.", events="bad"))
    async with client(sandbox, journal=tmp_path) as gameball:
        good, bad = await gameball.track("player123", "good"), await gameball.track("player123", "bad", {"number": 1})
        await good
        with pytest.raises(Rejected):
            await bad
    (letter,) = DeadLetters(tmp_path)
    assert letter.event is not None
    assert (letter.kind, letter.event.name, letter.status) == ("rejected", "bad", 422)
    assert "No such event." in letter.reason
    assert letter.metadata == {"number": 1}
    assert files(tmp_path) == {".db"}


async def test_an_event_that_the_disk_has_damaged_is_counted_as_dropped_and_the_others_arrive(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    placed = [(f"player{number}", "event", number) for number in range(5)]
    await keep(tmp_path, placed)
    damage(tmp_path, "DELETE FROM sealed", "UPDATE events SET encoded = x'00' WHERE seq = 3")
    async with client(sandbox, journal=tmp_path) as gameball:
        await gameball.flush()
        stats = gameball.stats()
        assert (stats.accepted, stats.delivered, stats.dropped) == (5, 4, 1)
        assert_conserved(stats)
    assert_all_arrived(sandbox, [*placed[:2], *placed[3:]])
    assert [letter.kind for letter in DeadLetters(tmp_path)] == ["damaged"]
    assert files(tmp_path) == {".db"}


async def test_what_expires_is_a_dead_letter(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(DOWN)
    retry = Retry(initial=0.01, maximum=0.02, give_up_after=0.1)
    async with client(sandbox, journal=tmp_path, retry=retry) as gameball:
        receipt = await gameball.track("player123", "event")
        with pytest.raises(Dropped) as caught:
            await receipt
        assert caught.value.reason is DropReason.EXPIRED
    assert [letter.kind for letter in DeadLetters(tmp_path)] == ["expired"]


async def test_age_counts_from_the_first_acceptance_on(sandbox: Sandbox, tmp_path: Path) -> None:
    await keep(tmp_path, [("player123", "event", 1)])
    sandbox.script(DOWN)
    retry = Retry(initial=0.01, maximum=0.02, give_up_after=0.001)
    async with client(sandbox, journal=tmp_path, batching=Batching(linger=0), retry=retry) as gameball:
        await until(lambda: gameball.stats().dropped)
    assert [letter.kind for letter in DeadLetters(tmp_path)] == ["expired"]


async def test_who_wants_no_repeats_is_told_what_a_process_left_unclear(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox, journal=tmp_path) as gameball:
        await gameball.track("player123", "place_order", {"number": 1})
        await until(lambda: gameball.stats().in_flight)
        await gameball.aclose(timeout=0)
    sandbox.script()
    told: list[BaseException] = []
    report = Retry(ambiguous="report")
    async with client(
        sandbox, journal=tmp_path, retry=report, on_failure=lambda _event, error: told.append(error)
    ) as gameball:
        await gameball.track("player123", "review")
        await gameball.flush()
        stats = gameball.stats()
        assert (stats.unknown, stats.delivered) == (1, 1)
        assert_conserved(stats)
    assert [type(error) for error in told] == [OutcomeUnknown]
    assert [letter.kind for letter in DeadLetters(tmp_path)] == ["unknown"]


async def test_files_in_which_all_is_sealed_do_not_keep_the_next_one_from_being_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    report = Retry(ambiguous="report", initial=30)
    with Sandbox(limits=None) as down:
        down.script(Fault.hang(events="unclear"), Fault.status(503, events="clear"))
        clients = [client(down, journal=tmp_path) for _ in range(3)]
        clients.append(client(down, journal=tmp_path, retry=report))
        for gameball, name in zip(clients, ["unclear", "unclear", "unclear", "clear"], strict=True):
            await gameball.start()
            await gameball.track("player123", name, {"number": 1})
        await until(
            lambda: all(gameball.stats().requests for gameball in clients) and not clients[-1].stats().in_flight
        )
        for gameball in clients:
            assert (await gameball.aclose(timeout=0)).kept == 1
    async with client(sandbox, journal=tmp_path, retry=report) as gameball:
        await gameball.flush()
        assert (gameball.stats().unknown, gameball.stats().delivered) == (3, 1)
    assert_all_arrived(sandbox, [("player123", "clear", 1)])


async def test_what_was_clearly_not_applied_may_be_sent_again_after_all(sandbox: Sandbox, tmp_path: Path) -> None:
    report = Retry(ambiguous="report", initial=30)
    with Sandbox(limits=None) as down:
        down.script(DOWN)
        async with client(down, journal=tmp_path, retry=report) as gameball:
            for number in range(20):
                await gameball.track(f"player{number}", "place_order")
            await until(lambda: gameball.stats().requests >= 5 and not gameball.stats().in_flight)
            assert (await gameball.aclose(timeout=0)).kept == 20
    async with client(sandbox, journal=tmp_path, retry=report) as gameball:
        await gameball.flush()
        assert gameball.stats().delivered == 20


# ---------------------------------------------------------------- when it cannot work


async def test_a_folder_that_cannot_be_used_is_told_at_the_start(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    gameball = client(sandbox, journal=tmp_path / "file")
    with pytest.raises(JournalError, match="choose a folder"):
        await gameball.start()
    with pytest.raises(JournalError, match="choose a folder"):
        await client(sandbox, journal=tmp_path / "file").run()
    with pytest.raises(JournalError):
        async with client(sandbox, journal=tmp_path / "file" / "below"):
            pass
    await gameball.aclose()


@pytest.mark.parametrize(
    ("folder", "max_bytes", "remedy"),
    [
        ("", 2**30, "give the path of a folder"),
        (5, 2**30, "give the path of a folder"),
        ("journal", 1000, "give a whole number of bytes, at least 1,048,576"),
        ("journal", True, "give a whole number of bytes"),
    ],
)
def test_settings_that_cannot_work_are_told_with_a_remedy(folder: Any, max_bytes: int, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=remedy):
        Journal(folder, max_bytes=max_bytes)


async def test_a_policy_that_drops_does_not_go_with_a_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not go with a journal"):
        AsyncGameball("key", journal=tmp_path, batching=Batching(when_full="drop_oldest"))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_forgotten_client_gives_its_file_free_after_its_loop_has_ended(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(DOWN)

    async def forget() -> None:
        gameball = client(sandbox, journal=tmp_path)
        await gameball.start()
        await gameball.track("player123", "event", {"number": 1})
        forgotten.append(gameball)

    forgotten: list[AsyncGameball] = []
    await asyncio.to_thread(asyncio.run, forget())
    with pytest.warns(ResourceWarning, match="1 event has no outcome"):
        forgotten.clear()
    await until(lambda: [file.owner_pid for file in inspect_journal(tmp_path)] == [None])
    sandbox.script()
    async with client(sandbox, journal=tmp_path) as successor:
        await successor.flush()
    assert_all_arrived(sandbox, [("player123", "event", 1)])


PROGRAM = dedent(
    """
    import asyncio, os, resource, sys
    from gameball_async import AsyncGameball, JournalError

    async def main():
        async with AsyncGameball("key", base_url=sys.argv[1], journal=sys.argv[2]) as gameball:
            await gameball.track("player123", "before")
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, resource.RLIM_INFINITY))
            soon = gameball.track_nowait("player123", "soon", {"text": "x" * 50_000})
            try:
                await gameball.track("player123", "while_full", {"text": "x" * 50_000})
            except JournalError as error:
                print(error, flush=True)
            try:
                await soon
            except Exception as error:
                print(type(error).__name__, error.reason.value, flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            while True:
                try:
                    await gameball.track("player123", "after")
                    break
                except JournalError:
                    await asyncio.sleep(0.05)
            await gameball.flush()
            stats = gameball.stats()
            print(stats.accepted, stats.delivered, stats.dropped, flush=True)

    asyncio.run(main())
    """
)


async def test_a_bug_in_the_journals_thread_while_a_batch_is_sealed_ends_a_flush(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of the seal itself: it did not become durable."""

    def fail(*_: object) -> None:
        raise RuntimeError

    async with client(sandbox, batching=Batching(linger=60), journal=tmp_path) as gameball:
        await gameball.track("player123", "event", {"number": 1})
        monkeypatch.setattr(JournalWorker, "_commit", fail)
        with pytest.raises(JournalError, match="the journal stopped"):
            await gameball.flush()
        assert (await gameball.aclose(timeout=0)).kept == 1
    assert sandbox.requests == []


async def test_after_a_bug_in_the_journals_thread_it_is_not_asked_again_and_again_for_what_it_holds(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client(sandbox, batching=Batching(linger=60), journal=tmp_path) as gameball:
        await gameball.track("player123", "event", {"number": 1})
        gameball.stop_sending()
    read, reads, answers = JournalWriter.read, list[int](), list[Any]()

    def observed(
        writer: JournalWriter, origin: int, after: int, events: int, size: int, done: Callable[[Any], None]
    ) -> None:
        def answered(loaded: Any) -> None:
            answers.append(loaded)
            done(loaded)

        reads.append(origin)
        read(writer, origin, after, events, size, answered)

    def fail(_: JournalWorker, group: Sequence[object], *_now: float) -> list[object]:
        if group:
            raise RuntimeError
        return []

    monkeypatch.setattr(JournalWriter, "read", observed)
    monkeypatch.setattr(JournalWorker, "_commit", fail)
    async with client(sandbox, journal=tmp_path) as gameball:
        await until(lambda: answers)
        assert len(reads) == 1
        with pytest.raises(JournalError, match="the journal stopped"):
            await gameball.flush()
        assert (await gameball.aclose(timeout=0)).kept == 1
    assert sandbox.requests == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_full_disk_refuses_events_until_it_has_room_again(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", PROGRAM, sandbox.url, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    error, dropped, accounts = run.stdout.splitlines()
    assert "disk" in error
    assert dropped == "Dropped journal failed"
    assert accounts == "3 2 1"
    assert [event.name for event in sandbox.holdings()["player123"]] == ["before", "after"]


async def test_a_flush_while_the_journal_opens_says_that_the_client_is_not_started_yet(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    gameball = client(sandbox, journal=tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.start)
        await checkpoint()
        with pytest.raises(NotStarted):
            await gameball.flush()
    await gameball.flush()
    await gameball.aclose()


async def test_a_close_while_a_folder_that_cannot_be_used_is_opened_ends_and_start_says_why(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    gameball = client(sandbox, journal=tmp_path / "file")

    async def start() -> None:
        with pytest.raises(JournalError, match="choose a folder"):
            await gameball.start()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(start)
        while gameball._lifecycle.state is ClientState.NEW:
            await checkpoint()
        report = await gameball.aclose()
        assert (report.undelivered, report.kept) == ((), 0)
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "event")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # nobody cancels a system task of trio from outside
async def test_a_client_that_is_cancelled_again_and_again_while_it_closes_tells_of_every_failure(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.script(Fault.status(400, code=3000))
    told: list[str] = []

    async def on_failure(event: Event, _: DeliveryError) -> None:
        told.append(event.name)
        if len(told) in (
            2,
            3,
        ):  # what a close has left is told of in the task itself, before the files are left and after
            for task in asyncio.all_tasks():
                if task.get_name() == "gameball_async flusher":
                    task.cancel()
        await anyio.sleep(3600)

    gameball = client(sandbox, journal=tmp_path, on_failure=on_failure)
    await gameball.start()
    names = [f"event{number}" for number in range(4)]
    for name in names:
        await gameball.track(f"player of {name}", name)
    await until(lambda: gameball.stats().rejected == 4)
    report = await gameball.aclose(timeout=0)
    assert sorted(told) == names
    assert (report.undelivered, report.kept) == ((), 0)
    assert gameball._lifecycle.state is ClientState.CLOSED
    assert_conserved(gameball.stats())
