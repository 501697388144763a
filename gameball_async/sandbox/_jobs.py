"""Jobs: what becomes of an accepted bulk request. No sockets and no sleeps; the time is an argument."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

import attrs

from ._responses import Pair
from ._rules import Metadata, ParsedRequest

JobState = Literal["pending", "processing", "completed", "failed", "stopped"]

_SCRIPTED = "The item could not be processed."


_yes_or_no = attrs.validators.instance_of(bool)


def _latency(value: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(value, (int, float)):
        return float(value), float(value)
    try:
        shortest, longest = value
    except (TypeError, ValueError):
        raise ValueError(
            f"JobSettings(latency={value!r}) is invalid: use seconds, or the shortest and the longest."
        ) from None
    return shortest, longest


def _names(value: Collection[str] | str) -> frozenset[str]:
    # a single string would be a collection of its letters
    return frozenset([value]) if isinstance(value, str) else frozenset(value)


@attrs.frozen(kw_only=True)
class JobSettings:
    """What becomes of bulk requests that are accepted from now on.

    Which items and which jobs a share affects is random, from the sandbox's `seed` and the job's id.

    Args:
        latency: seconds from acceptance to completion, or the shortest and the longest of them.
            Items are processed one after another in that time, in random order.
        vocabulary: how the status is worded: as in Gameball's OpenAPI file, or as in its tutorials.
        capitalised: whether the state is capitalised, such as `"Completed"`, as in older pages.
        paths: which of the two documented pairs of paths for status and stop exists.
        itemised: whether the status lists the items; if not, it only counts them.
        failing_items: the share of items that fail, 0 to 1. Items that break a rule always fail.
        failing_players: the items of these players fail.
        failing_events: items with one of these event names fail.
        partial: the share of a failing item's events, from the first, that is applied nevertheless.
        failing_jobs: the share of jobs that end as `failed`, with half of their items not processed.
        stuck_jobs: the share of jobs that process half of their items, and never end.
        lost_jobs: the share of jobs whose status is answered 404; their items are processed.
        lost_after: how often the status of a lost job can be read before that.

    Raises:
        ValueError: if a value cannot work.
    """

    latency: tuple[float, float] = attrs.field(default=(0.05, 0.25), converter=_latency)
    vocabulary: Pair = "openapi"
    capitalised: bool = attrs.field(default=False, validator=_yes_or_no)
    paths: Pair | Literal["both", "none"] = "openapi"
    itemised: bool = attrs.field(default=True, validator=_yes_or_no)
    failing_items: float = 0.0
    failing_players: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    failing_events: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    partial: float = 0.0
    failing_jobs: float = 0.0
    stuck_jobs: float = 0.0
    lost_jobs: float = 0.0
    lost_after: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))

    def __attrs_post_init__(self) -> None:
        shortest, longest = self.latency
        _require(0 <= shortest <= longest < float("inf"), f"latency={self.latency!r}", "seconds, not above the second")
        _require(self.vocabulary in get_args(Pair), f"vocabulary={self.vocabulary!r}", " or ".join(get_args(Pair)))
        pairs = (*get_args(Pair), "both", "none")
        _require(self.paths in pairs, f"paths={self.paths!r}", f"one of {', '.join(pairs)}")
        for name in ("failing_items", "partial", "failing_jobs", "stuck_jobs", "lost_jobs"):
            share = getattr(self, name)
            _require(0 <= share <= 1, f"{name}={share!r}", "a share from 0 to 1")
        _require(self.lost_after >= 0, f"lost_after={self.lost_after!r}", "a count of at least 0")

    def has(self, pair: Pair | None) -> bool:
        """Whether a pair of paths exists."""
        return pair is None or self.paths in {pair, "both"}

    @classmethod
    def from_json(cls, value: object) -> JobSettings:
        """Create settings from a JSON object with any of the fields.

        Raises:
            ValueError: if the object is invalid.
        """
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004 as for any other invalid value
                'the settings of jobs are a JSON object such as {"latency": [1, 5]}.'
            )
        try:
            return cls(**cast("dict[str, Any]", value))
        except TypeError as error:
            reason = str(error.args[0]).rstrip(".")
            raise ValueError(f"invalid settings of jobs: {reason}. Check the arguments of JobSettings.") from error

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values; `from_json` creates equal settings from them."""
        return attrs.asdict(self, value_serializer=_json_value)


def _json_value(_: object, __: object, value: object) -> object:
    return sorted(cast("frozenset[str]", value)) if isinstance(value, frozenset) else value


def _require(condition: bool, given: str, remedy: str) -> None:  # noqa: FBT001 an assertion with a message
    if not condition:
        raise ValueError(f"JobSettings({given}) is invalid: use {remedy}.")


# ---------------------------------------------------------------- one job


@attrs.frozen
class FailedItem:
    """An item that a job lists as failed.

    Args:
        position: its position in the request, from 0.
        player: the player's id, or None if it cannot be read.
        message: why it failed.
        applied: how many of its events were applied nevertheless.
    """

    position: int
    player: str | None
    message: str
    applied: int = 0


@attrs.frozen
class JobRecord:
    """A job at one instant.

    Args:
        id: the number that the bulk request was answered with; never used twice.
        request: the number of the bulk request.
        state: `"pending"`, `"processing"`, `"completed"`, `"failed"` or `"stopped"`.
        items: how many items the request had.
        players: the players of the items, in the order of the request; None if an id cannot be read.
        processed: how many items have been processed, failed ones included.
        failed: those that failed, in the order of processing.
        accepted: when it was accepted, in seconds of `time.monotonic`.
        finished: when it was completed, failed or stopped, in the same seconds; or None.
        polls: how often its status was asked for and answered.
    """

    id: int
    request: int
    state: JobState
    items: int
    players: tuple[str | None, ...] = attrs.field(repr=False)
    processed: int
    failed: tuple[FailedItem, ...]
    accepted: float
    finished: float | None
    polls: int

    def shared_players(self, other: JobRecord) -> frozenset[str]:
        """Return the players that this job and a later one have in common, if this one had not finished by then."""
        first, second = sorted((self, other), key=lambda job: job.accepted)
        if first.finished is not None and first.finished <= second.accepted:
            return frozenset()
        return frozenset(player for player in {*first.players} & {*second.players} if player is not None)


@attrs.define(eq=False)
class Job:
    """A job from its acceptance on. Changed only by `JobStore`.

    Args:
        id: its number.
        request: the number of its request.
        players: those of the items, in the order of the request; None if an id cannot be read.
        items: of the request; none when the job has finished.
        settings: how it is processed.
        accepted: in seconds.
        created: the same as a date.
        latency: seconds until all items are processed.
        order: the positions of the items that will be processed.
        failing: why items will fail, by position.
        is_lost: whether its status disappears.
        end: what it becomes when all items of `order` are processed; None for never.
    """

    id: int
    request: int
    players: tuple[str | None, ...] = attrs.field(repr=False)
    items: Sequence[ParsedRequest] = attrs.field(repr=False)
    settings: JobSettings
    accepted: float
    created: datetime
    latency: float
    order: Sequence[int] = attrs.field(repr=False)
    failing: Mapping[int, str] = attrs.field(repr=False)
    is_lost: bool
    end: JobState | None
    state: JobState = "pending"
    processed: int = 0
    failed: list[FailedItem] = attrs.field(factory=list["FailedItem"], repr=False)
    started: datetime | None = None
    finished: float | None = None
    polls: int = 0
    is_deleted: bool = False

    def due(self) -> float | None:
        """Return when it next changes, or None if it never will."""
        if self.finished is not None or self.is_deleted:
            return None
        if self.processed == len(self.order):
            return None if self.end is None else self.accepted
        return self.accepted + self._share(self.processed + 1)

    def due_items(self, now: float) -> Sequence[int]:
        """Return the positions of the items to be processed now."""
        if self.latency == 0:
            return self.order[self.processed :]
        passed = int((now - self.accepted) / self.latency * len(self.players) + 1e-9)
        return self.order[self.processed : max(self.processed, passed)]

    def has_started(self, now: float) -> bool:
        """Whether the first item is being processed."""
        return now - self.accepted >= self._share(0.5)

    def _share(self, items: float) -> float:
        return self.latency * items / len(self.players)

    def record(self) -> JobRecord:
        return JobRecord(
            id=self.id,
            request=self.request,
            state=self.state,
            items=len(self.players),
            players=self.players,
            processed=self.processed,
            failed=tuple(self.failed),
            accepted=self.accepted,
            finished=self.finished,
            polls=self.polls,
        )


# ---------------------------------------------------------------- all jobs

AppliedItem = tuple[str, Iterable[tuple[str, Metadata]]]
"""A player, and events to apply."""


class JobStore:
    """All jobs. Every method takes the lock, and notifies those who wait for it when something has changed.

    Args:
        changed: the lock.
        apply: called with the number of a bulk request, and with items whose events are to be applied.
    """

    def __init__(self, changed: threading.Condition, apply: Callable[[int, list[AppliedItem]], None]) -> None:
        self._changed = changed
        self._apply = apply
        self._id = 0
        self._jobs: dict[int, Job] = {}
        self.clear()

    def clear(self) -> None:
        """Delete all jobs; ids are not used again."""
        with self._changed:
            for job in self._jobs.values():
                job.is_deleted = True
            self._jobs = {}
            self.unfinished = self.items = self.failed_items = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def accept(self, request: int, items: Sequence[ParsedRequest], settings: JobSettings, seed: int, now: float) -> Job:
        """Create the job of a bulk request."""
        with self._changed:
            self._id += 1
            generator = random.Random(f"{seed} {self._id}")  # noqa: S311 not used for secrets
            job = _new_job(self._id, request, items, settings, generator, now)
            self._jobs[job.id] = job
            self.unfinished += 1
            self._changed.notify_all()
            return job

    def find(self, job_id: str) -> Job | None:
        with self._changed:
            is_number = job_id.isascii() and job_id.isdigit() and len(job_id) < 20  # noqa: PLR2004 digits of 64 bits
            return self._jobs.get(int(job_id)) if is_number else None

    def poll(self, job: Job, now: float, *, is_counted: bool) -> bool:
        """Bring a job up to date, and count a request for its status; return whether its status can be found."""
        with self._changed:
            self.advance(job, now)
            if job.is_lost and job.polls >= job.settings.lost_after:
                return False
            job.polls += is_counted
            self._changed.notify_all()
            return True

    def advance(self, job: Job, now: float) -> None:
        """Process the items of a job that are due."""
        with self._changed:
            if job.due() is None:
                return
            if job.state == "pending" and job.has_started(now):
                job.state, job.started = "processing", datetime.now(UTC)
            if positions := job.due_items(now):
                self._process(job, positions)
            if job.processed == len(job.order) and job.end is not None:
                self._finish(job, job.end, now)
            self._changed.notify_all()

    def _process(self, job: Job, positions: Sequence[int]) -> None:
        applied: list[AppliedItem] = []
        failures = len(job.failed)
        for position in positions:
            item, message = job.items[position], job.failing.get(position)
            events: Collection[tuple[str, Metadata]] = item.events.items()
            if message is not None:
                count = int(len(events) * job.settings.partial)
                events = list(events)[:count]
                job.failed.append(FailedItem(position, item.player, message, count))
            if events and item.player is not None:
                applied.append((item.player, events))
        self.items += len(positions)
        self.failed_items += len(job.failed) - failures
        job.processed += len(positions)
        self._apply(job.request, applied)

    def _finish(self, job: Job, state: JobState, now: float) -> None:
        job.state, job.finished, job.items = state, now, ()
        job.started = job.started or datetime.now(UTC)
        self.unfinished -= 1

    def stop(self, job: Job, now: float) -> None:
        """End a job; items that have not been processed never will be."""
        with self._changed:
            self.advance(job, now)
            if job.finished is None and not job.is_deleted:
                self._finish(job, "stopped", now)
                self._changed.notify_all()

    def records(self, most: int | None = None) -> list[JobRecord]:
        """Return the latest `most` jobs in the order of acceptance."""
        with self._changed:
            jobs = list(self._jobs.values())
            return [job.record() for job in jobs[-most if most else 0 :]]

    def active(self) -> list[Job]:
        """Return the jobs that will still change by themselves."""
        with self._changed:
            return [job for job in self._jobs.values() if job.due() is not None]


def _new_job(
    number: int,
    request: int,
    items: Sequence[ParsedRequest],
    settings: JobSettings,
    generator: random.Random,
    now: float,
) -> Job:
    order = list(range(len(items)))
    generator.shuffle(order)
    end: JobState | None = "completed"
    if generator.random() < settings.failing_jobs:
        end = "failed"
    elif generator.random() < settings.stuck_jobs:
        end = None
    return Job(
        id=number,
        request=request,
        players=tuple(item.player for item in items),
        items=items,
        settings=settings,
        accepted=now,
        created=datetime.now(UTC),
        latency=generator.uniform(*settings.latency),
        order=order if end == "completed" else order[: len(order) // 2],
        failing=_failing(items, settings, generator),
        is_lost=generator.random() < settings.lost_jobs,
        end=end,
    )


def _failing(items: Sequence[ParsedRequest], settings: JobSettings, generator: random.Random) -> dict[int, str]:
    """Return why items fail, by position."""
    failing: dict[int, str] = {}
    for position, item in enumerate(items):
        if item.refusal is not None:
            failing[position] = item.refusal.detail
        elif (
            generator.random() < settings.failing_items
            or item.player in settings.failing_players
            or not settings.failing_events.isdisjoint(item.names)
        ):
            failing[position] = _SCRIPTED
    return failing
