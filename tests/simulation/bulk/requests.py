"""What the oracle says about bulk requests, their jobs, and the questions for their status."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from gameball_async import Delivered, OutcomeUnknown
from gameball_async._core.pacing import BreakerState
from gameball_async._engine.delivery import PHASES

from ..ledger import Placed
from ..replies import UNSETTLED, Meaning
from ..requests import EPSILON, LONGEST_PAUSE, MOST_CONNECTIONS, Attempt
from .attempts import MOST_ITEMS, Accepted, BulkRequest, Item, Poll
from .auto import LOST
from .jobs import ENDS, State, Told
from .starts import MOST_SENDERS, BulkStarts

FEW_ITEMS = 8
"""Items that go alone after their bulk request was refused or failed; more are divided by two."""


class BulkRequests(BulkStarts):
    """Checks bulk requests, their jobs and polls too."""

    # ---------------------------------------------------------------- end

    def apply(self, attempt: Attempt) -> None:
        """Note that the server counted the events of a request; those of items count when their job processes them."""
        if not isinstance(attempt, BulkRequest | Poll):
            super().apply(attempt)

    def apply_item(self, item: Item) -> None:
        """Note that a job has processed an item."""
        super().apply(item)

    def end(self, attempt: Attempt, meaning: Meaning) -> None:
        """Note how a request ended for the client."""
        if attempt in self._open:
            self._open.remove(attempt)
        if not isinstance(attempt, BulkRequest | Poll):
            super().end(attempt, meaning)
            return
        if attempt.ended is not None:
            return
        now = attempt.ended = self._now()
        attempt.is_awaited = self._awaiting > 0
        self._other_ends.append(now)
        attempt.meaning = self._with_timeout(attempt, meaning)
        self._trace.note("ended", f"#{attempt.number}", attempt.label, attempt.meaning.name)
        if meaning is not Meaning.HALT or self._halts(attempt):
            self._note_server(attempt, meaning, now)
        if isinstance(attempt, Poll):
            self._end_poll(attempt, attempt.meaning, now)
        elif attempt.is_nameless:
            self.auto.lose()
            for item in attempt.items:
                self._end_item(item, Meaning.DELIVERED)
        elif attempt.meaning is Meaning.DELIVERED and attempt.job is not None:
            accepted = Accepted(job=attempt.job, bulk=attempt, accepted_at=now, progressed_at=now)
            attempt.accepted = self.accepted[attempt.job] = accepted
        else:
            self._end_refused(attempt, attempt.meaning)

    def on_log(self, message: str) -> None:
        """Note what the client has logged about bulk requests."""
        self.auto.on_log(message)

    def _halts(self, attempt: Attempt) -> bool:
        """Whether a refusal of this request is one of the client; in auto mode it does without bulk requests."""
        return isinstance(attempt, BulkRequest) and (attempt.is_probe or self._plan.batching.mode == "bulk")

    def _end_refused(self, bulk: BulkRequest, meaning: Meaning) -> None:
        """A bulk request was not accepted, or nobody knows."""
        if meaning is Meaning.HALT:
            self.auto.lose()
        status = bulk.reply.status if bulk.reply is not None and meaning is bulk.reply.meaning else None
        divides = status is not None and meaning in (Meaning.REFUSED, Meaning.FAILED, Meaning.AMBIGUOUS)
        if divides and self._now() >= bulk.started + PHASES * self._plan.timeout - EPSILON:
            divides = False  # the client may have given up at this very instant, before it saw the status
            self._may_be_divided.update(number for item in bulk.items for number in item.numbers)
        for item in bulk.items:
            item.reply, item.label = bulk.reply, bulk.label
            self._end_item(item, meaning)
            if divides:
                self._limit(item, len(bulk.items) // 2 if len(bulk.items) > FEW_ITEMS else 1)

    def _limit(self, item: Item, most: int) -> None:
        for number in item.numbers:
            self._most_items[number] = min(most, self._most_items.get(number, MOST_ITEMS))

    def _end_item(self, item: Item, meaning: Meaning) -> None:
        if item.ended is not None:
            return
        item.ended, item.meaning = self._now(), meaning
        item.is_awaited = self._awaiting > 0
        if self.in_flight.get(item.player) is item:
            del self.in_flight[item.player]
        if meaning in UNSETTLED:
            for placed in item.placed:
                placed.unsettled_attempt = True

    def _end_poll(self, poll: Poll, meaning: Meaning, now: float) -> None:
        accepted = self.accepted.get(poll.job) if poll.job is not None else None
        if accepted is None or accepted.is_settled:
            return
        if meaning is Meaning.REFUSED or (meaning is Meaning.DELIVERED and poll.told is None):
            accepted.missing[poll.kind] += 1
        if meaning is not Meaning.DELIVERED or poll.told is None:
            return
        if self.is_closing_halted and self.flusher is not None and not self.flusher.breaker.is_probing:
            return  # it follows no job any more, and waits for what is in flight
        told = poll.told
        if told.done != accepted.latest:
            accepted.latest, accepted.progressed_at = told.done, now
        if told.state in ENDS:
            accepted.end = told.state
            self._end_job(accepted, told)

    def _end_job(self, accepted: Accepted, told: Told) -> None:
        """The client was told how a job ended."""
        self._trace.note("job", str(accepted.job.job_id), told.state.name, sorted(told.failed))
        unnamed = told.failures - len(told.failed)
        if told.state is State.COMPLETED and unnamed > 0:
            accepted.has_unnamed = True
            return
        if told.state is State.COMPLETED and len(told.failed) < len(accepted.bulk.items):
            self.auto.is_proven = True
        elif told.state is not State.COMPLETED:
            self.auto.lose()
        for item in accepted.bulk.items:
            match told.state:
                case State.COMPLETED:
                    item.is_failed = item.player in told.failed
                case State.FAILED:
                    item.is_failed = item.player not in told.successful
                case _:
                    item.is_stopped = item.player not in told.successful
            self._end_item(item, Meaning.AMBIGUOUS if item.is_failed or item.is_stopped else Meaning.DELIVERED)
            if item.is_failed:
                self._limit(item, 1)
        accepted.is_settled = True

    def collect(self) -> None:
        """Note which events got their outcome, and so which jobs the client follows no more."""
        for accepted in self.accepted.values():
            if not accepted.is_settled:
                for item in accepted.bulk.items:
                    if not item.placed[0].is_pending:
                        self._end_item(item, Meaning.DELIVERED)
                accepted.is_settled = all(item.ended is not None for item in accepted.bulk.items)
                if accepted.is_settled and self._now() < self.ending_at:
                    self.auto.lose()

    # ---------------------------------------------------------------- when nothing is ready

    def may_go(self, now: float, player: str | None = None) -> bool:
        """Whether connections and pacing let another request go, with this player's oldest event."""
        if player is None:
            return True
        single = self.singles_in_flight < MOST_CONNECTIONS and self._has_slot(now) and not self._keeps_distance(now)
        bulk = self._bulk_in_flight < MOST_SENDERS and self._has_other_slot(now)
        if self._may_have_contact(player) or self._ledger.queues[player][0].asked.number in self._may_be_divided:
            return single and bulk
        return single if self._is_single(player) else bulk

    def _is_single(self, player: str) -> bool:
        """Whether a player's oldest event has to go alone."""
        first = self._ledger.queues[player][0]
        is_limited = self._most_items.get(first.asked.number, MOST_ITEMS) == 1
        return is_limited or not self._sends_bulk

    def _may_have_contact(self, player: str) -> bool:
        """Whether a contact may have joined the batch of a player's oldest event; parts of a split keep it."""
        queue = self._ledger.queues[player]
        last = queue[0].last
        batch = [*queue, *(() if last is None else last.placed)]
        return any(placed.asked.mobile is not None or placed.asked.email is not None for placed in batch)

    @property
    def _sends_bulk(self) -> bool:
        """Whether bulk requests are sent at present, which in auto mode is the client's own affair."""
        return self.flusher is not None and self.flusher.stats().bulk

    def _has_slot(self, now: float) -> bool:
        """Whether the rate lets another single request go."""
        singles = self.singles_in_flight
        for most, seconds in self._plan.rate.windows() if self._plan.rate else ():
            recent = len(self._ends) - bisect_right(self._ends, now - seconds - EPSILON)
            if recent + singles >= most:
                return False
        return True

    def _has_other_slot(self, now: float) -> bool:
        """Whether the rate lets another bulk request go; half of it, as the rest may be left for polls.

        How the client spreads its bulk requests is its own matter; that it does not wait for too long is checked when
        everything has to arrive.
        """
        if self.flusher is not None and self.flusher.bulk._pacing.spread_until > now:
            return False
        others = sum(type(request) is not Attempt for request in self._open)
        for most, seconds in self._plan.rate.others() if self._plan.rate else ():
            recent = len(self._other_ends) - bisect_right(self._other_ends, now - seconds - EPSILON)
            distance = seconds / most / 2
            is_near = any(now < at + distance + EPSILON for at in self._other_starts[-1:])
            if 2 * (recent + others) >= most or is_near:
                return False
        return True

    def check_idle(self) -> None:
        """What is due is under way: nothing sleeps while it could be sent."""
        assert self.flusher is not None
        breaker, now = self.flusher.breaker, self._now()
        if self._plan.batching.mode == "auto" and self._sends_bulk is not self.auto.is_logged_on:
            self._fail(f"stats say bulk={self._sends_bulk}, and the log says the opposite")
        if breaker.until > now + max(LONGEST_PAUSE, self._plan.retry.maximum) + EPSILON:
            self._fail(f"the client pauses until {breaker.until:.4f}")
        if not self.may_go(now):
            return
        if breaker.state is not BreakerState.CLOSED and (self._open or self.is_closing_halted):
            return
        for player, queue in self._ledger.queues.items():
            if queue and player not in self.in_flight:
                due_at = max(self._due_at(queue[0]), breaker.until)
                if now > due_at + EPSILON and self.may_go(now, player):
                    self._fail(f"event {queue[0].asked.number} is due since {due_at:.4f}, and nobody sends it")

    def drain_bound(self) -> float:
        """Jobs take their time as well, one after another for each player."""
        plan = self._plan
        assert plan.jobs is not None
        rounds = 2 * max((len(queue) for queue in self._ledger.queues.values()), default=0) + 1
        jobs = plan.batching.jobs
        pacing = 0.0
        for most, seconds in plan.rate.others() if plan.rate else ():
            pacing += seconds * (6 * rounds * len(self._ledger.queues) / most + 2)
        assert self.flusher is not None
        slowest = max(plan.jobs.latency[1], self.flusher.follower.jobs.latency)  # as the client expects it
        return super().drain_bound() + rounds * (2 * jobs.poll_interval + 2 * slowest) + 2 * jobs.patience + pacing

    # ---------------------------------------------------------------- at the end

    def check_windows(self) -> None:
        """The server never counted more than the rate allows in any window, of either kind."""
        if self._plan.rate is None:
            return
        for singles, windows in ((True, self._plan.rate.windows()), (False, self._plan.rate.others())):
            kind = "single" if singles else "other"
            counted = [each for each in self.all if (type(each) is Attempt) is singles]
            self._check_arrivals(sorted(each.arrived for each in counted if each.arrived is not None), windows, kind)

    def _check_arrivals(self, arrivals: Sequence[float], windows: Sequence[tuple[int, float]], kind: str) -> None:
        for most, seconds in windows:
            for index, at in enumerate(arrivals):
                if (count := index + 1 - bisect_right(arrivals, at - seconds + EPSILON)) > most:
                    self._fail(f"{count} {kind} requests in the {seconds:g} s before {at:.4f}")
                    return

    def check_outcome(self, placed: Placed) -> None:
        """What the client says about an event is true."""
        self.jobs.advance(float("inf"))
        last = placed.last
        if not isinstance(last, Item):
            super().check_outcome(placed)
            if isinstance(placed.outcome, Delivered) and (placed.outcome.job, placed.outcome.confirmed) != (None, True):
                self._fail(f"event {placed.asked.number} was sent alone, and its receipt says {placed.outcome}")
            return
        outcome, number = placed.outcome, placed.asked.number
        match outcome:
            case Delivered():
                self._check_job_receipt(placed, outcome, last)
            case OutcomeUnknown():
                self._check_unknown(placed, last)
            case _:
                if last.bulk.accepted is not None and not last.is_failed:
                    self._fail(f"event {number} is in a job that was accepted, and its outcome is {outcome!r}")
                super().check_outcome(placed)

    def _check_unknown(self, placed: Placed, last: Item) -> None:
        number, is_kept = placed.asked.number, self._plan.retry.ambiguous == "resend"
        if not placed.unsettled_attempt:
            self._fail(f"event {number} is unknown although every answer was clear")
        elif is_kept and not last.is_stopped and placed.settled_at < self.ending_at:
            self._fail(f"event {number} is unknown although it could be sent again")

    def _is_rejection(self, last: Attempt) -> bool:
        return not isinstance(last, Item) and super()._is_rejection(last)

    def _check_job_receipt(self, placed: Placed, outcome: Delivered, last: Item) -> None:
        number, accepted = placed.asked.number, last.bulk.accepted
        if last.bulk.is_nameless:
            if outcome.confirmed or outcome.job is not None:
                self._fail(f"event {number} is of a job without a name, and its receipt says {outcome}")
            return
        if accepted is None:
            self._fail(f"event {number} is called delivered, and its bulk request was not accepted")
            return
        job_id = accepted.job.job_id
        expected = int(job_id) if str(job_id).isdecimal() else job_id
        if outcome.job != expected or type(outcome.job) is not type(expected):
            self._fail(f"event {number} is of job {job_id}, and its receipt says {outcome}")
        status = last.bulk.reply.status if last.bulk.reply is not None else None
        self._check_confirmed(placed, outcome, accepted)
        if outcome.attempts != placed.attempts or outcome.status not in (status, None if outcome.confirmed else 200):
            self._fail(f"event {number} took {placed.attempts} attempts, its receipt says {outcome}")
        if outcome.maybe_duplicate is not placed.unsettled_attempt and not _is_too_late(placed, outcome):
            self._fail(f"event {number}, applied {placed.applied} times, has a receipt that says {outcome}")
        if placed.applied > 1 and self._plan.retry.ambiguous == "report":
            self._fail(f"event {number} was applied {placed.applied} times")

    def _check_confirmed(self, placed: Placed, outcome: Delivered, accepted: Accepted) -> None:
        number, last = placed.asked.number, placed.last
        if isinstance(last, Item) and (last.is_failed or last.is_stopped) and not _is_too_late(placed, outcome):
            self._fail(f"event {number} is called delivered, and its item was not processed")
        if outcome.confirmed and not (accepted.end and placed.applied and not accepted.has_unnamed):
            self._fail(f"event {number} is called delivered and confirmed, and its job ended {accepted.end}")
        if not outcome.confirmed and not self._is_lost(accepted, placed):
            self._fail(f"event {number} is called unconfirmed, and its job's status could be known")
        if not outcome.confirmed and placed.settled_at < self.ending_at and not self.auto.logged[LOST]:
            self._fail(f"event {number} is called unconfirmed, and the log does not say so")

    def _is_lost(self, accepted: Accepted, placed: Placed) -> bool:
        is_missing = all(accepted.missing[kind] >= 2 for kind, _ in self._statuses)
        is_stuck = placed.settled_at - accepted.progressed_at >= self._plan.batching.jobs.patience - EPSILON
        return is_missing or is_stuck or accepted.has_unnamed or placed.settled_at >= self.ending_at


def _is_too_late(placed: Placed, outcome: Delivered) -> bool:
    """Whether the last status came at the very instant of the end of a close, which is not acted on."""
    ended = None if placed.last is None else placed.last.ended
    return not outcome.confirmed and ended is not None and placed.settled_at <= ended + EPSILON
