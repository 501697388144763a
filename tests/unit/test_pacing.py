"""The windows against naive models and a server that counts for itself; the breaker row by row."""

from __future__ import annotations

import bisect
import heapq
import math
import random
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gameball_async import RateLimit
from gameball_async._core.outcome import ServerHealth
from gameball_async._core.pacing import (
    HALT_PROBE_INTERVAL,
    LONGEST_PAUSE,
    OUTAGE_PLAYERS,
    BreakerState,
    CircuitBreaker,
    LeakyBucket,
    RateWindows,
    SharedPacing,
    Spacing,
)

from .strategies import examples

LIMITS = RateLimit().windows()

# ---------------------------------------------------------------- windows: step by step


def test_a_request_may_start_at_once_while_there_are_slots() -> None:
    windows = RateWindows([(2, 1.0)])

    windows.start()

    assert windows.free_at(5.0) == 5.0


def test_requests_in_flight_occupy_their_slots_for_as_long_as_they_take() -> None:
    windows = RateWindows([(2, 1.0)])

    windows.start()
    windows.start()

    assert windows.free_at(0.0) == math.inf
    assert windows.free_at(1000.0) == math.inf


def test_a_slot_is_free_again_one_window_after_the_completion() -> None:
    windows = RateWindows([(1, 1.0)])

    windows.start()
    windows.finish(7.0)

    assert windows.free_at(7.0) == 8.0
    assert windows.free_at(7.999) == 8.0
    assert windows.free_at(8.0) == 8.0


def test_all_windows_must_have_a_slot() -> None:
    windows = RateWindows([(1, 1.0), (2, 30.0)])

    windows.start()
    windows.finish(0.0)
    assert windows.free_at(0.0) == 1.0
    windows.start()
    windows.finish(1.0)

    assert windows.free_at(1.0) == 30.0
    assert windows.free_at(30.0) == 30.0
    windows.start()
    windows.finish(30.0)
    assert windows.free_at(30.0) == 31.0


def test_without_windows_a_request_may_always_start() -> None:
    windows = RateWindows([])

    for _ in range(1000):
        windows.start()

    assert windows.free_at(3.0) == 3.0
    windows.finish(3.0)
    assert windows.free_at(3.0) == 3.0


class WindowsAgainstNaiveModel(RuleBasedStateMachine):
    """The model keeps all completions for ever and tries every moment at which something may change."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = [(3, 1.0), (5, 4.0)]
        self.windows = RateWindows(self.limits)
        self.now = 0.0
        self.in_flight = 0
        self.completed: list[float] = []

    def may_start(self, at: float) -> bool:
        return all(
            self.in_flight + sum(1 for then in self.completed if at < then + seconds) < requests
            for requests, seconds in self.limits
        )

    def model_free_at(self) -> float:
        moments = sorted({self.now} | {then + seconds for then in self.completed for _, seconds in self.limits})
        return next((at for at in moments if at >= self.now and self.may_start(at)), math.inf)

    @rule(by=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0, 5.0]))
    def time_passes(self, by: float) -> None:
        self.now += by

    @precondition(lambda self: self.may_start(self.now))
    @rule()
    def start(self) -> None:
        self.windows.start()
        self.in_flight += 1

    @precondition(lambda self: self.in_flight)
    @rule()
    def finish(self) -> None:
        self.windows.finish(self.now)
        self.in_flight -= 1
        self.completed.append(self.now)

    @invariant()
    def agrees(self) -> None:
        assert self.windows.free_at(self.now) == self.model_free_at()


TestWindowsAgainstNaiveModel = WindowsAgainstNaiveModel.TestCase
TestWindowsAgainstNaiveModel.settings = examples(100)


def test_requests_are_half_as_far_apart_as_they_would_be_if_all_were_even() -> None:
    spacing = Spacing([(100, 1.0), (1200, 30.0)])

    assert spacing.free_at() == -math.inf
    spacing.start(7.0)
    assert spacing.free_at() == 7.005
    spacing.start(9.0)
    assert spacing.free_at() == 9.005


def test_without_windows_requests_may_follow_at_once() -> None:
    spacing = Spacing([])

    spacing.start(7.0)

    assert spacing.free_at() == 7.0


def test_what_left_the_windows_is_forgotten() -> None:
    windows = RateWindows([(10, 1.0), (20, 30.0)])

    for second in range(10_000):
        assert windows.free_at(2.0 * second) <= 2.0 * second + 30
        windows.start()
        windows.finish(2.0 * second)

    assert max(len(completed) for *_, completed in windows._windows) <= 20


# ---------------------------------------------------------------- windows: at the server

Latency = Callable[[], tuple[float, float]]
"""Seconds to the server, and seconds back."""


@attrs.frozen
class Run:
    """When the requests of a simulated client under full pressure arrived at the server."""

    arrivals: list[float]

    def most_in_any(self, seconds: float) -> int:
        """The greatest number that a sliding window of the server held; its ends do not both belong to it."""
        return max(
            index + 1 - bisect.bisect_right(self.arrivals, at - seconds) for index, at in enumerate(self.arrivals)
        )


def simulate(latency: Latency, *, connections: int, duration: float) -> Run:
    """A client that always has something to send, over a number of connections, in the order of time."""
    windows = RateWindows(LIMITS)
    now, free, arrivals = 0.0, connections, list[float]()
    answers: list[float] = []  # a heap
    while now < duration:
        at = windows.free_at(now) if free else math.inf
        if at <= now:
            there, back = latency()
            windows.start()
            free -= 1
            arrivals.append(now + there)
            heapq.heappush(answers, now + there + back)
        elif answers and answers[0] <= at:
            now = heapq.heappop(answers)
            windows.finish(now)
            free += 1
        else:
            now = at
    return Run(sorted(arrivals))


def heavy_tailed(seed: int, typical: float) -> Latency:
    """Mostly around `typical`, now and then a hundred times that, as networks are."""
    generator = random.Random(seed)

    def way() -> float:
        return min(20.0, typical * generator.paretovariate(1.1))

    return lambda: (way(), way())


def uniform(seed: int, low: float, high: float) -> Latency:
    generator = random.Random(seed)
    return lambda: (generator.uniform(low, high) / 2, generator.uniform(low, high) / 2)


@examples(30)
@given(st.integers(0, 2**32), st.sampled_from([0.001, 0.01, 0.05]), st.sampled_from([2, 10, 100]))
def test_a_server_never_counts_too_many_however_late_requests_arrive(seed: int, typical: float, lanes: int) -> None:
    run = simulate(heavy_tailed(seed, typical), connections=lanes, duration=70.0)

    assert run.most_in_any(1.0) <= 100
    assert run.most_in_any(30.0) <= 1200


@pytest.mark.parametrize(
    "latency",
    [uniform(1, 0.02, 0.12), uniform(2, 0.05, 0.1), uniform(3, 0.001, 0.003), lambda: (0.0, 0.0)],
    ids=["20 to 120 ms", "50 to 100 ms", "1 to 3 ms", "none"],
)
def test_at_a_sane_latency_the_windows_are_used_to_98_percent(latency: Latency) -> None:
    run = simulate(latency, connections=10, duration=65.0)

    assert run.most_in_any(1.0) <= 100
    assert 0.98 * 1200 <= run.most_in_any(30.0) <= 1200
    assert len([at for at in run.arrivals if at < 60.0]) >= 0.98 * 2400


# ---------------------------------------------------------------- the breaker: its table


def breaker(state: BreakerState = BreakerState.CLOSED) -> CircuitBreaker:
    """A breaker that was brought into a state at the time 0 by an answer, for 10 s where the answer leaves it open."""
    made = CircuitBreaker()
    signs = {
        BreakerState.PAUSED: ServerHealth.PAUSE,
        BreakerState.OUTAGE: ServerHealth.TROUBLED,
        BreakerState.HALTED: ServerHealth.HALT,
    }
    if state in signs:
        for player in range(OUTAGE_PLAYERS):
            if made.state is BreakerState.CLOSED:
                made.finish(signs[state], f"player{player}", probe=made.start(), now=0.0, pause=10.0)
    assert made.state is state
    return made


CLOSED, PAUSED, OUTAGE, HALTED = BreakerState.CLOSED, BreakerState.PAUSED, BreakerState.OUTAGE, BreakerState.HALTED
TRIPPED = [PAUSED, OUTAGE, HALTED]


@pytest.mark.parametrize(
    ("health", "after", "until"),
    [
        (ServerHealth.WORKING, CLOSED, -math.inf),
        (ServerHealth.TROUBLED, CLOSED, -math.inf),
        (ServerHealth.PAUSE, PAUSED, 103.0),
        (ServerHealth.HALT, HALTED, 100.0 + HALT_PROBE_INTERVAL),
        (ServerHealth.NONE, CLOSED, -math.inf),
    ],
)
def test_a_closed_breaker_after_an_answer(health: ServerHealth, after: BreakerState, until: float) -> None:
    passing = breaker()

    probe = passing.start()
    passing.finish(health, "player", probe=probe, now=100.0, pause=3.0)

    assert not probe
    assert (passing.state, passing.until, passing.next_request_at()) == (after, until, until)


@pytest.mark.parametrize("before", TRIPPED)
@pytest.mark.parametrize(
    ("health", "after", "until"),
    [
        (ServerHealth.WORKING, CLOSED, -math.inf),
        (ServerHealth.TROUBLED, OUTAGE, 103.0),
        (ServerHealth.PAUSE, PAUSED, 103.0),
        (ServerHealth.HALT, HALTED, 100.0 + HALT_PROBE_INTERVAL),
    ],
)
def test_a_tripped_breaker_after_its_probes_answer(
    before: BreakerState, health: ServerHealth, after: BreakerState, until: float
) -> None:
    tripped = breaker(before)

    probe = tripped.start()
    tripped.finish(health, "player", probe=probe, now=100.0, pause=3.0)

    assert probe
    if before is HALTED and health in (ServerHealth.TROUBLED, ServerHealth.PAUSE):
        after = HALTED  # only an answer of a working server ends a halt
        until = 100.0 + HALT_PROBE_INTERVAL if health is ServerHealth.TROUBLED else until
    assert (tripped.state, tripped.until, tripped.next_request_at()) == (after, until, until)


@pytest.mark.parametrize("before", TRIPPED)
def test_a_probe_that_was_interrupted_leaves_the_breaker_as_it_was(before: BreakerState) -> None:
    tripped = breaker(before)
    until = tripped.until

    tripped.finish(ServerHealth.NONE, "player", probe=tripped.start(), now=100.0, pause=3.0)

    assert (tripped.state, tripped.until, tripped.next_request_at()) == (before, until, until)


@pytest.mark.parametrize("before", TRIPPED)
@pytest.mark.parametrize("health", [ServerHealth.WORKING, ServerHealth.TROUBLED, ServerHealth.NONE])
def test_an_old_answer_from_before_the_pause_decides_nothing(before: BreakerState, health: ServerHealth) -> None:
    tripped = breaker(before)
    until = tripped.until

    for player in range(2 * OUTAGE_PLAYERS):
        tripped.finish(health, f"player{player}", probe=False, now=1.0, pause=100.0)

    assert (tripped.state, tripped.until) == (before, until)


@pytest.mark.parametrize("before", [PAUSED, OUTAGE])
def test_an_old_answer_that_asks_for_a_longer_pause_gets_it(before: BreakerState) -> None:
    tripped = breaker(before)

    tripped.finish(ServerHealth.PAUSE, "player", probe=False, now=1.0, pause=20.0)

    assert (tripped.state, tripped.until) == (PAUSED, 21.0)


@pytest.mark.parametrize("before", [PAUSED, OUTAGE])
def test_an_old_answer_never_shortens_a_pause(before: BreakerState) -> None:
    tripped = breaker(before)

    tripped.finish(ServerHealth.PAUSE, "player", probe=False, now=1.0, pause=2.0)

    assert (tripped.state, tripped.until) == (PAUSED, 10.0)


def test_an_old_answer_that_asks_for_a_pause_does_not_shorten_a_halt() -> None:
    halted = breaker(HALTED)

    halted.finish(ServerHealth.PAUSE, "player", probe=False, now=1.0, pause=2.0)

    assert (halted.state, halted.until) == (HALTED, HALT_PROBE_INTERVAL)


@pytest.mark.parametrize("before", TRIPPED)
def test_an_old_answer_that_halts_halts(before: BreakerState) -> None:
    tripped = breaker(before)

    tripped.finish(ServerHealth.HALT, "player", probe=False, now=1.0, pause=2.0)

    assert (tripped.state, tripped.until) == (HALTED, 1.0 + HALT_PROBE_INTERVAL)


# ---------------------------------------------------------------- the breaker: one probe at a time


@pytest.mark.parametrize("state", TRIPPED)
def test_nothing_goes_beside_a_probe(state: BreakerState) -> None:
    tripped = breaker(state)
    assert tripped.next_request_at() == tripped.until

    assert tripped.start()

    assert tripped.next_request_at() == math.inf


@pytest.mark.parametrize("state", TRIPPED)
@pytest.mark.parametrize("health", ServerHealth)
def test_an_old_answer_lets_no_second_probe_out(state: BreakerState, health: ServerHealth) -> None:
    tripped = breaker(state)
    tripped.start()

    tripped.finish(health, "player", probe=False, now=1.0, pause=1.0)

    assert tripped.next_request_at() == math.inf


@pytest.mark.parametrize("state", [PAUSED, OUTAGE])
@pytest.mark.parametrize("answer", [ServerHealth.WORKING, ServerHealth.TROUBLED])
def test_a_pause_that_was_asked_for_while_the_probe_was_out_outlives_its_answer(
    state: BreakerState, answer: ServerHealth
) -> None:
    """Rule 7: any Retry-After pauses the whole client; a probe that left before it was asked knows nothing of it."""
    tripped = breaker(state)
    probe = tripped.start()
    tripped.finish(ServerHealth.PAUSE, "late", probe=False, now=100.0, pause=20.0)

    tripped.finish(answer, "player", probe=probe, now=101.0, pause=1.0)

    assert tripped.next_request_at() >= 120.0


def test_requests_of_a_closed_breaker_are_no_probes() -> None:
    passing = breaker()

    assert [passing.start() for _ in range(3)] == [False, False, False]
    assert passing.next_request_at() == -math.inf


# ---------------------------------------------------------------- the breaker: outages, pauses, halts


def fail(passing: CircuitBreaker, player: str | None) -> None:
    passing.finish(ServerHealth.TROUBLED, player, probe=passing.start(), now=0.0, pause=1.0)


def test_an_outage_is_called_when_so_many_players_fail_in_a_row() -> None:
    passing = breaker()

    for player in range(OUTAGE_PLAYERS - 1):
        fail(passing, f"player{player}")
        assert passing.state is CLOSED
    fail(passing, "one more")

    assert (passing.state, passing.until) == (OUTAGE, 1.0)


def test_one_player_who_fails_again_and_again_is_no_outage() -> None:
    passing = breaker()

    for _ in range(100):
        fail(passing, "player")

    assert passing.state is CLOSED


def test_a_batch_that_failed_before_says_little_about_others() -> None:
    passing = breaker()

    for _ in range(100):
        fail(passing, None)

    assert passing.state is CLOSED


def test_a_success_between_starts_the_count_anew() -> None:
    passing = breaker()

    for player in range(20):
        fail(passing, f"player{player}")
        if player % (OUTAGE_PLAYERS - 1) == 0:
            passing.finish(ServerHealth.WORKING, "working", probe=passing.start(), now=0.0, pause=1.0)

    assert passing.state is CLOSED


def test_after_an_outage_the_count_starts_anew() -> None:
    recovered = breaker(OUTAGE)
    recovered.finish(ServerHealth.WORKING, "player", probe=recovered.start(), now=20.0, pause=1.0)

    for player in range(OUTAGE_PLAYERS - 1):
        fail(recovered, f"player{player}")

    assert recovered.state is CLOSED


@pytest.mark.parametrize("pause", [LONGEST_PAUSE, LONGEST_PAUSE + 1, 10.0**9, math.inf])
def test_a_pause_is_capped(pause: float) -> None:
    passing = breaker()

    passing.finish(ServerHealth.PAUSE, "player", probe=False, now=100.0, pause=pause)

    assert passing.until == 100.0 + LONGEST_PAUSE


def test_a_pause_of_nothing_still_waits_for_one_probe() -> None:
    passing = breaker()

    passing.finish(ServerHealth.PAUSE, "player", probe=False, now=100.0, pause=0.0)

    assert passing.next_request_at() == 100.0
    assert passing.start()


def test_a_flush_skips_the_wait_of_an_outage() -> None:
    tripped = breaker(OUTAGE)

    tripped.skip_wait()

    assert (tripped.state, tripped.next_request_at()) == (OUTAGE, -math.inf)


@pytest.mark.parametrize("state", [PAUSED, HALTED])
def test_a_flush_skips_neither_a_pause_that_was_asked_for_nor_a_halt(state: BreakerState) -> None:
    tripped = breaker(state)
    until = tripped.until

    tripped.skip_wait()

    assert (tripped.state, tripped.next_request_at()) == (state, until)


def test_probes_that_failed_are_counted_until_one_succeeds() -> None:
    tripped = breaker(PAUSED)
    counts = [tripped.failed_probes]

    for health in (
        ServerHealth.TROUBLED,
        ServerHealth.NONE,
        ServerHealth.PAUSE,
        ServerHealth.HALT,
        ServerHealth.WORKING,
    ):
        tripped.finish(health, "player", probe=tripped.start(), now=tripped.until, pause=1.0)
        counts.append(tripped.failed_probes - counts[0])

    assert counts[1:] == [1, 1, 2, 3, -counts[0]]
    assert tripped.failed_probes == 0


def test_a_pause_that_was_asked_for_is_not_skipped_in_the_outage_after_it() -> None:
    breaker = CircuitBreaker()
    breaker.finish(ServerHealth.PAUSE, "player", probe=breaker.start(), now=100.0, pause=1.0)
    probe = breaker.start()
    breaker.finish(ServerHealth.PAUSE, "player", probe=False, now=101.0, pause=20.0)
    breaker.finish(ServerHealth.TROUBLED, "player", probe=probe, now=102.0, pause=1.0)

    breaker.skip_wait()

    assert (breaker.state, breaker.next_request_at()) == (BreakerState.OUTAGE, 121.0)


def test_failures_that_were_no_probes_do_not_lengthen_the_first_wait_of_an_outage() -> None:
    passing = breaker()

    for player in range(OUTAGE_PLAYERS):
        assert passing.failed_probes == 0
        fail(passing, f"player{player}")


def test_old_answers_are_not_counted_as_probes() -> None:
    tripped = breaker(PAUSED)
    before = tripped.failed_probes

    tripped.finish(ServerHealth.PAUSE, "player", probe=False, now=1.0, pause=1.0)

    assert tripped.failed_probes == before


# ---------------------------------------------------------------- bulk requests and calls


def test_bulk_requests_are_spread_over_what_the_looks_at_their_jobs_leave() -> None:
    shared = SharedPacing([(30, 1.0), (360, 30.0)])
    shared.bulk.cost_each(3.0)
    now, starts, looks = 0.0, list[float](), list[float]()
    while now < 300.0:
        if looks and looks[0] <= now and shared.calls.free_at(now) <= now:
            looks.pop(0)
            shared.calls.start(now)
            shared.calls.finish(now)
        elif shared.bulk.free_at(now) <= now:
            starts.append(now)
            shared.bulk.start(now)
            shared.bulk.finish(now)
            looks += [now + 1.0, now + 2.0]
            looks.sort()
        else:
            now = math.nextafter(min(shared.bulk.free_at(now), shared.calls.free_at(now) + 0.01, now + 0.01), math.inf)
    longest = max(later - earlier for earlier, later in pairwise(starts[10:]))
    assert longest < 2  # without it the 30 s are used up in a part of them, and nothing starts in the rest
    assert len(starts) >= 0.97 * 300 * 12 / 3


def test_a_leaky_bucket_lets_a_few_go_at_once_and_makes_up_for_a_late_start() -> None:
    bucket = LeakyBucket(1.0, burst=3)
    for _ in range(3):
        assert bucket.free_at() <= 10.0
        bucket.start(10.0)
    assert bucket.free_at() == 11.0
    bucket.start(11.9)
    assert bucket.free_at() == 12.0
    bucket.cost = 2.0
    bucket.start(12.0)
    bucket.start(12.0)
    assert bucket.free_at() == 14.0


def test_without_limits_bulk_requests_are_not_paced() -> None:
    shared = SharedPacing(())
    shared.bulk.cost_each(5.0)
    for _ in range(100):
        assert shared.bulk.free_at(1.0) == 1.0
        shared.bulk.start(1.0)
