"""Our users' own test suites, run as they run them: fixtures that yield, unittest, Starlette's TestClient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

from .support import TESTS, Comparison, Figures, Process

APPS = TESTS / "lives" / "apps"

SUITES = {
    "pytest-asyncio": ((APPS / "users_pytest.py", "-c", "pytest.ini"), 60),
    "unittest": (("lives.apps.users_unittest",), 20),
    "TestClient": ((), 41),
}

RUNNERS = {
    "pytest-asyncio": ("-m", "pytest", "-p", "no:cacheprovider"),
    "unittest": ("-m", "unittest"),
    "TestClient": ("-m", "lives.apps.users_testclient"),
}


@pytest.mark.parametrize("suite", SUITES)
def test_a_users_suite_delivers_what_it_tracked(
    suite: str, sandbox: Sandbox, book: Path, note: Callable[[Figures], Figures]
) -> None:
    """With warnings as errors: an unclosed client, socket or task would fail the user's test."""
    arguments, events = SUITES[suite]
    (book.parent / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    process = Process("-W", "error", *RUNNERS[suite], *arguments, sandbox=sandbox, book=book)
    assert process.end() == 0, process.text
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted == events
    assert (figures.reported, figures.repeated, figures.ambiguous) == (0, 0, 0)
