"""Synchronous programs that close nothing: at their exit, in signal handlers, in forked children."""

from __future__ import annotations

import signal
from pathlib import Path

from gameball_async.sandbox import Fault, Sandbox

from .support import Process


def numbers(sandbox: Sandbox, player: str) -> list[object]:
    return [event.metadata["number"] for event in sandbox.holdings()[player]]


def names(sandbox: Sandbox, player: str) -> list[str]:
    return [event.name for event in sandbox.holdings()[player]]


def test_at_the_exit_everything_is_delivered_also_what_a_last_thread_tracks(sandbox: Sandbox, book: Path) -> None:
    """The handlers run in the main thread, between two steps of `track`."""
    process = Process("-m", "lives.apps.sync_exit", sandbox=sandbox, book=book)
    for handled in range(1, 4):
        process.wait_for(b"accepted", times=15 * handled)
        process.signal(signal.SIGUSR1)
        sandbox.wait_for(lambda _: len(sandbox.holdings().get("handler", [])) >= handled, timeout=100)  # noqa: B023
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    accepted = process.output.count(b"accepted")
    assert numbers(sandbox, "main")[:accepted] == list(range(accepted))
    assert names(sandbox, "late") == ["first", "second"]
    assert sandbox.violations == []


def test_at_the_exit_one_line_reports_what_is_lost(sandbox: Sandbox, book: Path) -> None:
    """Gameball refuses the key."""
    sandbox.script(Fault.status(401))
    program = "import sys; from gameball_async.sync import Gameball; g = Gameball(base_url=sys.argv[1])"
    process = Process(
        "-c", f"{program}; [g.track('player', 'event') for _ in 'abc']", sandbox.url, sandbox=sandbox, book=book
    )
    assert process.end() == 0
    assert process.output.count(b"3 events will not arrive") == 1
    assert b"Gameball refused this client (HTTP 401)" in process.output


def test_a_forked_child_has_a_client_of_its_own_and_leaves_the_parents_alone(sandbox: Sandbox, book: Path) -> None:
    process = Process("-m", "lives.apps.sync_forks", sandbox=sandbox, book=book)
    assert process.end() == 0
    (counts,) = [line.split()[1:] for line in process.text.splitlines() if line.startswith("counts")]
    for thread, count in enumerate(counts):
        assert numbers(sandbox, f"thread{thread}") == list(range(int(count)))
    for player in ("forked", "multiprocessing"):
        assert sorted(names(sandbox, player)) == ["first", "second", "third"]
    assert names(sandbox, "before") == ["event"]
    assert [violation.kind for violation in sandbox.violations] in ([], ["concurrent"])  # two clients for one player
