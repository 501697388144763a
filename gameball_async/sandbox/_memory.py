"""What the sandbox records: events, requests, violations and counts. Reading counts takes constant time."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from itertools import islice
from uuid import uuid4

import attrs

from ._responses import Refusal
from ._rules import Metadata, ParsedRequest

_SECONDS = 60


@attrs.frozen
class ActivityCounts:
    """Requests that have ended: those whose events were applied, and the others."""

    applied: int = 0
    unapplied: int = 0

    def plus(self, *, applied: bool) -> ActivityCounts:
        return ActivityCounts(self.applied + applied, self.unapplied + (not applied))


class Activity:
    """Counts in total, per player, and per second of the last minute."""

    def __init__(self) -> None:
        self.all = ActivityCounts()
        # the most recently active player is last
        self._players: dict[str, ActivityCounts] = {}
        self._seconds: deque[tuple[int, ActivityCounts]] = deque(maxlen=_SECONDS)

    def add(self, player: str | None, end: float, *, applied: bool) -> None:
        """Count a request that ended at a time in seconds."""
        self.all = self.all.plus(applied=applied)
        if player is not None:
            self._players[player] = self._players.pop(player, ActivityCounts()).plus(applied=applied)
        second = int(end)
        counts = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else ActivityCounts()
        self._seconds.append((second, counts.plus(applied=applied)))

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
        player: the player's id, or None if it cannot be read.
        events: the names of its events, in order, if they can be read.
        status: the HTTP status of the answer, or None if there was none.
        code: Gameball's code in the answer, or None.
        applied: whether its events were applied.
        fault: the kind of the fault that determined its answer, or None.
        digest: SHA-256 of the body, in hexadecimal: equal digests are equal bytes.
        left: whether the client disconnected before the end.
        reason: why it was refused, without keys, contacts or the player's id, or the fault's message; or None.
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
        applied: requests among them whose events were applied.
        events: events held.
        players: players who hold events.
        violations: rules broken.
        statuses: how often each HTTP status was answered; `None` counts the requests without an answer.
    """

    arrived: int
    in_flight: int
    applied: int
    events: int
    players: int
    violations: int
    statuses: Mapping[int | None, int]


@attrs.frozen
class LatestChanges:
    """Changes since an earlier position.

    Args:
        era: changes with every reset; positions of other eras are invalid.
        position: how many requests have ended in this era.
        records: the latest requests that have ended since the earlier position, in order.
        ended: the counts of all requests that have ended.
        seconds: the counts of each second of the last minute.
        tally: all counts.
    """

    era: str
    position: int
    records: list[RequestRecord]
    ended: ActivityCounts
    seconds: list[tuple[int, ActivityCounts]]
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
        self._clear()

    def _clear(self) -> None:
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
            self._applied += 1
            self._events += len(held)
            self._changed.notify_all()

    def violate(self, number: int, refusal: Refusal) -> None:
        """Record a broken rule."""
        with self._changed:
            self._violations.append(Violation(refusal.kind, refusal.detail, number))

    def close(self, record: RequestRecord) -> None:
        with self._changed:
            self._requests.append(record)
            self._statuses[record.status] += 1
            self._in_flight -= 1
            self._activity.add(record.player, record.end, applied=record.applied)
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

    def changes_since(self, era: str, position: int, *, most: int, now: float) -> LatestChanges:
        """Return what changed since a position of an era, with at most `most` records."""
        with self._changed:
            end = len(self._requests)
            since = min(max(position, 0), end) if era == self._era else 0
            records = self._requests[max(since, end - most) :]
            return LatestChanges(
                self._era, end, records, self._activity.all, self._activity.seconds(now), self._tally()
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
        )
