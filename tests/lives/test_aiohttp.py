"""aiohttp's `run_app`: the client lives by signals or in a cleanup context."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

from .support import Comparison, Figures, Process, Visitors


@pytest.mark.parametrize(
    ("style", "number"), [("signals", signal.SIGTERM), ("signals", signal.SIGINT), ("cleanup_ctx", signal.SIGTERM)]
)
def test_a_signal_under_load_loses_nothing(
    style: str, number: signal.Signals, sandbox: Sandbox, book: Path, note: Callable[[Figures], Figures]
) -> None:
    server = Process("-m", "lives.apps.counter", style, sandbox=sandbox, book=book)
    visitors = Visitors(f"{server.url}/track")
    sandbox.wait_for(lambda tally: tally.events >= 200, timeout=100)
    server.signal(number)
    visitors.leave()
    assert server.end() == 0
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check())
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 200
    assert (figures.reported, figures.repeated, figures.ambiguous) == (0, 0, 0)
