"""Virtual time: an hour costs nothing, a deadlock is an error at once, and so is a loop that never waits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from .loops import BACKENDS, START, Keeper, run


class _Watched:
    """Runs a function in virtual time, and keeps what the keeper said."""

    def __init__(self, backend: str) -> None:
        self.said: list[str] = []
        self.idle_at: list[float] = []
        self._backend = backend
        self._scope: anyio.CancelScope | None = None
        self._keeper = Keeper(lambda: self.idle_at.append(self._keeper.now), self._stuck)

    def _stuck(self, what: str) -> None:
        self.said.append(what)
        assert self._scope is not None
        self._scope.cancel()

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def scoped() -> None:
            with anyio.CancelScope() as self._scope:
                await main()
            self._keeper.is_over = True

        run(scoped, self._backend, self._keeper, seed=0)


@pytest.fixture(params=BACKENDS)
def watched(request: pytest.FixtureRequest) -> _Watched:
    return _Watched(request.param)


def test_a_day_passes_in_no_time(watched: _Watched) -> None:
    async def main() -> None:
        await anyio.sleep(86_400)
        assert anyio.current_time() == START + 86_400

    began = time.monotonic()
    watched.run(main)
    assert time.monotonic() - began < 60
    assert watched.said == []


def test_time_moves_from_timer_to_timer(watched: _Watched) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (3, 1, 2, 2):
                tasks.start_soon(anyio.sleep, seconds)

    watched.run(main)
    assert [at - START for at in watched.idle_at] == [0, 1, 2]


def test_a_deadlock_is_reported_with_who_waits(watched: _Watched) -> None:
    async def waits_for_ever() -> None:
        await anyio.Event().wait()

    watched.run(waits_for_ever)
    assert len(watched.said) == 1
    assert watched.said[0].startswith("deadlock")
    assert "waits_for_ever" in watched.said[0]


def test_a_livelock_is_reported(watched: _Watched) -> None:
    async def spins() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    watched.run(spins)
    assert len(watched.said) == 1
    assert watched.said[0].startswith("livelock")
