"""Which lines of a file have an outcome: disjoint ranges, as few as there are gaps."""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from typing import TYPE_CHECKING, Protocol

import attrs

from .._platform import O_BINARY
from ..errors import DeliveryError, Dropped, DropReason, OutcomeUnknown, Rejected
from ._checkpoint import RangeSet
from ._lines import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from .. import Receipt
    from ._lines import InputRow


_UNFINISHED = {DropReason.CLOSED, DropReason.FLUSHER_DIED}


class RejectSink(Protocol):
    """Where rows go that will not arrive."""

    def add(self, *, file: str, line: int, reason: str, row: bytes) -> None:
        """Take one row, as it stands in the file.

        Raises:
            OSError: if it cannot be written.
        """
        ...


@attrs.define
class RowCounts:
    """The rows that have an outcome, by outcome.

    Attributes:
        delivered: Gameball accepted the event.
        maybe_twice: of these, those of which an earlier try may have been counted as well.
        invalid: the row holds no event that could be sent.
        refused: Gameball refused the event for good.
        given_up: the client gave it up, as it could not be delivered in time.
        unknown: it was sent once, its answer got lost, and it is not sent again.
    """

    delivered: int = 0
    maybe_twice: int = 0
    invalid: int = 0
    refused: int = 0
    given_up: int = 0
    unknown: int = 0

    @property
    def rejected(self) -> int:
        """Rows in the rejects file."""
        return self.invalid + self.refused + self.given_up + self.unknown

    @property
    def settled(self) -> int:
        """Rows that have an outcome."""
        return self.delivered + self.rejected


@attrs.define
class Unfinished:
    """The rows that were handed over and have no outcome at the end.

    Attributes:
        rows: how many.
        maybe_arrived: of these, those whose request was sent and not answered.
    """

    rows: int = 0
    maybe_arrived: int = 0


class RunTracker:
    """Keeps every row from its reading to its outcome; memory goes with the rows under way.

    Args:
        names: the files' names, for the rejects.
        settled: the lines of each file that an earlier run has settled.
        counts: the counters to go on from.
        rejects: where rows go that will not arrive; None keeps the first reason only.
        resends: whether an event whose answer got lost is sent again, by `--resume` too.
        on_delivered: called with each event that was delivered, in order per player.

    Attributes:
        counts: rows by outcome, an earlier run's included.
        left: what the end left without an outcome; filled by `close`.
        under_way_bytes: bytes of the rows under way, as they stand in the file.
    """

    def __init__(
        self,
        *,
        names: Sequence[str],
        settled: Sequence[RangeSet] = (),
        counts: RowCounts | None = None,
        rejects: RejectSink | None = None,
        resends: bool = True,
        on_delivered: Callable[[Draft], None] | None = None,
    ) -> None:
        self.counts = counts or RowCounts()
        self.left = Unfinished()
        self.under_way_bytes = 0
        self._names = names
        self._settled = [*settled] or [RangeSet() for _ in names]
        self._rejects = rejects
        self._resends = resends
        self._on_delivered = on_delivered
        self._under_way: deque[tuple[InputRow, Receipt]] = deque()

    @property
    def under_way(self) -> int:
        """Rows handed over and without an outcome."""
        return len(self._under_way)

    def settled(self) -> list[list[tuple[int, int]]]:
        """Return the lines that have an outcome, as ranges, per file."""
        return [lines.ranges() for lines in self._settled]

    def hand_over(self, row: InputRow, receipt: Receipt) -> None:
        """Note that the client has taken the row's event."""
        self._under_way.append((row, receipt))
        self.under_way_bytes += len(row.raw)

    def reject(self, row: InputRow, reason: str) -> None:
        """Note that the row holds no event that could be sent.

        Raises:
            OSError: if the rejects file cannot be written; the row then has no outcome.
        """
        self._reject(row, reason)
        self.counts.invalid += 1

    async def sweep(self) -> None:
        """Take in the outcomes that have come. Waits for nothing, so it sees one instant.

        Raises:
            OSError: if the rejects file cannot be written; the rows concerned then have no outcome, the others theirs.
        """
        pending: deque[tuple[InputRow, Receipt]] = deque()
        trouble: OSError | None = None
        for row, receipt in self._under_way:
            if not receipt.done:
                pending.append((row, receipt))
                continue
            try:
                await self._settle(row, receipt)
                self.under_way_bytes -= len(row.raw)
            except OSError as error:
                pending.append((row, receipt))
                trouble = error
        self._under_way = pending
        if trouble is not None:
            raise trouble

    def _is_left(self, error: DeliveryError) -> bool:
        """Whether the end of this run, and nothing else, is why the event has not arrived."""
        if isinstance(error, OutcomeUnknown):
            return self._resends
        return isinstance(error, Dropped) and error.reason in _UNFINISHED

    async def _settle(self, row: InputRow, receipt: Receipt) -> None:
        try:
            delivered = await receipt
        except DeliveryError as error:
            if self._is_left(error):
                self.left.rows += 1
                self.left.maybe_arrived += error.may_have_arrived
                return
            self._reject(row, str(error))
            self._count(error)
        else:
            self.counts.delivered += 1
            self.counts.maybe_twice += delivered.maybe_duplicate
            self._mark(row)
            if self._on_delivered is not None and isinstance(row.content, Draft):
                self._on_delivered(row.content)

    def _count(self, error: DeliveryError) -> None:
        if isinstance(error, Rejected):
            self.counts.refused += 1
        elif isinstance(error, OutcomeUnknown):
            self.counts.unknown += 1
        else:
            self.counts.given_up += 1

    def _reject(self, row: InputRow, reason: str) -> None:
        if self._rejects is not None:
            self._rejects.add(file=self._names[row.file], line=row.line, reason=reason, row=row.raw)
        self._mark(row)

    def _mark(self, row: InputRow) -> None:
        self._settled[row.file].add(*row.position)


def counts_from(fields: Mapping[str, int]) -> RowCounts:
    """Read the counters of a note; what it does not know is zero."""
    known = {field.name for field in attrs.fields(RowCounts)}
    return RowCounts(**{name: count for name, count in fields.items() if name in known})


_MOST_REASONS = 3  # different ones, to be printed at the end
_SHORTEST_SECRET = 8  # characters; replacing anything shorter would spoil rows instead of hiding a key


@attrs.define
class FirstReason:
    """Where a reason was met.

    Attributes:
        file: the file of the first row that has it.
        line: the line of that row.
        further: how many rows have it beside that one.
    """

    file: str
    line: int
    further: int = 0


class Rejects:
    """One JSON object per line: `file`, `line`, `reason` and `row`, the row as it stands in the file.

    The file appears with the first row, readable by its owner only, as rows may be personal data.

    Args:
        path: where it is. One of an earlier run is kept beside it, as `<name>.old`.
        secrets: the keys, which must not appear in it.
        keep_bytes: the length to keep of an earlier run's file that is to be continued, if it had one.

    Attributes:
        path: where it is.
        size: bytes written, the kept ones included.
        first: the first few reasons of this run.
    """

    def __init__(self, path: Path, *, secrets: Sequence[str] = (), keep_bytes: int = 0) -> None:
        self.path = path
        self.size = 0
        self.first: dict[str, FirstReason] = {}
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._descriptor: int | None = None
        if keep_bytes:
            self._continue(keep_bytes)
        else:
            self._put_aside()

    def add(self, *, file: str, line: int, reason: str, row: bytes) -> None:
        """Write one row; on return the operating system has it.

        Raises:
            OSError: if there is no room or no permission.
        """
        text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
        reason = self._clean(reason)
        fields = {"file": file, "line": line, "reason": reason, "row": self._clean(text)}
        data = json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._descriptor is None:
            self._descriptor = _open(self.path)
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            self._take_back()
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self.size += len(data)
        if reason in self.first:
            self.first[reason].further += 1
        elif len(self.first) < _MOST_REASONS:
            self.first[reason] = FirstReason(file, line)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _put_aside(self) -> None:
        # a device or a pipe is written to as it is
        if self.path.is_file():
            self.path.replace(self.path.with_name(self.path.name + ".old"))

    def _continue(self, keep_bytes: int) -> None:
        self._descriptor = _open(self.path)
        self.size = min(keep_bytes, os.fstat(self._descriptor).st_size)  # it may have been taken away meanwhile
        self._take_back()

    def _take_back(self) -> None:
        """Cut off what follows the last whole row."""
        if self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.ftruncate(self._descriptor, self.size)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | O_BINARY, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
