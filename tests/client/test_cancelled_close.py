"""A client that is closed by a cancellation delivers all the same; what it cannot deliver is settled and reported."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp.web
import anyio
import pytest
import starlette.applications
import trio
from anyio.lowlevel import checkpoint

from gameball_async import AsyncGameball, Batching, DeliveryError, Event, OutcomeUnknown, Receipt
from gameball_async.integrations.aiohttp import gameball_context
from gameball_async.integrations.starlette import gameball_lifespan
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_conserved, client, until

pytestmark = pytest.mark.anyio

LINGERING = Batching(linger=3600)
EVENTS = 5

asyncio_only = pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
trio_only = pytest.mark.parametrize("anyio_backend", ["trio"])
with_and_without_journal = pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])


async def track_all(gameball: AsyncGameball) -> None:
    for number in range(EVENTS):
        await gameball.track("player", f"event{number}")


def assert_all_held(sandbox: Sandbox, gameball: AsyncGameball) -> None:
    assert [event.name for event in sandbox.holdings()["player"]] == [f"event{number}" for number in range(EVENTS)]
    assert gameball.stats().delivered == EVENTS
    assert "closed" in repr(gameball)


class Sibling(Exception):
    """What another task of the group raises."""


# ---------------------------------------------------------------- by a scope


@with_and_without_journal
async def test_a_sibling_that_raises(*, has_journal: bool, sandbox: Sandbox, tmp_path: Path) -> None:
    gameball = client(sandbox, batching=LINGERING, journal=tmp_path if has_journal else None)
    is_tracked = anyio.Event()

    async def serve() -> None:
        async with gameball:
            await track_all(gameball)
            is_tracked.set()
            await anyio.sleep_forever()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await is_tracked.wait()
            raise Sibling

    with pytest.raises(ExceptionGroup):
        await main()
    assert_all_held(sandbox, gameball)


async def test_a_deadline(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)
    with anyio.CancelScope() as scope:
        async with gameball:
            await track_all(gameball)
            scope.deadline = anyio.current_time()
            await anyio.sleep_forever()
    assert_all_held(sandbox, gameball)


async def test_a_deadline_that_comes_while_it_closes(sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.1))
    gameball = client(sandbox, batching=LINGERING)
    with anyio.CancelScope() as scope:
        async with gameball:
            await track_all(gameball)
            scope.deadline = anyio.current_time() + 0.05
    assert_all_held(sandbox, gameball)


async def test_an_aclose_in_a_finally(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)
    with anyio.CancelScope() as scope:
        await gameball.start()
        try:
            await track_all(gameball)
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await gameball.aclose()
    assert_all_held(sandbox, gameball)


async def test_an_aclose_of_a_client_that_was_never_started(sandbox: Sandbox) -> None:
    gameball = client(sandbox)
    await track_all(gameball)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await gameball.aclose()
    assert_all_held(sandbox, gameball)


async def test_a_client_that_runs_in_the_group(sandbox: Sandbox) -> None:
    """Requests in flight are finished, not cut and repeated."""
    sandbox.script(Fault.latency(0.1))
    gameball = client(sandbox)
    receipts: list[Receipt] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(gameball.run)
            await track_all(gameball)
            receipts.append(await gameball.track("another", "event"))
            await until(lambda: gameball.stats().in_flight)
            raise Sibling

    with pytest.raises(ExceptionGroup):
        await main()
    assert gameball.stats().delivered == EVENTS + 1
    delivered = await receipts[0]
    assert (delivered.attempts, delivered.maybe_duplicate) == (1, False)


@trio_only
async def test_a_nursery(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)

    async def fail() -> None:
        raise Sibling

    async def main() -> None:
        async with trio.open_nursery() as nursery, gameball:
            await track_all(gameball)
            nursery.start_soon(fail)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup):
        await main()
    assert_all_held(sandbox, gameball)


# ---------------------------------------------------------------- by asyncio itself


async def in_task(gameball: AsyncGameball) -> None:
    async with gameball:
        await track_all(gameball)
        await anyio.sleep_forever()


async def in_task_with_aclose(gameball: AsyncGameball) -> None:
    await gameball.start()
    try:
        await track_all(gameball)
        await anyio.sleep_forever()
    finally:
        await gameball.aclose()


@asyncio_only
@pytest.mark.parametrize("serve", [in_task, in_task_with_aclose, AsyncGameball.run])
@pytest.mark.parametrize("cancellations", [1, 2, 3])
async def test_task_cancel_again_and_again(
    serve: Callable[[AsyncGameball], Awaitable[None]], cancellations: int, sandbox: Sandbox
) -> None:
    """No scope shields from that."""
    sandbox.script(Fault.latency(0.05))
    gameball = client(sandbox, batching=LINGERING)
    task = asyncio.ensure_future(serve(gameball))
    if serve is AsyncGameball.run:
        await until(lambda: "running" in repr(gameball))
        await track_all(gameball)
    await until(lambda: gameball.stats().accepted == EVENTS)
    for _ in range(cancellations):
        task.cancel()
        await until(lambda: "closing" in repr(gameball))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_all_held(sandbox, gameball)


@asyncio_only
async def test_a_task_group_of_asyncio(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)

    async def fail() -> None:
        raise Sibling

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks, gameball:
            await track_all(gameball)
            tasks.create_task(fail())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup):
        await main()
    assert_all_held(sandbox, gameball)


@asyncio_only
async def test_a_timeout_of_asyncio_in_the_body_and_another_in_the_close(sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.1))
    gameball = client(sandbox, batching=LINGERING)

    async def main() -> None:
        async with asyncio.timeout(None) as outer:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as inner, gameball:
                    await track_all(gameball)
                    now = asyncio.get_running_loop().time()
                    inner.reschedule(now)
                    outer.reschedule(now + 0.05)
                    await asyncio.Event().wait()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await main()
    assert_all_held(sandbox, gameball)


# ---------------------------------------------------------------- frameworks


async def test_the_lifespan_of_starlette(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)
    lifespan = gameball_lifespan(client=gameball)
    with anyio.CancelScope() as scope:
        async with lifespan(starlette.applications.Starlette()):
            await track_all(gameball)
            scope.cancel()
            await anyio.sleep_forever()
    assert_all_held(sandbox, gameball)


async def test_a_deadline_that_comes_while_a_lifespan_closes(sandbox: Sandbox) -> None:
    sandbox.script(Fault.latency(0.1))
    gameball = client(sandbox, batching=LINGERING)
    lifespan = gameball_lifespan(client=gameball)
    with anyio.CancelScope() as scope:
        async with lifespan(starlette.applications.Starlette()):
            await track_all(gameball)
            scope.deadline = anyio.current_time() + 0.05
    assert_all_held(sandbox, gameball)


@asyncio_only
async def test_the_context_of_aiohttp(sandbox: Sandbox) -> None:
    gameball = client(sandbox, batching=LINGERING)
    app = aiohttp.web.Application()
    app.cleanup_ctx.append(gameball_context(client=gameball))
    runner = aiohttp.web.AppRunner(app)

    async def main() -> None:
        await runner.setup()
        try:
            await track_all(gameball)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    task = asyncio.ensure_future(main())
    await until(lambda: gameball.stats().accepted == EVENTS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_all_held(sandbox, gameball)


# ---------------------------------------------------------------- while the journal opens


class SlowJournal(logging.Filter):
    """Holds up the journal's thread at the first line that it logs, as a disk that hangs would."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = threading.Event()
        self.goes_on = threading.Event()
        self.was_waited_for = False

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 the name is the base class's
        if self.is_its_thread(threading.current_thread()):
            self.is_held.set()
            self.was_waited_for = not self.goes_on.wait(30)  # so that a close that waits ends, and fails
        return True

    @staticmethod
    def is_its_thread(thread: threading.Thread) -> bool:
        return thread.name == "gameball-journal"

    async def end(self) -> None:
        self.goes_on.set()
        await until(lambda: not any(map(self.is_its_thread, threading.enumerate())))
        await checkpoint()


@pytest.fixture
def slow_journal() -> Iterator[SlowJournal]:
    slow, log = SlowJournal(), logging.getLogger("gameball_async")
    log.addFilter(slow)
    yield slow
    slow.goes_on.set()
    log.removeFilter(slow)


async def leave_events(sandbox: Sandbox, folder: Path) -> None:
    async with client(sandbox, batching=LINGERING, journal=folder) as gameball:
        await track_all(gameball)
        gameball.stop_sending()


async def run_and_cancel(gameball: AsyncGameball, is_opening: threading.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.run)
        await until(is_opening.is_set)
        tasks.cancel_scope.cancel()


async def start_and_close(gameball: AsyncGameball, is_opening: threading.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gameball.start)
        await until(is_opening.is_set)
        await gameball.aclose(0.05)


@pytest.mark.parametrize("live", [run_and_cancel, start_and_close])
async def test_a_close_does_not_wait_for_a_journal_that_opens_too_slowly(
    live: Callable[[AsyncGameball, threading.Event], Awaitable[None]],
    sandbox: Sandbox,
    tmp_path: Path,
    slow_journal: SlowJournal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it finds there at last goes to the next client."""
    monkeypatch.setattr("gameball_async._engine.lifecycle.CLOSE_TIMEOUT", 0.05)
    await leave_events(sandbox, tmp_path)
    (tmp_path / "damaged.journal").write_bytes(b"no database" * 1000)  # there is a line about it
    gameball = client(sandbox, journal=tmp_path)
    await live(gameball, slow_journal.is_held)
    assert "closed" in repr(gameball)
    assert not slow_journal.was_waited_for
    await slow_journal.end()
    assert gameball.stats().pending == 0
    async with client(sandbox, journal=tmp_path) as following:
        await following.flush()
    assert_all_held(sandbox, following)


# ---------------------------------------------------------------- what cannot be delivered


class Told:
    """What on_failure is told: by a plain function, or by a coroutine function, which is cut at its first await."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.errors: list[DeliveryError] = []

    def function(self, event: Event, error: DeliveryError) -> None:
        self.names.append(event.name)
        self.errors.append(error)

    async def coroutine_function(self, event: Event, error: DeliveryError) -> None:
        self.function(event, error)
        await checkpoint()


@pytest.fixture(params=["function", "coroutine_function"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_shielded_close_is_bounded_by_its_own_deadline_and_reports_the_rest(
    how: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gameball_async._client.CLOSE_TIMEOUT", 0.05)
    sandbox.script(Fault.hang())
    told = Told()
    gameball = client(sandbox, on_failure=getattr(told, how))
    with anyio.CancelScope() as scope:
        async with gameball:
            await track_all(gameball)
            await until(lambda: gameball.stats().in_flight)
            scope.cancel()
    assert told.names == [f"event{number}" for number in range(EVENTS)]
    assert "5 events may not have arrived" in caplog.text
    assert gameball.stats().pending == 0
    assert_conserved(gameball.stats())


@asyncio_only
@with_and_without_journal
async def test_what_a_loop_that_ends_cuts_short_is_reported(
    how: str,
    *,
    has_journal: bool,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """It cancels the task that closes as well as the client's own."""
    sandbox.script(Fault.hang())
    told = Told()
    gameball = client(sandbox, on_failure=getattr(told, how), journal=tmp_path if has_journal else None)
    task = asyncio.ensure_future(in_task(gameball))
    await until(lambda: gameball.stats().accepted == EVENTS)
    await until(lambda: gameball.stats().in_flight)
    await gameball.track("another", "waits")
    await until(lambda: gameball.stats().in_flight == 2)
    task.cancel()
    await until(lambda: "closing" in repr(gameball))
    for each in asyncio.all_tasks():
        if each is task or each.get_name() == "gameball_async flusher":
            each.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "closed" in repr(gameball)
    if has_journal:
        assert "the close was cut short" in caplog.text
        assert "6 events are kept in the journal for the next client" in caplog.text
        assert told.names == []
    else:
        assert sorted(told.names) == [*(f"event{number}" for number in range(EVENTS)), "waits"]
        assert {type(error) for error in told.errors} == {OutcomeUnknown}
        assert "6 events may not have arrived" in caplog.text
        assert "the close was cut short" in caplog.text
        assert gameball.stats().pending == 0
    assert_conserved(gameball.stats())


@asyncio_only
async def test_a_loop_that_ends_after_the_closing_task_has_gone_is_reported(
    how: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.script(Fault.hang())
    told = Told()
    gameball = client(sandbox, on_failure=getattr(told, how))
    await gameball.start()
    await track_all(gameball)
    closing = asyncio.ensure_future(gameball.aclose())
    await until(lambda: gameball.stats().in_flight)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    for task in asyncio.all_tasks():
        if task.get_name() == "gameball_async flusher":
            task.cancel()
    await until(lambda: "closed" in repr(gameball))
    assert told.names == [f"event{number}" for number in range(EVENTS)]
    assert "5 events may not have arrived, the last one 'event4': the close was cut short" in caplog.text
    assert len((await gameball.aclose()).undelivered) == EVENTS
