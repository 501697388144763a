"""FastAPI under uvicorn: stopped under load, interrupted twice, with several workers, with plain handlers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async.sandbox import Fault, Limits, Sandbox

from .support import Comparison, Figures, Process, Visitors

Note = Callable[[Figures], Figures]

SHOP = ("-m", "uvicorn", "lives.apps.shop:app", "--host", "127.0.0.1", "--port", "0", "--no-access-log")


@pytest.mark.parametrize(
    ("number", "loop"), [(signal.SIGTERM, "asyncio"), (signal.SIGTERM, "uvloop"), (signal.SIGINT, "asyncio")]
)
def test_a_signal_under_load_loses_nothing(
    number: signal.Signals, loop: str, sandbox: Sandbox, book: Path, note: Note
) -> None:
    server = Process(*SHOP, "--loop", loop, sandbox=sandbox, book=book)
    visitors = Visitors(f"{server.url}/track")
    sandbox.wait_for(lambda tally: tally.events >= 100, timeout=100)
    server.signal(number)
    visitors.leave()
    assert server.end(traceback=True) in (0, -number)
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check())
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 100
    assert (figures.reported, figures.repeated, figures.ambiguous) == (0, 0, 0)


def interrupt_twice(sandbox: Sandbox, book: Path, *, recovers: bool, close_timeout: float) -> Visitors:
    """Ctrl-C while Gameball hangs and handlers wait for outcomes, and Ctrl-C again because that takes so long."""
    sandbox.script(Fault.hang())
    server = Process(*SHOP, "--loop", "asyncio", sandbox=sandbox, book=book, CLOSE_TIMEOUT=close_timeout)
    Visitors(f"{server.url}/track", visitors=2, requests=50, name="buffered").leave()
    visitors = Visitors(f"{server.url}/wait")
    sandbox.wait_for(lambda tally: tally.in_flight == 10, timeout=100)
    server.signal(signal.SIGINT)
    server.wait_for(b"CTRL+C to force quit")
    if recovers:
        sandbox.script()
    server.signal(signal.SIGINT)
    visitors.leave()
    server.end(traceback=True)
    return visitors


def test_a_second_ctrl_c_cancels_the_flusher_and_the_close_delivers_all_the_same(
    sandbox: Sandbox, book: Path, note: Note
) -> None:
    """uvicorn cancels every task at once, the flusher among them: `aclose` in the lifespan drains inline."""
    visitors = interrupt_twice(sandbox, book, recovers=True, close_timeout=10)
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check())
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted > 100
    assert figures.reported == 0
    assert figures.ambiguous == 10  # the requests in flight were cut, and nobody could tell


def test_a_second_ctrl_c_while_gameball_hangs_reports_what_did_not_arrive(
    sandbox: Sandbox, book: Path, note: Note
) -> None:
    """Nothing can be delivered to a server that never answers: the close's report names each event."""
    visitors = interrupt_twice(sandbox, book, recovers=False, close_timeout=0.5)
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check())
    comparison.check_answered(visitors)
    assert figures.accepted == figures.reported > 100
    assert figures.held == 0
    assert comparison.uncertain  # the requests in flight may have been applied, for all the client knows


def test_two_workers_share_the_rate_limit_and_lose_nothing(book: Path, note: Note) -> None:
    """Requests of both for one player may meet at Gameball, which answers 2001: that is tried again."""
    with Sandbox(limits=Limits(per_second=60, per_30_seconds=3000)) as sandbox:
        server = Process(*SHOP, "--workers", 2, sandbox=sandbox, book=book, SHARE=0.3)
        server.wait_for(b"Application startup complete", times=2)
        visitors = Visitors(f"{server.url}/track")
        sandbox.wait_for(lambda tally: tally.events >= 100, timeout=100)
        server.signal(signal.SIGTERM)
        visitors.leave()
        server.end()
        comparison = Comparison(book, sandbox)
        figures = note(comparison.check(processes=2, concurrent=True))
        comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 100
    assert (figures.reported, figures.repeated) == (0, 0)


def test_plain_handlers_track_from_their_threads(sandbox: Sandbox, book: Path, note: Note) -> None:
    server = Process(*SHOP, sandbox=sandbox, book=book)
    visitors = Visitors(f"{server.url}/plain")
    sandbox.wait_for(lambda tally: tally.events >= 100, timeout=100)
    server.signal(signal.SIGTERM)
    visitors.leave()
    server.end()
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check())
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 100
    assert (figures.reported, figures.repeated) == (0, 0)
