"""Workers and scripts without a framework: interrupted, forgotten, spread over tasks, threads and loops."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async.sandbox import Fault, Sandbox

from .support import Comparison, Figures, Process

Note = Callable[[Figures], Figures]

LOOPS = ["asyncio", "uvloop", "trio"]


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_in_the_middle_of_async_with_delivers_everything(
    loop: str, sandbox: Sandbox, book: Path, note: Note
) -> None:
    """At that moment ten requests are in flight and the other events wait for them."""
    sandbox.script(Fault.latency(0.1))
    process = Process("-m", "lives.apps.interrupted", sandbox=sandbox, book=book, LOOP=loop)
    process.wait_for(b"waiting")
    sandbox.wait_for(lambda tally: tally.in_flight == 10, timeout=100)
    process.signal(signal.SIGINT)
    assert process.end(traceback=True) != 0
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted == 300
    assert (figures.reported, figures.repeated, figures.ambiguous) == (0, 0, 0)


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_that_strikes_in_the_flusher_is_the_main_tasks(
    loop: str, sandbox: Sandbox, book: Path, note: Note
) -> None:
    """The signal comes while the client's own task runs, whom it must not kill."""
    process = Process("-m", "lives.apps.struck", sandbox=sandbox, book=book, LOOP=loop)
    assert process.end(traceback=True) != 0
    assert b"TrioInternalError" not in process.output
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted == 300
    assert (figures.reported, figures.repeated, figures.ambiguous) == (0, 0, 0)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_second_ctrl_c_while_the_client_closes_reports_what_did_not_arrive(
    loop: str, sandbox: Sandbox, book: Path, note: Note
) -> None:
    """Gameball hangs, so that the close waits: the second interrupt cuts that short, and each event is reported."""
    sandbox.script(Fault.hang())
    process = Process("-m", "lives.apps.interrupted", sandbox=sandbox, book=book, LOOP=loop, CLOSE_TIMEOUT=0.5)
    process.wait_for(b"waiting")
    sandbox.wait_for(lambda tally: tally.in_flight == 10, timeout=100)
    process.signal(signal.SIGINT)
    process.wait_for(b"closing")
    process.signal(signal.SIGINT)
    assert process.end(traceback=True) != 0
    figures = note(Comparison(book, sandbox).check())
    assert figures.accepted == figures.reported == 300
    assert figures.held == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_second_ctrl_c_cuts_short_is_given_to_on_failure_and_logged(
    loop: str, sandbox: Sandbox, book: Path
) -> None:
    """Gameball hangs, and the program has nothing but `async with`."""
    sandbox.script(Fault.hang())
    process = Process("-m", "lives.apps.cut_short", sandbox=sandbox, book=book, LOOP=loop)
    process.wait_for(b"waiting")
    sandbox.wait_for(lambda tally: tally.in_flight == 10, timeout=100)
    process.signal(signal.SIGINT)
    process.wait_for(b"closing")
    process.signal(signal.SIGINT)
    assert process.end(traceback=True) != 0
    failed = [line.split() for line in process.text.splitlines() if line.startswith("failed ")]
    assert sorted(int(number) for _, number, _ in failed) == list(range(30))
    assert sorted({error for _, _, error in failed}) == ["Dropped", "OutcomeUnknown"]
    assert process.output.count(b"20 events will not arrive") == 1
    assert process.output.count(b"10 events may not have arrived") == 1
    assert b"the close was cut short" in process.output


def test_a_forgotten_close_warns_with_the_number_of_events(sandbox: Sandbox, book: Path) -> None:
    """The loop is gone before the linger is over, so the events cannot arrive: a warning and the log report them."""
    process = Process("-m", "lives.apps.forgotten", sandbox=sandbox, book=book, LINGER=3600)
    assert process.end(warning=True) == 0
    assert process.output.count(b"was not closed, 3 events have no outcome: use `async with`, or await aclose()") == 1
    assert process.output.count(b"3 events will not arrive") == 1
    assert sandbox.holdings() == {}


@pytest.mark.parametrize("loop", LOOPS)
def test_start_and_close_in_different_tasks(loop: str, sandbox: Sandbox, book: Path, note: Note) -> None:
    assert Process("-m", "lives.apps.tasks", sandbox=sandbox, book=book, LOOP=loop).end() == 0
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted == 240


def test_a_pool_of_threads_tracks_until_the_client_closes_under_its_hands(
    sandbox: Sandbox, book: Path, note: Note
) -> None:
    assert Process("-m", "lives.apps.threads", sandbox=sandbox, book=book).end() == 0
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted >= 200
    assert (figures.reported, figures.repeated) == (0, 0)


@pytest.mark.parametrize("loop", LOOPS)
def test_threads_that_wait_for_room_are_told_when_the_loop_ends_without_a_close(
    loop: str, sandbox: Sandbox, book: Path
) -> None:
    """The event that fills the buffer cannot arrive any more: the warning at the end of the process reports it."""
    sandbox.script(Fault.hang())
    process = Process("-m", "lives.apps.orphans", sandbox=sandbox, book=book, LOOP=loop, BUFFER_EVENTS=1)
    assert process.end(warning=True) == 0
    assert process.output.count(b"told") == 4, process.text
    assert process.output.count(b"was not closed, 1 event has no outcome") == 1
    assert sandbox.holdings() == {}


def test_two_loops_in_two_threads_have_a_client_each(sandbox: Sandbox, book: Path, note: Note) -> None:
    assert Process("-m", "lives.apps.two_loops", sandbox=sandbox, book=book).end() == 0
    figures = note(Comparison(book, sandbox).check())
    assert figures.held == figures.accepted == 400
    assert (figures.reported, figures.repeated) == (0, 0)
