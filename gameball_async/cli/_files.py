"""All rows of several files: choose decompression and format by content, and report oddities."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Literal

import attrs

from .._log import counted
from ._checkpoint import ChangedError, Fingerprint, RangeSet
from ._columns import Columns
from ._csv import read_csv
from ._fields import Fields
from ._json import is_document, is_json, read_documents, read_ndjson
from ._lines import (
    ByteSource,
    Draft,
    InputRow,
    MappingError,
    Readable,
    ReadError,
    WrongFormat,
    must_be_converted,
    open_text,
    read_lines,
)
from ._terminal import printable

STANDARD_INPUT = "-"
Format = Literal["auto", "ndjson", "csv"]


@attrs.frozen(kw_only=True)
class ReadOptions:
    """How to read files."""

    format: Format = "auto"
    columns: Columns = attrs.field(factory=Columns)
    fields: Fields = attrs.field(factory=Fields)
    delimiter: str | None = None
    encoding: str = "utf-8"

    def for_path(self, path: str) -> ReadOptions:
        """Return the options for one file: its name takes precedence over its content."""
        is_named = self.format == "auto" and path.lower().removesuffix(".gz").endswith((".json", ".ndjson", ".jsonl"))
        return attrs.evolve(self, format="ndjson") if is_named else self


@attrs.frozen
class ReadFailure:
    """The reason why the rest of a file (by index) could not be read."""

    file: int
    reason: str


class Files:
    """All rows of several files, one file after the other.

    Args:
        paths: the files; `-` is standard input.
        reading: how to read them.
        settled: rows to skip, by position; one set per file, or empty.
        fingerprints: one per file, which receives every row, or empty.

    Attributes:
        findings: oddities in the rows read so far.
    """

    def __init__(
        self,
        paths: Sequence[str],
        reading: ReadOptions,
        settled: Sequence[RangeSet] = (),
        fingerprints: Sequence[Fingerprint] = (),
    ) -> None:
        self.findings = Findings()
        self._paths = paths
        self._reading = reading
        self._settled = settled
        self._fingerprints = fingerprints
        self._sizes = [Path(path).stat().st_size if is_regular(path) else None for path in paths]
        self._at = 0
        self._source: ByteSource | None = None
        self._seen = self._given = 0

    def rows(self) -> Generator[InputRow | ReadFailure]:
        for at, path in enumerate(self._paths):
            self._at = at
            try:
                yield from self._rows_of(path)
            except ReadError as error:
                yield ReadFailure(at, str(error))
            except OSError as error:
                yield ReadFailure(at, f"it cannot be opened: {error.strerror}.")
        self._at = len(self._paths)

    def expected(self) -> float | None:
        """Estimate the number of rows to send; None before the first, and for a pipe."""
        share = self._share()
        return self._given + self._seen * (1 / share - 1) if share else None

    def _share(self) -> float | None:
        """The share of the bytes read so far."""
        sizes = [size for size in self._sizes if size is not None]
        if len(sizes) < len(self._sizes):
            return None
        read = sum(sizes[: self._at]) + (self._source.position if self._source else 0)
        return min(1.0, read / sum(sizes)) if sum(sizes) else 1.0

    def _rows_of(self, path: str) -> Iterator[InputRow]:
        self._source = source = ByteSource(path)
        seen_before = self._seen
        try:
            for row in open_rows(source, self._at, self._reading.for_path(path), self.findings):
                self._seen += 1
                self.findings.check(row)
                self._compare(path, row)
                if not self._settled or row.position[-1] not in self._settled[self._at]:
                    self._given += 1
                    yield row
            self._compare(path, None)
            if self._seen == seen_before:
                self.findings.add_note(self._at, "has no rows: nothing in it to send.")
        finally:
            self._source = None
            source.close()

    def _compare(self, path: str, row: InputRow | None) -> None:
        """Add a row, or the end of the file, to the file's fingerprint."""
        if not self._fingerprints:
            return
        fingerprint = self._fingerprints[self._at]
        try:
            fingerprint.finish() if row is None else fingerprint.add(row)
        except ChangedError as error:
            raise ChangedError(f"{printable(path)} {error}") from None


def open_rows(source: Readable, index: int, reading: ReadOptions, findings: Findings) -> Iterator[InputRow]:
    """Choose the format by the beginning of the file, and read its rows."""
    stream, encoding = open_text(source, reading.encoding)
    fields, columns = reading.fields, reading.columns
    on_skipped = partial(findings.add, index, Oddity.SKIPPED)
    if reading.format == "ndjson" or (reading.format == "auto" and is_json(stream)):
        only_csv = attrs.evolve(columns, event=None, metadata=()) if fields.is_set else columns
        if only_csv != Columns():
            findings.add_note(index, "is JSON: the options for the columns of CSV do not apply to it.")
        if is_document(stream, fields):
            return read_documents(stream, file=index, encoding=encoding, fields=fields, on_skipped=on_skipped)
        lines = read_lines(stream)
        return read_ndjson(lines, file=index, encoding=encoding, fields=fields, on_skipped=on_skipped)
    if fields.is_set:
        findings.add_note(index, "is CSV: the options for the fields of JSON do not apply to it.")
    return read_csv(
        read_lines(stream),
        file=index,
        encoding=encoding,
        delimiter=reading.delimiter,
        bind=columns.bind,
        on_repeated_header=partial(findings.add, index, Oddity.REPEATED_HEADER),
        on_skipped=on_skipped,
    )


def is_regular(path: str) -> bool:
    """Whether this is a file that can be read again, unlike a pipe."""
    return path != STANDARD_INPUT and Path(path).is_file()


def check_header(path: str, reading: ReadOptions) -> None:
    """Read a file's first row, to detect a mapping that does not match before anything is sent."""
    source = ByteSource(path)
    try:
        next(open_rows(source, 0, reading.for_path(path), Findings()), None)
    except (MappingError, WrongFormat) as error:
        raise MappingError(f"{printable(path)}: {error}") from None
    except ReadError:
        pass  # reported when the rows before it have been read
    finally:
        source.close()


def check_encoding(name: str) -> str:
    """Return the encoding's name as Python spells it."""
    try:
        codec = codecs.lookup(name)
        ascii_bytes = '\n,"{'.encode(codec.name)
        ("a" * 100).encode(codec.name)  # the encodings of host names take a label only
    except (LookupError, UnicodeError):
        raise ValueError(f"{name!r} is not a text encoding that Python knows") from None
    if codec.name == "utf-8-sig":
        return "utf-8"
    if ascii_bytes != b'\n,"{' and not must_be_converted(codec.name):
        raise ValueError(f"{name!r} does not encode line ends as ASCII does: convert the file to UTF-8")
    return codec.name


_SPREADSHEET_NUMBER = re.compile(r"[+-]?[0-9]+\.0+")
_EXPONENT = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?[eE]\+[0-9]+")


class Oddity(StrEnum):
    """An oddity of rows; each value follows the number of rows in a warning."""

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
    SKIPPED = "without an event according to the preset: skipped."


class Findings:
    """Count the oddities of several files, and report each once with its first line, without values."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, Oddity], tuple[int, int]] = {}
        self._notes: list[tuple[int, str]] = []

    def check(self, row: InputRow) -> None:
        """Count the oddities of a row's event."""
        draft = row.content
        if not isinstance(draft, Draft):
            return
        if not _is_plain(draft.name) and _has_odd_spaces(draft.name):
            self.add(row.file, Oddity.EVENT_SPACES, row.line)
        if not _is_plain(draft.player) and (oddity := _player_oddity(draft.player)):
            self.add(row.file, oddity, row.line)

    def add(self, file: int, oddity: Oddity, line: int) -> None:
        count, first = self._found.get((file, oddity), (0, line))
        self._found[file, oddity] = count + 1, first

    def add_note(self, file: int, note: str) -> None:
        """Add a note about a whole file; a sentence that continues after the file's name."""
        self._notes.append((file, note))

    def messages(self, names: Sequence[str]) -> list[str]:
        """Return one warning per note, and one per file and oddity; `names` are the files' names."""
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
    """Whether there are spaces at the ends, several in a row, or invisible characters."""
    return text != " ".join(text.split()) or any(unicodedata.category(char) == "Cf" for char in text)
