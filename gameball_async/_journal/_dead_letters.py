"""Events that will not arrive, kept in a file of their own that every process may open at any time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ._rows import Letter


class DeadLetters:
    """The dead letters of one journal.

    Args:
        folder: the journal's folder; nothing is read or made before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def add(self, file_id: str, letters: Iterable[Letter]) -> None:
        """Bury letters in one durable transaction; a letter that lies there already stays as it is.

        Args:
            file_id: the name of the journal's file that they come from; with the seq it names a letter for ever.
            letters: the letters.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: likewise.
        """
        raise NotImplementedError

    def add_damaged(self, file_id: str, seq: int, raw: bytes, reason: str) -> None:
        """Bury a row that could not be read.

        Args:
            file_id: the name of the journal's file that it comes from.
            seq: its place in that file.
            raw: what of it could be read.
            reason: what is wrong with it.

        Raises:
            sqlite3.Error: if it cannot be written.
            OSError: likewise.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; a later use opens it again."""
