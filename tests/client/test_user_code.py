"""Callbacks, observers, log handlers and HTTP hooks may raise anything and call anything: the client goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from anyio.lowlevel import checkpoint

from gameball_async import AsyncGameball, Batching, DeliveryError, Dropped, Event, FlusherDied, GameballError, Observer
from gameball_async._engine.backends import interruption, running_task
from gameball_async._engine.callbacks import FailureCallbacks
from gameball_async.sandbox import Fault, Sandbox

from .support import QUICK, SOON, assert_conserved, client, until

pytestmark = pytest.mark.anyio


class Custom(BaseException):
    """A library's own, derived from BaseException so that nobody catches it."""


def trio_cancelled() -> BaseException:
    """A cancellation of trio that was kept, and belongs to no task any more."""
    kept: list[BaseException] = []

    async def cancel() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                kept.append(error)
                raise

    trio.run(cancel)
    return kept[0]


RAISED: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(1),
    "pytest.fail": lambda: pytest.fail.Exception("failed"),
    "pytest.exit": lambda: pytest.exit.Exception("left"),
    "asyncio.CancelledError": asyncio.CancelledError,
    "trio.Cancelled": trio_cancelled,
    "GeneratorExit": GeneratorExit,
    "BaseException": Custom,
    "a group": lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError("jon.snow@example.com")]),
}


@pytest.fixture(params=RAISED)
async def raised(request: pytest.FixtureRequest) -> BaseException:
    return await anyio.to_thread.run_sync(RAISED[request.param])


HOOKS = [name for name in vars(Observer) if name.startswith("on_")]


def hooks(call: Callable[[str], object]) -> Observer:
    """An observer each of whose methods calls something of the test's."""

    def hook(name: str) -> Callable[..., object]:
        def method(*_: object, **__: object) -> object:
            return call(name)

        method.__name__ = name
        return method

    methods: dict[str, object] = {name: hook(name) for name in HOOKS}
    observer: Observer = type("Hooks", (Observer,), methods)()
    return observer


@contextmanager
def log_handler(call: Callable[[], object], *, in_filter: bool = False) -> Generator[None]:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert record.getMessage()
            call()

        def filter(self, record: logging.LogRecord) -> bool:
            if in_filter:
                self.emit(record)
            return not in_filter

    handler, log = Handler(), logging.getLogger("gameball_async")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def connect(
    sandbox: Sandbox,
    *,
    observer: Observer | None = None,
    on_failure: Callable[[Event, DeliveryError], Awaitable[None] | None] | None = None,
    http_client: httpx.AsyncClient | None = None,
    batching: Batching = SOON,
) -> AsyncGameball:
    return AsyncGameball(
        "test-key",
        base_url=sandbox.url,
        batching=batching,
        retry=QUICK,
        rate=None,
        observer=observer,
        on_failure=on_failure,
        http_client=http_client,
    )


async def live_through_trouble(gameball: AsyncGameball, sandbox: Sandbox) -> None:
    """A refused event among others in flight, an outage and its end; the others arrive, each by one request."""
    sandbox.script(Fault.status(422, code=3003, events={"bad"}), Fault.latency(0.02))
    async with gameball:
        receipts = [await gameball.track(f"player{number}", "good") for number in range(5)]
        bad = await gameball.track("player", "bad")
        with pytest.raises(DeliveryError):
            await bad
        for receipt in receipts:
            delivered = await receipt
            assert (delivered.attempts, delivered.maybe_duplicate) == (1, False)
        sandbox.script(Fault.status(503, times=10))
        for number in range(10):
            await gameball.track(f"player{number}", "later")
        await gameball.flush()
        assert_conserved(gameball.stats())
        assert (gameball.stats().delivered, gameball.stats().rejected) == (15, 1)


# ---------------------------------------------------------------- raising


@pytest.mark.parametrize("how", ["function", "coroutine function", "coroutine function that waits"])
async def test_whatever_on_failure_raises_is_logged_and_harms_nothing(
    how: str, raised: BaseException, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def function(event: Event, _: DeliveryError) -> None:
        calls.append(event.name)
        raise raised

    async def coroutine_function(event: Event, error: DeliveryError) -> None:
        if how.endswith("waits"):
            await checkpoint()
        function(event, error)

    await live_through_trouble(
        connect(sandbox, on_failure=function if how == "function" else coroutine_function), sandbox
    )
    assert calls == ["bad"]
    assert f"on_failure raised {type(raised).__name__} for event 'bad'" in caplog.text
    assert "jon.snow" not in caplog.text
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("how", ["function", "coroutine function"])
async def test_on_failure_hears_of_every_event_at_the_close_whatever_it_raises(
    how: str, raised: BaseException, sandbox: Sandbox
) -> None:
    calls: list[str] = []

    def function(event: Event, _: DeliveryError) -> None:
        calls.append(event.name)
        raise raised

    async def coroutine_function(event: Event, error: DeliveryError) -> None:
        function(event, error)

    sandbox.script(Fault.hang())
    gameball = connect(sandbox, on_failure=function if how == "function" else coroutine_function)
    async with gameball:
        for number in range(5):
            await gameball.track("player", f"event{number}")
        report = await gameball.aclose(timeout=0)
    assert len(report.undelivered) == 5
    assert calls == [f"event{number}" for number in range(5)]


async def test_whatever_an_observer_raises_is_logged_and_harms_nothing(
    raised: BaseException, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    called: set[str] = set()

    def call(hook: str) -> None:
        called.add(hook)
        raise raised

    await live_through_trouble(connect(sandbox, observer=hooks(call)), sandbox)
    assert called == set(HOOKS) - {"on_job"}  # without bulk requests
    for hook in called:
        assert f"the observer's {hook} raised {type(raised).__name__}; this is logged once" in caplog.text
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("where", ["handler", "filter"])
async def test_whatever_a_log_handler_or_filter_raises_harms_nothing(
    where: str, raised: BaseException, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    def call() -> None:
        raise raised

    with log_handler(call, in_filter=where == "filter"):
        await live_through_trouble(connect(sandbox), sandbox)
    assert type(raised).__name__ in capsys.readouterr().err


@pytest.mark.parametrize("hook", ["request", "response", "transport"])
async def test_whatever_a_hook_of_the_users_http_client_raises_harms_no_event(
    hook: str, raised: BaseException, sandbox: Sandbox
) -> None:
    strikes = [raised]

    async def strike(*_: object) -> None:
        if strikes:
            await checkpoint()
            raise strikes.pop()

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await strike()
            return await super().handle_async_request(request)

    settings: dict[str, Any] = {"transport": Transport()} if hook == "transport" else {"event_hooks": {hook: [strike]}}
    async with (
        httpx.AsyncClient(trust_env=False, **settings) as http_client,
        connect(sandbox, http_client=http_client) as gameball,
    ):
        delivered = await (await gameball.track("player", "event"))
        # a response that has arrived is the answer, whatever a hook makes of it
        expected = (1, False) if hook == "response" else (2, True)
        assert (delivered.attempts, delivered.maybe_duplicate) == expected
        assert (await gameball.send("player", {"later": None})).attempts == 1


async def test_the_cancellation_of_the_task_itself_passes_through_user_code() -> None:
    """Otherwise a close could not end a callback that never returns."""
    ended: list[str] = []

    async def on_failure(*_: object) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()
        finally:
            ended.append("callback")

    failures = FailureCallbacks(on_failure)
    failures.add([Event("player", name, None, None, b"") for name in "ab"], DeliveryError("no"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(failures.report)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == ["callback"]
    assert len(failures) == 1


async def test_ctrl_c_passes_through_user_code() -> None:
    task = running_task()
    struck = KeyboardInterrupt()
    assert interruption(struck, task) is struck
    group = interruption(BaseExceptionGroup("several", [SystemExit(1), struck]), task)
    assert repr(group) == repr(BaseExceptionGroup("several", [struck]))
    for call in (_raise_interrupt, _raise_interrupt_later):
        failures = FailureCallbacks(call)
        failures.add([Event("player", "event", None, None, b"")], DeliveryError("no"))
        with pytest.raises(KeyboardInterrupt):
            await failures.report_queued()


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


async def _raise_interrupt_later(*_: object) -> None:
    await checkpoint()
    raise KeyboardInterrupt


async def test_a_callback_that_is_closed_with_its_loop_is_not_held_up() -> None:
    async def on_failure(*_: object) -> None:
        await checkpoint()

    failures = FailureCallbacks(on_failure)
    failures.add([Event("player", "event", None, None, b"")], DeliveryError("no"))
    reporting = failures.report_queued()
    reporting.send(None)
    await anyio.to_thread.run_sync(reporting.close)  # raises RuntimeError if it ignores GeneratorExit


# ---------------------------------------------------------------- calling


@pytest.mark.parametrize("action", ["tracks", "asks for stats", "flushes", "closes"])
@pytest.mark.parametrize("place", ["log handler", "observer", "function", "coroutine function"])
async def test_user_code_may_call_the_client_wherever_it_is_called(
    place: str, action: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are dropped, refused, delayed and delivered meanwhile, so that every place is reached."""
    calls: list[str] = []

    def track() -> None:
        if len(calls) < 500:
            gameball.track_nowait("tracker", f"tracked{len(calls) % 7}")

    async def flush() -> None:
        with suppress(GameballError):
            await gameball.flush(1)

    def close() -> None:
        if len(calls) == 20:
            tasks.start_soon(gameball.aclose)

    actions: dict[str, Callable[[], object]] = {
        "tracks": track,
        "asks for stats": lambda: None,
        "flushes": lambda: tasks.start_soon(flush),
        "closes": close,
    }

    def act(*_: object) -> None:
        calls.append(action)
        with suppress(GameballError):
            actions[action]()
        assert_conserved(gameball.stats())

    async def act_and_wait(*_: object) -> None:
        act()
        with suppress(GameballError):
            await gameball.track("tracker", "waited")
            await gameball.flush(1)

    batching = Batching(linger=0.005, buffer_events=5, when_full="drop_oldest")
    sandbox.script(
        Fault.status(422, code=3003, times=3), Fault.status(500, times=6), Fault.status(429, retry_after=0, times=2)
    )
    on_failure = {"function": act, "coroutine function": act_and_wait}.get(place)
    observer = hooks(act) if place == "observer" else None
    gameball = connect(sandbox, batching=batching, observer=observer, on_failure=on_failure)
    async with anyio.create_task_group() as tasks:
        with log_handler(act if place == "log handler" else list):
            async with gameball:
                with suppress(GameballError):
                    for number in range(60):
                        await gameball.track(f"player{number}", "event")
                        await checkpoint()
                    await gameball.flush(5)
    assert calls
    assert "crashed" not in caplog.text
    assert gameball.stats().pending == 0
    assert_conserved(gameball.stats())


async def test_a_log_handler_that_tracks_into_a_full_client_before_its_start_comes_to_an_end(sandbox: Sandbox) -> None:
    gameball = connect(sandbox, batching=Batching(buffer_events=1, when_full="drop_oldest"))
    with log_handler(lambda: gameball.track_nowait("log", "logged")):
        for _ in range(10):
            gameball.track_nowait("player", "event")
    assert gameball.stats().accepted < 20
    await gameball.aclose()


async def test_a_log_handler_that_hears_of_a_crash_finds_a_client_that_accepts_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[type[BaseException]] = []

    def track() -> None:
        try:
            gameball.track_nowait("log", "logged")
        except FlusherDied as error:
            heard.append(type(error))

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    gameball = client(sandbox)
    with log_handler(track):
        await gameball.start()
        monkeypatch.setattr(gameball._lifecycle.flusher.buffer, "take", crash)
        with pytest.raises(Dropped):
            await (await gameball.track("player", "event"))
        await gameball.aclose()
    assert heard
    assert set(heard) == {FlusherDied}
    assert gameball.stats().accepted == 1


async def test_an_observer_that_is_told_of_an_unfit_event_of_the_journal_sees_it_counted_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The next client's settings allow less than the event takes."""
    seen: list[int] = []
    sandbox.script(Fault.hang())
    async with client(sandbox, journal=tmp_path, batching=Batching(linger=0, max_events=1)) as gameball:
        await gameball.track("player", "event")  # in flight for ever, so that the next one is not sent
        await gameball.track("player", "event", {"text": "x" * 5000})
        await gameball.aclose(timeout=0)
    sandbox.script()
    second: AsyncGameball = AsyncGameball(
        "test-key",
        base_url=sandbox.url,
        journal=tmp_path,
        batching=Batching(max_bytes=4096),
        observer=hooks(lambda hook: seen.append(second.stats().accepted) if hook == "on_settled" else None),
    )
    async with second:
        await until(lambda: second.stats().dropped)
    assert seen == [2, 2]  # the first is delivered
