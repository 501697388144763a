"""What the sandbox records: events, requests, violations and counts. Reading counts takes constant time."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from itertools import islice
from uuid import uuid4

import attrs

from ._faults import RouteName
from ._jobs import AppliedItem, JobRecord, JobStore
from ._responses import Refusal
from ._rules import Metadata, ParsedRequest

_SECONDS = 60
_WITH_EVENTS: frozenset[RouteName | None] = frozenset({"events", "batch", None})
_FIRST_ERROR = 400


@attrs.frozen
class ActivityCounts:
    """Requests that have ended.

    Args:
        applied: those whose events were applied or accepted as a job.
        unapplied: those that were refused or not answered.
        others: successful requests about a job, and previews.
    """

    applied: int = 0
    unapplied: int = 0
    others: int = 0

    def plus(self, *, applied: int = 0, unapplied: int = 0, others: int = 0) -> ActivityCounts:
        return ActivityCounts(self.applied + applied, self.unapplied + unapplied, self.others + others)


class Activity:
    """Counts in total, per player, and per second of the last minute."""

    def __init__(self) -> None:
        self.all = ActivityCounts()
        # the most recently active player is last
        self._players: dict[str, ActivityCounts] = {}
        self._seconds: deque[tuple[int, ActivityCounts]] = deque(maxlen=_SECONDS)

    def add(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        more = {"applied" if record.applied else "others" if is_answer(record) else "unapplied": 1}
        self.all = self.all.plus(**more)
        if record.player is not None and record.route == "events":
            self._players[record.player] = self._players.pop(record.player, ActivityCounts()).plus(**more)
        second = int(record.end)
        counts = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else ActivityCounts()
        self._seconds.append((second, counts.plus(**more)))

    def add_item(self, player: str) -> None:
        """Count an item of a player whose events were applied."""
        self._players[player] = self._players.pop(player, ActivityCounts()).plus(applied=1)

    def seconds(self, now: float) -> list[tuple[int, ActivityCounts]]:
        """Return the counts of each second of the last minute in which requests ended."""
        return [(second, counts) for second, counts in self._seconds if now - second <= _SECONDS]

    def latest(self, like: str, most: int) -> list[tuple[str, ActivityCounts]]:
        """Return the most recently active players whose id contains a text, ignoring case."""
        wanted = like.casefold()
        found = (player for player in reversed(self._players) if wanted in player.casefold())
        return [(player, self._players[player]) for player in islice(found, most)]


@attrs.frozen
class HeldEvent:
    """An event that was applied.

    Args:
        name: the event's name.
        metadata: as read from the JSON text.
        mobile: the phone number of its request, or None.
        email: the e-mail address of its request, or None.
        request: the number of its request.
    """

    name: str
    metadata: Metadata
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)
    request: int = 0


@attrs.frozen
class RequestRecord:
    """A request that has ended.

    Args:
        number: counted by arrival, from 1; never used twice, not even after a reset.
        start: when its body had arrived, in seconds of `time.monotonic`.
        end: just before the last byte of the answer was sent, in the same seconds.
        path: the route that was asked for.
        player: the player's id, or None if it cannot be read, and for bulk requests.
        events: the names of its events, in order, if they can be read; those of a bulk request
            without repetitions.
        status: the HTTP status of the answer, or None if there was none.
        code: Gameball's code in the answer, or None.
        applied: whether its events were applied, or accepted as a job.
        fault: the kind of the fault that determined its answer, or None.
        digest: SHA-256 of the body, in hexadecimal: equal digests are equal bytes.
        left: whether the client disconnected before the end.
        reason: why it was refused, without keys, contacts or the player's id, or the fault's message; or None.
        route: what it asked for: `"events"`, `"batch"` (a bulk request), `"status"`, `"stop"` or
            `"preview"`; None if there is nothing at its path.
        items: how many items a bulk request had, if they can be read.
        job: the id of the job that it created or was about, or None.
    """

    number: int
    start: float
    end: float
    path: str
    player: str | None
    events: tuple[str, ...]
    status: int | None
    code: int | None
    applied: bool
    fault: str | None
    digest: str
    left: bool
    reason: str | None = None
    route: RouteName | None = None
    items: int = 0
    job: int | None = None


def is_answer(record: RequestRecord) -> bool:
    """Whether it is a successful request about a job, or a preview: there is nothing to apply."""
    return record.route not in _WITH_EVENTS and record.status is not None and record.status < _FIRST_ERROR


@attrs.frozen
class Violation:
    """A rule of the API that the client broke.

    Args:
        kind: the rule, such as `"duplicate_event"`, `"bad_type"`, `"concurrent"` or `"rate"`.
        detail: what was wrong, without keys, contacts or the player's id.
        request: the number of the request.
    """

    kind: str
    detail: str
    request: int


@attrs.frozen
class Tally:
    """All counts at one instant.

    Args:
        arrived: requests whose body has been read.
        in_flight: requests among them that have not ended.
        applied: requests among them whose events were applied, or accepted as a job.
        events: events held.
        players: players who hold events.
        violations: rules broken.
        statuses: how often each HTTP status was answered; `None` counts the requests without an answer.
        jobs: jobs accepted.
        unfinished_jobs: jobs among them that are not completed, failed or stopped.
        items: items of jobs that have been processed, failed ones included.
        failed_items: items among them that failed.
    """

    arrived: int
    in_flight: int
    applied: int
    events: int
    players: int
    violations: int
    statuses: Mapping[int | None, int]
    jobs: int = 0
    unfinished_jobs: int = 0
    items: int = 0
    failed_items: int = 0


@attrs.frozen
class LatestChanges:
    """Changes since an earlier position.

    Args:
        era: changes with every reset; positions of other eras are invalid.
        position: how many requests have ended in this era.
        records: the latest requests that have ended since the earlier position, in order.
        ended: the counts of all requests that have ended.
        seconds: the counts of each second of the last minute.
        jobs: the latest jobs.
        tally: all counts.
    """

    era: str
    position: int
    records: list[RequestRecord]
    ended: ActivityCounts
    seconds: list[tuple[int, ActivityCounts]]
    jobs: list[JobRecord]
    tally: Tally


@attrs.frozen
class PlayerSummary:
    """A player's id, number of held events, and counts of requests."""

    player: str
    events: int
    requests: ActivityCounts


class SandboxMemory:
    """All records, behind one lock. They grow with every request until a reset."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._in_flight = 0
        self.jobs = JobStore(self._changed, self._apply_items)
        self._clear()

    def _clear(self) -> None:
        self.jobs.clear()
        self._names: set[str] = set()
        self._holdings: dict[str, list[HeldEvent]] = {}
        self._requests: list[RequestRecord] = []
        self._violations: list[Violation] = []
        self._statuses: Counter[int | None] = Counter()
        self._activity = Activity()
        self._era = uuid4().hex
        self._arrived = self._in_flight
        self._applied = self._events = 0

    def reset(self) -> None:
        """Delete everything except the requests in flight, which will be recorded after the reset."""
        with self._changed:
            self._clear()
            self._changed.notify_all()

    def open(self) -> int:
        """Count an arrived request, and return its number."""
        with self._changed:
            self._number += 1
            self._arrived += 1
            self._in_flight += 1
            self._changed.notify_all()
            return self._number

    def apply(self, number: int, player: str, parsed: ParsedRequest) -> None:
        """Record a request's events as applied."""
        contact = parsed.mobile, parsed.email
        held = [HeldEvent(name, metadata, *contact, number) for name, metadata in parsed.events.items()]
        with self._changed:
            self._holdings.setdefault(player, []).extend(held)
            self._names.update(parsed.events)
            self._applied += 1
            self._events += len(held)
            self._changed.notify_all()

    def accepted(self) -> None:
        """Count a bulk request that was accepted as a job."""
        with self._changed:
            self._applied += 1
            self._changed.notify_all()

    def _apply_items(self, number: int, items: list[AppliedItem]) -> None:
        """Record the events of a job's items as applied; its bulk request has this number. Needs the lock."""
        for player, events in items:
            held = [HeldEvent(name, metadata, None, None, number) for name, metadata in events]
            self._holdings.setdefault(player, []).extend(held)
            self._names.update(event.name for event in held)
            self._events += len(held)
            self._activity.add_item(player)

    def holds(self, player: str) -> bool:
        """Whether a player holds an event."""
        with self._changed:
            return player in self._holdings

    def has_received(self, name: str) -> bool:
        """Whether an event of a name was applied."""
        with self._changed:
            return name in self._names

    def violate(self, number: int, refusal: Refusal) -> None:
        """Record a broken rule."""
        with self._changed:
            self._violations.append(Violation(refusal.kind, refusal.detail, number))

    def close(self, record: RequestRecord) -> None:
        with self._changed:
            self._requests.append(record)
            self._statuses[record.status] += 1
            self._in_flight -= 1
            self._activity.add(record)
            self._changed.notify_all()

    def holdings(self) -> dict[str, list[HeldEvent]]:
        with self._changed:
            return {player: list(events) for player, events in self._holdings.items()}

    def requests(self) -> list[RequestRecord]:
        with self._changed:
            return list(self._requests)

    def violations(self) -> list[Violation]:
        with self._changed:
            return list(self._violations)

    def tally(self) -> Tally:
        with self._changed:
            return self._tally()

    def changes_since(self, era: str, position: int, *, most: int, most_jobs: int, now: float) -> LatestChanges:
        """Return what changed since a position of an era, with at most `most` records and the latest `most_jobs`."""
        with self._changed:
            end = len(self._requests)
            since = min(max(position, 0), end) if era == self._era else 0
            records = self._requests[max(since, end - most) :]
            return LatestChanges(
                era=self._era,
                position=end,
                records=records,
                ended=self._activity.all,
                seconds=self._activity.seconds(now),
                jobs=self.jobs.records(most_jobs),
                tally=self._tally(),
            )

    def players(self, like: str, most: int) -> list[PlayerSummary]:
        """Return the most recently active players whose id contains a text."""
        with self._changed:
            return [
                PlayerSummary(player, len(self._holdings.get(player, ())), counts)
                for player, counts in self._activity.latest(like, most)
            ]

    def held_by(self, player: str, most: int) -> tuple[int, list[HeldEvent]]:
        """Return the number of a player's events, and the last `most` of them in order."""
        with self._changed:
            held = self._holdings.get(player, [])
            return len(held), held[-most:]

    def wait_for(self, condition: Callable[[Tally], bool], timeout: float) -> bool:
        """Block until the counts satisfy a condition; return whether they did within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self._tally()), timeout)

    def _tally(self) -> Tally:
        return Tally(
            arrived=self._arrived,
            in_flight=self._in_flight,
            applied=self._applied,
            events=self._events,
            players=len(self._holdings),
            violations=len(self._violations),
            statuses=dict(self._statuses),
            jobs=len(self.jobs),
            unfinished_jobs=self.jobs.unfinished,
            items=self.jobs.items,
            failed_items=self.jobs.failed_items,
        )
