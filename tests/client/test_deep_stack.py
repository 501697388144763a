"""Calls a few frames below the recursion limit: each either raises and changes nothing, or has its whole effect."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gameball_async import AsyncGameball, Batching, EventDraft, ObservedClient, Observer, Receipt
from gameball_async.sandbox import Fault, Sandbox

from .support import assert_conserved, client, until

pytestmark = pytest.mark.anyio

_T = TypeVar("_T")

LEFT = (*range(1, 40), *range(40, 131, 6))
"""Frames that a call has left: each number with which it may fail half-way, and some with which it is refused early."""


def below(frames: int, call: Callable[[], _T]) -> _T:
    """Call a function so many frames further down."""
    return below(frames - 1, call) if frames else call()


async def awaited_below(frames: int, call: Callable[[], Awaitable[_T]]) -> _T:
    return await awaited_below(frames - 1, call) if frames else await call()


def deepest() -> int:
    """The greatest number of frames that `below` can go from its caller."""
    frames = sys.getrecursionlimit()
    while True:
        try:
            below(frames, bool)
        except RecursionError:
            frames -= 1
        else:
            return frames


class Accepted:
    """What was accepted, and a number for each event.

    Args:
        gameball: the client.
        is_awaited: whether `track` is called, rather than `track_nowait`.

    Attributes:
        deepest: frames that a call may have left, at most.
    """

    def __init__(self, gameball: AsyncGameball, *, is_awaited: bool = False) -> None:
        self.gameball = gameball
        self.receipts: dict[int, Receipt] = {}
        self.calls = 0
        self._is_awaited = is_awaited
        self.deepest = deepest() - 4  # the frames between `try_with` and the call

    async def try_with(self, left: int, player: str, name: str, **contact: str) -> Receipt | None:
        """Track with so many frames left; None if that raised."""
        self.calls += 1
        number, frames = self.calls, self.deepest - left

        def track_nowait() -> Receipt:
            return self.gameball.track_nowait(player, name, {"number": number}, **contact)

        def track() -> Awaitable[Receipt]:
            return self.gameball.track(player, name, {"number": number}, **contact)

        try:
            receipt = await awaited_below(frames, track) if self._is_awaited else below(frames, track_nowait)
            self.receipts[number] = receipt
        except RecursionError:
            pass
        stats = self.gameball.stats()
        assert_conserved(stats)
        assert stats.accepted == len(self.receipts)
        return self.receipts.get(number)

    async def settle(self, sandbox: Sandbox) -> None:
        """Check that everything that was accepted is delivered, and nothing else."""
        await self.gameball.flush()
        for receipt in self.receipts.values():
            await receipt
        held = [event.metadata["number"] for events in sandbox.holdings().values() for event in events]
        assert sorted(held) == sorted(self.receipts)
        assert len(held) < self.calls  # some calls had too little stack
        assert held  # and some had not
        stats = self.gameball.stats()
        assert (stats.pending, stats.buffered_bytes) == (0, 0)


@pytest.mark.parametrize("is_awaited", [False, True], ids=["track_nowait", "track"])
async def test_an_accepted_event_wakes_a_client_that_waits(sandbox: Sandbox, *, is_awaited: bool) -> None:
    async with client(sandbox, batching=Batching(linger=0)) as gameball:
        accepted = Accepted(gameball, is_awaited=is_awaited)
        for left in LEFT:
            if (receipt := await accepted.try_with(left, f"player{left}", "review")) is not None:
                await receipt  # nothing else would wake it
        await accepted.settle(sandbox)


@pytest.mark.parametrize("is_awaited", [False, True], ids=["track_nowait", "track"])
@pytest.mark.parametrize("has_journal", [False, True], ids=["memory", "journal"])
async def test_events_that_wait_are_counted_exactly(
    sandbox: Sandbox, tmp_path: Path, *, has_journal: bool, is_awaited: bool
) -> None:
    journal, batching = tmp_path if has_journal else None, Batching(linger=3600, max_events=3)
    async with client(sandbox, batching=batching, journal=journal) as gameball:
        accepted = Accepted(gameball, is_awaited=is_awaited)
        far = accepted.deepest - 10
        for left in LEFT:
            await accepted.try_with(left, f"new{left}", "first")
            await accepted.try_with(far, f"filled{left}", "first")
            for name in ("second", "third", "fourth"):  # merges, fills the batch, begins another
                await accepted.try_with(left, f"filled{left}", name)
            await accepted.try_with(far, f"contact{left}", "first")
            await accepted.try_with(left, f"contact{left}", "second", email="ann@example.com")
            await accepted.try_with(left, f"contact{left}", "third", email="bob@example.com")
        await accepted.settle(sandbox)


class Tracks(Observer):
    def __init__(self) -> None:
        self.seen = 0

    def on_track(self, client: ObservedClient, name: str) -> None:  # noqa: ARG002 the port's
        self.seen += 1


async def test_an_observer_sees_each_accepted_event(sandbox: Sandbox) -> None:
    tracks = Tracks()
    async with AsyncGameball("key", base_url=sandbox.url, rate=None, observer=tracks) as gameball:
        accepted = Accepted(gameball)
        for left in LEFT:
            await accepted.try_with(left, "player123", f"event{left}")
            assert tracks.seen == len(accepted.receipts)
        await accepted.settle(sandbox)


async def test_each_dropped_event_is_given_to_on_failure(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    failed: list[Any] = []
    batching = Batching(linger=3600, buffer_events=2, when_full="drop_oldest")
    async with client(sandbox, batching=batching, on_failure=lambda event, _: failed.append(event)) as gameball:
        accepted = Accepted(gameball)
        for left in LEFT:
            await accepted.try_with(left, f"player{left}", "review")
        await until(lambda: len(failed) == len(accepted.receipts) - 2)
        assert gameball.stats().dropped == len(failed)
        await gameball.aclose(timeout=0)
    assert len(failed) == len(accepted.receipts) < accepted.calls


async def test_a_close_begins_or_raises(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    async with client(sandbox, batching=Batching(linger=0)) as gameball:
        await gameball.track("player123", "review")
        frames, report, raised = deepest(), None, 0
        for left in LEFT:
            try:
                report = await awaited_below(frames - left, lambda: gameball.aclose(timeout=0.01))
            except RecursionError:
                raised += 1
                await gameball.track("player123", f"event{left}")  # not closed, not even in part
            else:
                break
        assert report is not None
        assert len(report.undelivered) == gameball.stats().accepted == 1 + raised


async def test_a_hook_that_tracks_without_end_loses_no_count(sandbox: Sandbox) -> None:
    def track_again(draft: EventDraft) -> EventDraft:
        gameball.track_nowait("player123", "inner")
        return draft

    gameball = AsyncGameball("key", base_url=sandbox.url, rate=None, before_send=track_again)
    async with gameball:
        receipt = gameball.track_nowait("player123", "outer")
        assert_conserved(gameball.stats())
        await gameball.flush()
        outcomes = gameball.stats()
        assert outcomes.delivered
        assert outcomes.dropped
        assert outcomes.pending == outcomes.buffered_bytes == 0
        assert (await receipt).status == 200
        assert sum(map(len, sandbox.holdings().values())) == outcomes.delivered
