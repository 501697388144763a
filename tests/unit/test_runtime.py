"""The loop that a client lives in: its clock, its identity, its background task; asyncio and trio alike."""

from __future__ import annotations

import contextvars
import gc

import anyio
import anyio.to_thread
import pytest

from gameball_async import ClientClosed, FlusherDied
from gameball_async._engine import backends
from gameball_async._engine.backends import AsyncioBackend, Backend, Signal, TrioBackend, current_backend

pytestmark = pytest.mark.anyio

callers_variable = contextvars.ContextVar("callers_variable", default="nothing")


async def test_the_runtime_is_that_of_the_loop(anyio_backend_name: str) -> None:
    expected = {"asyncio": AsyncioBackend, "trio": TrioBackend}[anyio_backend_name]

    assert type(current_backend()) is expected


async def test_the_clock_is_the_loops() -> None:
    runtime = current_backend()

    before = runtime.now()
    await anyio.sleep(3600)

    assert runtime.now() - before == pytest.approx(3600)
    assert runtime.now() == anyio.current_time()


async def test_a_loop_is_current_in_its_own_thread_alone() -> None:
    runtime = current_backend()

    assert (runtime.is_current, runtime.is_own_thread) == (True, True)
    elsewhere = await anyio.to_thread.run_sync(lambda: (runtime.is_current, runtime.is_own_thread))
    assert elsewhere == (False, False)


async def test_another_loop_is_not_current(anyio_backend_name: str) -> None:
    runtime = current_backend()

    async def look() -> tuple[bool, bool]:
        return runtime.is_current, current_backend().is_current

    def run_another() -> tuple[bool, bool]:
        return anyio.run(look, backend=anyio_backend_name)

    assert await anyio.to_thread.run_sync(run_another) == (False, True)


async def test_outside_of_any_loop_there_is_no_runtime() -> None:
    with pytest.raises(anyio.NoEventLoopError):
        await anyio.to_thread.run_sync(_current_runtime_in_a_bare_thread)


def _current_runtime_in_a_bare_thread() -> Backend:
    return contextvars.Context().run(current_backend)


async def test_the_background_task_does_not_inherit_the_callers_variables() -> None:
    seen: list[str] = []
    done = anyio.Event()

    async def main() -> None:
        seen.append(callers_variable.get())
        done.set()

    callers_variable.set("a request's secret")
    current_backend().spawn(main)
    await done.wait()

    assert seen == ["nothing"]


async def test_the_background_task_is_kept_alive_though_nobody_else_holds_it() -> None:
    """An asyncio loop itself keeps only weak references to its tasks."""
    ended: list[str] = []

    async def main() -> None:
        try:
            await anyio.Event().wait()  # known to this task alone
        finally:
            ended.append("collected as garbage")

    current_backend().spawn(main)
    await anyio.wait_all_tasks_blocked()
    gc.collect()

    assert ended == []


async def test_another_thread_can_run_something_in_the_loop_and_wait_for_it() -> None:
    runtime = current_backend()

    async def answer() -> bool:
        await anyio.lowlevel.checkpoint()
        return runtime.is_current

    assert await anyio.to_thread.run_sync(runtime.run_from_thread, answer) is True


def test_a_thread_that_outlives_the_loop_is_told_so(anyio_backend_name: str) -> None:
    runtimes: list[Backend] = []

    async def live() -> None:
        runtimes.append(current_backend())

    anyio.run(live, backend=anyio_backend_name)

    with pytest.raises(FlusherDied, match="has ended"):
        runtimes[0].run_from_thread(live)


def test_a_thread_waits_as_long_as_the_loop_lives_and_hears_what_was_raised(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_LOOK", 0.01)

    async def refuse() -> None:
        await anyio.sleep(0.05)
        raise ClientClosed("closed meanwhile")

    async def live() -> None:
        runtime = current_backend()
        with pytest.raises(ClientClosed, match="closed meanwhile"):
            await anyio.to_thread.run_sync(runtime.run_from_thread, refuse)

    anyio.run(live, backend=anyio_backend_name)


async def test_a_signal_wakes_the_task_that_awaits_it_whenever_it_is_set() -> None:
    runtime = current_backend()
    early, late = runtime.new_signal(), runtime.new_signal()

    early.set_result(None)
    await early
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_awaiting, late)
        await anyio.lowlevel.checkpoint()
        assert not late.done()
        late.set_result(None)
    assert late.done()


async def _awaiting(signal: Signal) -> None:
    await signal
