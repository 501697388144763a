"""What `journal status` says: a table of the files, and the totals below it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gameball_async import DeadLetters, inspect_journal
from gameball_async.errors import JournalError

from ._report import print_line
from ._words import bytes_in_words, counted, duration, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gameball_async import JournalFile

_HEADER = ("file", "owner", "pending", "players", "oldest", "size")
_NOTHING = "-"


@attrs.frozen
class Status:
    """What lies in a journal.

    Attributes:
        files: its files.
        dead_letters: how many there are; None if they cannot be read.
        trouble: why they cannot be read; None if they can.
    """

    files: Sequence[JournalFile]
    dead_letters: int | None
    trouble: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Status:
        """Look into a journal.

        Raises:
            JournalError: if it cannot be looked into.
        """
        files = inspect_journal(folder)
        try:
            return cls(files, len(DeadLetters(folder)))
        except JournalError as error:
            return cls(files, None, str(error))

    @property
    def pending(self) -> int:
        """Events without an outcome, as far as they could be counted."""
        return sum(file.pending or 0 for file in self.files)

    def in_json(self) -> str:
        """Return it as one line of JSON."""
        files = [
            {
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "reserve_bytes": file.reserve_bytes,
                "is_in_use": file.is_in_use,
                "owner_pid": file.owner_pid,
                "pending": file.pending,
                "players": file.players,
                "oldest": file.oldest and file.oldest.isoformat(),
                "problem": file.problem,
            }
            for file in self.files
        ]
        fields = {
            "files": files,
            "pending": self.pending,
            "size_bytes": sum(file.size_bytes for file in self.files),
            "dead_letters": self.dead_letters,
            "dead_letters_problem": self.trouble,
        }
        return json.dumps(fields)

    def print(self) -> None:
        """Print it for people."""
        if self.files:
            _print_rows([_row(file) for file in self.files])
        for file in self.files:
            if file.problem:
                print_line(f"{file.path.name}: {file.problem}")
        in_use = sum(file.is_in_use for file in self.files)
        beside = f", beside what lies in {counted(in_use, 'file')} in use" if in_use else ""
        print_line(f"{counted(len(self.files), 'file')}, {counted(self.pending, 'event')} pending{beside}.")
        if reserved := sum(file.reserve_bytes for file in self.files):
            print_line(f"Kept free on the disk beside them: {bytes_in_words(reserved)}.")
        print_line(f"Dead letters: {self.dead_letters:,}." if self.trouble is None else f"Dead letters: {self.trouble}")


def _row(file: JournalFile) -> tuple[str, ...]:
    return (
        file.path.name,
        _owner(file),
        _NOTHING if file.pending is None else f"{file.pending:,}",
        _NOTHING if file.players is None else f"{file.players:,}",
        _NOTHING if file.oldest is None else f"{duration((datetime.now(UTC) - file.oldest).total_seconds())} ago",
        bytes_in_words(file.size_bytes),
    )


def _owner(file: JournalFile) -> str:
    if not file.is_in_use:
        return "none"
    return "unknown" if file.owner_pid is None else str(file.owner_pid)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    if sys.stdout.isatty():
        table = Table(box=box.ROUNDED)
        for at, words in enumerate(_HEADER):
            table.add_column(words, justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for name, *cells in (_HEADER, *rows):
        right = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print_line(f"{name.ljust(widths[0])}  {right}")
