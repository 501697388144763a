"""The demo with fewer orders, and its comparison."""

from __future__ import annotations

import os
import re
from typing import Any

import attrs
import pytest

from .demo_relay import Plan, run
from .report import Held, Incident, Outcome, answers, compare


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="Windows can suspend no process with a signal")
def test_every_committed_event_arrives_though_one_relay_is_suspended_and_one_killed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(Plan(rows=200, pause=0.2, lease=1.0, is_paced=False))
    out = capfd.readouterr().out
    assert "relay-2 was suspended; relay-1 took over after" in out
    assert "relay-1 was killed; relay-2 took over after" in out
    committed = re.search(r"How many events\?\s+(\d+) committed, (\d+) rolled back", out)
    assert committed is not None
    assert int(committed[1]) > 100
    assert int(committed[2]) > 10
    assert f"yes, all {committed[1]}" in out
    assert "Nothing lost, nothing out of order, nothing of an order that was rolled back" in out


COMMITTED = {"a": [1, 2, 4], "b": [5]}
INCIDENTS = [Incident("relay-2 was suspended", {1, 2}, 1.0), Incident("relay-1 was killed", {2, 5}, 2.0)]


def compared(**lines: list[int]) -> Outcome:
    return compare(COMMITTED, [3], Held(lines), INCIDENTS)


def test_what_was_sealed_in_an_incident_may_arrive_twice() -> None:
    outcome = compared(a=[1, 2, 2, 4], b=[5, 5])
    assert outcome.is_as_promised
    assert outcome.twice == [1, 1]
    assert (
        "Was any counted twice?",
        "1 that had been sent when relay-2 was suspended; 1 that had been sent when relay-1 was killed",
    ) in answers(outcome)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ({"a": [1, 2], "b": [5]}, "missing"),
        ({"a": [1, 2, 4, 4], "b": [5]}, "unexplained"),
        ({"a": [1, 2, 3, 4], "b": [5]}, "phantoms"),
        ({"a": [2, 1, 4], "b": [5]}, "misordered"),
        ({"a": [1, 2, 4, 5]}, "misordered"),
    ],
    ids=["missing", "twice without a reason", "rolled back", "out of order", "another player's"],
)
def test_what_breaks_the_promise_is_counted(lines: dict[str, list[int]], field: str) -> None:
    outcome = compared(**lines)
    assert not outcome.is_as_promised
    assert getattr(outcome, field)


@pytest.mark.parametrize(
    "change",
    [{"dead_letters": 1}, {"exit_codes": [0, 1]}, {"held": Held({}, too_fast=1)}, {"committed": 0}],
    ids=["a dead letter", "an exit code", "the limits", "nothing"],
)
def test_so_is_what_went_wrong_otherwise(change: dict[str, Any]) -> None:
    good = compared(**COMMITTED)
    assert good.is_as_promised
    assert not attrs.evolve(good, **change).is_as_promised
