"""What a seed of the outbox means: settings, what happens to relays, transactions, faults of database and API."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Literal

import attrs

from gameball_async import Batching, RateLimit, Retry

from ..plan import FAULTS, Span
from ..replies import GROUPS, Meaning
from .database import FAULTS as STATEMENT_FAULTS

Misfortune = Literal["kill", "suspend", "sleep", "cut off", "stop", "suspend before a request"]


@attrs.frozen
class Happening:
    """What happens to a relay.

    Attributes:
        at: seconds from the beginning.
        what: a suspension with or without the machine, or anything else.
        lasts: seconds until it is over; a relay that was killed or stopped is started again then; never, if infinite.
    """

    at: float
    what: Misfortune
    lasts: float


@attrs.frozen
class RelayPlan:
    """One relay, with everything that happens to it."""

    starts_at: float
    happenings: tuple[Happening, ...]


@attrs.frozen
class Append:
    """One event that an application inserts.

    Attributes:
        after: seconds since the transaction's last step.
        number: of the event.
        is_undone: whether a savepoint before it is rolled back.
    """

    after: float
    number: int
    player: str
    name: str
    metadata: dict[str, Any]
    mobile: str | None
    email: str | None
    is_undone: bool


@attrs.frozen
class Writing:
    """One transaction of an application.

    Attributes:
        at: when it begins, in seconds from the beginning.
        appends: the events; none for one that writes something else.
        ends_after: seconds from the last event to its end.
        commits: whether it commits.
    """

    at: float
    appends: tuple[Append, ...]
    ends_after: float
    commits: bool


@attrs.frozen
class DatabaseSpan:
    """The database and the network before it, up to a time.

    Attributes:
        until: seconds from the beginning.
        odds: the share of statements with each fault.
        slowness: how much longer statements take.
        is_down: whether nobody can connect.
    """

    until: float
    odds: dict[str, float]
    slowness: float
    is_down: bool


@attrs.frozen(kw_only=True)
class OutboxPlan:
    """Everything that a seed decides.

    Attributes:
        lease: of each relay.
        page: events that a relay reads at once.
        timeout: of a request.
        connecting: the share of requests that open a connection.
        lasts: seconds until the faults stop.
        most_requests: the faults of the API stop at the latest after so many requests.
        latest: seconds after which a late statement runs, at most.
    """

    seed: int
    lease: float
    page: int
    batching: Batching
    retry: Retry
    rate: RateLimit
    timeout: float
    connecting: float
    relays: tuple[RelayPlan, ...]
    writings: tuple[Writing, ...]
    weather: tuple[Span, ...]
    database: tuple[DatabaseSpan, ...]
    lasts: float
    most_requests: int
    latest: float


def make_plan(seed: int) -> OutboxPlan:
    """The plan of a seed."""
    return _Planner(seed).plan()


class _Planner:
    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._seed = seed
        self._numbers = 0
        self._lasts = self._spread(4, 90)
        self._lease = self._random.choice([1.0, 2.0, 2.0, 5.0])
        self._players = [f"player{number}" for number in range(self._random.choice([1, 2, 4, 10, 40]))]
        self._names = [f"event{number}" for number in range(self._random.choice([1, 2, 4, 8]))]
        self._contacts = self._chance(0.2)
        self._poison = self._random.choice([0.0, 0.0, 0.02, 0.1])
        self._toxic = self._random.choice([0.0, 0.0, 0.0, 0.03])
        self._bursts = [self._random.uniform(0, self._lasts) for _ in range(self._random.randint(1, 5))]
        self._bursts[0] = 0.0

    def plan(self) -> OutboxPlan:
        random = self._random
        relays = random.choice([1, 2, 2, 3, 4])
        per_second, per_30_seconds = random.choice([(100, 1200), (100, 1200), (32, 200), (8, 80)])
        plan = OutboxPlan(
            seed=self._seed,
            lease=self._lease,
            page=random.choice([2, 5, 20, 500]),
            batching=Batching(
                linger=random.choice([0.0, 0.0, 0.3]),
                max_events=random.choice([1, 3, 100]),
                buffer_events=random.choice([4, 20, 100_000]),
            ),
            retry=self._retry(),
            rate=RateLimit(per_second=per_second, per_30_seconds=per_30_seconds),
            timeout=random.choice([0.5, 2.0, 5.0]),
            connecting=random.choice([0.0, 0.3, 1.0]),
            relays=tuple(self._relay(number) for number in range(relays)),
            writings=self._writings(),
            weather=self._weather(),
            database=self._database(),
            lasts=self._lasts,
            most_requests=random.choice([30, 100, 300]),
            latest=random.choice([0.1, 1.0, self._lease]),
        )
        if self._chance(0.3) and len(plan.writings) < _FEW:  # more of them would take hours
            plan = attrs.evolve(plan, rate=RateLimit(per_second=random.choice([1, 3]), per_30_seconds=30))
        return plan

    def _retry(self) -> Retry:
        random = self._random
        initial = random.choice([0.05, 0.5])
        return Retry(
            initial=initial,
            maximum=initial * random.choice([1, 4, 20]),
            multiplier=random.choice([1.0, 2.0]),
            jitter=random.choice([0.0, 0.5, 1.0]),
            max_attempts=random.choice([1, 3, 8]),
            give_up_after=random.choice([self._lasts * 0.4 + 1, 86_400.0, 86_400.0, math.inf]),
            ambiguous=random.choice(["resend", "report"]),
        )

    # ---------------------------------------------------------------- relays

    def _relay(self, number: int) -> RelayPlan:
        starts_at = 0.0 if not number or self._chance(0.5) else self._random.uniform(0, self._lasts)
        happenings = [self._happening(starts_at) for _ in range(self._random.choice([0, 1, 1, 2, 4]))]
        return RelayPlan(starts_at, tuple(sorted(happenings, key=lambda happening: happening.at)))

    def _happening(self, from_: float) -> Happening:
        what: Misfortune = self._random.choice(
            ["kill", "suspend", "sleep", "cut off", "stop", "suspend before a request", "suspend before a request"]
        )
        lasts = self._lease * self._random.choice([0.3, 0.9, 1.1, 2.0, 4.0, 20.0])
        if what in ("kill", "stop") and self._chance(0.3):
            lasts = math.inf
        return Happening(self._random.uniform(from_, self._lasts), what, lasts)

    # ---------------------------------------------------------------- applications

    def _writings(self) -> tuple[Writing, ...]:
        return tuple(self._writing() for _ in range(self._random.choice([3, 15, 40, 80])))

    def _writing(self) -> Writing:
        random = self._random
        at = random.choice(self._bursts) + random.choice([0.0, 0.1, 3.0]) * random.random()
        if self._chance(0.05):
            return Writing(at, (), random.uniform(0, self._lasts), commits=self._chance(0.5))
        slow = random.choice([0.0, 0.0, 0.02, 0.5])
        is_undone = self._chance(0.1)
        appends = tuple(self._append(random.uniform(0, slow), is_undone) for _ in range(random.choice([1, 1, 2, 4, 8])))
        ends_after = random.choice([0.0, 0.0, 0.05, 0.5, self._lasts * random.random()]) * random.random()
        return Writing(at, appends, ends_after, commits=self._chance(0.9))

    def _append(self, after: float, is_undone: bool) -> Append:  # noqa: FBT001 drawn
        self._numbers += 1
        mobile, email = self._contact(), self._contact()
        return Append(
            after=after,
            number=self._numbers,
            player=self._random.choice(self._players),
            name=self._random.choice(self._names),
            metadata=self._metadata(),
            mobile=mobile and f"+20{mobile}",
            email=email and f"{email}@example.com",
            is_undone=is_undone and self._chance(0.5),
        )

    def _contact(self) -> str | None:
        return self._random.choice([None, None, "1", "2"]) if self._contacts else None

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"n": self._numbers}
        if self._chance(0.1):
            metadata["v"] = self._random.choice(["", "é\u2028", -1, 0.1, ["a", 2], []])
        if self._chance(self._poison):
            metadata["poison"] = 1
        if self._chance(self._toxic):
            metadata["toxic"] = 1
        return metadata

    # ---------------------------------------------------------------- faults

    def _weather(self) -> tuple[Span, ...]:
        spans: list[Span] = []
        at = 0.0
        while at < self._lasts and len(spans) < 4:
            at += self._lasts * self._random.uniform(0.1, 0.8)
            latency = self._random.choice([(0.0, 0.01), (0.02, 0.12), (0.02, 0.12), (0.0, 1.0)])
            spans.append(Span(at, self._odds(), latency))
        return (*spans[:-1], attrs.evolve(spans[-1], until=math.inf))

    def _odds(self) -> tuple[tuple[str, float], ...]:
        if self._chance(0.5):
            return (("ok", 1.0),)
        meanings = FAULTS[self._random.choice([kind for kind in FAULTS if kind != "halting" or self._chance(0.1)])]
        groups = [GROUPS[self._random.choice(meanings)] for _ in range(self._random.randint(1, 4))]
        labels = [self._random.choice([label for label in group if label not in _LONG]) for group in groups]
        share = self._random.choice([0.05, 0.3, 0.9])
        return (("ok", 1 - share), *((label, share / len(labels)) for label in labels))

    def _database(self) -> tuple[DatabaseSpan, ...]:
        if self._chance(0.3):
            return ()
        spans: list[DatabaseSpan] = []
        at = 0.0
        while at < self._lasts:
            at += self._random.choice([0.1, 0.3, 1.0]) * self._random.uniform(0.2, 1) * self._lasts
            spans.append(DatabaseSpan(at, self._statement_faults(), self._random.choice([1, 1, 10, 60]), False))
            if self._chance(0.3):
                at += self._random.choice([0.1, self._lease * 0.5, self._lease * 1.5])
                spans.append(DatabaseSpan(at, {}, 1.0, is_down=True))
        return tuple(spans)

    def _statement_faults(self) -> dict[str, float]:
        if self._chance(0.4):
            return {}
        chosen = [fault for fault in STATEMENT_FAULTS if self._chance(0.4)]
        share = self._random.choice([0.02, 0.1, 0.4])
        return {fault: share / len(chosen) for fault in chosen}

    # ---------------------------------------------------------------- drawing

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _spread(self, low: float, high: float) -> float:
        """A number of any magnitude between the two."""
        return math.exp(self._random.uniform(math.log(low), math.log(high)))


_FEW = 20
"""Transactions whose events can be sent at one request per second."""

_LONG = frozenset({"limited_endless", "unavailable_later"})
"""Replies that ask for minutes, in which the relays would only poll."""

assert all(set(group) - _LONG for meaning, group in GROUPS.items() if meaning is not Meaning.INTERRUPTED)
