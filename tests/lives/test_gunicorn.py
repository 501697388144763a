"""FastAPI under gunicorn with uvicorn's workers, the application loaded in them or before the fork."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

from .support import Comparison, Figures, Process, Visitors

Note = Callable[[Figures], Figures]

GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", 2, "-k", "uvicorn_worker.UvicornWorker")


def serve(
    app: str, *options: object, sandbox: Sandbox, book: Path, stop: Callable[[Process], None]
) -> tuple[Process, Visitors]:
    """Serve until there was traffic and both workers are up, then stop."""
    server = Process(*GUNICORN, *options, app, sandbox=sandbox, book=book, SHARE=0.5)
    server.wait_for(b"Application startup complete", times=2)
    visitors = Visitors(f"{server.url}/track")
    sandbox.wait_for(lambda tally: tally.events >= 100, timeout=100)
    stop(server)
    visitors.leave()
    return server, visitors


def sigterm(server: Process) -> None:
    server.signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [sigterm, Process.ctrl_c], ids=["SIGTERM", "Ctrl-C"])
def test_a_stop_under_load_loses_nothing(
    stop: Callable[[Process], None], sandbox: Sandbox, book: Path, note: Note
) -> None:
    """A SIGINT or SIGQUIT to the parent alone is another matter: gunicorn then kills uvicorn's workers after 30 s."""
    server, visitors = serve("lives.apps.shop:app", sandbox=sandbox, book=book, stop=stop)
    assert server.end(traceback=True) == 0
    comparison = Comparison(book, sandbox)
    figures = note(comparison.check(processes=2, concurrent=True))
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 100
    assert (figures.reported, figures.repeated) == (0, 0)


def test_preloaded_the_workers_send_nothing_of_what_the_parent_tracked(
    sandbox: Sandbox, book: Path, note: Note
) -> None:
    """The parent never starts its client, so its events cannot arrive: a ResourceWarning at its end reports them."""
    server, visitors = serve("lives.apps.preloaded:app", "--preload", sandbox=sandbox, book=book, stop=sigterm)
    assert server.end(warning=True) == 0
    assert server.output.count(b"was not closed, 3 events have no outcome") == 1
    assert "parent" not in sandbox.holdings()
    comparison = Comparison(book, sandbox, without="parent")
    figures = note(comparison.check(processes=2, concurrent=True))
    comparison.check_answered(visitors)
    assert figures.held == figures.accepted >= 100
    assert (figures.reported, figures.repeated) == (0, 0)
