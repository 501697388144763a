"""Outcomes of rows: from the reader to delivered or rejected, the rejects file, and the tables at the end."""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from .. import Receipt, Stats
from .._log import counted
from .._platform import O_BINARY
from ..errors import DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from ._checkpoint import RangeSet
from ._files import Findings, ReadFailure
from ._lines import Draft, InputRow
from ._terminal import duration, print_wrapped, quoted

if TYPE_CHECKING:
    from ..sandbox import HeldEvent, Sandbox


Shape = tuple[str, dict[str, object], str | None, str | None]
Lines = list[tuple[str, str]]

_TOO_MANY = 429
_UNFINISHED = {DropReason.CLOSED, DropReason.FLUSHER_DIED}
_MAYBE_APPLIED = " An earlier attempt may have been applied: look in Gameball's dashboard before you send it again."
_MOST_REASONS = 3  # different ones, to be printed at the end
_SHORTEST_SECRET = 8  # characters; replacing anything shorter would damage rows instead of hiding a key


@attrs.define
class RowCounts:
    """Settled rows by outcome."""

    delivered: int = 0  # Gameball accepted the event
    maybe_twice: int = 0  # of these, events that may have been counted twice
    invalid: int = 0  # the row has no event that could be sent
    refused: int = 0  # Gameball rejected the event
    given_up: int = 0  # the client gave up, as it could not deliver the event in time
    unknown: int = 0  # the event was sent, it is unknown whether it was applied, and it is not sent again
    doubtful: int = 0  # of those refused or given up, events of which an earlier attempt may have been applied
    unconfirmed: int = 0  # of those delivered, events of a job whose end is unknown

    @classmethod
    def of(cls, fields: Mapping[str, int]) -> RowCounts:
        """Read the counters of a checkpoint; missing ones are zero."""
        known = {field.name for field in attrs.fields(cls)}
        return cls(**{name: count for name, count in fields.items() if name in known})

    @property
    def rejected(self) -> int:
        """Rows in the rejects file."""
        return self.invalid + self.refused + self.given_up + self.unknown

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.delivered + self.rejected


class RunTracker:
    """Track every row from the reader to its outcome; memory grows with unsettled rows only.

    Args:
        names: the files' names, for the rejects.
        settled: the lines of each file that an earlier run has settled.
        counts: the counters to continue.
        rejects: called with file, line, reason and bytes of each row that will not arrive.
        resends: whether an event whose response was lost is sent again, also by `--resume`.
        on_delivered: called with each delivered event, in order per player.

    Attributes:
        counts: rows by outcome, including those of an earlier run.
        left: rows without an outcome at the end.
        maybe_arrived: those of them that were sent, and whose request was not answered or item failed.
        under_way_bytes: bytes of the unsettled rows, as they are in the file.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        settled: Sequence[RangeSet] = (),
        counts: RowCounts | None = None,
        rejects: Callable[[str, int, str, bytes], None] | None = None,
        resends: bool = True,
        on_delivered: Callable[[Draft], None] | None = None,
    ) -> None:
        self.counts = counts or RowCounts()
        self.left = self.maybe_arrived = 0
        self.under_way_bytes = 0
        self._names = names
        self._settled = [*settled] or [RangeSet() for _ in names]
        self._rejects = rejects
        self._resends = resends
        self._on_delivered = on_delivered
        self._under_way: deque[tuple[InputRow, Receipt]] = deque()

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def settled(self) -> list[list[tuple[int, int]]]:
        """Return the settled lines as ranges, per file."""
        return [lines.ranges() for lines in self._settled]

    def submitted(self, row: InputRow, receipt: Receipt) -> None:
        """Record that the client has accepted the row's event."""
        self._under_way.append((row, receipt))
        self.under_way_bytes += len(row.raw)

    def reject(self, row: InputRow, reason: str) -> None:
        """Record that the row has no event that could be sent."""
        self._reject(row, reason)
        self.counts.invalid += 1

    async def sweep(self) -> None:
        """Settle the rows whose receipts are done. Never waits, so it sees one instant."""
        pending: deque[tuple[InputRow, Receipt]] = deque()
        failure: OSError | None = None
        for row, receipt in self._under_way:
            if not receipt.done:
                pending.append((row, receipt))
                continue
            try:
                await self._settle(row, receipt)
                self.under_way_bytes -= len(row.raw)
            except OSError as error:
                pending.append((row, receipt))
                failure = error
        self._under_way = pending
        if failure is not None:
            raise failure

    def _is_unfinished(self, error: DeliveryError) -> bool:
        """Whether the event has no outcome only because this run ended, so that `--resume` sends it again."""
        if isinstance(error, OutcomeUnknown):
            return self._resends and error.job is None  # an item of an accepted job is never sent again
        return isinstance(error, Dropped) and error.reason in _UNFINISHED

    async def _settle(self, row: InputRow, receipt: Receipt) -> None:
        try:
            delivered = await receipt
        except DeliveryError as error:
            if self._is_unfinished(error):
                self.left += 1
                self.maybe_arrived += error.may_have_arrived
                return
            if isinstance(error, OutcomeUnknown):
                self._reject(row, str(error))
                self.counts.unknown += 1
                return
            self._reject(row, f"{error}{_MAYBE_APPLIED if error.may_have_arrived else ''}")
            self.counts.doubtful += error.may_have_arrived
            if isinstance(error, Rejected):
                self.counts.refused += 1
            else:
                self.counts.given_up += 1
        else:
            self.counts.delivered += 1
            self.counts.maybe_twice += delivered.maybe_duplicate
            self.counts.unconfirmed += not delivered.confirmed
            self._mark(row)
            if self._on_delivered is not None and isinstance(row.content, Draft):
                self._on_delivered(row.content)

    def _reject(self, row: InputRow, reason: str) -> None:
        if self._rejects is not None:
            self._rejects(self._names[row.file], row.line, reason, row.raw)
        self._mark(row)

    def _mark(self, row: InputRow) -> None:
        self._settled[row.file].add(*row.position)


@attrs.define
class FirstReason:
    """The first row (file and line) rejected for a reason, and the number of further rows."""

    file: str
    line: int
    further: int = 0


class Rejects:
    """The rejects file: one JSON object per line with `file`, `line`, `reason` and `row`, the row as in the file.

    It is created with the first row, readable by its owner only, as rows may be personal data.

    Args:
        path: its path. An earlier run's file is kept as `<name>.old`.
        secrets: the keys, which must not appear in it.
        keep_bytes: the length to keep of an earlier run's file that is continued.

    Attributes:
        path: its path.
        size: bytes written, including the kept ones.
        first: the first few reasons of this run.
    """

    def __init__(self, path: Path, *, secrets: Sequence[str] = (), keep_bytes: int = 0) -> None:
        self.path = path
        self.size = 0
        self.first: dict[str, FirstReason] = {}
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._descriptor: int | None = None
        if keep_bytes:
            self._descriptor = self._open()
            self.size = min(keep_bytes, os.fstat(self._descriptor).st_size)  # it may have been truncated since
            self._truncate()
        elif path.is_file():  # a device or a pipe is written to as it is
            path.replace(path.with_name(path.name + ".old"))

    def add(self, file: str, line: int, reason: str, row: bytes) -> None:
        """Write one row; on return the operating system has it."""
        text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
        reason = self._redact(reason)
        fields = {"file": file, "line": line, "reason": reason, "row": self._redact(text)}
        data = json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._descriptor is None:
            self._descriptor = self._open()
        try:
            rest = data
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self._truncate()
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.size += len(data)
        if reason in self.first:
            self.first[reason].further += 1
        elif len(self.first) < _MOST_REASONS:
            self.first[reason] = FirstReason(file, line)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        return os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | O_BINARY, 0o600)

    def _truncate(self) -> None:
        """Remove what follows the last complete row."""
        if self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.ftruncate(self._descriptor, self.size)

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


# ---------------------------------------------------------------- the tables at the end


@attrs.frozen
class Comparison:
    """What a sandbox received compared with what was sent."""

    players: int
    sent: int
    held: int
    differences: list[str]


class Sent:
    """The delivered events per player, in order; memory grows with every event, as in a sandbox."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[Shape]] = {}

    def add(self, draft: Draft) -> None:
        shape = (draft.name, _as_json(draft.metadata or {}), draft.mobile, draft.email)
        self.shapes.setdefault(draft.player, []).append(shape)

    def compare(self, holdings: Mapping[str, Sequence[HeldEvent]]) -> Comparison:
        held = {player: [shape_of(event) for event in events] for player, events in holdings.items()}
        players = {**self.shapes, **held}
        return Comparison(
            players=len(players),
            sent=sum(map(len, self.shapes.values())),
            held=sum(map(len, held.values())),
            differences=[
                _difference(player, self.shapes.get(player, []), held.get(player, []))
                for player in players
                if self.shapes.get(player) != held.get(player)
            ],
        )


def shape_of(event: HeldEvent) -> Shape:
    return (event.name, _as_json(event.metadata), event.mobile, event.email)


def _as_json(metadata: Mapping[str, object]) -> dict[str, object]:
    # JSON readers have no Decimal: 2.550 in the file arrives as 2.55
    return {key: float(value) if isinstance(value, Decimal) else value for key, value in metadata.items()}


def _difference(player: str, sent: Sequence[Shape], held: Sequence[Shape]) -> str:
    place, (wanted, found) = next(
        (place, pair) for place, pair in enumerate(zip_longest(sent, held), 1) if pair[0] != pair[1]
    )
    return f"player {quoted(player)}, event {place}: {_described(wanted)} was sent, {_described(found)} is held"


def _described(shape: Shape | None) -> str:
    return "nothing" if shape is None else f"{quoted(shape[0])} {shape[1]}"


def figures(lines: Iterable[tuple[str, int, bool]]) -> Lines:
    """Format labels and counts; a count of zero is omitted unless it is marked with True."""
    return [(label, f"{count:,}") for label, count, always in lines if count or always]


def row_figures(counts: RowCounts, left: int, maybe_arrived: int) -> Lines:
    return figures(
        [
            ("Rows read", counts.settled + left, True),
            ("accepted by Gameball", counts.delivered, True),
            ("of these, in jobs of unknown end", counts.unconfirmed, False),
            ("not valid, so not sent", counts.invalid, True),
            ("refused by Gameball", counts.refused, True),
            ("given up, could not be delivered", counts.given_up, False),
            ("sent, of unknown outcome", counts.unknown, False),
            ("sent, but not answered", maybe_arrived, False),
            ("read, but not sent yet", left - maybe_arrived, False),
            ("may have been counted twice", counts.maybe_twice, False),
        ]
    )


def request_figures(stats: Stats, seconds: float) -> Lines:
    successes = stats.requests - stats.retries
    merged = stats.delivered / successes if successes > 0 else 0.0
    return [
        ("Requests", f"{stats.requests:,}"),
        ("events per request", f"{merged:.1f}"),
        ("repeated after a failure", f"{stats.retries:,}"),
        *figures([("accepted as jobs", stats.jobs_accepted, False), ("for the status of jobs", stats.polls, False)]),
        ("Time", duration(seconds)),
    ]


def sandbox_figures(comparison: Comparison, sandbox: Sandbox) -> Lines:
    """Return what the sandbox received, and how it compares with what was sent."""
    too_many = sum(record.status == _TOO_MANY and record.fault is None for record in sandbox.requests)
    return [
        ("The sandbox holds", counted(comparison.held, "event")),
        ("of customers", f"{comparison.players:,}"),
        ("rules broken", f"{len(sandbox.violations):,}"),
        ("requests that came too fast", f"{too_many:,}"),
        ("customers whose events differ", f"{len(comparison.differences):,}"),
    ]


def print_problems(
    names: Sequence[str], counts: RowCounts, rejects: Rejects, failures: Iterable[ReadFailure], findings: Findings
) -> None:
    """Print the reasons of rejected rows, the files that could not be read completely, and oddities."""
    if counts.rejected:
        for reason, first in rejects.first.items():
            where = f"{first.file}, line" if len(names) > 1 else "Line"
            further = f" (and {counted(first.further, 'further row')})" if first.further else ""
            print_wrapped(f"{where} {first.line:,}: {reason}{further}", indent="  ")
        doubtful = counts.unknown + counts.doubtful
        parts = [(counts.rejected - doubtful, "will not arrive"), (doubtful, "may not have arrived")]
        rows = ", and ".join(f"{counted(count, 'row')} {words}" for count, words in parts if count)
        print_wrapped(f"{rows}: see {rejects.path}, with line numbers and reasons.")
    for failure in failures:
        print_wrapped(f"{names[failure.file]} was not read to its end: {failure.reason}")
    for message in findings.messages(names):
        print_wrapped(message)
