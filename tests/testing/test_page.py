"""The page about tests: its suites pass in a real pytest, and its tables say what the recorder does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gameball_async import Metadata
from gameball_async.testing import Recorder

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SUITES = [
    block for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "def test_" in block
]
ASSERTIONS = re.findall(r"^\|[^|]+\| `(assert_[^`]+)` \|$", PAGE, re.MULTILINE)
ORDER: Metadata = {"total_amount": 99, "currency": "EUR", "total amount": 99}


@pytest.mark.parametrize("suite", SUITES, ids=range(len(SUITES)))
def test_a_suite_of_the_page_passes(suite: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error")
    pytester.makepyfile(suite)
    pytester.runpytest_subprocess().assert_outcomes(passed=suite.count("def test_"))


@pytest.mark.parametrize("assertion", ASSERTIONS)
def test_an_assertion_of_the_table_holds_for_what_it_names(assertion: str) -> None:
    recorder = Recorder()
    if "nothing" not in assertion:
        order = {key: value for key, value in ORDER.items() if "exact" not in assertion or " " not in key}
        recorder.track_nowait("player123", "place_order", order)
    eval(f"recorder.{assertion}", {"recorder": recorder, "pytest": pytest})  # the page is ours


def test_the_suites_and_the_table_are_found() -> None:
    assert (len(SUITES), len(ASSERTIONS)) == (2, 7)
