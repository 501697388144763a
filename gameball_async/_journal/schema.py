"""How a journal's file looks inside: its pragmas, its tables, its versions, its checksums."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

from .records import StoredEvent
from .state import VERSION, SegmentState, state_of

APPLICATION_ID = 0x47426A6E  # "GBjn", so that `file` and people can tell whose it is
UPGRADES: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE state ADD COLUMN commits INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN position INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN destination TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE state ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
    ),
}
"""By the version that they begin at: the statements that lead to the next one."""

_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # before the first access: so SQLite needs no shared memory beside the file
    "journal_mode=WAL",
    "fullfsync=ON",  # on macOS fsync ends at the drive's cache, https://sqlite.org/pragma.html#pragma_fullfsync
    "checkpoint_fullfsync=ON",
    "synchronous=FULL",  # NORMAL could lose commits when the power fails, https://sqlite.org/pragma.html#pragma_synchronous
    "cache_size=-4096",  # KiB
    "journal_size_limit=4194304",
    "secure_delete=ON",  # what was delivered is overwritten: it may be personal data
    "cell_size_check=ON",  # finds damage when a page is read instead of later
)

_TABLES = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, player TEXT NOT NULL, name TEXT NOT NULL, encoded BLOB NOT NULL, mobile TEXT,
        email TEXT, accepted_at REAL NOT NULL, together INTEGER, checksum INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE TABLE sealed (first INTEGER PRIMARY KEY, batch TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT",
    """
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1), file_id TEXT NOT NULL, next_seq INTEGER NOT NULL,
        events INTEGER NOT NULL, commits INTEGER NOT NULL, position INTEGER NOT NULL, destination TEXT NOT NULL,
        is_open INTEGER NOT NULL, checksum INTEGER NOT NULL
    ) STRICT
    """,
)


class NewerSchemaError(Exception):
    """A later version of this library wrote the file."""


class BlankError(Exception):
    """Its owner ended before the tables were made: nothing is in it."""


class DamagedError(Exception):
    """SQLite can read the file, but it is not what a journal looks like."""


class CopyError(DamagedError):
    """The file is a copy of another one in the folder."""


class MisplacedError(Exception):
    """The open files are not the ones at their path any more: they were removed, moved, replaced or truncated."""


def is_damage(error: BaseException) -> bool:
    """Whether the file itself is broken, so that trying again cannot help."""
    if isinstance(error, DamagedError):
        return True
    code = getattr(error, "sqlite_errorcode", None)  # a table that is missing is a plain SQLITE_ERROR
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def is_unreadable(error: BaseException) -> bool:
    """The same of an error that came while a file was opened: there, damage can make anything fail."""
    passing = (sqlite3.Error, OSError, MemoryError, NewerSchemaError, BlankError, MisplacedError)
    return is_damage(error) or not isinstance(error, passing)


def reason_of(error: BaseException) -> str:
    """What went wrong, in words that quote nothing of an event."""
    if isinstance(error, (sqlite3.Error, OSError, DamagedError, MisplacedError)):
        return str(error)
    return type(error).__name__


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that exists, with our pragmas; strings come back as bytes, since damage may be no UTF-8."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=1
    )
    connection.text_factory = bytes
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection, state: SegmentState) -> None:
    """Make the tables in an empty file."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)", state.values)
    connection.execute("COMMIT")


def is_blank(connection: sqlite3.Connection) -> bool:
    """Whether its owner ended before the tables were made."""
    if pragma(connection, "application_id"):
        return False
    return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None


def bring_up_to_date(connection: sqlite3.Connection, position: int) -> SegmentState:
    """Lead a file of an earlier version to ours.

    Args:
        connection: to the file.
        position: its place among the files of its folder, if the file does not say.

    Returns:
        Its state.

    Raises:
        NewerSchemaError: if it is of a later version.
        BlankError: if nothing is in it.
        DamagedError: if it is no journal.
    """
    if is_blank(connection):
        raise BlankError
    if pragma(connection, "application_id") != APPLICATION_ID:
        raise DamagedError("it is not a journal")
    version = pragma(connection, "user_version")
    if version > VERSION:
        raise NewerSchemaError(f"schema {version}")
    state = _read_state(connection)
    if version < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        for step in range(version, VERSION):
            for statement in UPGRADES.get(step, ()):
                connection.execute(statement)
        state = SegmentState(state.file_id, state.next_seq, state.events, position=position)
        store(connection, state)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    return state


def _read_state(connection: sqlite3.Connection) -> SegmentState:
    found: list[tuple[Any, ...]] = connection.execute("SELECT * FROM state").fetchall()
    state = state_of(found[0][1:]) if len(found) == 1 else None
    if state is None:
        raise DamagedError("its state is missing or damaged")
    return state


def store(connection: sqlite3.Connection, state: SegmentState) -> None:
    """Write the whole state."""
    connection.execute(
        "UPDATE state SET file_id = ?, next_seq = ?, events = ?, commits = ?, position = ?, destination = ?, "
        "is_open = ?, checksum = ?",
        state.values,
    )


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """A pragma's number."""
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def checksum_of_row(row: StoredEvent) -> int:
    """The checksum over all columns of an event.

    Raises:
        Exception: of many types, if a column of a damaged row has another type than it should.
    """
    seq, player, name, encoded, mobile, email, accepted_at, together = row
    numbers = _pack(seq, accepted_at, -1 if together is None else together)
    # nearly every event has no contact, and formatting None takes longer than a constant
    contact = "None\0None" if mobile is None and email is None else f"{mobile}\0{email}"
    return crc32(encoded, crc32(f"{player}\0{name}\0{contact}".encode(), crc32(numbers)))


_pack = struct.Struct("<qdq").pack


def checksum_of_batch(first: int, members: str) -> int:
    """The checksum of a sealed batch."""
    return crc32(f"{first} {members}".encode())


def sealed_of(first: object, text: object, checksum: object) -> tuple[list[int], str | None, str | None] | None:
    """The seqs of a sealed batch, its mobile number and its e-mail address; None if it is damaged."""
    if not isinstance(first, int) or not isinstance(text, bytes):
        return None
    decoded = text.decode(errors="replace")
    if checksum_of_batch(first, decoded) != checksum:
        return None
    members, mobile, email = json.loads(decoded)
    return members, mobile, email


Record = tuple[Any, ...]
"""An event's columns, right or not."""

_COLUMNS = "seq, player, name, encoded, mobile, email, accepted_at, together, checksum"

_SINGLE_STEPS = 1000  # seqs that are tried one by one behind damage, before the steps grow
_GREATEST = 2**63 - 1


def records(db: sqlite3.Connection, condition: str, *parameters: int) -> Generator[Record, None, None]:
    """The events of a file as they lie there; the statement is ended with the iteration."""
    cursor = db.execute(f"SELECT {_COLUMNS} FROM events WHERE {condition}", parameters)  # noqa: S608 no value is in it
    try:
        yield from cursor
    finally:
        cursor.close()


def row_of(record: Record) -> StoredEvent | None:
    """The event that a record holds; None if its checksum is wrong."""
    seq, player, name, encoded, mobile, email, accepted_at, together, checksum = record
    try:
        mobile = None if mobile is None else mobile.decode()
        email = None if email is None else email.decode()
        row = StoredEvent(seq, player.decode(), name.decode(), encoded, mobile, email, accepted_at, together)
        return row if checksum_of_row(row) == checksum else None
    except (
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
    ):  # damage can give a column another type, or break its UTF-8
        return None


def readable(source: sqlite3.Connection) -> Iterator[StoredEvent]:
    """Every event that is whole: what lies before the damage, what lies behind it, then what lies between."""
    low = yield from _run(source, 0, _GREATEST)
    if low is None:
        return
    high = yield from _run(source, low, _GREATEST, backwards=True)
    at, step, failures = low, 1, 0
    while high is not None and at <= high:
        reached = yield from _run(source, at, high)
        if reached is None:
            return
        failures = 0 if reached > at else failures + 1
        step = 1 if failures <= _SINGLE_STEPS else step * 2
        at = reached + step
        if step > 1:  # what the step jumped over and lies behind the damage
            yield from _run(source, reached + 1, min(at - 1, high), backwards=True)


def _run(
    source: sqlite3.Connection, low: int, high: int, *, backwards: bool = False
) -> Generator[StoredEvent, None, int | None]:
    """The events from one seq to another, up to the first damage.

    Returns:
        The first seq in its direction that could not be read; None if there was no damage.
    """
    order, step, at = ("DESC", -1, high) if backwards else ("ASC", 1, low)
    try:
        with closing(records(source, f"seq BETWEEN ? AND ? ORDER BY seq {order}", low, high)) as found:
            for record in found:
                if (record[0] - at) * step < 0 or not low <= record[0] <= high:
                    return at  # a damaged tree can lead to a place where we were already
                at = record[0] + step
                row = row_of(record)
                if row is not None:
                    yield row
    except sqlite3.DatabaseError:
        return at
    return None
