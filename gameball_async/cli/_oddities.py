"""What is odd in files that are read nevertheless: counted, and reported once with the first line, without values."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import TYPE_CHECKING

from ._lines import Draft
from ._terminal import counted, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._lines import InputRow


_SPREADSHEET_NUMBER = re.compile(r"[+-]?[0-9]+\.0+")
_EXPONENT = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?[eE]\+[0-9]+")


class Oddity(StrEnum):
    """What is odd, as its warning puts it after the number of rows."""

    PLAYER_SPACES = (
        "with unusual spaces or invisible characters in the player's id: with and without them are two different "
        "players to Gameball. Remove them if they are not meant."
    )
    PLAYER_FLOAT = (
        "with a player's id that ends in .0, as spreadsheets and pandas write it: 17850.0 and 17850 are two different "
        "players to Gameball. Export the column as text if it is not meant."
    )
    PLAYER_EXPONENT = (
        "with a player's id such as 1.2E+11, to which a spreadsheet shortens long numbers: different players get the "
        "same id. Export the column as text."
    )
    PLAYER_SPELLING = (
        "with characters in the player's id that have a second spelling, such as full-width digits: each spelling is a "
        "different player to Gameball. Write them in one way (Unicode NFKC)."
    )
    EVENT_SPACES = (
        "with unusual spaces or invisible characters in the event's name: with and without them are two different "
        "events to Gameball. Remove them if they are not meant."
    )
    REPEATED_HEADER = "repeating the header, as in joined files: skipped."


class Findings:
    """Counts the oddities of several files."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, Oddity], tuple[int, int]] = {}
        self._notes: list[tuple[int, str]] = []

    def look_at(self, row: InputRow) -> None:
        """Count what is odd about a row's event."""
        draft = row.content
        if not isinstance(draft, Draft):
            return
        if not _is_plain(draft.name) and _has_odd_spaces(draft.name):
            self.add(row.file, Oddity.EVENT_SPACES, row.line)
        if not _is_plain(draft.player) and (oddity := _player_oddity(draft.player)):
            self.add(row.file, oddity, row.line)

    def add(self, file: int, oddity: Oddity, line: int) -> None:
        """Count one."""
        count, first = self._found.get((file, oddity), (0, line))
        self._found[file, oddity] = count + 1, first

    def add_note(self, file: int, note: str) -> None:
        """Take what is odd about a file as a whole; a sentence that begins after the file's name."""
        self._notes.append((file, note))

    def messages(self, names: Sequence[str]) -> list[str]:
        """Return one warning per note, and one per file and oddity.

        Args:
            names: the files' names.
        """
        notes = [f"Warning: {printable(names[file])} {note}" for file, note in self._notes]
        return notes + [
            f"Warning: {printable(names[file])}, line {first:,}{' and others' if count > 1 else ''}: "
            f"{counted(count, 'row')} {oddity}"
            for (file, oddity), (count, first) in self._found.items()
        ]


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _player_oddity(player: str) -> Oddity | None:
    if _has_odd_spaces(player):
        return Oddity.PLAYER_SPACES
    if _SPREADSHEET_NUMBER.fullmatch(player):
        return Oddity.PLAYER_FLOAT
    if _EXPONENT.fullmatch(player):
        return Oddity.PLAYER_EXPONENT
    return None if unicodedata.is_normalized("NFKC", player) else Oddity.PLAYER_SPELLING


def _has_odd_spaces(text: str) -> bool:
    """Whether there is more than single spaces between words: at the ends, in a row, or invisible."""
    return text != " ".join(text.split()) or any(unicodedata.category(char) == "Cf" for char in text)
