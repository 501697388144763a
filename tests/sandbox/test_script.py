"""When a fault strikes: probability, span, count, players and events; seeded, and told the time."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from gameball_async.sandbox import Fault, Sandbox
from gameball_async.sandbox._faults import FaultScript

from .support import track

if TYPE_CHECKING:
    import httpx


def _script(*faults: Fault, seed: int = 0, now: float = 0.0) -> FaultScript:
    return FaultScript(faults, random.Random(seed), now)


def _make(arguments: dict[str, Any]) -> Fault:
    return Fault(**arguments)


def _strikes(script: FaultScript, now: float = 0.0, player: str | None = "p", events: tuple[str, ...] = ("e",)) -> bool:
    return script.plan("events", () if player is None else (player,), events, now).fault is not None


def test_without_faults_nothing_goes_wrong() -> None:
    plan = _script().plan("events", ("p",), (), 0.0)

    assert (plan.fault, plan.delay) == (None, 0.0)


@pytest.mark.parametrize(
    ("now", "strikes"), [(10.0, False), (12.999, False), (13.0, True), (17.9, True), (18.0, False)]
)
def test_a_span_counts_from_the_moment_of_scripting_and_is_open_at_its_end(
    now: float,
    strikes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    script = _script(Fault.hang(start=3, duration=5), now=10.0)

    assert _strikes(script, now) is strikes


def test_a_count_is_used_up() -> None:
    script = _script(Fault.hang(times=2))

    assert [_strikes(script) for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("fault", "player", "events", "strikes"),
    [
        (Fault.hang(players={"p", "q"}), "p", ("e",), True),
        (Fault.hang(players=["q"]), "p", ("e",), False),
        (Fault.hang(players="p"), "p", ("e",), True),
        (Fault.hang(players="pq"), "p", ("e",), False),
        (Fault.hang(players={"p"}), None, ("e",), False),
        (Fault.hang(events={"poison"}), "p", ("e", "poison"), True),
        (Fault.hang(events="poison"), "p", ("e",), False),
        (Fault.hang(events={"poison"}), "p", (), False),
    ],
)
def test_only_the_named_players_and_events_are_struck(
    fault: Fault,
    player: str | None,
    events: tuple[str, ...],
    strikes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert _strikes(_script(fault), player=player, events=events) is strikes


def test_the_probability_is_the_share_of_requests_struck() -> None:
    script = _script(Fault.hang(probability=0.2))

    struck = sum(_strikes(script) for _ in range(10_000))

    assert 0.18 < struck / 10_000 < 0.22


@pytest.mark.parametrize(("probability", "struck"), [(0.0, 0), (1.0, 50)])
def test_never_and_always_are_meant(probability: float, struck: int) -> None:
    script = _script(Fault.hang(probability=probability))

    assert sum(_strikes(script) for _ in range(50)) == struck


def test_the_same_seed_strikes_the_same_requests_and_another_one_others() -> None:
    def pattern(seed: int) -> list[bool]:
        script = _script(Fault.hang(probability=0.5), seed=seed)
        return [_strikes(script) for _ in range(100)]

    assert pattern(1) == pattern(1) != pattern(2)


def test_the_first_fault_that_strikes_wins_and_uses_up_no_other_count() -> None:
    script = _script(Fault.busy(times=1), Fault.html(times=1))

    kinds = [plan.fault.kind if (plan := script.plan("events", ("p",), (), 0.0)).fault else None for _ in range(3)]

    assert kinds == ["busy", "html", None]


def test_latencies_add_up_and_are_drawn_between_their_ends() -> None:
    script = _script(Fault.latency(1.0), Fault.busy(), Fault.latency(0.25, 0.5))

    delays = [script.plan("events", ("p",), (), 0.0).delay for _ in range(200)]

    assert 1.25 <= min(delays) < 1.3
    assert 1.45 < max(delays) <= 1.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"probability": 1.1},
        {"probability": -0.1},
        {"probability": math.nan},
        {"start": -1},
        {"start": math.inf},
        {"duration": 0},
        {"times": 0},
        {"kind": "earthquake"},
        {"http_status": 99},
        {"http_status": 600},
        {"http_status": 204, "code": 5000},
        {"seconds": 2, "up_to": 1},
        {"seconds": -1},
        {"size": -1},
        {"size": 2**30 + 1},
        {"retry_after": "5\r\nServer: mine"},
        {"retry_after": "5 €"},
        {"retry_after": " 5"},
        {"location": "https://elsewhere.invalid/€"},
        {"kind": "html", "http_status": 204},
    ],
    ids=str,
)
def test_a_fault_that_cannot_work_says_what_would(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is invalid: use"):
        _make({"kind": "hang", **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"code": "2001"}, {"words": 1}, {"retry_after": []}, {"location": None}, {"http_status": 503.5}, {"size": 1.5}],
    ids=str,
)
def test_a_fault_of_wrong_types_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _make({"kind": "status", **wrong})


def test_a_new_script_replaces_the_old_and_none_clears_it(sandbox: Sandbox, http: httpx.Client) -> None:
    statuses: list[int] = []
    for script in ([Fault.status(500)], [Fault.status(503)], []):
        sandbox.script(*script)
        statuses.append(track(http).status_code)

    assert statuses == [500, 503, 200]


def test_a_script_given_again_strikes_the_same_requests_again(sandbox: Sandbox, http: httpx.Client) -> None:
    def statuses() -> list[int]:
        sandbox.script(Fault.status(500, probability=0.5))
        return [track(http).status_code for _ in range(20)]

    first = statuses()

    assert first == statuses()
    assert set(first) == {200, 500}
