"""How long a batch, and the whole client, waits before the next try; chance comes in as an argument."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import Retry
from gameball_async._core.outcome import Answer, Decision
from gameball_async._engine.backoff import Backoff

from .strategies import examples

FAILED = Answer(verdict=Decision.FAILED, status=503)
RETRIED = [Decision.FAILED, Decision.AMBIGUOUS, Decision.INTERRUPTED]
PLAIN = Retry(jitter=0)


def chance(value: float) -> Callable[[], float]:
    return lambda: value


def backoff(retry: Retry = PLAIN, random: float = 0.5) -> Backoff:
    return Backoff(retry, chance(random))


@pytest.mark.parametrize("verdict", RETRIED)
def test_each_wait_is_twice_the_one_before_up_to_the_longest(verdict: Decision) -> None:
    answer = Answer(verdict=verdict)

    waits = [backoff().after(answer, attempts=attempts, solo_failures=0) for attempts in range(1, 11)]

    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


@pytest.mark.parametrize("attempts", [100, 10_000, 10**6])
def test_after_any_number_of_attempts_the_wait_is_the_longest(attempts: int) -> None:
    assert backoff().after(FAILED, attempts=attempts, solo_failures=0) == 60.0


def test_the_settings_shape_the_waits() -> None:
    shaped = backoff(Retry(initial=2.0, maximum=50.0, multiplier=3.0, jitter=0))

    assert [shaped.after(FAILED, attempts=attempts, solo_failures=0) for attempts in range(1, 5)] == [
        2.0,
        6.0,
        18.0,
        50.0,
    ]


def test_a_multiplier_of_one_keeps_the_wait() -> None:
    steady = backoff(Retry(multiplier=1, jitter=0))

    assert {steady.after(FAILED, attempts=attempts, solo_failures=0) for attempts in (1, 2, 50)} == {0.5}


@pytest.mark.parametrize(
    ("jitter", "random", "expected"),
    [(0.5, 0.0, 8.0), (0.5, 0.5, 6.0), (0.5, 1.0, 4.0), (1.0, 1.0, 0.0), (0.0, 1.0, 8.0), (0.25, 1.0, 6.0)],
)
def test_jitter_is_the_random_share_of_a_wait(jitter: float, random: float, expected: float) -> None:
    assert backoff(Retry(jitter=jitter), random).after(FAILED, attempts=5, solo_failures=0) == expected


@examples(200)
@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1, exclude_max=True), st.floats(0.001, 100))
def test_a_wait_is_never_longer_than_the_longest_nor_shorter_than_its_jitter_allows(
    attempts: int, jitter: float, random: float, initial: float
) -> None:
    retry = Retry(initial=initial, maximum=100.0, jitter=jitter)
    full = backoff(Retry(initial=initial, maximum=100.0, jitter=0)).after(FAILED, attempts=attempts, solo_failures=0)

    wait = backoff(retry, random).after(FAILED, attempts=attempts, solo_failures=0)

    assert full is not None
    assert wait is not None
    assert full * (1 - jitter) <= wait <= full <= 100.0


@pytest.mark.parametrize("attempts", [1, 7, 1000])
def test_a_busy_player_is_tried_again_soon_however_often(attempts: int) -> None:
    busy = Answer(verdict=Decision.BUSY, status=422, code=2001)

    assert backoff().after(busy, attempts=attempts, solo_failures=0) == 0.5


@pytest.mark.parametrize("verdict", [Decision.RATE_LIMITED, Decision.HALT])
def test_where_the_whole_client_waits_the_batch_does_not_wait_as_well(verdict: Decision) -> None:
    assert backoff().after(Answer(verdict=verdict), attempts=3, solo_failures=0) == 0.0


@pytest.mark.parametrize("verdict", [Decision.DELIVERED, Decision.REFUSED])
def test_what_is_decided_is_not_tried_again(verdict: Decision) -> None:
    assert backoff().after(Answer(verdict=verdict), attempts=1, solo_failures=0) is None


@pytest.mark.parametrize("verdict", [*RETRIED, Decision.BUSY])
def test_only_strikes_exhaust_the_attempts(verdict: Decision) -> None:
    limited, answer = backoff(Retry(max_attempts=3)), Answer(verdict=verdict)

    assert limited.after(answer, attempts=1000, solo_failures=0) is not None
    assert limited.after(answer, attempts=1000, solo_failures=2) is not None
    assert limited.after(answer, attempts=3, solo_failures=3) is None
    assert limited.after(answer, attempts=4, solo_failures=4) is None


def test_batches_in_any_order_do_not_disturb_each_other() -> None:
    shared = backoff()
    attempts = [5, 1, 3, 1, 8, 2]

    assert [shared.after(FAILED, attempts=each, solo_failures=0) for each in attempts] == [
        8.0,
        0.5,
        2.0,
        0.5,
        60.0,
        1.0,
    ]


# ---------------------------------------------------------------- the whole client


@pytest.mark.parametrize("seconds", [0.5, 7.0, 10.0**9, math.inf])
@pytest.mark.parametrize("verdict", [Decision.RATE_LIMITED, Decision.FAILED, Decision.BUSY])
def test_a_pause_is_as_long_as_the_server_asked(verdict: Decision, seconds: float) -> None:
    answer = Answer(verdict=verdict, retry_after=seconds)

    assert backoff(Retry(), 0.9).pause(answer, 5) == seconds


def test_otherwise_a_pause_grows_with_each_probe_that_failed() -> None:
    pauses = [backoff().pause(FAILED, failed_probes) for failed_probes in range(9)]

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_pause_has_jitter_as_well() -> None:
    assert backoff(Retry(jitter=0.5), 1.0).pause(FAILED, 2) == 1.0


@pytest.mark.parametrize("verdict", [Decision.DELIVERED, Decision.FAILED, Decision.BUSY])
def test_a_retry_after_of_nothing_on_any_answer_but_a_429_is_no_pause(verdict: Decision) -> None:
    assert backoff(Retry(), 0.9).pause(Answer(verdict=verdict, retry_after=0.0), 5) == 0.0


@pytest.mark.parametrize("random", [0.0, 0.999])
@pytest.mark.parametrize("seconds", [None, 0.0])
def test_a_429_without_a_time_to_wait_pauses_for_a_second_at_least(seconds: float | None, random: float) -> None:
    """The shorter of the two windows is a second: asking earlier meets the same refusal (fact sheet, section 7)."""
    limited = Answer(verdict=Decision.RATE_LIMITED, status=429, retry_after=seconds)

    assert backoff(Retry(), random).pause(limited, 0) >= 1.0


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_the_pauses_of_429s_without_a_time_to_wait_grow(seconds: float | None) -> None:
    limited = Answer(verdict=Decision.RATE_LIMITED, status=429, retry_after=seconds)

    assert [backoff().pause(limited, failed_probes) for failed_probes in (1, 3, 9)] == [1.0, 4.0, 60.0]
