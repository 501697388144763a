"""Who was active, and when: sums kept with each request, so that showing them costs the same whatever is held; pure."""

from __future__ import annotations

import threading
from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING
from uuid import uuid4

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


_SECONDS = 60


@attrs.frozen
class ActivityCounts:
    """Requests that have ended.

    Args:
        applied: those whose events are held.
        unapplied: the others.
    """

    applied: int = 0
    unapplied: int = 0

    def plus(self, *, applied: bool) -> ActivityCounts:
        """With one more request."""
        return ActivityCounts(self.applied + applied, self.unapplied + (not applied))


class Activity:
    """Counts in all, for each player, and for each of the last seconds in which something ended."""

    def __init__(self) -> None:
        self.all = ActivityCounts()
        # who had the latest request stands last
        self._players: dict[str, ActivityCounts] = {}
        self._seconds: deque[tuple[int, ActivityCounts]] = deque(maxlen=_SECONDS)

    def add(self, player: str | None, end: float, *, applied: bool) -> None:
        """Count a request.

        Args:
            player: whose it was, if that could be made out.
            end: when it ended, in seconds.
            applied: whether its events are held.
        """
        self.all = self.all.plus(applied=applied)
        if player is not None:
            self._players[player] = self._players.pop(player, ActivityCounts()).plus(applied=applied)
        second = int(end)
        counts = self._seconds.pop()[1] if self._seconds and self._seconds[-1][0] == second else ActivityCounts()
        self._seconds.append((second, counts.plus(applied=applied)))

    def seconds(self, now: float) -> list[tuple[int, ActivityCounts]]:
        """The last minute, second by second; those in which nothing ended are left out."""
        return [(second, counts) for second, counts in self._seconds if now - second <= _SECONDS]

    def latest(self, like: str) -> Iterator[tuple[str, ActivityCounts]]:
        """The players whose id holds some text, whatever its case; who had the latest request comes first."""
        wanted = like.casefold()
        return ((player, self._players[player]) for player in reversed(self._players) if wanted in player.casefold())


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._responses import Refusal
    from ._validator import Metadata, ParsedRequest


@attrs.frozen
class HeldEvent:
    """An event that was applied.

    Args:
        name: the event's name.
        metadata: as read from the JSON text.
        mobile: the phone number of its request, or None.
        email: the e-mail address of its request, or None.
        request: the number of the request that brought it.
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
        player: the player's id, or None if it cannot be made out.
        events: the names of its events, in order, as far as they can be made out.
        status: the HTTP status of the answer, or None if there was none.
        code: Gameball's code in the answer, or None.
        applied: whether its events are held now.
        fault: the kind of the fault that decided its answer, or None.
        digest: SHA-256 of the body, in hexadecimal: equal digests are equal bytes.
        left: whether the client had gone before the end.
        reason: why it was refused, in words that hold no key, e-mail address, phone number or
            player's id, or the words of the fault; None if there are none.
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
        detail: what was wrong; holds no key, e-mail address, phone number or player's id.
        request: the number of the request.
    """

    kind: str
    detail: str
    request: int


@attrs.frozen
class Tally:
    """The ledger in numbers, at one instant.

    Args:
        arrived: requests whose body has been read.
        in_flight: requests among them that have not ended.
        applied: requests among them whose events are held.
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
    """What was added since somebody last looked.

    Args:
        era: changes with every reset; a position of another era means nothing.
        position: how many requests have ended in this era.
        records: the latest of those that have ended since, in the order they ended.
        ended: all requests that have ended.
        seconds: those of the last minute, second by second.
        tally: the numbers.
    """

    era: str
    position: int
    records: list[RequestRecord]
    ended: ActivityCounts
    seconds: list[tuple[int, ActivityCounts]]
    tally: Tally


@attrs.frozen
class PlayerSummary:
    """A player in numbers.

    Args:
        player: the id.
        events: events held.
        requests: requests that have ended.
    """

    player: str
    events: int
    requests: ActivityCounts


class SandboxMemory:
    """All of it, behind one lock. Grows with every request: a reset is the only way it shrinks."""

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
        """Forget everything but the requests in flight, which go on into the cleared ledger."""
        with self._changed:
            self._clear()
            self._changed.notify_all()

    def open(self) -> int:
        """A request has arrived; returns its number."""
        with self._changed:
            self._number += 1
            self._arrived += 1
            self._in_flight += 1
            self._changed.notify_all()
            return self._number

    def apply(self, number: int, player: str, reading: ParsedRequest) -> None:
        """Hold a request's events."""
        held = [
            HeldEvent(name, metadata, reading.mobile, reading.email, number)
            for name, metadata in reading.events.items()
        ]
        with self._changed:
            self._holdings.setdefault(player, []).extend(held)
            self._applied += 1
            self._events += len(held)
            self._changed.notify_all()

    def violate(self, number: int, refusal: Refusal) -> None:
        """Note a broken rule."""
        with self._changed:
            self._violations.append(Violation(refusal.kind, refusal.detail, number))

    def close(self, record: RequestRecord) -> None:
        """A request has ended."""
        with self._changed:
            self._requests.append(record)
            self._statuses[record.status] += 1
            self._in_flight -= 1
            self._activity.add(record.player, record.end, applied=record.applied)
            self._changed.notify_all()

    def holdings(self) -> dict[str, list[HeldEvent]]:
        """A snapshot: every player's events in the order they were applied."""
        with self._changed:
            return {player: list(events) for player, events in self._holdings.items()}

    def requests(self) -> list[RequestRecord]:
        """A snapshot: the requests in the order they ended."""
        with self._changed:
            return list(self._requests)

    def violations(self) -> list[Violation]:
        """A snapshot: the broken rules in the order they were noticed."""
        with self._changed:
            return list(self._violations)

    def tally(self) -> Tally:
        """A snapshot in numbers."""
        with self._changed:
            return self._tally()

    def news(self, era: str, position: int, *, most: int, now: float) -> LatestChanges:
        """What was added since somebody last looked, at most so many records of it.

        Args:
            era: of the last look, or anything else at the first.
            position: of the last look.
            most: records, at most.
            now: seconds.
        """
        with self._changed:
            end = len(self._requests)
            since = min(max(position, 0), end) if era == self._era else 0
            records = self._requests[max(since, end - most) :]
            return LatestChanges(
                self._era, end, records, self._activity.all, self._activity.seconds(now), self._tally()
            )

    def standings(self, like: str, most: int) -> list[PlayerSummary]:
        """The players whose id holds some text, the latest active first, at most so many."""
        with self._changed:
            return [
                PlayerSummary(player, len(self._holdings.get(player, ())), counts)
                for player, counts in islice(self._activity.latest(like), most)
            ]

    def held_by(self, player: str, most: int) -> tuple[int, list[HeldEvent]]:
        """How many events of one player are held, and the last of them, at most so many, in order."""
        with self._changed:
            held = self._holdings.get(player, [])
            return len(held), held[-most:]

    def wait_for(self, condition: Callable[[Tally], bool], timeout: float) -> bool:
        """Block until the numbers satisfy a condition; returns whether they did within `timeout` seconds."""
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
