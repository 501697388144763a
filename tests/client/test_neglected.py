"""A client that is never started or never closed says so in the log, with the number of its events."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from gameball_async import AsyncGameball, Batching, Dropped, Event, OutcomeUnknown
from gameball_async import _log as reminders
from gameball_async.sandbox import Fault, Sandbox

from .support import client, until

LINGERING = Batching(linger=3600)
STOPPED = "whose event loop has ended, or whose task was cancelled: await aclose(), which delivers what is left."
NOT_CLOSED = "the client was not closed before its event loop ended (use `async with`, or await aclose())"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.levelno >= logging.WARNING
    ]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Without the warnings, which come first if a slow machine has kept the client for seconds."""
    return [line for line in lines(caplog) if line.startswith("ERROR")]


def unstarted(events: int = 3) -> AsyncGameball:
    gameball = AsyncGameball("test-key")
    for number in range(events):
        gameball.track_nowait("player", f"event{number}")
    return gameball


def drop(gameballs: list[AsyncGameball]) -> None:
    """Let the garbage collection have them; their ResourceWarning is expected."""
    with pytest.warns(ResourceWarning, match="was not closed"):
        _clear(gameballs)


def _clear(gameballs: list[AsyncGameball]) -> None:
    gameballs.clear()
    gc.collect()


# ---------------------------------------------------------------- events that wait for a start


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at once whether events wait in an unstarted client, instead of after seconds."""
    monkeypatch.setattr(reminders, "DELAY", 0)


@pytest.mark.anyio
@pytest.mark.usefixtures("at_once")
async def test_events_that_wait_in_an_unstarted_client_are_logged_while_a_loop_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gameballs = [unstarted(1)]
    await until(lambda: lines(caplog))
    assert lines(caplog) == [
        "WARNING 1 event is waiting in a client that was not started: use `async with`, or await start()."
    ]
    caplog.clear()
    drop(gameballs)


@pytest.mark.usefixtures("at_once")
def test_events_that_wait_in_an_unstarted_client_are_logged_without_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    gameballs = [unstarted()]
    while not lines(caplog):
        threading.Event().wait(0.001)
    assert re.match(r"WARNING \d events? (is|are) waiting in a client that was not started", lines(caplog)[0])
    drop(gameballs)


@pytest.mark.anyio
async def test_a_client_that_was_started_in_time_is_not_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    gameball = client(sandbox, batching=LINGERING)
    gameball.track_nowait("player", "event")
    async with gameball:
        gameball._lifecycle._log_waiting()
    gameball._lifecycle._log_waiting()
    assert lines(caplog) == []


def test_one_thread_looks_after_all_clients_and_keeps_none_of_them_alive(caplog: pytest.LogCaptureFixture) -> None:
    gameballs = [unstarted(1) for _ in range(50)]
    assert sum(thread.name == "gameball-reminder" for thread in threading.enumerate()) == 1
    drop(gameballs)
    assert errors(caplog) == 50 * [
        "ERROR the client was not started (use `async with`, or await start()); 1 event is lost."
    ]


def test_where_no_thread_can_be_started_tracking_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("gameball_async._engine.lifecycle.reminder", reminders.Reminder())
    gameballs = [unstarted()]
    assert gameballs[0].stats().accepted == 3
    drop(gameballs)


@pytest.mark.usefixtures("at_once")
def test_events_that_wait_after_their_loop_has_ended_are_logged(
    sandbox: Sandbox, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    gameball = client(sandbox, batching=LINGERING)

    async def live() -> None:
        await gameball.start()
        await gameball.track("player", "event")

    anyio.run(live, backend=anyio_backend)
    while not lines(caplog):
        threading.Event().wait(0.001)
    assert lines(caplog) == [f"WARNING 1 event is waiting in a client {STOPPED}"]
    anyio.run(gameball.aclose, backend=anyio_backend)
    assert [event.name for event in sandbox.holdings()["player"]] == ["event"]


# ---------------------------------------------------------------- the garbage collection


def test_what_a_collected_client_held_is_logged_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    drop([unstarted(3)])
    assert errors(caplog) == [
        "ERROR the client was not started (use `async with`, or await start()); 3 events are lost."
    ]


@pytest.mark.anyio
async def test_a_client_that_was_closed_or_not_used_is_not_logged(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    AsyncGameball("test-key")
    async with client(sandbox) as gameball:
        await gameball.track("player", "event")
    del gameball
    gc.collect()
    assert lines(caplog) == []


@pytest.mark.parametrize("has_journal", [False, True], ids=["in memory", "with a journal"])
@pytest.mark.parametrize("is_in_flight", [False, True])
def test_a_client_that_was_dropped_is_settled_when_its_loop_ends(
    *,
    is_in_flight: bool,
    has_journal: bool,
    sandbox: Sandbox,
    anyio_backend: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    failed: list[tuple[str, type[Exception]]] = []
    sandbox.script(Fault.hang())

    def on_failure(event: Event, error: Exception) -> None:
        failed.append((event.name, type(error)))

    async def forget() -> None:
        gameball = client(
            sandbox,
            batching=Batching(linger=0 if is_in_flight else 3600),
            on_failure=on_failure,
            journal=tmp_path if has_journal else None,
        )
        await gameball.start()
        await gameball.track("player", "event")
        if is_in_flight:
            await anyio.to_thread.run_sync(lambda: sandbox.wait_for(lambda tally: tally.in_flight == 1))

    with pytest.warns(ResourceWarning, match="was not closed"):
        anyio.run(forget, backend=anyio_backend)
    (line,) = lines(caplog)
    if has_journal:
        assert line.startswith(f"WARNING {NOT_CLOSED}")
        assert line.endswith("; 1 event is kept in the journal for the next client.")
        assert failed == []
    elif is_in_flight:
        assert line.startswith(f"ERROR 1 event may not have arrived, 'event': {NOT_CLOSED}, after an attempt")
        assert failed == [("event", OutcomeUnknown)]
    else:
        assert line.startswith(f"ERROR 1 event will not arrive, 'event': {NOT_CLOSED}: ")
        assert failed == [("event", Dropped)]


def test_a_client_that_outlives_a_closed_loop_is_logged_when_it_is_collected(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    gameballs = [client(sandbox, batching=LINGERING)]

    async def live() -> None:
        await gameballs[0].start()
        await gameballs[0].track("player", "event")

    asyncio.run(live())
    drop(gameballs)
    assert lines(caplog) == [f"ERROR {NOT_CLOSED}; 1 event is lost."]


# ---------------------------------------------------------------- whole programs

BEGIN = """
    import asyncio, os, sys
    import anyio, trio
    from gameball_async import AsyncGameball, Batching

    def new():
        return AsyncGameball("key", base_url=sys.argv[1], batching=Batching(linger=3600))

    async def track(gameball):
        for number in range(3):
            await gameball.track("player", f"event{number}")

    async def start_and_track(gameball):
        await gameball.start()
        await track(gameball)
"""

NOT_STARTED = "the client was not started (use `async with`, or await start()); 3 events are lost."
SETTLED = f"3 events will not arrive, the last one 'event2': {NOT_CLOSED}: track it again if it still matters."
LOST = f"{NOT_CLOSED}; 3 events are lost."

TRACKS = "for n in range(3): gameball.track_nowait('player', f'event{n}')"
FORKS = "if not os.fork(): sys.exit()"
FUNCTION = "async def f(): await start_and_track(new())"
LOOP = "loop = asyncio.new_event_loop()"

PROGRAMS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "a client of a module, not started": (("gameball = new()", "asyncio.run(track(gameball))"), [NOT_STARTED]),
    "the same without a loop": (("gameball = new()", TRACKS), [NOT_STARTED]),
    "a client of a function, not started": (("async def f(): await track(new())", "asyncio.run(f())"), [NOT_STARTED]),
    "the same with trio": (("async def f(): await track(new())", "trio.run(f)"), [NOT_STARTED]),
    "a client of a module, not closed": (("gameball = new()", "asyncio.run(start_and_track(gameball))"), [LOST]),
    "the same with trio, not closed": (("gameball = new()", "trio.run(start_and_track, gameball)"), [LOST]),
    "a client of a function, not closed": ((FUNCTION, "asyncio.run(f())"), [SETTLED]),
    "the same with uvloop, not closed": (
        (FUNCTION, "anyio.run(f, backend_options={'use_uvloop': True})"),
        [SETTLED],
    ),
    "the same with trio, dropped": ((FUNCTION, "trio.run(f)"), [SETTLED]),
    "a loop that stops and is not closed": (
        ("gameball = new()", LOOP, "loop.run_until_complete(start_and_track(gameball))"),
        [LOST],
    ),
    "a client dropped by a loop that stops": ((LOOP, "loop.run_until_complete(start_and_track(new()))"), [LOST]),
    "a forked child": (("gameball = new()", TRACKS, FORKS, "os.wait()"), [NOT_STARTED]),
    "a client that was closed": (
        ("async def f():", "    async with new() as gameball: await track(gameball)", "asyncio.run(f())"),
        [],
    ),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_without_a_logging_configuration_hears_of_it_once(program: str, sandbox: Sandbox) -> None:
    code, expected = PROGRAMS[program]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGIN) + "\n".join(code), sandbox.url],
        capture_output=True,
        text=True,
        check=True,
    )
    heard = [line for line in run.stderr.splitlines() if "event" in line and "Task was destroyed" not in line]
    assert heard == expected


def test_a_script_that_blocks_hears_within_seconds_that_its_events_wait(sandbox: Sandbox) -> None:
    code = textwrap.dedent(BEGIN) + "gameball = new(); gameball.track_nowait('p', 'event'); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, sandbox.url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        line = process.stderr.readline()
        process.stdin.close()
    assert line == "1 event is waiting in a client that was not started: use `async with`, or await start().\n"
