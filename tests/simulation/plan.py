"""What a seed means: settings, weather, who calls what and when, and how it ends. Drawn before anything runs."""

from __future__ import annotations

import math
from random import Random
from typing import Any, Literal

import attrs

from gameball_async import Batching, RateLimit, Retry

from .replies import GROUPS, REPLIES, Meaning

Ending = Literal["drain", "flush", "close", "cancel", "crash", "unstarted"]
Fate = Literal["completes", "fails", "is stopped", "never ends", "vanishes", "unnamed"]
"""What becomes of a job; unnamed: it completes, and says how many items failed but not which."""

Vocabulary = Literal["openapi", "tutorial", "capitalised"]
Callback = Literal["none", "plain", "slow", "raises", "tracks", "awaits"]


@attrs.frozen
class Cancel:
    """When a call is cancelled: after some seconds, after some turns of the loop, or in one of its own awaits.

    Attributes:
        at_await: the number of the await in which it waits then; 0 if it is not that which decides.
        native: by `Task.cancel`, which no scope of anyio knows of (asyncio only).
    """

    after: float | None = None
    turns: int = 0
    at_await: int = 0
    native: bool = False


@attrs.frozen
class Track:
    """One event to be tracked, by `track` or `track_nowait`."""

    number: int
    player: str
    name: str
    metadata: dict[str, Any]
    mobile: str | None = None
    email: str | None = None
    nowait: bool = False


@attrs.frozen
class Send:
    """Events of one player to be sent as one request."""

    events: tuple[Track, ...]


@attrs.frozen
class Flush:
    """A flush."""

    timeout: float | None


@attrs.frozen
class Await:
    """A receipt to be awaited: one of the accepted events, chosen by a fraction."""

    which: float


@attrs.frozen
class Step:
    """What one actor does at a time."""

    at: float
    act: Track | Send | Flush | Await
    cancel: Cancel | None = None


@attrs.frozen
class Span:
    """The weather up to a time: the odds of each reply, and the latency."""

    until: float
    odds: tuple[tuple[str, float], ...]
    latency: tuple[float, float]


@attrs.frozen
class Close:
    """One call of aclose."""

    after: float
    timeout: float
    cancel: Cancel | None = None


@attrs.frozen(kw_only=True)
class JobPlan:
    """How Gameball processes bulk requests.

    Attributes:
        latency: seconds that a job takes.
        fates: the odds of each fate.
        failing: the share of items that fail.
        halfway: the share of those whose events are applied all the same.
        is_strict: whether a bulk request with an invalid event is refused as a whole; else only its item fails.
        ids: how job ids look.
        vocabulary: of a job's status.
        live: which paths of a job's status exist.
        polls: the odds of each answer to a question for a status, in bad weather.
    """

    latency: tuple[float, float]
    fates: tuple[tuple[Fate, float], ...]
    failing: float
    halfway: float
    is_strict: bool
    ids: Literal["numbers", "digits", "texts"]
    vocabulary: Vocabulary
    live: frozenset[str]
    polls: tuple[tuple[str, float], ...]


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that a seed decides.

    Attributes:
        seed: the seed itself.
        own_pool: whether the client opens its own connections; else it is given an HTTP client.
        lasts: seconds until the faults stop.
        ends_after: seconds until the client is closed, cancelled or crashes, if that is how it ends.
        most_requests: the faults stop at the latest after so many requests.
        logging: whether a logging handler tracks.
        finalizers: whether finalizers do.
        run_in_group: whether the client is started by `run`; else by `start`.
        starts: the calls of `start` at once, before the one that counts.
        killed_after: seconds from the close to the cancellation of the flusher's task, if that is how it ends; None if
            that comes first.
        crash_after: batches taken until the flusher crashes, if that is how it ends.
        jobs: how bulk requests are processed; None if the client sends none.
    """

    seed: int
    api_version: str
    batching: Batching
    retry: Retry
    rate: RateLimit | None
    timeout: float
    own_pool: bool
    callback: Callback
    logging: bool
    finalizers: bool
    scripts: tuple[tuple[Step, ...], ...]
    before_start: tuple[Track, ...]
    weather: tuple[Span, ...]
    lasts: float
    most_requests: int
    ending: Ending
    ends_after: float
    closes: tuple[Close, ...]
    run_in_group: bool
    starts: tuple[Cancel | None, ...]
    killed_after: float | None
    crash_after: int
    jobs: JobPlan | None = None

    @property
    def most_tasks(self) -> int:
        """Tasks of the simulation itself, at most: a cancelled call takes three."""
        return 3 * (len(self.scripts) + len(self.closes) + len(self.starts)) + 5


def make_plan(seed: int) -> Plan:
    """The plan of a seed."""
    return Planner(seed).plan()


FAULTS = {
    "flaky": (Meaning.FAILED, Meaning.AMBIGUOUS, Meaning.BUSY),
    "limited": (Meaning.LIMITED,),
    "refusing": (Meaning.REFUSED, Meaning.BUSY),
    "down": (Meaning.FAILED,),
    "unclear": (Meaning.AMBIGUOUS,),
    "halting": (Meaning.HALT,),
    "anything": tuple(meaning for meaning in Meaning if meaning is not Meaning.INTERRUPTED),
}
"""Kinds of bad weather, and what its faults mean."""


_ENDINGS: dict[Ending, int] = {"drain": 40, "flush": 10, "close": 24, "cancel": 16, "crash": 6, "unstarted": 4}
"""How the client's life ends, by weight."""


class Planner:
    """Draws a plan."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)
        self._numbers = 0
        self._lasts = self._spread(0.5, 3600)
        self._players = [f"player{number}" for number in range(self._random.choice([1, 2, 3, 6, 12, 30]))]
        self._names = [f"event{number}" for number in range(self._random.choice([1, 2, 4, 8]))]
        self._contacts = self._chance(0.3)
        self._poison = self._random.choice([0.0, 0.0, 0.02, 0.1])
        self._toxic = self._random.choice([0.0, 0.0, 0.0, 0.03])
        self._bursts = [self._random.uniform(0, self._lasts) for _ in range(self._random.randint(1, 6))]
        self._bursts[0] *= self._random.choice([0.0, 1.0])
        self._cancels = self._random.choice([0.0, 0.0, 0.1, 0.4])

    def plan(self) -> Plan:
        random = self._random
        batching = self._batching()
        ending = random.choices(list(_ENDINGS), list(_ENDINGS.values()))[0]
        retry = self._retry()
        if batching.linger >= retry.give_up_after:  # refused: nothing could be delivered
            batching = attrs.evolve(batching, linger=0.0)
        return Plan(
            seed=self._seed,
            api_version=random.choice(["v3.0", "v3.0", "v4.0", "v4.1"]),
            batching=batching,
            retry=retry,
            rate=self._rate(),
            timeout=random.choice([1.0, 5.0, 30.0]),
            own_pool=self._chance(0.3),
            callback=random.choice(["none", "plain", "plain", "slow", "raises", "tracks", "awaits"]),
            logging=self._chance(0.3),
            finalizers=self._chance(0.15),
            scripts=self._scripts(),
            before_start=self._before_start(always=ending == "unstarted"),
            weather=self._weather(),
            lasts=self._lasts,
            most_requests=random.choice([30, 100, 200]),
            ending=ending,
            ends_after=self._ends_after(),
            closes=self._closes(),
            run_in_group=self._chance(0.3),
            starts=tuple(self._cancel() for _ in range(random.choice([0, 0, 1, 2]))),
            killed_after=random.choice([None, None, 0.0, 0.01, 0.05, 0.5]),
            crash_after=random.randrange(1, 40),
        )

    # ---------------------------------------------------------------- settings

    def _batching(self) -> Batching:
        random = self._random
        small = self._chance(0.5)
        max_bytes = random.choice([400, 2000, 256 * 1024])
        return Batching(
            linger=random.choice([0.0, 0.05, 0.5, 0.5, 5.0]),
            max_events=random.choice([1, 2, 3, 5, 100]),
            max_bytes=max_bytes,
            buffer_events=random.choice([1, 2, 5, 10, 20]) if small else 100_000,
            buffer_bytes=max(max_bytes, random.choice([1000, 6000]) if small else 2**26),
            when_full=random.choice(["wait", "wait", "raise", "drop_oldest", "drop_newest"]),
            wait_timeout=random.choice([0.0, 0.2, 1.0, 60.0]),
        )

    def _retry(self) -> Retry:
        random = self._random
        initial = random.choice([0.05, 0.5, 2.0])
        return Retry(
            initial=initial,
            maximum=initial * random.choice([1, 4, 60]),
            multiplier=random.choice([1.0, 2.0, 3.0]),
            jitter=random.choice([0.0, 0.5, 1.0]),
            max_attempts=random.choice([1, 2, 3, 8]),
            give_up_after=random.choice([self._lasts * 0.3 + 0.1, 60.0, 86_400.0, math.inf]),
            ambiguous=random.choice(["resend", "resend", "report"]),
        )

    def _rate(self) -> RateLimit | None:
        if self._chance(0.6):
            return None
        return RateLimit(
            per_second=self._random.choice([1, 3, 10, 100]), per_30_seconds=self._random.choice([5, 20, 100, 1200])
        )

    # ---------------------------------------------------------------- weather

    def _weather(self) -> tuple[Span, ...]:
        spans: list[Span] = []
        at = 0.0
        while at < self._lasts and len(spans) < 5:
            at += self._lasts * self._random.uniform(0.1, 0.8)
            spans.append(Span(at, self._odds(), self._latency()))
        return (*spans[:-1], attrs.evolve(spans[-1], until=math.inf))

    def _odds(self) -> tuple[tuple[str, float], ...]:
        if self._chance(0.3):
            return (("ok", 1.0),)
        meanings = FAULTS[self._random.choice(list(FAULTS))]
        labels = [self._random.choice(GROUPS[self._random.choice(meanings)]) for _ in range(self._random.randint(1, 5))]
        share = self._random.choice([0.05, 0.3, 0.9, 1.0])
        return (("ok", 1 - share), *((label, share / len(labels)) for label in labels))

    def _latency(self) -> tuple[float, float]:
        return self._random.choice([(0.0, 0.0), (0.02, 0.12), (0.02, 0.12), (0.0, 2.0)])

    # ---------------------------------------------------------------- calls

    def _scripts(self) -> tuple[tuple[Step, ...], ...]:
        actors = self._random.choice([1, 2, 4, 10])
        steps = self._random.choice([5, 20, 60, 150])
        return tuple(self._script(max(1, steps // actors)) for _ in range(actors))

    def _script(self, steps: int) -> tuple[Step, ...]:
        width = self._random.choice([0.0, 0.1, 2.0])
        times = sorted(self._random.choice(self._bursts) + self._random.uniform(0, width) for _ in range(steps))
        return tuple(self._step(at) for at in times)

    def _step(self, at: float) -> Step:
        kind = self._random.choices(["track", "send", "flush", "await"], [88, 5, 2, 5])[0]
        act: Track | Send | Flush | Await
        match kind:
            case "track":
                act = self._track()
            case "send":
                act = self._send()
            case "flush":
                act = Flush(self._random.choice([None, 0.0, 0.3, 10.0]))
            case _:
                act = Await(self._random.random())
        return Step(at, act, self._cancel())

    def _cancel(self) -> Cancel | None:
        if not self._chance(self._cancels):
            return None
        native = self._chance(0.3)
        if self._chance(0.5):
            return Cancel(turns=self._random.randrange(6), native=native)
        return Cancel(after=self._random.choice([0.0, 0.01, 0.3, 3.0]), native=native)

    def _track(self, player: str | None = None) -> Track:
        self._numbers += 1
        mobile, email = self._contact(), self._contact()
        return Track(
            number=self._numbers,
            player=player or self._random.choice(self._players),
            name=self._random.choice(self._names),
            metadata=self._metadata(),
            mobile=mobile and f"+20{mobile}",
            email=email and f"{email}@example.com",
            nowait=self._chance(0.2),
        )

    def _contact(self) -> str | None:
        return self._random.choice([None, None, "1", "2"]) if self._contacts else None

    def _metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {"n": self._numbers}
        if self._chance(0.3):
            metadata["v"] = self._random.choice(["", "é\u2028\U0001f600", -1, 0.1, 1e300, ["a", 2, "ü"], [], '\x00\\"'])
        if self._chance(0.1):
            metadata["pad"] = "x" * self._random.choice([50, 300, 1900])
        if self._chance(self._poison):
            metadata["poison"] = 1
        if self._chance(self._toxic):
            metadata["toxic"] = 1
        return metadata

    def _send(self) -> Send:
        player = self._random.choice(self._players)
        first = self._track(player)
        events = {first.name: first}
        for _ in range(self._random.choice([0, 1, 3])):
            event = attrs.evolve(self._track(player), mobile=first.mobile, email=first.email)
            events.setdefault(event.name, event)
        return Send(tuple(events.values()))

    def _before_start(self, *, always: bool) -> tuple[Track, ...]:
        if not always and self._chance(0.8):
            return ()
        return tuple(self._track() for _ in range(self._random.choice([1, 3, 10])))

    # ---------------------------------------------------------------- ending

    def _ends_after(self) -> float:
        """Any time, but mostly in the midst of things."""
        if self._chance(0.3):
            return self._random.uniform(0, self._lasts)
        return self._random.choice(self._bursts) + self._random.choice([0.0, 0.03, 0.1, 0.6, 3.0])

    def _closes(self) -> tuple[Close, ...]:
        calls = self._random.choice([1, 1, 1, 2, 3])
        return tuple(
            Close(
                after=self._random.choice([0.0, 0.0, 0.1, 1.0]),
                timeout=self._random.choice([0.0, 0.05, 1.0, 10.0, 100.0]),
                cancel=self._cancel(),
            )
            for _ in range(calls)
        )

    # ---------------------------------------------------------------- drawing

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _spread(self, low: float, high: float) -> float:
        """A number of any magnitude between the two."""
        return math.exp(self._random.uniform(math.log(low), math.log(high)))


assert all(label in REPLIES for labels in GROUPS.values() for label in labels)
