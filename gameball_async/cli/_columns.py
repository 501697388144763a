"""Which column of a CSV file becomes what: options and a header in, one event per record out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from string import Formatter

import attrs

from ._rows import Draft, MappingError, RowError, Value
from ._words import quoted

PLAYER_COLUMNS = ("player_unique_id", "player")
EVENT_COLUMNS = ("event", "name")

Cells = Sequence[str]
Pick = Callable[[Cells], str]

_INT = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 400  # characters: no number that Gameball takes is longer, and int() is quadratic


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise RowError(f"{quoted(text)} is not a whole number.")
    return int(text)


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise RowError(f"{quoted(text)} is not a number: write it with a point, such as 12.50.")
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more digits than a Decimal's may have
        raise RowError(_too_many_digits(text)) from None


def _float(text: str) -> float:
    number = float(_decimal(text))
    if not math.isfinite(number):
        raise RowError(f"{quoted(text)} is too large for a float: use the type decimal, or string.")
    return number


def _too_many_digits(text: str) -> str:
    return f"{quoted(text)} has too many digits: use the type string."


def _number(convert: Callable[[str], Value]) -> Callable[[str], Value]:
    def converted(text: str) -> Value:
        if len(text) > _LONGEST_NUMBER:
            raise RowError(_too_many_digits(text))
        return convert(text.strip())

    return converted


TYPES: dict[str, Callable[[str], Value]] = {
    "string": str,
    "int": _number(_int),
    "decimal": _number(_decimal),
    "float": _number(_float),
}


@attrs.frozen
class MetadataColumn:
    """One column that becomes one metadata key.

    Attributes:
        column: its name in the header.
        key: the metadata key.
        type: one of `TYPES`; `decimal` keeps every digit.
    """

    column: str
    key: str
    type: str = "string"

    @classmethod
    def parse(cls, text: str) -> MetadataColumn:
        """Read `COLUMN`, `COLUMN:TYPE`, `COLUMN=KEY` or `COLUMN:TYPE=KEY`.

        The last `=` and the last `:` count, so that a column may hold either.

        Raises:
            ValueError: if the column or the key is empty.
        """
        left, equals, key = text.rpartition("=")
        left = left if equals else text
        column, colon, type_ = left.rpartition(":")
        if not colon or type_ not in TYPES:
            column, type_ = left, "string"
        if not column or (equals and not key):
            raise ValueError(f"{text!r}: write COLUMN, COLUMN:TYPE, COLUMN=KEY or COLUMN:TYPE=KEY")
        return cls(column, key if equals else column, type_)


@attrs.frozen(kw_only=True)
class Columns:
    """The mapping of a CSV file's columns to events.

    Args:
        player: the column with the player's id; None takes `player_unique_id` or `player`.
        event: the event's name, in which `{COLUMN}` stands for that column's cell.
        event_column: the column with the event's name; without either it is `event` or `name`.
        metadata: the columns that become metadata. An empty cell leaves its key out.
        mobile: the column with the mobile number, if there is one.
        email: the column with the e-mail address, if there is one.
    """

    player: str | None = None
    event: str | None = None
    event_column: str | None = None
    metadata: tuple[MetadataColumn, ...] = ()
    mobile: str | None = None
    email: str | None = None

    def bind(self, header: Sequence[str]) -> Callable[[Cells], Draft]:
        """Return the function that makes a record under this header an event.

        Raises:
            MappingError: if the header lacks a column, or has it twice.
        """
        at = _Header(header)
        player = at.cell_of(self.player or at.first_of(PLAYER_COLUMNS, "--player-column"))
        event = self._event(at)
        metadata = [(column, at.index_of(column.column), TYPES[column.type]) for column in self.metadata]
        mobile, email = at.optional(self.mobile), at.optional(self.email)

        def to_draft(cells: Cells) -> Draft:
            return Draft(
                player=player(cells),
                name=event(cells),
                metadata=_metadata(metadata, cells),
                mobile=mobile(cells),
                email=email(cells),
            )

        return to_draft

    def _event(self, at: _Header) -> Pick:
        if self.event is None:
            return at.cell_of(self.event_column or at.first_of(EVENT_COLUMNS, "--event or --event-column"))
        parts = [(text, None if column is None else at.cell_of(column)) for text, column in template(self.event)]
        return lambda cells: "".join(text + (pick(cells) if pick else "") for text, pick in parts)


def template(event: str) -> list[tuple[str, str | None]]:
    """Cut an event's name into texts and the columns that follow them.

    Raises:
        ValueError: if a brace is not closed, or holds more than a column's name.
    """
    parts: list[tuple[str, str | None]] = []
    for text, column, spec, conversion in Formatter().parse(event):
        if spec or conversion or column == "":
            raise ValueError(f"{event!r}: a brace holds the name of a column and nothing else; {{{{ stands for a brace")
        parts.append((text, column))
    return parts


class _Header:
    """The columns of a file by their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def index_of(self, column: str) -> int:
        count = self._names.count(column)
        if count == 1:
            return self._names.index(column)
        if count:
            raise MappingError(f"column {quoted(column)} occurs {count} times in the header: rename all but one.")
        known = ", ".join(quoted(name) for name in self._names[:_MOST_SHOWN])
        raise MappingError(f"there is no column {quoted(column)}: the header has {known}.")

    def cell_of(self, column: str) -> Pick:
        index = self.index_of(column)

        def cell(cells: Cells) -> str:
            if cells[index]:
                return cells[index]
            raise RowError(f"column {quoted(column)} is empty.")

        return cell

    def optional(self, column: str | None) -> Callable[[Cells], str | None]:
        if column is None:
            return lambda _: None
        index = self.index_of(column)
        return lambda cells: cells[index] or None

    def first_of(self, columns: Sequence[str], option: str) -> str:
        for column in columns:
            if column in self._names:
                return column
        raise MappingError(f"none of the columns is called {' or '.join(map(quoted, columns))}: use {option}.")


def _metadata(
    columns: Sequence[tuple[MetadataColumn, int, Callable[[str], Value]]], cells: Cells
) -> dict[str, Value | list[Value]]:
    metadata: dict[str, Value | list[Value]] = {}
    for column, index, convert in columns:
        if not cells[index]:
            continue
        try:
            metadata[column.key] = convert(cells[index])
        except RowError as error:
            raise RowError(f"column {quoted(column.column)}: {error}") from None
    return metadata


_MOST_SHOWN = 30  # columns in a message
