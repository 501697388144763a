"""`on_failure`: called for each event, one after another, never harmed by what it does; on both loops."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from gameball_async import DeliveryError, Dropped, DropReason, Event, Rejected
from gameball_async._engine.callbacks import FailureCallbacks

pytestmark = pytest.mark.anyio

ERROR = Dropped("late", reason=DropReason.EXPIRED)
PLAYER = "very-private-player"


def event(name: str) -> Event:
    return Event(PLAYER, name, "+1234567", "jon@example.com", b'"%b":{}' % name.encode())


@asynccontextmanager
async def reporting(failures: FailureCallbacks) -> AsyncGenerator[None]:
    """Run the reporter until all of it is reported."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failures.report)
        await anyio.wait_all_tasks_blocked()
        yield
        await anyio.wait_all_tasks_blocked()
        failures.finish()


async def test_a_function_is_called_with_each_event_and_its_error_in_order() -> None:
    called: list[tuple[str, DeliveryError]] = []
    failures = FailureCallbacks(lambda failed, error: called.append((failed.name, error)))

    async with reporting(failures):
        failures.add([event("a"), event("b")], ERROR)
        failures.add([event("c")], rejected := Rejected("no"))

    assert called == [("a", ERROR), ("b", ERROR), ("c", rejected)]
    assert len(failures) == 0


async def test_a_coroutine_function_is_awaited_one_event_after_another() -> None:
    log: list[str] = []

    async def on_failure(failed: Event, _: DeliveryError) -> None:
        log.append(f"{failed.name} begins")
        await anyio.sleep(60)
        log.append(f"{failed.name} ends")

    failures = FailureCallbacks(on_failure)
    async with reporting(failures):
        failures.add([event("a"), event("b")], ERROR)

    assert log == ["a begins", "a ends", "b begins", "b ends"]


async def test_the_callback_never_runs_inside_of_the_call_that_adds() -> None:
    called: list[str] = []
    failures = FailureCallbacks(lambda failed, _: called.append(failed.name))

    failures.add([event("a")], ERROR)

    assert (called, len(failures)) == ([], 1)
    await failures.report_queued()
    assert called == ["a"]


async def raising_coroutine(_: Event, __: DeliveryError) -> None:
    raise ValueError(PLAYER)


def raising_function(_: Event, __: DeliveryError) -> None:
    raise ValueError(PLAYER)


@pytest.mark.parametrize("raising", [raising_function, raising_coroutine])
async def test_what_a_callback_raises_is_logged_seldom_and_without_personal_data_and_harms_nothing(
    raising: Callable[..., Awaitable[None] | None], caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    def on_failure(failed: Event, error: DeliveryError) -> Awaitable[None] | None:
        called.append(failed.name)
        return raising(failed, error) if failed.name != "c" else None

    failures = FailureCallbacks(on_failure)
    with caplog.at_level(logging.DEBUG):
        async with reporting(failures):
            failures.add([event("a"), event("b"), event("b"), event("c")], ERROR)
        messages = [record.getMessage() for record in caplog.records if record.name == "gameball_async"]
        assert messages == ["on_failure raised ValueError for event 'a'"]
        await failures.report_without_waiting()

    assert called == ["a", "b", "b", "c"]
    messages = [record.getMessage() for record in caplog.records if record.name == "gameball_async"]
    assert messages[1:] == ["on_failure raised for 2 events, lastly ValueError for event 'b'"]
    assert PLAYER not in caplog.text


async def test_a_callback_may_let_further_events_fail() -> None:
    called: list[str] = []

    def on_failure(failed: Event, error: DeliveryError) -> None:
        called.append(failed.name)
        if len(failed.name) < 4:
            failures.add([event(failed.name + "+")], error)

    failures = FailureCallbacks(on_failure)
    async with reporting(failures):
        failures.add([event("a")], ERROR)

    assert called == ["a", "a+", "a++", "a+++"]


async def test_a_finish_does_not_cut_off_what_is_queued_or_under_way() -> None:
    called: list[str] = []

    async def on_failure(failed: Event, _: DeliveryError) -> None:
        await anyio.sleep(60)
        called.append(failed.name)

    failures = FailureCallbacks(on_failure)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failures.report)
        await anyio.wait_all_tasks_blocked()
        failures.add([event("a"), event("b")], ERROR)
        failures.finish()

    assert called == ["a", "b"]


async def test_without_a_callback_nothing_is_kept() -> None:
    failures = FailureCallbacks(None)

    async with reporting(failures):
        failures.add([event("a")], ERROR)
        assert len(failures) == 0


async def test_a_reporter_can_be_cancelled_and_another_goes_on() -> None:
    called: list[str] = []

    async def on_failure(failed: Event, _: DeliveryError) -> None:
        called.append(failed.name)
        if failed.name == "a":
            await anyio.sleep_forever()

    failures = FailureCallbacks(on_failure)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failures.report)
        failures.add([event("a"), event("b")], ERROR)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await failures.report_queued()

    assert called == ["a", "b"]
