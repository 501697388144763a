"""What one row of a file is once it was read: an event to be sent, or a reason why not; knows no format."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | float | Decimal
MetadataValue = Value | list[Value]


class RowError(Exception):
    """This row cannot be sent; the message says why and what would help, in the words of the file."""


class ReadError(Exception):
    """The file cannot be read any further; the message names what is wrong with it."""


class WrongFormat(ReadError):
    """The file is not what `send` can read with these options; the message says what it is and what to do."""


class MappingError(Exception):
    """The options do not fit the file's columns, so no row of it can be sent; a matter of usage."""


@attrs.frozen
class Draft:
    """The event a row asks for; whether Gameball would take it, the client says.

    Attributes:
        player: the player's unique id.
        name: the event's name.
        metadata: what the row says about the event.
        mobile: the player's mobile number, if the row has one.
        email: the player's e-mail address, if the row has one.
    """

    player: str = attrs.field(repr=False)
    name: str
    metadata: Mapping[str, MetadataValue] | None = attrs.field(default=None, repr=False)
    mobile: str | None = attrs.field(default=None, repr=False)
    email: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class InputRow:
    """One row of a file.

    Attributes:
        file: which of the files it stands in, counted from 0.
        line: the line it starts on, counted from 1 as editors do.
        last_line: the line it ends on; a quoted CSV cell may hold line ends.
        previous: the line the row before it ended on, 0 for the first: blank lines belong to the next row.
        raw: its bytes, as they stand in the file.
        content: the event, or the reason why there is none.
        entry: its number among the file's events, where several may start on one line; None in files of lines.
    """

    file: int
    line: int
    last_line: int
    previous: int
    raw: bytes = attrs.field(repr=False)
    content: Draft | str
    entry: int | None = None

    @property
    def position(self) -> tuple[int, int]:
        """The range by which a run remembers the row: its lines and the blank ones before them, or its entry."""
        return (self.previous + 1, self.last_line) if self.entry is None else (self.entry, self.entry)
