"""Events that will not arrive, kept in a file of their own that every process may open at any time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from ._letter_file import LetterFile
from ._letters import BURY, SELECT, DeadLetter, damaged_row_of, letter_of, row_of, storable_integer
from ._rows import DeadLetterEntry

_PAGE = 100  # letters read at once: 25 MB even if each has the 256 KiB that an event may have by default


class DeadLetters:
    """The dead letters of one journal, in order of their burial.

    They can be read and dropped at any time, also while clients run. Its calls wait for the disk, so let a thread
    make them if your event loop must not wait. Letters that are buried during an iteration are not part of it.

    Args:
        folder: the journal's folder; nothing is read or made before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = LetterFile(folder)

    # ---------------------------------------------------------------- burying

    def add(self, file_id: str, letters: Iterable[DeadLetterEntry]) -> None:
        """Bury letters in one durable transaction; a letter that lies there already stays as it is.

        A damaged file is renamed, and a fresh one begun.

        Args:
            file_id: the name of the journal's file that they come from; with the seq it names a letter for ever.
            letters: the letters.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: likewise; with ENOSPC if there is no room for them.
        """
        now = time.time()
        self._file.insert(BURY, [row_of(file_id, letter, now) for letter in letters])

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
        self._file.insert(BURY, [damaged_row_of(file_id, seq, raw, reason, time.time())])

    def close(self) -> None:
        """End the use of the file; nothing is open between two calls, and a later use is fine."""

    # ---------------------------------------------------------------- reading

    def __iter__(self) -> Iterator[DeadLetter]:
        """Read the letters in order of their burial, a page at a time.

        Raises:
            JournalError: if the file cannot be read.
        """
        newest = max((row[0] for row in self._file.read("SELECT id FROM letters ORDER BY id DESC LIMIT 1")), default=0)
        after = 0
        while page := self._file.read(f"{SELECT} WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}", after, newest):
            yield from map(letter_of, page)
            after = page[-1][0]

    def __len__(self) -> int:
        """Count the letters.

        Raises:
            JournalError: if the file cannot be read.
        """
        counted = self._file.read("SELECT count(*) FROM letters")
        return int(counted[0][0]) if counted else 0

    def __bool__(self) -> bool:
        """Be true, letters or none: `if letters` must read no file."""
        return True

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return one letter, or None if there is none of this id.

        Raises:
            JournalError: if the file cannot be read.
        """
        page = self._file.read(f"{SELECT} WHERE id = ?", storable_integer(letter_id))
        return letter_of(page[0]) if page else None

    def drop(self, ids: Iterable[int]) -> int:
        """Delete letters for good, in one durable transaction; their bytes are overwritten.

        Args:
            ids: their ids; an id that is not there is no error.

        Returns:
            How many were deleted.

        Raises:
            JournalError: if the file cannot be written; none of them was deleted.
        """
        return self._file.change(
            "DELETE FROM letters WHERE id = ?", [(storable_integer(letter_id),) for letter_id in ids]
        )
