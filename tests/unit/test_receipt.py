"""Outcomes and receipts: shared by a batch, moved with an event, awaited by anybody, on both loops."""

from __future__ import annotations

import random

import anyio
import anyio.abc
import attrs
import pytest

from gameball_async import Delivered, DeliveryError, Dropped, DropReason, OutcomeUnknown, Receipt, Rejected, Stats
from gameball_async._core.receipts import Notifier, Outcome, SharedOutcome

DELIVERED = Delivered(status=200)
REJECTED = Rejected("no", status=422, code=3003)
ERRORS: list[DeliveryError] = [REJECTED, Dropped("late", reason=DropReason.EXPIRED), OutcomeUnknown("who knows")]


# ---------------------------------------------------------------- without waiting


def test_a_pending_event_has_no_outcome() -> None:
    shared = SharedOutcome()

    assert shared.outcome_of("a") is None
    assert not Receipt(shared, "a").done


def test_one_batch_shares_one_outcome() -> None:
    shared = SharedOutcome()

    shared.settle(DELIVERED)

    assert [shared.outcome_of(name) for name in "abc"] == [DELIVERED] * 3
    assert Receipt(shared, "a").done


def test_an_outcome_is_settled_once() -> None:
    shared = SharedOutcome()
    shared.settle(DELIVERED)

    with pytest.raises(AssertionError):
        shared.settle(REJECTED)


def test_a_moved_event_has_the_outcome_of_where_it_is() -> None:
    shared, elsewhere = SharedOutcome(), SharedOutcome()

    shared.move(["a"], elsewhere)
    shared.settle(DELIVERED)

    assert (shared.outcome_of("a"), shared.outcome_of("b")) == (None, DELIVERED)
    elsewhere.settle(REJECTED)
    assert (shared.outcome_of("a"), shared.outcome_of("b")) == (REJECTED, DELIVERED)


def test_splits_of_splits_are_followed_to_the_end() -> None:
    names = [f"event{number}" for number in range(64)]
    whole = SharedOutcome()
    receipts = {name: Receipt(whole, name) for name in names}

    def split(shared: SharedOutcome, held: list[str]) -> None:
        if len(held) == 1:
            shared.settle(Delivered(status=200, attempts=int(held[0].removeprefix("event")) + 1))
            return
        for half in (held[: len(held) // 2], held[len(held) // 2 :]):
            part = SharedOutcome()
            shared.move(half, part)
            split(part, half)

    split(whole, names)

    attempts = {name: receipt._shared.outcome_of(name) for name, receipt in receipts.items()}
    assert attempts == {f"event{number}": Delivered(status=200, attempts=number + 1) for number in range(64)}


def test_a_receipt_shows_its_event_and_whether_it_is_done() -> None:
    shared = SharedOutcome()
    receipt = Receipt(shared, "review")

    assert repr(receipt) == "<Receipt 'review' pending>"
    shared.settle(DELIVERED)
    assert repr(receipt) == "<Receipt 'review' done>"


def test_a_receipt_cannot_be_changed_into_something_else() -> None:
    with pytest.raises(AttributeError):
        Receipt(SharedOutcome(), "review").note = 1  # type: ignore[attr-defined]


def test_an_outcome_is_a_value() -> None:
    assert Delivered(status=200) == Delivered(status=200, attempts=1, maybe_duplicate=False)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DELIVERED.attempts = 2  # type: ignore[misc]


# ---------------------------------------------------------------- waiting

pytestmark = pytest.mark.anyio


class Waiters:
    """Tasks that await receipts, and what came of it."""

    tasks: anyio.abc.TaskGroup

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    async def add(self, receipt: Receipt) -> anyio.CancelScope:
        """Start one more and let it come to its wait."""
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                try:
                    self.outcomes.append(await receipt)
                except DeliveryError as error:
                    self.outcomes.append(error)

        self.tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        return scope


async def test_a_receipt_that_is_done_does_not_wait() -> None:
    shared = SharedOutcome()
    shared.settle(DELIVERED)
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert await Receipt(shared, "a") is DELIVERED


@pytest.mark.parametrize("error", ERRORS)
async def test_a_failure_is_raised(error: DeliveryError) -> None:
    shared = SharedOutcome()
    shared.settle(error)

    with pytest.raises(type(error)) as caught:
        await Receipt(shared, "a")

    assert caught.value is error


async def test_a_shared_error_does_not_grow_with_each_who_sees_it() -> None:
    shared = SharedOutcome()
    shared.settle(REJECTED)
    depths = set[int]()

    for _ in range(5):
        with pytest.raises(Rejected) as caught:
            await Receipt(shared, "a")
        depths.add(len(caught.traceback))

    assert len(depths) == 1


async def test_several_tasks_may_await_one_receipt_and_more_than_once() -> None:
    shared = SharedOutcome()
    receipt = Receipt(shared, "a")
    waiters = Waiters()
    async with anyio.create_task_group() as waiters.tasks:
        for _ in range(3):
            await waiters.add(receipt)
        await waiters.add(Receipt(shared, "b"))
        assert waiters.outcomes == []

        shared.settle(DELIVERED)

    assert waiters.outcomes == [DELIVERED] * 4
    assert await receipt is DELIVERED


async def test_who_waits_for_a_moved_event_waits_on_where_it_is() -> None:
    shared, elsewhere, farther = SharedOutcome(), SharedOutcome(), SharedOutcome()
    waiters = Waiters()
    async with anyio.create_task_group() as waiters.tasks:
        await waiters.add(Receipt(shared, "a"))
        shared.move(["a"], elsewhere)
        shared.settle(DELIVERED)
        await anyio.wait_all_tasks_blocked()
        assert waiters.outcomes == []

        elsewhere.move(["a"], farther)
        await anyio.wait_all_tasks_blocked()
        farther.settle(REJECTED)

    assert waiters.outcomes == [REJECTED]


async def test_who_waits_follows_several_moves_made_at_once() -> None:
    shared, elsewhere, farther = SharedOutcome(), SharedOutcome(), SharedOutcome()
    waiters = Waiters()
    async with anyio.create_task_group() as waiters.tasks:
        await waiters.add(Receipt(shared, "a"))

        shared.move(["a"], elsewhere)
        elsewhere.move(["a"], farther)
        farther.settle(DELIVERED)
        elsewhere.settle(REJECTED)

    assert waiters.outcomes == [DELIVERED]


async def test_a_waiter_that_is_cancelled_disturbs_neither_the_others_nor_the_event() -> None:
    shared = SharedOutcome()
    waiters = Waiters()
    async with anyio.create_task_group() as waiters.tasks:
        scopes = [await waiters.add(Receipt(shared, "a")) for _ in range(3)]

        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        shared.settle(DELIVERED)

    assert waiters.outcomes == [DELIVERED] * 2
    assert await Receipt(shared, "a") is DELIVERED


@pytest.mark.parametrize("seed", range(5))
async def test_any_moves_between_any_waits_bring_everyone_its_outcome(seed: int) -> None:
    pick = random.Random(seed)
    root = SharedOutcome()
    holders: dict[str, SharedOutcome] = dict.fromkeys("abcdefgh", root)
    waiters = Waiters()
    async with anyio.create_task_group() as waiters.tasks:
        for _ in range(30):
            name = pick.choice(list(holders))
            if pick.random() < 0.5:
                await waiters.add(Receipt(root, name))
            else:
                to = SharedOutcome()
                holders[name].move([name], to)
                holders[name] = to
        assert waiters.outcomes == []
        for shared in set(holders.values()):
            shared.settle(DELIVERED)

    assert set(waiters.outcomes) == {DELIVERED}


# ---------------------------------------------------------------- the bell


async def test_a_bell_wakes_everyone_who_waits_and_nobody_later() -> None:
    bell, woken = Notifier(), list[str]()

    async def wait(who: str) -> None:
        await bell.wait()
        woken.append(who)

    async with anyio.create_task_group() as tasks:
        bell.ring()
        tasks.start_soon(wait, "first")
        tasks.start_soon(wait, "second")
        await anyio.wait_all_tasks_blocked()
        assert woken == []

        bell.ring()
        tasks.start_soon(wait, "third")
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == ["first", "second"]
        bell.ring()

    assert woken[-1] == "third"


# ---------------------------------------------------------------- the snapshot


def test_a_snapshot_is_frozen_and_calls_what_is_buffered_pending() -> None:
    fields = {field.name: 0 for field in attrs.fields(Stats)}
    stats = Stats(**fields | {"buffered_events": 3})  # type: ignore[arg-type]

    assert stats.pending == 3
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.accepted = 1  # type: ignore[misc]
    for name in fields:
        assert f"{name}: " in (Stats.__doc__ or "")
