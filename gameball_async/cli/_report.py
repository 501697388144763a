"""The words and the table at the end, for someone who runs a shop and not a server; on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._words import counted, duration, printable
from ._wrapping import print_wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gameball_async import Stats
    from gameball_async.sandbox import Sandbox

    from ._compare import Comparison
    from ._files import ReadFailure
    from ._findings import Findings
    from ._ledger import RowCounts, Unfinished
    from ._rejects import Rejects

_TOO_MANY = 429

Lines = list[tuple[str, str]]


def rows_in_words(counts: RowCounts, left: Unfinished) -> Lines:
    """Return what became of the rows; what did not happen is left out."""
    possible = [
        ("Rows read", counts.settled + left.rows, True),
        ("accepted by Gameball", counts.delivered, True),
        ("not valid, so not sent", counts.invalid, True),
        ("refused by Gameball", counts.refused, True),
        ("given up, could not be delivered", counts.given_up, False),
        ("sent once, answer lost", counts.unknown, False),
        ("read, but not sent yet", left.rows, False),
        ("may have been counted twice", counts.maybe_twice, False),
    ]
    return [(words, f"{count:,}") for words, count, always in possible if count or always]


def requests_in_words(stats: Stats, seconds: float) -> Lines:
    """Return what it took."""
    successes = stats.requests - stats.retries
    merged = stats.delivered / successes if successes > 0 else 0.0
    return [
        ("Requests", f"{stats.requests:,}"),
        ("events per request", f"{merged:.1f}"),
        ("repeated after a failure", f"{stats.retries:,}"),
        ("Time", duration(seconds)),
    ]


def sandbox_in_words(comparison: Comparison, sandbox: Sandbox) -> Lines:
    """Return what the sandbox has seen, and how it compares with what was sent."""
    too_many = sum(record.status == _TOO_MANY and record.fault is None for record in sandbox.requests)
    return [
        ("The sandbox holds", counted(comparison.held, "event")),
        ("of customers", f"{comparison.players:,}"),
        ("rules broken", f"{len(sandbox.violations):,}"),
        ("requests that came too fast", f"{too_many:,}"),
        ("customers whose events differ", f"{len(comparison.differences):,}"),
    ]


def print_table(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print a table of words and figures; a line in lower case belongs to the one above it."""
    indented = [(words if words[:1].isupper() else "  " + words, figure) for words, figure in lines]
    if not sys.stdout.isatty():
        print_line(title)
        for words, figure in indented:
            print_line(f"{words:<36}{figure:>14}")
        return
    table = Table(title=Text(printable(title)), box=box.ROUNDED, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for words, figure in indented:
        table.add_row(Text(words), Text(figure))
    Console(highlight=False).print(table)


def print_answers(title: str, answers: Sequence[tuple[str, str]]) -> None:
    """Print a table of questions and answers, wrapped between words."""
    table = Table(title=Text(printable(title)), title_justify="left", show_header=False)
    table.box = box.ROUNDED if sys.stdout.isatty() else None
    for _ in ("question", "answer"):
        table.add_column(overflow="fold")
    for question, answer in answers:
        table.add_row(Text(question), Text(answer))
    Console(highlight=False).print(table)


def print_line(text: str) -> None:
    """Print one sentence below the table."""
    print_wrapped(text)


def print_rejects(counts: RowCounts, rejects: Rejects, *, name_files: bool) -> None:
    """Say why rows will not arrive, if there are any, and where they are.

    Args:
        counts: rows by outcome.
        rejects: the rejects file.
        name_files: whether there are several files, so that a line's number alone does not say where it is.
    """
    if not counts.rejected:
        return
    for reason, first in rejects.first.items():
        where = f"{first.file}, line" if name_files else "Line"
        further = f" (and {counted(first.further, 'further row')})" if first.further else ""
        print_wrapped(f"{where} {first.line:,}: {reason}{further}", indent="  ")
    print_line(f"{counted(counts.rejected, 'row')} will not arrive: see {rejects.path}, with line numbers and reasons.")


def print_troubles(names: Sequence[str], troubles: Sequence[ReadFailure]) -> None:
    """Name the files that could not be read to their end."""
    for trouble in troubles:
        print_line(f"{names[trouble.file]} was not read to its end: {trouble.reason}")


def print_findings(names: Sequence[str], findings: Findings) -> None:
    """Say what is odd in the files."""
    for message in findings.messages(names):
        print_line(message)
