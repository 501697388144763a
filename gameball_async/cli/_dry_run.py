"""`send --dry-run`: every row is checked as the client would check it, and nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gameball_async import validate_event
from gameball_async.errors import InvalidEvent

from ._files import Files, ReadFailure
from ._ledger import RunTracker
from ._rejects import Rejects
from ._report import print_findings, print_rejects, print_table, print_troubles

if TYPE_CHECKING:
    from ._order import SendOptions
    from ._rows import Draft


def dry_run(order: SendOptions) -> int:
    """Validate every row, send nothing, and write the rejects file; returns the exit code.

    Raises:
        OSError: if the rejects file cannot be written.
    """
    rejects = Rejects(order.rejects_path(), secrets=order.keys.secrets())
    tracker = RunTracker(names=order.names(), rejects=rejects)
    valid, troubles = 0, list[ReadFailure]()
    files = Files(order.paths, order.reading)
    for row in files.rows():
        if isinstance(row, ReadFailure):
            troubles.append(row)
        elif (reason := why_not(row.content)) is None:
            valid += 1
        else:
            tracker.reject(row, reason)
    rejects.close()
    invalid = tracker.counts.invalid
    figures = [("Rows read", valid + invalid), ("valid", valid), ("not valid", invalid)]
    print_table(f"{order.title}, checked; nothing was sent", [(words, f"{count:,}") for words, count in figures])
    print_rejects(tracker.counts, rejects, name_files=len(order.paths) > 1)
    print_troubles(order.names(), troubles)
    print_findings(order.names(), files.findings)
    return 1 if invalid or troubles else 0


def why_not(content: Draft | str) -> str | None:
    """Return why an event cannot be sent; None if it can."""
    if isinstance(content, str):
        return content
    try:
        validate_event(content.player, content.name, content.metadata, mobile=content.mobile, email=content.email)
    except InvalidEvent as error:
        return str(error)
    return None
