"""Both rate windows slide truly: no more than the limit in any span of their length, and not one fewer."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest

from gameball_async.sandbox import Limits, Sandbox
from gameball_async.sandbox._rules import LimitWindows

from .support import V3, V4, body, item, send_bulk, status, stop, track


def _admitted(windows: LimitWindows, moments: list[float]) -> list[float]:
    return [moment for moment in moments if windows.admit(moment) is None]


def _most_in_any(seconds: float, moments: list[float]) -> int:
    """The most moments in any half-open span of so many seconds."""
    return max(sum(start <= moment < start + seconds for moment in moments) for start in moments)


@pytest.mark.parametrize("seed", range(5))
def test_no_second_and_no_thirty_seconds_ever_hold_more_than_their_limit(seed: int) -> None:
    generator = random.Random(seed)
    moments = sorted(generator.uniform(0, 90) for _ in range(3000))

    admitted = _admitted(LimitWindows(20, 120), moments)

    assert _most_in_any(1.0, admitted) <= 20
    assert _most_in_any(30.0, admitted) == 120


def test_a_full_second_is_let_through_at_once_and_the_next_exactly_one_second_later() -> None:
    windows = LimitWindows(100, 1200)

    assert len(_admitted(windows, [0.0] * 150)) == 100
    assert len(_admitted(windows, [0.999])) == 0
    assert len(_admitted(windows, [1.0] * 150)) == 100


def test_the_thirty_seconds_hold_where_the_seconds_would_not() -> None:
    windows = LimitWindows(100, 1200)
    moments = [second + step / 100 for second in range(29) for step in range(100)]

    assert len(_admitted(windows, moments)) == 1200
    assert len(_admitted(windows, [29.999])) == 0
    assert len(_admitted(windows, [30.0])) == 1


def test_a_refused_request_takes_no_room() -> None:
    windows = LimitWindows(1, 1200)

    assert _admitted(windows, [0.0, 0.9, 1.0]) == [0.0, 1.0]


@pytest.mark.parametrize("counts", [(0, 1200), (100, 0), (-1, 5), (100, 1200, None, 0, 360), (100, 1200, None, 30, 0)])
def test_limits_that_let_nothing_through_are_refused(counts: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="use counts of at least 1, or limits=None"):
        Limits(*counts)


@pytest.mark.parametrize("path", [V3, V4])
@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(None, None), (2, "2"), ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT")],
)
def test_one_request_too_many_is_told_429_noted_and_not_applied(
    path: str, retry_after: float | str | None, header: str | None
) -> None:
    with Sandbox(limits=Limits(2, 1200, retry_after)) as sandbox, httpx.Client(trust_env=False, verify=False) as http:
        answers = [
            http.post(
                sandbox.url + path,
                content=body(path=path),
                headers={"APIKey": "key", "Content-Type": "application/json"},
            )
            for _ in range(3)
        ]

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert (answers[-1].content, answers[-1].headers.get("Retry-After")) == (b"", header)
        assert [(violation.kind, violation.request) for violation in sandbox.violations] == [("rate", 3)]
        assert len(sandbox.holdings()["p"]) == 2


def test_the_documented_limits_are_the_default(sandbox: Sandbox, http: httpx.Client) -> None:
    statuses = [track(http, "p", f"e{number}").status_code for number in range(101)]
    taken = sandbox.requests[-1].start - sandbox.requests[0].start

    assert statuses[:100] == [200] * 100
    assert statuses[100] == 429 or taken >= 1.0


def test_a_reset_empties_the_windows() -> None:
    with (
        Sandbox(limits=Limits(1, 1)) as sandbox,
        httpx.Client(headers={"APIKey": "key"}, trust_env=False, verify=False) as http,
    ):
        http.base_url = httpx.URL(sandbox.url)
        track(http)
        sandbox.reset()

        assert track(http).status_code == 200


def test_without_limits_everything_passes() -> None:
    with Sandbox(limits=None) as sandbox, httpx.Client(trust_env=False, verify=False) as http:
        http.base_url, http.headers["APIKey"] = httpx.URL(sandbox.url), "key"

        assert {track(http).status_code for _ in range(150)} == {200}


def test_bulk_requests_polls_stops_and_previews_share_windows_of_their_own() -> None:
    limits = Limits(1, 1, others_per_second=100, others_per_30_seconds=4)
    with Sandbox(limits=limits) as sandbox, httpx.Client(trust_env=False, verify=False) as http:
        http.base_url, http.headers["APIKey"] = httpx.URL(sandbox.url), "key"
        answers = [track(http, path=V4), send_bulk(http, item()), status(http, 1), stop(http, 1)]
        answers += [http.post("/api/v4.0/integrations/events/reward-preview", json={}) for _ in range(2)]
        answers += [status(http, 1), send_bulk(http, item()), track(http, path=V4)]

        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400, 429, 429, 429, 429]
        assert [violation.kind for violation in sandbox.violations].count("rate") == 4
        assert len(sandbox.jobs) == 1


def test_the_documented_limits_of_others_are_the_default() -> None:
    assert (Limits().others_per_second, Limits().others_per_30_seconds) == (30, 360)
