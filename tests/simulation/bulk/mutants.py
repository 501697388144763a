"""Mutants of bulk requests: each breaks one promise, and the oracle has to catch it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from gameball_async import Delivered, OutcomeUnknown
from gameball_async._core.batch import Batch
from gameball_async._core.buffer import Buffer
from gameball_async._core.bulk_jobs import AutoMode, AutoState, BulkJob, FollowedJobs
from gameball_async._core.job_answers import EndedJob, ItemOutcome
from gameball_async._core.outcome import ServerHealth
from gameball_async._core.pacing import PacedPart
from gameball_async._core.stats import JobState
from gameball_async._engine.bulk import BulkSender
from gameball_async._engine.job_follower import JobFollower
from gameball_async._engine.settlement import Settlement

from ..mutants import Mutant, Mutate, _mutant

# -------------------------------------------------------------------- what goes into a request


def _take_next_too(take_items: Mutate, buffer: Buffer, *args: Any) -> list[Batch]:
    """The next batches of the players become ready while the first ones are under way."""
    taken: list[Batch] = take_items(buffer, *args)
    for batch in taken:
        if batch.following and not batch.attempts:
            player = buffer._players[batch.player_unique_id]
            player.head = batch.following
            buffer._schedule.make_ready(player)
    return taken


def _take_all(take_items: Mutate, buffer: Buffer, now: float, most: int, most_bytes: int) -> list[Batch]:
    taken: list[Batch] = take_items(buffer, now, most + 1, most_bytes)
    return taken


def _is_limited(_: Any, batch: Batch) -> bool:
    return batch.bulk_items == 1


def _stay_as_large(conclude_items: Mutate, settlement: Settlement, batches: Iterable[Batch], *args: Any) -> None:
    limits = [(batch, batch.bulk_items) for batch in batches]
    conclude_items(settlement, batches, *args)
    for batch, limit in limits:
        batch.bulk_items = limit


def _count_each_item(
    note_items: Mutate, settlement: Settlement, batches: Any, answer: Any, *, now: float, **about: Any
) -> None:
    for batch in batches if answer.health is ServerHealth.TROUBLED else ():
        settlement._breaker.finish(answer.health, batch.player_unique_id, probe=False, now=now, pause=1.0)
    note_items(settlement, batches, answer, now=now, **about)


# -------------------------------------------------------------------- jobs


def _deliver_at_once(conclude: Mutate, sender: BulkSender, batches: Any, answer: Any, now: float) -> Any:
    job = conclude(sender, batches, answer, now)
    if job is not None:
        for batch in batches:
            batch.job = None
            sender._settlement.deliver(batch, Delivered(status=200, attempts=batch.attempts, job=job), now)
    return None


async def _send_again_what_is_not_found(act_on: Mutate, follower: JobFollower, job: BulkJob, status: Any) -> None:
    if status is not None:
        await act_on(follower, job, status)
        return
    follower.jobs.remove(job)
    for batch in job.batches.values():
        batch.job = None
        follower._settlement._buffer.requeue(batch, follower._now())


async def _give_up_at_once(act_on: Mutate, follower: JobFollower, job: BulkJob, status: Any) -> None:
    job.misses *= 2
    await act_on(follower, job, status)


async def _end_too_early(act_on: Mutate, follower: JobFollower, job: BulkJob, status: Any) -> None:
    if status is not None and status.state is None and status.progress:
        await follower._end(job, status, JobState.COMPLETED)
    else:
        await act_on(follower, job, status)


def _ask_on_one_path(look_at: Mutate, follower: JobFollower, job: BulkJob) -> Any:
    del follower._status_paths[1:]
    return look_at(follower, job)


def _look_at_once(_: Mutate, jobs: FollowedJobs, job: BulkJob, now: float, **__: Any) -> None:
    jobs._look_at(job, now)


def _look_later(_: Mutate, jobs: FollowedJobs, job: BulkJob, now: float, **__: Any) -> None:
    jobs._look_at(job, now + 100_000)


def _follow_for_ever(_: Mutate, follower: JobFollower, job: BulkJob, __: str) -> None:
    follower.jobs.look_again(job, follower._now())
    follower._wake.ring()


def _free_at_once(_: Mutate, __: PacedPart, now: float) -> float:
    return now


# -------------------------------------------------------------------- what an ended job means


def _instead_of(wrong: ItemOutcome, other: ItemOutcome) -> Mutate:
    """Read one outcome of an item as another."""

    def of(original: Mutate, ended: EndedJob, player: str) -> ItemOutcome:
        outcome: ItemOutcome = original(ended, player)
        return other if outcome is wrong else outcome

    return of


def _give_up_what_failed(_: Mutate, settlement: Settlement, batch: Batch, *args: Any) -> None:
    settlement.fail(batch, OutcomeUnknown("it has failed"), args[-1])


def _bulk_again(fail_item: Mutate, settlement: Settlement, batch: Batch, *args: Any) -> None:
    fail_item(settlement, batch, *args)
    batch.bulk_items = 1000


def _call_it_certain(fail_item: Mutate, settlement: Settlement, batch: Batch, *args: Any) -> None:
    fail_item(settlement, batch, *args)
    batch.ambiguous = False


def _send_what_failed(fail_item: Mutate, settlement: Settlement, batch: Batch, *args: Any) -> None:
    retry, settlement._retry = settlement._retry, attrs.evolve(settlement._retry, ambiguous="resend")
    fail_item(settlement, batch, *args)
    settlement._retry = retry


def _call_it_confirmed(deliver: Mutate, settlement: Settlement, batch: Batch, delivered: Delivered, now: float) -> None:
    deliver(settlement, batch, attrs.evolve(delivered, confirmed=True), now)


# -------------------------------------------------------------------- auto


def _prove_with_all(most_items: Any, mode: AutoMode) -> int:
    is_proving = mode.state is AutoState.PROVING and not mode._is_proof_sent
    return mode._items if is_proving else int(most_items.fget(mode))


def _switch_on(_: Mutate, mode: AutoMode, __: float) -> None:
    mode.state, mode._is_proven = AutoState.ON, True


def _prove_nothing(look: Mutate, mode: AutoMode, *args: Any) -> AutoState:
    mode._is_proven = True
    state: AutoState = look(mode, *args)
    return state


MUTANTS: tuple[Mutant, ...] = (
    _mutant("sends a player's next item too early", "of whom another is in", (Buffer, "take_items", _take_next_too)),
    _mutant("sends too many items", "has .* items", (Buffer, "take_items", _take_all)),
    _mutant("drops the contact of an item", "whose contact is dropped", (Batch, "is_single", _is_limited)),
    _mutant("does not divide what was refused", "may be with", (Settlement, "conclude_items", _stay_as_large)),
    _mutant("counts each item of a failed request", "lets nothing go", (Settlement, "note_items", _count_each_item)),
    _mutant("delivers when a job is accepted", "called delivered", (BulkSender, "_conclude", _deliver_at_once)),
    _mutant(
        "sends an accepted job again",
        "repeats an item|unfinished job",
        (JobFollower, "_act_on", _send_again_what_is_not_found),
    ),
    _mutant("gives a job up too early", "could be known", (JobFollower, "_act_on", _give_up_at_once)),
    _mutant("takes a running job for completed", "its job ended None", (JobFollower, "_act_on", _end_too_early)),
    _mutant("asks on one path only", "could be known", (JobFollower, "_look_at", _ask_on_one_path)),
    _mutant("asks for a status without a pause", "sooner than|livelock", (FollowedJobs, "look_again", _look_at_once)),
    _mutant("asks for a status too rarely", "pending", (FollowedJobs, "look_again", _look_later)),
    _mutant("follows a lost job forever", "pending", (JobFollower, "_lose", _follow_for_ever)),
    _mutant("does not pace looks and bulk requests", "other requests in the", (PacedPart, "free_at", _free_at_once)),
    _mutant(
        "ignores failed items",
        "was not processed",
        (EndedJob, "of", _instead_of(ItemOutcome.FAILED, ItemOutcome.CONFIRMED)),
    ),
    _mutant(
        "sends the rest of a stopped job again",
        "which is done",
        (EndedJob, "of", _instead_of(ItemOutcome.UNKNOWN, ItemOutcome.FAILED)),
    ),
    _mutant(
        "takes unnamed failures for success",
        "called delivered",
        (EndedJob, "of", _instead_of(ItemOutcome.UNNAMED, ItemOutcome.CONFIRMED)),
    ),
    _mutant("gives failed items up", "could be sent again", (Settlement, "fail_item", _give_up_what_failed)),
    _mutant("sends failed items in bulk", "may be with 1", (Settlement, "fail_item", _bulk_again)),
    _mutant("takes a failed item for certain", "receipt that says", (Settlement, "fail_item", _call_it_certain)),
    _mutant("sends failed items that it should report", "sends again", (Settlement, "fail_item", _send_what_failed)),
    _mutant(
        "calls lost items confirmed",
        "called delivered|without a name",
        (Settlement, "deliver", _call_it_confirmed),
    ),
    _mutant("trusts bulk requests after a lost job", "a job was lost at", (AutoMode, "lost", _switch_on)),
    _mutant(
        "proves bulk requests with all players",
        "no job was completed",
        (AutoMode, "most_items", _prove_with_all),
    ),
    _mutant(
        "sends in bulk without a proof", "no job was completed|does not say why", (AutoMode, "look", _prove_nothing)
    ),
)
"""Every mutant; the tests catch each of them."""
