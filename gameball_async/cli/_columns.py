"""Map CSV columns to events: from options and a header to one event per record."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from string import Formatter

import attrs

from ._lines import Draft, MappingError, RowError, SkippedRow, Value
from ._terminal import quoted
from ._value_types import TYPES

PLAYER_COLUMNS = ("player_unique_id", "player")
EVENT_COLUMNS = ("event", "name")

Cells = Sequence[str]
Pick = Callable[[Cells], str]
ToDraft = Callable[[Cells], Draft]

_BETWEEN_WORDS = re.compile(r"[\s_-]+")
_MOST_SHOWN = 30  # columns in a message
_MOST_INVISIBLE = 8  # characters around a name in a cell


@attrs.frozen
class MetadataColumn:
    """One column, or one field of JSON, that becomes one metadata key; `type` is one of `TYPES`."""

    column: str
    key: str
    type: str = "string"
    is_typed: bool = attrs.field(default=False, eq=False)  # whether the type was given; JSON values have one already

    @classmethod
    def parse(cls, text: str) -> MetadataColumn:
        """Parse `COLUMN`, `COLUMN:TYPE`, `COLUMN=KEY` or `COLUMN:TYPE=KEY`.

        The last `=` and the last `:` count, so that a column's name may contain either.
        """
        left, equals, key = text.rpartition("=")
        left = left if equals else text
        column, colon, type_ = left.rpartition(":")
        if not colon or type_ not in TYPES:
            column, type_ = left, "string"
        if not column or (equals and not key):
            raise ValueError(f"{text!r}: write COLUMN, COLUMN:TYPE, COLUMN=KEY or COLUMN:TYPE=KEY")
        is_typed = column != left
        return cls(column, key if equals else column, type_, is_typed)


@attrs.frozen(kw_only=True)
class Columns:
    """The mapping of a CSV file's columns to events."""

    player: str | None = None  # the column with the player's id; None means `player_unique_id` or `player`
    event: str | None = None  # the event's name; `{COLUMN}` is replaced by that column's cell
    event_column: str | None = None  # the column with the event's name; without either it is `event` or `name`
    metadata: tuple[MetadataColumn, ...] = ()  # the columns that become metadata. An empty cell omits its key
    mobile: str | None = None  # the column with the mobile number, or None
    email: str | None = None  # the column with the e-mail address, or None
    skip_empty: str | None = None  # a column whose empty cell marks a record without an event of its own

    def bind(self, header: Sequence[str]) -> Bound:
        """Bind the mapping to a file's header."""
        at = _Header(header)
        player_column = self.player or at.first_of(PLAYER_COLUMNS, "--player-column")
        player = at.cell_of(player_column)
        player_name = folded(header[at.index_of(player_column)])
        event = self._event(at)
        metadata = [(column, at.index_of_typed(column.column), TYPES[column.type]) for column in self.metadata]
        mobile, email = at.optional(self.mobile), at.optional(self.email)
        skip_empty = None if self.skip_empty is None else at.index_of(self.skip_empty)

        def to_draft(cells: Cells) -> Draft:
            if skip_empty is not None and not cells[skip_empty]:
                raise SkippedRow
            player_id = player(cells)
            if _is_named(player_id, player_name):
                raise RowError(
                    f"the player's id is the name of its column, {quoted(player_id)}: if the line is a header, send "
                    "the lines below it as a separate file; if not, rename the column."
                )
            return Draft(
                player=player_id,
                name=event(cells),
                metadata=_metadata(metadata, cells),
                mobile=mobile(cells),
                email=email(cells),
            )

        return Bound(header, to_draft, player_name, frozenset(at.mapped))

    def _event(self, at: _Header) -> Pick:
        if self.event is None:
            return at.cell_of(self.event_column or at.first_of(EVENT_COLUMNS, "--event or --event-column"))
        parts = [(text, None if column is None else at.cell_of(column)) for text, column in template(self.event)]
        return lambda cells: "".join(text + (pick(cells) if pick else "") for text, pick in parts)


def template(event: str) -> list[tuple[str, str | None]]:
    """Split an event's name into texts and the columns that follow them."""
    parts: list[tuple[str, str | None]] = []
    for text, column, spec, conversion in Formatter().parse(event):
        if spec or conversion or column == "":
            raise ValueError(f"{event!r}: braces contain the name of a column and nothing else; write {{{{ for a brace")
        parts.append((text, column))
    return parts


def folded(name: str) -> str:
    """Normalize a column's name: ignore case, invisible characters, outer spaces, and `_` or `-` for a space."""
    if not name.isascii():
        name = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return _BETWEEN_WORDS.sub("_", name.strip()).casefold()


class Bound:
    """A mapping bound to a header that has all mapped columns."""

    def __init__(self, header: Cells, to_draft: ToDraft, player: str, mapped: frozenset[str]) -> None:
        self.header = header
        self.to_draft = to_draft
        self._player = player
        self._mapped = mapped
        self._names = [folded(name) for name in header]
        self._width = max((at for at, name in enumerate(self._names, 1) if name), default=0)

    def refusing(self, header: Cells, reason: str) -> Bound:
        """Return a mapping that rejects all records, below another header that lacks a column."""

        def refuse(_: Cells) -> Draft:
            raise RowError(reason)

        return Bound(header, refuse, self._player, self._mapped)

    def fits(self, cells: Cells) -> bool:
        """Whether a record is as wide as the header, without empty cells at the end of either."""
        return self._width <= len(cells) and not any(cell.strip() for cell in cells[len(self.header) :])

    def is_header(self, cells: Cells) -> bool:
        """Whether a record is a header: it contains the player's column name, and other columns' names."""
        if not any(_is_named(cell, self._player) for cell in cells):
            return False
        names = [folded(cell) for cell in cells]
        matches = sum(name == cell != "" for name, cell in zip(self._names, names, strict=False))
        is_same = sorted(filter(None, names)) == sorted(filter(None, self._names))
        return is_same or matches > 1 or (len(self._mapped) > 1 and self._mapped <= {*names})


def _is_named(cell: str, name: str) -> bool:
    # the cheap checks come first
    return not cell.isdigit() and len(cell) <= len(name) + _MOST_INVISIBLE and folded(cell) == name


class _Header:
    """Find the columns of a file by name."""

    def __init__(self, names: Cells) -> None:
        self._names = names
        self._folded = [folded(name) for name in names]
        self.mapped: set[str] = set()

    def index_of(self, column: str) -> int:
        if (index := self._find(column)) is not None:
            self.mapped.add(self._folded[index])
            return index
        known = ", ".join(quoted(name) for name in self._names[:_MOST_SHOWN])
        close = get_close_matches(folded(column), filter(None, self._folded), 1)
        meant = f" Do you mean {quoted(self._names[self._folded.index(close[0])])}?" if close else ""
        raise MappingError(f"there is no column {quoted(column)}: the header has {known}.{meant}")

    def index_of_typed(self, column: str) -> int:
        """Find the column of a metadata option; the message explains an unknown type after its last colon."""
        name, colon, type_ = column.rpartition(":")
        if colon and self._find(column) is None:
            types = f"the types are {', '.join(TYPES)}"
            if self._find(name) is not None:
                raise MappingError(f"unknown type {quoted(type_)} of column {quoted(name)}: {types}.")
            raise MappingError(f"there is no column {quoted(column)}, and {quoted(type_)} is not a type: {types}.")
        return self.index_of(column)

    def _find(self, column: str) -> int | None:
        """Find a column by its exact name, else by its folded name, which must be unique."""
        same = [at for at, name in enumerate(self._names) if name == column]
        if len(same) > 1:
            raise MappingError(f"column {quoted(column)} occurs {len(same)} times in the header: rename all but one.")
        similar = same or [at for at, name in enumerate(self._folded) if name == folded(column)]
        if len(similar) > 1:
            names = " and ".join(quoted(self._names[at]) for at in similar)
            raise MappingError(f"column {quoted(column)} may be each of {names}: write it exactly as one of them.")
        return similar[0] if similar else None

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
            if folded(column) in self._folded:
                return column
        raise MappingError(f"there is no column {' or '.join(map(quoted, columns))}: use {option}.")


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
