"""What the oracle says about each request of a relay: it is sealed, in turn, by a living relay, and nothing twice."""

from __future__ import annotations

import asyncio
import itertools
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import httpx

from ..ledger import Trace
from ..replies import Meaning, Reply
from .plan import OutboxPlan
from .tables import RelayRow, Tables, shard_of
from .truth import Truth, Truths
from .world import Process

EPSILON = 1e-6
"""Seconds by which sums of floats may differ."""

CONNECTIONS = 10

_CLEAR = frozenset({Meaning.FAILED, Meaning.BUSY, Meaning.LIMITED, Meaning.HALT, Meaning.REFUSED})
"""What says for certain that nothing was applied."""


@attrs.define(eq=False, kw_only=True)
class Attempt:
    """One request.

    Attributes:
        process: which relay sent it.
        relay: the id under which it did.
        started: when its first byte was written.
        arrived: when the server counted it.
        ended: when the relay had its answer or gave up; None while it is in flight, or if the relay died.
        meaning: what the relay has to conclude; None if it has no answer.
        is_cancelled: whether the relay gave it up.
        life: of the flusher that sent it; the next one begins without a memory.
    """

    number: int
    process: Process
    relay: int
    player: str
    events: list[Truth]
    response: asyncio.Future[httpx.Response]
    started: float
    label: str
    reply: Reply | None = None
    arrived: float | None = None
    ended: float | None = None
    meaning: Meaning | None = None
    pause: float | None = None
    is_cancelled: bool = False
    life: object = None

    def __str__(self) -> str:
        meaning = self.meaning.name if self.meaning is not None else "no answer"
        return f"#{self.number} of {self.process} as {self.relay}: {self.label}, {meaning}"

    @property
    def seqs(self) -> tuple[int, ...]:
        """The seqs of its events."""
        return tuple(event.seq for event in self.events)

    @property
    def is_in_flight(self) -> bool:
        """Whether a running relay waits for its answer."""
        return self.ended is None and not self.process.is_dead

    @property
    def was_suspended(self) -> bool:
        """Whether its relay has been suspended since it began: then others may have taken its shards over."""
        return self.process.is_suspended or self.process.resumed_at >= self.started

    @property
    def is_unclear(self) -> bool:
        """Whether the relay, or the one after it, cannot know that nothing was applied."""
        return self.meaning not in _CLEAR

    @property
    def speaks_against(self) -> bool:
        """Whether its answer may be a reason to reject its events."""
        return self.meaning in (Meaning.REFUSED, Meaning.FAILED, Meaning.AMBIGUOUS)


class Attempts:
    """Checks every request, and keeps them all.

    Args:
        plan: what the seed means.
        tables: the database.
        truths: all events.
        now: the virtual time.
        fail: takes what is wrong.
        trace: takes what happened.
    """

    def __init__(
        self,
        plan: OutboxPlan,
        tables: Tables,
        truths: Truths,
        now: Callable[[], float],
        fail: Callable[[str], None],
        trace: Trace,
    ) -> None:
        self.all: list[Attempt] = []
        self.ids: dict[str, int] = {}
        self.lives: dict[str, object] = {}
        self._plan = plan
        self._tables = tables
        self._truths = truths
        self._now = now
        self._fail = fail
        self._trace = trace
        self._arrivals: list[float] = []

    # ---------------------------------------------------------------- begin

    def begin(
        self,
        process: Process,
        request: httpx.Request,
        body: bytes,
        label: str,
        response: asyncio.Future[httpx.Response],
    ) -> Attempt:
        """Check a request whose first byte is being written."""
        fields = self._parsed(body)
        player: str = fields["playerUniqueId"]
        attempt = Attempt(
            number=len(self.all),
            process=process,
            relay=self.ids.get(process.name, 0),
            player=player,
            events=[self._truths.find(name, metadata, player) for name, metadata in fields["events"].items()],
            response=response,
            started=self._now(),
            label=label,
            life=self.lives.get(process.name),
        )
        numbers = [event.append.number for event in attempt.events]
        self._trace.note("request", f"#{attempt.number}", process.name, attempt.relay, player, numbers, attempt.seqs)
        if request.headers.get("APIKey") != "key" or request.url.path != "/api/v3.0/integrations/event":
            self._fail(f"#{attempt.number} went to {request.url}")
        self._check_committed(attempt)
        self._check_contacts(attempt, fields)
        self._check_relay(attempt)
        self._check_sealed(attempt)
        self._check_in_flight(attempt)
        self._check_order(attempt)
        for event in attempt.events:
            self._check_again(attempt, event)
        self.all.append(attempt)
        for event in attempt.events:
            event.attempts.append(attempt)
        return attempt

    def _parsed(self, body: bytes) -> dict[str, Any]:
        def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
            pairs = list(pairs)
            if len(dict(pairs)) != len(pairs):
                self._fail(f"a request repeats a name: {body!r}")
            return dict(pairs)

        parsed: dict[str, Any] = json.loads(body, object_pairs_hook=unique)
        return parsed

    def _check_committed(self, attempt: Attempt) -> None:
        for event in attempt.events:
            if event.committed is None:
                self._fail(f"#{attempt.number} carries event {event.append.number}, which was not committed")

    def _check_contacts(self, attempt: Attempt, fields: dict[str, Any]) -> None:
        for field in ("mobile", "email"):
            asked = {getattr(event.append, field) for event in attempt.events} - {None}
            if len(asked) > 1:
                self._fail(f"#{attempt.number} mixes events with different {field}")
            sent = fields.get(field)
            if sent not in asked | {None} and not any(event.attempts for event in attempt.events):
                self._fail(f"#{attempt.number} has a {field} that no event came with")
            if asked and sent is None:
                self._fail(f"#{attempt.number} lacks the {field} of its events")

    def _check_relay(self, attempt: Attempt) -> None:
        """It was not declared dead, could not be, and owns the shard."""
        server, relay = self._tables.server, attempt.relay
        row = next((row for row in server.rows(self._tables.relays) if row.id == relay), RelayRow(relay, 0.0, True))
        if row.dead:
            self._fail(f"#{attempt.number} was sent by relay {relay}, which was declared dead")
        elif row.until <= self._tables.clock():
            self._fail(f"#{attempt.number} was sent {self._tables.clock() - row.until:.4f} s after the lease was over")
        shard = shard_of(attempt.player)
        owner = next(row.relay for row in server.rows(self._tables.shards) if row.shard == shard)
        if owner != relay:
            self._fail(f"#{attempt.number} was sent by relay {relay}, the shard belongs to relay {owner}")

    def _check_sealed(self, attempt: Attempt) -> None:
        rows = self._tables.server.rows(self._tables.sent, (shard_of(attempt.player),))
        sealed = next((row.batch for row in rows if row.batch.seqs == attempt.seqs), None)
        if sealed is None:
            self._fail(f"#{attempt.number} was not sealed: {[row.batch.seqs for row in rows]}")

    def _check_in_flight(self, attempt: Attempt) -> None:
        in_flight = [other for other in self.all if other.is_in_flight]
        for other in in_flight:
            if other.player == attempt.player and not (other.was_suspended or self._is_dead(other.relay)):
                self._fail(f"#{attempt.number}: two requests in flight for {attempt.player}, beside {other}")
        if sum(other.process is attempt.process for other in in_flight) >= CONNECTIONS:
            self._fail(f"#{attempt.number}: more than {CONNECTIONS} requests in flight")

    def _check_order(self, attempt: Attempt) -> None:
        """Within the request, and before all events of the player that must follow."""
        for earlier, event in itertools.combinations(attempt.events, 2):
            if event.precedes(earlier):
                self._fail(f"#{attempt.number} is not in order: {attempt.seqs}")
        for event in attempt.events:
            for other in self._truths.by_player[attempt.player]:
                if not event.attempts and event.precedes(other) and other.attempts:
                    self._fail(
                        f"#{attempt.number} carries event {event.append.number} (seq {event.seq}) after event "
                        f"{other.append.number} (seq {other.seq}) was sent"
                    )

    # ---------------------------------------------------------------- again

    def _check_again(self, attempt: Attempt, event: Truth) -> None:
        """An event is sent again only if nothing else can be known."""
        if not event.attempts:
            return
        number, last = event.append.number, event.attempts[-1]
        if self._plan.retry.ambiguous == "report":
            for earlier in event.attempts:
                if earlier.is_unclear:
                    self._fail(f"#{attempt.number} sends event {number} again, which may have arrived by {earlier}")
        is_same = last.relay == attempt.relay
        if last.meaning is Meaning.REFUSED and attempt.life is last.life and attempt.seqs == last.seqs:
            self._fail(f"#{attempt.number} repeats {last}")
        if last.meaning in (Meaning.DELIVERED, None) and (is_same or not self._is_dead(last.relay)):
            self._fail(f"#{attempt.number} sends event {number} again after {last}")

    def _is_dead(self, relay: int) -> bool:
        return any(row.id == relay and row.dead for row in self._tables.server.rows(self._tables.relays))

    # ---------------------------------------------------------------- end

    def arrive(self, attempt: Attempt) -> None:
        """Note that the server counts a request, and check the account's windows."""
        now = attempt.arrived = self._now()
        self._arrivals.append(now)
        for most, seconds in self._plan.rate.windows():
            recent = len(self._arrivals) - bisect_right(self._arrivals, now - seconds + EPSILON)
            if recent > most:
                self._fail(f"#{attempt.number}: {recent} requests in {seconds:g} s")

    def apply(self, attempt: Attempt) -> None:
        """Note that the server counts the events of a request."""
        for event in attempt.events:
            event.applied += 1
            if event.arrived is None:
                event.arrived = self._now()
                if not attempt.is_in_flight or attempt.was_suspended:
                    continue  # its relay does not wait for it any more, and others may have gone on
                for other in self._truths.by_player[attempt.player]:
                    if other.arrived is not None and event.precedes(other) and other not in attempt.events:
                        self._fail(f"event {event.append.number} arrives after event {other.append.number}")

    def end(self, attempt: Attempt, meaning: Meaning) -> None:
        """Note how a request ended for its relay."""
        if attempt.ended is None:
            attempt.ended, attempt.meaning = self._now(), meaning
            self._trace.note("ended", f"#{attempt.number}", attempt.label, meaning.name)
