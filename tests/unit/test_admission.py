"""The queue before a full buffer: first come, first served, cancellable anywhere, bounded in time; on both loops."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.abc
import pytest

from gameball_async import ClientClosed
from gameball_async._engine.admission import FairQueue

pytestmark = pytest.mark.anyio


class Room:
    """A number of seats, and producers who want one each."""

    tasks: anyio.abc.TaskGroup

    def __init__(self) -> None:
        self.admission = FairQueue()
        self.seats = 0
        self.closed = False
        self.admitted: list[int] = []
        self.refused: list[int] = []
        self.failed: list[int] = []
        self.tries = 0

    def attempt(self, who: int) -> Callable[[], int | None]:
        def take_a_seat() -> int | None:
            self.tries += 1
            if self.closed:
                raise ClientClosed("closed")
            if not self.seats:
                return None
            self.seats -= 1
            return who

        return take_a_seat

    async def come(self, who: int, timeout: float = 60.0) -> anyio.CancelScope:  # noqa: ASYNC109 what is tested
        """Let one more producer queue up."""
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                try:
                    admitted = await self.admission.wait_for(self.attempt(who), timeout)
                except ClientClosed:
                    self.failed.append(who)
                else:
                    (self.refused if admitted is None else self.admitted).append(who)

        self.tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        return scope

    async def make_room(self, seats: int) -> None:
        self.seats += seats
        self.admission.room_made()
        await anyio.wait_all_tasks_blocked()


async def test_nobody_waits_for_an_empty_queue() -> None:
    admission = FairQueue()

    assert not admission.turns
    admission.room_made()
    admission.dismiss()
    assert not admission.turns


async def test_producers_are_admitted_in_the_order_in_which_they_came() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        for who in range(5):
            await room.come(who)
        assert room.admission.turns
        assert room.admitted == []

        await room.make_room(2)
        assert room.admitted == [0, 1]
        await room.make_room(3)

    assert room.admitted == [0, 1, 2, 3, 4]
    assert not room.admission.turns


async def test_who_finds_no_room_keeps_the_first_place() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        for who in range(3):
            await room.come(who)

        await room.make_room(0)
        await room.make_room(0)
        assert room.tries == 2
        await room.make_room(1)
        assert room.admitted == [0]
        await room.make_room(2)

    assert room.admitted == [0, 1, 2]


async def test_only_the_first_is_woken() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        for who in range(100):
            await room.come(who)

        await room.make_room(0)

        assert room.tries == 1
        room.tasks.cancel_scope.cancel()


@pytest.mark.parametrize("position", range(4))
async def test_whoever_is_cancelled_the_others_are_admitted_in_order(position: int) -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        scopes = [await room.come(who) for who in range(4)]

        scopes[position].cancel()
        await anyio.wait_all_tasks_blocked()
        await room.make_room(4)

    assert room.admitted == [who for who in range(4) if who != position]
    assert room.seats == 1
    assert not room.admission.turns


@pytest.mark.parametrize("position", range(4))
async def test_a_turn_given_to_one_who_is_cancelled_at_that_moment_is_not_lost(position: int) -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        scopes = [await room.come(who) for who in range(4)]

        room.seats = 4
        room.admission.room_made()
        scopes[position].cancel()
        await anyio.wait_all_tasks_blocked()

    # who had its turn already may be admitted all the same; then it has its seat
    assert [who for who in room.admitted if who != position] == [who for who in range(4) if who != position]
    assert room.seats + len(room.admitted) == 4


async def test_everybody_cancelled_leaves_an_empty_queue() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        for who in range(4):
            await room.come(who)
        room.tasks.cancel_scope.cancel()

    assert not room.admission.turns
    assert room.admitted == []


async def test_who_waited_long_enough_goes_without() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        began = anyio.current_time()
        await room.come(0, timeout=5.0)
        await room.come(1, timeout=60.0)
        with anyio.CancelScope(deadline=began + 10.0):
            await anyio.sleep_forever()
        assert room.refused == [0]

        await room.make_room(2)

    assert room.admitted == [1]


async def test_a_timeout_of_nothing_does_not_wait() -> None:
    admission = FairQueue()
    before = anyio.current_time()

    assert await admission.wait_for(lambda: 1, 0.0) is None

    assert anyio.current_time() == before
    assert not admission.turns


async def test_an_attempt_that_raises_passes_the_turn_on() -> None:
    room = Room()
    raised: list[ValueError] = []

    def fail() -> int | None:
        raise ValueError("bad")

    async def come_and_fail() -> None:
        try:
            await room.admission.wait_for(fail, 60.0)
        except ValueError as error:
            raised.append(error)

    async with anyio.create_task_group() as room.tasks:
        room.tasks.start_soon(come_and_fail)
        await anyio.wait_all_tasks_blocked()
        await room.come(1)
        await room.make_room(1)

    assert len(raised) == 1
    assert room.admitted == [1]


async def test_after_a_dismissal_everyone_learns_at_once_that_there_will_be_no_room() -> None:
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        for who in range(5):
            await room.come(who)

        room.closed = True
        room.admission.dismiss()

    assert sorted(room.failed) == [0, 1, 2, 3, 4]
    assert room.tries == 5
    assert not room.admission.turns


async def test_a_newcomer_during_a_turn_does_not_overtake() -> None:
    """Room was made for the first in the queue; whoever comes before it runs must queue up behind it."""
    room = Room()
    async with anyio.create_task_group() as room.tasks:
        await room.come(0)

        room.seats = 1
        room.admission.room_made()
        assert room.admission.turns
        await room.come(1)
        assert room.admitted == [0]
        await room.make_room(1)

    assert room.admitted == [0, 1]
