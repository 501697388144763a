"""What the oracle says about each request: right events, right order, right time, and nothing twice without need."""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs
import httpx

from gameball_async import Dropped, OutcomeUnknown, Rejected
from gameball_async._core.pacing import BreakerState
from gameball_async._engine.flusher import Flusher

from .ledger import Ledger, Placed, Trace
from .plan import Plan
from .replies import RETRIABLE, UNSETTLED, Meaning, Reply

EPSILON = 1e-6
"""Seconds by which sums of floats may differ."""

LONGEST_PAUSE = 300.0
MOST_CONNECTIONS = 10
HALT_PAUSE = 60.0
AWAITED_BACKOFF = 1.0

_FIELDS = {"v3.0": ("event", "playerUniqueId"), "v4.0": ("events", "customerId"), "v4.1": ("events", "customerId")}
"""The last part of the path, and the field of the player's id."""


@attrs.define(eq=False, kw_only=True)
class Attempt:
    """One request as the server saw it.

    Attributes:
        started: when the client began it.
        arrived: when the server counted it.
        ended: when the client had its answer or gave up; None while it is in flight.
        meaning: what the client has to conclude; INTERRUPTED if it did not see the answer.
        is_probe: whether the circuit breaker was not closed when it started.
        is_awaited: whether a flush or a close waited when it ended.
    """

    number: int
    player: str
    placed: list[Placed]
    body: bytes
    started: float
    is_probe: bool
    label: str = ""
    reply: Reply | None = None
    arrived: float | None = None
    ended: float | None = None
    meaning: Meaning | None = None
    pause: float | None = None
    is_awaited: bool = False
    tries: int = 1
    solo_failures: int = 0

    @property
    def numbers(self) -> list[int]:
        """The numbers of its events."""
        return [placed.asked.number for placed in self.placed]


class Requests:
    """Checks every request when it starts and when it ends, and keeps them all."""

    def __init__(
        self, plan: Plan, ledger: Ledger, trace: Trace, now: Callable[[], float], fail: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._trace = trace
        self._now = now
        self._fail = fail
        self.all: list[Attempt] = []
        self.in_flight: dict[str, Attempt] = {}
        self._ends: list[float] = []
        self.paused_until = 0.0
        self.halted_until = 0.0
        self.probes_by = 0.0
        self.hurried_at = -1.0
        self.is_over = False
        self.ending_at = math.inf
        self.flusher: Flusher | None = None
        self._awaiting = 0
        self._awaiting_changed: set[float] = set()

    @property
    def on_the_wire(self) -> Sequence[Attempt]:
        """The requests that have no answer yet."""
        return tuple(self.in_flight.values())

    @property
    def in_flight_count(self) -> int:
        """Requests with events that have no answer yet."""
        return len(self.in_flight)

    @property
    def singles_in_flight(self) -> int:
        """Those of them that are for one player."""
        return self.in_flight_count

    def awaits(self, change: int) -> None:
        """Note that so many more calls wait for every outcome; what ends at this very instant may see either."""
        self._awaiting += change
        self._awaiting_changed.add(self._now())

    # ---------------------------------------------------------------- start

    def start(self, request: httpx.Request, body: bytes) -> Attempt:
        """Check a request that starts now."""
        self._check_head(request)
        fields = self._parsed(body)
        placed = self._placed(fields["events"])
        player = fields[_FIELDS[self._plan.api_version][1]]
        attempt = Attempt(
            number=len(self.all),
            player=player,
            placed=placed,
            body=body,
            started=self._now(),
            is_probe=self.flusher is not None and self.flusher.breaker.state is not BreakerState.CLOSED,
        )
        self._trace.note("request", f"#{attempt.number}", player, attempt.numbers)
        self._trace.observe(request.method, str(request.url), body)
        self._check_limits(attempt)
        self._check_contacts(attempt, fields)
        self._check_order(attempt)
        self._check_retry(attempt)
        self._check_time(attempt)
        self.all.append(attempt)
        self.in_flight[player] = attempt
        for event in placed:
            event.last = attempt
            event.attempts += 1
        return attempt

    def _check_head(self, request: httpx.Request) -> None:
        resource, _ = _FIELDS[self._plan.api_version]
        if request.method != "POST" or request.url.path != f"/api/{self._plan.api_version}/integrations/{resource}":
            self._fail(f"a request went to {request.method} {request.url}")
        if request.headers.get("APIKey") != "key" or request.headers.get("Content-Type") != "application/json":
            self._fail("a request came without key or content type")
        if self.is_over:
            self._fail("a request started after the close")

    def _parsed(self, body: bytes) -> dict[str, Any]:
        def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
            pairs = list(pairs)
            if len(dict(pairs)) != len(pairs):
                self._fail(f"a request repeats a name: {body!r}")
            return dict(pairs)

        parsed: dict[str, Any] = json.loads(body, object_pairs_hook=unique)
        return parsed

    def _placed(self, events: Mapping[str, Any]) -> list[Placed]:
        placed: list[Placed] = []
        for name, metadata in events.items():
            event = self._ledger.events[metadata["n"]]
            if (name, metadata) != (event.asked.name, event.asked.metadata):
                self._fail(f"event {event.asked.number} changed on its way: {name} {metadata}")
            placed.append(event)
        return placed

    def _check_limits(self, attempt: Attempt) -> None:
        batching = self._plan.batching
        if not 0 < len(attempt.placed) <= batching.max_events:
            self._fail(f"#{attempt.number} holds {len(attempt.placed)} events")
        if len(attempt.body) > batching.max_bytes:
            self._fail(f"#{attempt.number} has {len(attempt.body)} bytes")
        if attempt.player in self.in_flight:
            self._fail(f"#{attempt.number}: two requests in flight for {attempt.player}")
        if self.singles_in_flight >= MOST_CONNECTIONS:
            self._fail(f"#{attempt.number}: more than {MOST_CONNECTIONS} requests in flight")

    def _check_contacts(self, attempt: Attempt, fields: Mapping[str, Any]) -> None:
        for field in ("mobile", "email"):
            asked = {getattr(placed.asked, field) for placed in attempt.placed} - {None}
            if len(asked) > 1 or (asked and fields.get(field) not in asked):
                self._fail(f"#{attempt.number} carries {field}={fields.get(field)}, asked for were {sorted(asked)}")
        expected = {"events", _FIELDS[self._plan.api_version][1], "mobile", "email"}
        if not fields.keys() <= expected:
            self._fail(f"#{attempt.number} has fields that no one knows: {sorted(fields.keys() - expected)}")

    def _check_order(self, attempt: Attempt) -> None:
        """A request holds the oldest unsettled events of its player, all of them in order of placement."""
        queue = self._ledger.queues.get(attempt.player, ())
        oldest = list(islice(queue, len(attempt.placed)))
        if attempt.placed != oldest:
            self._fail(f"#{attempt.number} carries {attempt.numbers}, due are {[p.asked.number for p in oldest]}")

    def _check_retry(self, attempt: Attempt) -> None:
        earlier = {id(placed.last): placed.last for placed in attempt.placed}
        last: Attempt | None = next(iter(earlier.values()))
        if len(earlier) > 1:
            self._fail(f"#{attempt.number} mixes events of different requests")
        elif last is not None and last.meaning is not None:
            self._check_repeat(attempt, last, last.meaning)

    def _check_repeat(self, attempt: Attempt, last: Attempt, meaning: Meaning) -> None:
        if attempt.body == last.body:
            attempt.tries, attempt.solo_failures = last.tries + 1, last.solo_failures
            if meaning not in RETRIABLE:
                self._fail(f"#{attempt.number} repeats #{last.number}, which was {meaning.name}")
            if self._is_too_old(last, meaning):
                self._fail(f"#{attempt.number} repeats #{last.number} although its events are too old")
        elif not _is_part(attempt, last) or not self._may_split(last, meaning):
            self._fail(f"#{attempt.number} is neither a repetition of #{last.number} ({meaning.name}) nor a part of it")
        if self._plan.retry.ambiguous == "report" and meaning in UNSETTLED:
            self._fail(f"#{attempt.number} sends again what may have been applied by #{last.number}")

    def _may_split(self, last: Attempt, meaning: Meaning) -> bool:
        return meaning is Meaning.REFUSED or last.solo_failures >= self._plan.retry.max_attempts

    def _is_too_old(self, last: Attempt, meaning: Meaning) -> bool:
        if meaning in (Meaning.HALT, Meaning.INTERRUPTED) or last.ended is None:
            return False
        if self.was_halted:  # while the client is halted nothing grows too old, and how long that was is its own affair
            return False
        return last.ended - last.placed[0].accepted_at > self._plan.retry.give_up_after + EPSILON

    def _check_time(self, attempt: Attempt) -> None:
        self._check_pause(attempt)
        last: Attempt | None = attempt.placed[0].last
        if last is not None and attempt.started < self.earliest_retry(last) - EPSILON:
            self._fail(f"#{attempt.number} starts before the backoff of #{last.number} is over")

    def _check_pause(self, attempt: Attempt) -> None:
        if attempt.started < self.paused_until - EPSILON:
            self._fail(f"#{attempt.number} starts in a pause that lasts until {self.paused_until:.4f}")
        if attempt.started < self.halted_until - EPSILON:
            self._fail(f"#{attempt.number} starts before {self.halted_until:.4f} although the client is refused")
        if attempt.is_probe and any(other.is_probe for other in self.on_the_wire):
            self._fail(f"#{attempt.number} is a second probe at once")

    def earliest_retry(self, last: Attempt) -> float:
        """When an attempt may be repeated at the earliest."""
        if last.ended is None or last.ended <= self.hurried_at:
            return -1.0
        if last.solo_failures >= self._plan.retry.max_attempts:
            return -1.0  # it may have been split, and its parts go at once
        wait = self._backoff(last) * (1 - self._plan.retry.jitter)
        is_short = last.is_awaited or last.ended in self._awaiting_changed
        return last.ended + (min(wait, AWAITED_BACKOFF) if is_short else wait)

    def latest_retry(self, last: Attempt) -> float:
        """When the backoff of an attempt is over at the latest."""
        if last.ended is None:
            return -1.0
        is_short = last.is_awaited and last.ended not in self._awaiting_changed
        return last.ended + (min(self._backoff(last), AWAITED_BACKOFF) if is_short else self._backoff(last))

    def _backoff(self, last: Attempt) -> float:
        """The backoff without jitter, a lower and an upper bound alike."""
        retry = self._plan.retry
        match last.meaning:
            case Meaning.BUSY:
                return retry.initial
            case Meaning.FAILED | Meaning.AMBIGUOUS:
                return min(retry.maximum, retry.initial * retry.multiplier ** (last.tries - 1))
            case _:
                return 0.0

    # ---------------------------------------------------------------- end

    def arrive(self, attempt: Attempt) -> None:
        """Note that the server counted a request."""
        attempt.arrived = self._now()

    def apply(self, attempt: Attempt) -> None:
        """Note that the server counted the events of a request."""
        for placed in attempt.placed:
            placed.applied += 1

    def end(self, attempt: Attempt, meaning: Meaning) -> None:
        """Note how a request ended for the client."""
        if attempt.ended is not None:
            return
        now = attempt.ended = self._now()
        attempt.is_awaited = self._awaiting > 0
        self._ends.append(now)
        attempt.meaning = self._with_timeout(attempt, meaning)
        self._trace.note("ended", f"#{attempt.number}", attempt.label, attempt.meaning.name)
        if self.in_flight.get(attempt.player) is attempt:
            del self.in_flight[attempt.player]
        if attempt.meaning in UNSETTLED:
            for placed in attempt.placed:
                placed.unsettled_attempt = True
        if attempt.reply is not None and meaning is attempt.reply.meaning:
            attempt.solo_failures += attempt.reply.solo_failures
        self._note_server(attempt, meaning, now)

    def _note_server(self, attempt: Attempt, meaning: Meaning, now: float) -> None:
        """Note what the end of a request says about the server."""
        if self._is_halted:  # only the answer of a working server ends a halt; after any other end comes the next probe
            self.probes_by = max(self.probes_by, now + HALT_PAUSE)
        if attempt.reply is not None and meaning is attempt.reply.meaning:
            self._note_pause(attempt, meaning, now)

    def collect(self) -> None:
        """Note which events got their outcome."""

    def on_log(self, message: str) -> None:
        """Note what the client has logged."""

    def _with_timeout(self, attempt: Attempt, meaning: Meaning) -> Meaning:
        """Given up by its own timeout, a request is ambiguous and not interrupted."""
        is_over = self._now() >= attempt.started + 3 * self._plan.timeout - EPSILON
        return Meaning.AMBIGUOUS if meaning is Meaning.INTERRUPTED and is_over else meaning

    def _note_pause(self, attempt: Attempt, meaning: Meaning, now: float) -> None:
        retry = self._plan.retry
        if meaning is Meaning.HALT:
            self.halted_until = self.probes_by = now + HALT_PAUSE
            return
        if meaning is Meaning.DELIVERED:
            self.halted_until = 0.0
        if attempt.pause is not None:
            self.paused_until = max(self.paused_until, now + min(attempt.pause, LONGEST_PAUSE))
        elif meaning is Meaning.LIMITED:
            self.paused_until = max(self.paused_until, now + retry.initial * (1 - retry.jitter))

    @property
    def _is_halted(self) -> bool:
        return self.flusher is not None and self.flusher.settlement.halted is not None

    @property
    def was_halted(self) -> bool:
        """Whether the server refused the client at some time."""
        return self.probes_by > 0

    # ---------------------------------------------------------------- when nothing is ready

    def check_idle(self) -> None:
        """What is due is under way: nothing sleeps while it could be sent."""
        assert self.flusher is not None
        breaker, now = self.flusher.breaker, self._now()
        if breaker.until > now + max(LONGEST_PAUSE, self._plan.retry.maximum) + EPSILON:
            self._fail(f"the client pauses until {breaker.until:.4f}")
        if not self.may_go(now):
            return
        if breaker.state is not BreakerState.CLOSED and (self.in_flight or self.is_closing_halted):
            return
        for player, queue in self._ledger.queues.items():
            if queue and player not in self.in_flight:
                due_at = max(self._due_at(queue[0]), breaker.until)
                if now > due_at + EPSILON:
                    self._fail(f"event {queue[0].asked.number} is due since {due_at:.4f}, and nobody sends it")

    def may_go(self, now: float, player: str | None = None) -> bool:  # noqa: ARG002 of more than single requests
        """Whether connections and pacing let another request go, with this player's oldest event."""
        return self.in_flight_count < MOST_CONNECTIONS and self._has_slot(now) and not self._keeps_distance(now)

    @property
    def numbers(self) -> dict[str, int]:
        """What the client has to say in its stats about requests."""
        return {
            "in_flight": self.in_flight_count,
            "requests": len(self.all),
            "retries": sum(attempt.tries > 1 for attempt in self.all),
        }

    @property
    def is_closing_halted(self) -> bool:
        """Whether nothing has to be sent because the client is refused and closes."""
        return (
            self.flusher is not None
            and self.flusher.settlement.halted is not None
            and self.flusher._closing_at is not None
        )

    def _has_slot(self, now: float) -> bool:
        """Whether the rate lets another request go, counting each from its start to a window after its end."""
        for most, seconds in self._plan.rate.windows() if self._plan.rate else ():
            recent = len(self._ends) - bisect_right(self._ends, now - seconds - EPSILON)
            if recent + len(self.in_flight) >= most:
                return False
        return True

    def _keeps_distance(self, now: float) -> bool:
        """Whether the client waits so that its requests do not leave in a burst; half of the even distance at most."""
        assert self.flusher is not None
        limits = self._plan.rate.windows() if self._plan.rate else ()
        until, most = self.flusher._spacing.free_at(), min((seconds / most / 2 for most, seconds in limits), default=0)
        if until > now + most + EPSILON:
            self._fail(f"the client keeps its distance until {until:.4f}")
        return until > now

    def _due_at(self, placed: Placed) -> float:
        if placed.last is None:
            return placed.accepted_at + self._plan.batching.linger
        return self.latest_retry(placed.last)

    def drain_bound(self) -> float:
        """Seconds in which everything has to be settled once the faults stopped and nobody tracks any more."""
        plan, events, now = self._plan, len(self._ledger.pending), self._now()
        trips = 0.1 * (4 * events + 10)
        hang = 3 * plan.timeout if self.in_flight else 0.0
        pause = max(0.0, self.paused_until - now) + max(0.0, self.probes_by - now)
        pause += max((_pause_to_come(attempt) for attempt in self.in_flight.values()), default=0.0)
        pause += HALT_PAUSE if self._is_halted and self.in_flight else 0.0
        pacing = 0.0
        for most, seconds in plan.rate.windows() if plan.rate else ():
            pacing += seconds * (3 * events / most + 2)
        return plan.batching.linger + 2 * plan.retry.maximum + hang + pause + pacing + trips

    # ---------------------------------------------------------------- at the end

    def check_windows(self) -> None:
        """The server never counted more than the rate allows in any window."""
        arrivals = sorted(attempt.arrived for attempt in self.all if attempt.arrived is not None)
        for most, seconds in self._plan.rate.windows() if self._plan.rate else ():
            for index, at in enumerate(arrivals):
                if (count := index + 1 - bisect_right(arrivals, at - seconds + EPSILON)) > most:
                    self._fail(f"{count} requests in the {seconds:g} s before {at:.4f}")
                    return

    def check_outcome(self, placed: Placed) -> None:
        """What the client says about an event is true."""
        outcome, last, number = placed.outcome, placed.last, placed.asked.number
        match outcome:
            case Rejected():
                if last is None or len(last.placed) > 1 or not self._is_rejection(last):
                    self._fail(f"event {number} was rejected without a refusal of its own")
            case Dropped():
                self._check_dropped(placed, outcome)
            case OutcomeUnknown():
                if not placed.unsettled_attempt:
                    self._fail(f"event {number} is unknown although every answer was clear")
            case None:
                self._fail(f"event {number} has no outcome")
            case _:
                self._check_delivered(placed)
        if isinstance(outcome, Rejected | Dropped) and placed.applied and not outcome.may_have_arrived:
            self._fail(f"event {number} arrived although it is called {type(outcome).__name__}")

    def _is_rejection(self, last: Attempt) -> bool:
        return last.meaning is not None and self._may_split(last, last.meaning)

    def _check_delivered(self, placed: Placed) -> None:
        last, number = placed.last, placed.asked.number
        outcome: Any = placed.outcome
        if last is None or last.meaning is not Meaning.DELIVERED or not placed.applied:
            self._fail(f"event {number} is called delivered and is not")
        elif (outcome.attempts, outcome.status) != (placed.attempts, last.reply.status):
            self._fail(f"event {number} took {placed.attempts} attempts, its receipt says {outcome}")
        if outcome.maybe_duplicate is not placed.unsettled_attempt:
            self._fail(f"event {number}, applied {placed.applied} times, has a receipt that says {outcome}")
        if placed.applied > 1 and self._plan.retry.ambiguous == "report":
            self._fail(f"event {number} was applied {placed.applied} times")

    def _check_dropped(self, placed: Placed, outcome: Dropped) -> None:
        age = placed.settled_at - placed.accepted_at
        match outcome.reason.name:
            case "BUFFER_FULL":
                is_true = self._plan.batching.when_full.startswith("drop") and not self._is_sealed(placed)
            case "EXPIRED":
                is_true = self._batch_age(placed) > self._plan.retry.give_up_after - EPSILON
            case "FLUSHER_DIED":
                is_true = self._plan.ending == "crash"
            case _:
                is_true = True
        if not is_true:
            self._fail(f"event {placed.asked.number} was dropped after {age:.4f} s: {outcome}")

    def _is_sealed(self, placed: Placed) -> bool:
        """Whether it must be sent again as it was; the parts of a split request may change until they are sent."""
        last = placed.last
        return last is not None and not self._is_rejection(last)

    def _batch_age(self, placed: Placed) -> float:
        """An upper bound: a batch is as old as its first event, which may have left it alone or with its half."""
        player = placed.asked.player
        opened_at = min(other.accepted_at for other in self._ledger.accepted if other.asked.player == player)
        return placed.settled_at - opened_at

    def summary(self) -> Counter[str]:
        """How often which reply was given."""
        return Counter(attempt.label for attempt in self.all)


def _is_part(attempt: Attempt, last: Attempt) -> bool:
    """Whether a request carries a part of an earlier one's events, in one piece."""
    first = last.placed.index(attempt.placed[0]) if attempt.placed[0] in last.placed else 0
    return len(attempt.placed) < len(last.placed) and (
        last.placed[first : first + len(attempt.placed)] == attempt.placed
    )


def _pause_to_come(attempt: Attempt) -> float:
    """Seconds of pause that the answer to a request in flight will bring."""
    if attempt.reply is None or attempt.reply.meaning is not Meaning.HALT:
        return attempt.pause or (attempt.reply and attempt.reply.pause) or 0.0
    return HALT_PAUSE
