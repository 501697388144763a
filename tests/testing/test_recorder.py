"""The recorder: an `AsyncGameball` by type and by its calls, which records and fails as it was told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, assert_type

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from gameball_async import (
    AsyncGameball,
    BufferFull,
    ClientHalted,
    ConfigurationError,
    CustomerNotFound,
    Delivered,
    DeliveryError,
    Dropped,
    DropReason,
    Event,
    EventPreview,
    FlushTimeout,
    InvalidEvent,
    JournalError,
    NotStarted,
    OutcomeUnknown,
    Preview,
    Receipt,
    Rejected,
    WrongLoop,
)
from gameball_async.testing import Recorder

pytestmark = pytest.mark.anyio

CALLS = {
    name
    for name, member in vars(AsyncGameball).items()
    if callable(member) and (not name.startswith("_") or name in ("__aenter__", "__aexit__"))
}


# ---------------------------------------------------------------- it is a client


async def test_it_may_be_passed_where_a_client_is_expected() -> None:
    """Type checkers read this file too."""

    async def checkout(gameball: AsyncGameball) -> Receipt:
        return await gameball.track("player123", "place_order", {"total_amount": 100})

    recorder = Recorder()
    assert_type(await recorder.track("player123", "review"), Receipt)
    receipt = await checkout(recorder)
    assert isinstance(recorder, AsyncGameball)
    assert isinstance(receipt, Receipt)
    recorder.assert_tracked("player123", "place_order", total_amount=100)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_each_call_is_the_clients_own(name: str) -> None:
    assert getattr(Recorder, name) is getattr(AsyncGameball, name)


def test_it_needs_no_loop() -> None:
    recorder = Recorder()
    receipt = recorder.track_nowait("player123", "review")
    assert receipt.done
    assert not receipt.durable
    assert repr(receipt) == "<Receipt 'review' done>"
    assert repr(recorder) == "<Recorder new, 1 tracked>"
    recorder.assert_tracked("player123", "review")


AUDITED = """
import asyncio, sys
from gameball_async import Rejected
from gameball_async.testing import Recorder

async def use():
    async with Recorder(on_failure=lambda *_: None) as recorder:
        recorder.fail(Rejected("no"), name="review")
        await recorder.track("player123", "review", {"rating": 6})
        await recorder.send("player123", {"reserve": {"rooms": 2}})
        await recorder.flush()
        recorder.assert_tracked("player123", "review", rating=6)
        assert len(asyncio.all_tasks()) == 1

async def live():
    await use()  # what is imported late is imported
    seen = set()
    sys.addaudithook(lambda event, _: seen.add(event))
    await use()
    print(*seen - {"object.__getattr__", "sys._getframe"})

asyncio.run(live())
"""


def test_it_opens_nothing_and_starts_nothing() -> None:
    """Python would tell an audit hook of sockets, files, processes and threads."""
    done = subprocess.run([sys.executable, "-c", AUDITED], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []


# ---------------------------------------------------------------- what it records


async def test_an_event_is_recorded_as_gameball_would_get_it_at_the_time_of_the_call() -> None:
    recorder = Recorder()
    tags = ["men"]
    await recorder.track("player123", "reserve", {"tags": tags}, mobile="+20123", email="a@b.example")
    tags.append("women")
    (event,) = recorder.events
    assert (event.player_unique_id, event.name, event.metadata) == ("player123", "reserve", {"tags": ["men"]})
    assert (event.mobile, event.email) == ("+20123", "a@b.example")


async def test_what_the_client_refuses_is_not_recorded() -> None:
    recorder = Recorder()
    with pytest.raises(InvalidEvent, match="key 'gift'"):
        await recorder.track("player123", "place_order", {"gift": True})
    with pytest.raises(InvalidEvent, match="key 'gift'"):
        recorder.track_nowait("player123", "place_order", {"gift": True})
    recorder.assert_nothing_tracked()
    assert recorder.stats().accepted == 0


class Missing(datetime):
    """As `pandas.NaT` is: a datetime that is not equal to itself."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__

    def isoformat(self, *_: object, **__: object) -> str:
        return "NaT"


async def test_a_missing_value_is_neither_recorded_nor_taken_for_a_text() -> None:
    recorder = Recorder()
    for value in (missing := Missing(2026, 1, 31), [missing], ("a", missing)):
        with pytest.raises(InvalidEvent, match="missing value: leave the key out"):
            await recorder.track("player123", "place_order", {"paid_at": value})
    recorder.assert_nothing_tracked()
    await recorder.track("player123", "place_order", {"paid_at": "NaT"})
    with pytest.raises(AssertionError):
        recorder.assert_tracked("player123", "place_order", paid_at=missing)


async def test_a_reset_forgets_the_events_and_nothing_else() -> None:
    recorder = Recorder()
    await recorder.track("player123", "review")
    recorder.reset()
    recorder.assert_nothing_tracked()
    assert recorder.stats().delivered == 1


# ---------------------------------------------------------------- what goes wrong


def outcomes() -> list[tuple[Rejected | Dropped | OutcomeUnknown, str]]:
    return [
        (Rejected("The value is invalid.", status=422, code=3003), "rejected"),
        (Dropped("It was too old.", reason=DropReason.EXPIRED), "dropped"),
        (OutcomeUnknown("The answer got lost."), "unknown"),
    ]


@pytest.mark.parametrize(("error", "counter"), outcomes())
async def test_an_outcome_is_raised_by_the_receipt_and_told_to_on_failure(
    error: Rejected | Dropped | OutcomeUnknown, counter: str
) -> None:
    told: list[tuple[Event, DeliveryError]] = []
    recorder = Recorder(on_failure=lambda event, error: told.append((event, error)))
    recorder.fail(error)
    receipt = await recorder.track("player123", "review", {"rating": 6})
    for _ in range(2):
        with pytest.raises(type(error)) as caught:
            await receipt
        assert caught.value is error
    ((event, failure),) = told
    assert (event.metadata, failure) == ({"rating": 6}, error)
    assert getattr(recorder.stats(), counter) == 1
    recorder.assert_tracked("player123", "review", rating=6)


@pytest.mark.parametrize("error", [BufferFull("No room."), JournalError("No disk.")], ids=repr)
async def test_a_refusal_is_raised_by_the_call_and_nothing_is_recorded(error: BufferFull | JournalError) -> None:
    recorder = Recorder(started=True)
    recorder.fail(error)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: recorder.track("player123", "review"),
        lambda: recorder.send("player123", {"review": None}),
        lambda: anyio.to_thread.run_sync(recorder.track_threadsafe, "player123", "review"),
    ]
    for call in calls:
        with pytest.raises(type(error)):
            await call()
    with pytest.raises(type(error)):
        recorder.track_nowait("player123", "review")
    recorder.assert_nothing_tracked()
    assert recorder.stats().accepted == 0


@pytest.mark.parametrize(
    "error", [ClientHalted("A wrong key.", status=401, code=1000), FlushTimeout("Too late.", unsettled=1)], ids=repr
)
async def test_a_held_event_is_pending_until_the_recorder_recovers(error: ClientHalted | FlushTimeout) -> None:
    recorder = Recorder(started=True)
    recorder.fail(error, name="review")
    await recorder.track("player123", "reserve")
    await recorder.flush()
    receipt = await recorder.track("player123", "review")
    with pytest.raises(type(error)) as caught:
        await recorder.flush()
    assert caught.value is error
    assert (receipt.done, recorder.stats().pending) == (False, 1)
    assert recorder.stats().halted == ("A wrong key." if isinstance(error, ClientHalted) else None)
    recorder.recover()
    await recorder.flush()
    assert (await receipt).status == 200
    assert (recorder.stats().delivered, recorder.stats().pending, recorder.stats().halted) == (2, 0, None)


async def test_whoever_waits_for_a_held_event_hears_of_its_outcome_from_any_thread() -> None:
    recorder = Recorder(started=True)
    recorder.fail(FlushTimeout("Too late.", unsettled=1))
    receipt = await recorder.track("player123", "review")
    heard: list[Delivered] = []

    async def wait() -> None:
        heard.append(await receipt)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await checkpoint()
        await anyio.to_thread.run_sync(recorder.recover)
    assert heard == [Delivered(status=200)] * 2


async def test_a_close_gives_up_what_is_held_and_reports_it() -> None:
    told: list[str] = []

    async def keep(event: Event, error: DeliveryError) -> None:
        await checkpoint()
        told.append(f"{event.name}: {type(error).__name__}")

    recorder = Recorder(on_failure=keep)
    recorder.fail(ClientHalted("A wrong key.", status=401, code=None))
    async with recorder:
        receipt = await recorder.track("player123", "review")
    assert recorder.closed
    report = await recorder.aclose()
    (left,) = report.undelivered
    assert (left.event, report.kept) == (recorder.events[0], 0)
    with pytest.raises(Dropped, match="HTTP 401") as caught:
        await receipt
    assert caught.value is left.error
    assert caught.value.reason is DropReason.CLOSED
    assert told == ["review: Dropped"]


async def test_a_failure_strikes_the_events_it_was_meant_for_and_so_often() -> None:
    recorder = Recorder(started=True)
    recorder.fail(Rejected("first"), player_unique_id="player1", name="review", times=1)
    recorder.fail(Rejected("second"), name="review")
    assert await recorder.send("player1", {"reserve": None}) == Delivered(status=200)
    for player, words in (("player2", "second"), ("player1", "first"), ("player1", "second")):
        with pytest.raises(Rejected, match=words):
            await recorder.send(player, {"reserve": None, "review": None})
    recorder.recover()
    assert await recorder.send("player1", {"review": None}) == Delivered(status=200)


def test_what_a_client_does_not_raise_cannot_be_scripted() -> None:
    recorder = Recorder()
    with pytest.raises(TypeError, match="does not accept Rejected: pass an instance"):
        recorder.fail(Rejected)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="does not accept InvalidEvent"):
        recorder.fail(InvalidEvent("no"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times=0"):
        recorder.fail(Rejected("no"), times=0)
    with pytest.raises(ConfigurationError, match="on_failure"):
        Recorder(on_failure=1)  # type: ignore[arg-type]


# ---------------------------------------------------------------- previews


async def test_previews_return_what_rewards_has_set_and_record_nothing() -> None:
    recorder = Recorder(started=True)
    recorder.rewards({"place_order": 100, "review": EventPreview(valid=False, invalid_reason="EventNotFound")})
    preview = await recorder.preview("player123", {"place_order": {"total_amount": 25}, "review": None, "visit": None})
    assert preview.total_points == 100
    assert [(event.name, event.valid, event.total_points) for event in preview.events] == [
        ("place_order", True, 100),
        ("review", False, 0),
        ("visit", True, 0),
    ]
    (campaign,) = preview.events[0].campaigns
    assert (campaign.eligible, campaign.reason, campaign.points) == (True, "Rewarded", 100)
    recorder.assert_nothing_tracked()


async def test_a_scripted_error_of_previews_is_raised_by_them_alone() -> None:
    recorder = Recorder(started=True)
    recorder.fail(CustomerNotFound("unknown", status=404, code=7000), player_unique_id="player1", times=1)
    assert await recorder.send("player1", {"review": None}) == Delivered(status=200)
    assert await recorder.preview("player2", {"review": None}) == Preview(events=(EventPreview(name="review"),))
    with pytest.raises(CustomerNotFound, match="unknown"):
        await recorder.preview("player1", {"review": None})
    assert (await recorder.preview("player1", {"review": None})).total_points == 0


async def test_the_other_errors_do_not_affect_previews_unless_the_client_is_halted() -> None:
    recorder = Recorder(started=True)
    recorder.fail(Rejected("no"), times=1)
    assert (await recorder.preview("player123", {"review": None})).total_points == 0
    recorder.recover()
    recorder.fail(ClientHalted("the key is wrong", status=401, code=None))
    recorder.track_nowait("player123", "review")
    with pytest.raises(ClientHalted, match="the key is wrong"):
        await recorder.preview("player123", {"review": None})


async def test_previews_have_the_checks_of_the_client() -> None:
    with pytest.raises(NotStarted):
        await Recorder().preview("player123", {"review": None})
    with pytest.raises(ConfigurationError, match="switched off"):
        await Recorder(enabled=False, started=True).preview("player123", {"review": None})
    filtering = Recorder(started=True, before_send=lambda _: None)
    assert await filtering.preview("player123", {"review": None}) == Preview()
    recorder = Recorder(started=True)
    with pytest.raises(InvalidEvent):
        await recorder.preview("p" * 101, {"review": {"gift": True}})
    with pytest.raises(ConfigurationError, match="lang"):
        await recorder.preview("player123", {"review": None}, lang="")


# ---------------------------------------------------------------- on_failure


async def test_on_failure_is_told_of_what_was_tracked_without_waiting_by_the_next_call_that_waits() -> None:
    told: list[str] = []
    recorder = Recorder(on_failure=lambda event, _: told.append(event.name), started=True)
    recorder.fail(Rejected("no"))
    recorder.track_nowait("player123", "review")
    assert told == []
    await recorder.flush()
    assert told == ["review"]


async def test_what_on_failure_raises_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def raise_it(event: Event, error: DeliveryError) -> None:
        raise ZeroDivisionError(event.name) from error

    recorder = Recorder(on_failure=raise_it)
    recorder.fail(Rejected("no"))
    await recorder.track("player123", "review")
    assert "on_failure raised ZeroDivisionError for event 'review'" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_on_failure_may_track_what_fails_again() -> None:
    async def track_instead(event: Event, error: DeliveryError) -> None:
        await recorder.track(event.player_unique_id, f"{event.name}_{error}")

    recorder = Recorder(on_failure=track_instead)
    recorder.fail(Rejected("again"), times=2)
    await recorder.track("player123", "review")
    assert [event.name for event in recorder.events] == ["review", "review_again", "review_again_again"]


# ---------------------------------------------------------------- threads


async def test_threads_record_at_once_and_in_full() -> None:
    async with Recorder() as recorder:

        def track_many(player: str) -> None:
            for number in range(200):
                recorder.track_threadsafe(player, "event", {"number": number})

        async with anyio.create_task_group() as tasks:
            for player in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, track_many, f"player{player}")
    assert recorder.stats().delivered == len(recorder.events) == 800
    for player in range(4):
        numbers = [event.metadata["number"] for event in recorder.events if event.player_unique_id == f"player{player}"]
        assert numbers == list(range(200))


async def test_a_recorder_that_was_started_nowhere_takes_any_thread_but_a_loops() -> None:
    recorder = Recorder(started=True)
    with pytest.raises(WrongLoop, match="own thread"):
        recorder.track_threadsafe("player123", "event")
    thread = threading.Thread(target=recorder.track_threadsafe, args=("player123", "event"))
    thread.start()
    thread.join()
    recorder.assert_tracked("player123", "event", times=1)
