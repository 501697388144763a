"""SQLite and the format of a segment: connections, errors, tables, versions, checksums."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

from .records import SealRecord, StoredEvent
from .state import VERSION, SegmentState, state_of

APPLICATION_ID = 0x47426A6E  # "GBjn", which identifies the file to people and to `file`
UPGRADES: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE state ADD COLUMN commits INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN position INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN destination TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE state ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE state ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
    ),
    2: (),  # sealed batches may have a job
}
"""By version: the statements that upgrade a segment to the next version."""

_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # before the first access: then SQLite needs no shared memory beside the file
    "journal_mode=WAL",
    "fullfsync=ON",  # on macOS fsync ends at the drive's cache, https://sqlite.org/pragma.html#pragma_fullfsync
    "checkpoint_fullfsync=ON",
    "synchronous=FULL",  # NORMAL can lose commits in a power failure, https://sqlite.org/pragma.html#pragma_synchronous
    "cache_size=-4096",  # KiB
    "journal_size_limit=4194304",
    "secure_delete=ON",  # delivered events may be personal data: overwrite them
    "cell_size_check=ON",  # detects damage when a page is read instead of later
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

# -------------------------------------------------------------------- errors


class NewerSchemaError(Exception):
    """A later version of this library wrote the file."""


class BlankError(Exception):
    """The segment has no tables: its owner died before it created them."""


class DamagedError(Exception):
    """SQLite can read the file, but its content is wrong."""


class CopyError(DamagedError):
    """The segment is a copy of another one in the folder."""


class MisplacedError(Exception):
    """The open files are no longer at their path: they were removed, moved, replaced or truncated."""


def error_code(error: BaseException) -> int:
    """Return SQLite's primary error code; 0 for errors of the module itself and other exceptions."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last one: a table is missing


def is_damage(error: BaseException) -> bool:
    """Return whether the file itself is damaged, so that retrying cannot help."""
    return isinstance(error, DamagedError) or error_code(error) in _DAMAGES


def is_unreadable(error: BaseException) -> bool:
    """Return the same for an error while a file was opened, when damage can cause any exception."""
    transient = (sqlite3.Error, OSError, MemoryError, NewerSchemaError, BlankError, MisplacedError)
    return is_damage(error) or not isinstance(error, transient)


def reason_of(error: BaseException) -> str:
    """Describe an error without quoting data of events."""
    if isinstance(error, (sqlite3.Error, OSError, DamagedError, MisplacedError)):
        return str(error)
    return type(error).__name__


# -------------------------------------------------------------------- connections


def connect(
    path: Path,
    pragmas: Sequence[str] = _PRAGMAS,
    *,
    text_factory: Callable[[bytes], object] = bytes,
    timeout: float = 1.0,
) -> sqlite3.Connection:
    """Open an existing file in autocommit mode; text columns are bytes, because damage may not be valid UTF-8."""
    # mode=rw: SQLite must not create the file, it would use the umask's permissions
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout
    )
    connection.text_factory = text_factory
    try:
        for name in pragmas:
            connection.execute(f"PRAGMA {name}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the number of a pragma."""
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


# -------------------------------------------------------------------- segments


def create(connection: sqlite3.Connection, state: SegmentState) -> None:
    """Create the tables in an empty file."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)", state.values)
    connection.execute("COMMIT")


def upgrade(connection: sqlite3.Connection, position: int) -> SegmentState:
    """Upgrade a segment of an earlier version, and return its state.

    Args:
        connection: a connection to the segment.
        position: its position in the folder, if it has none stored.

    Raises:
        NewerSchemaError: if a later version wrote it.
        BlankError: if it has no tables.
        DamagedError: if it is not a journal.
    """
    application_id = pragma(connection, "application_id")
    if not application_id and connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None:
        raise BlankError
    if application_id != APPLICATION_ID:
        raise DamagedError("it is not a journal")
    version = pragma(connection, "user_version")
    if version > VERSION:
        raise NewerSchemaError(f"schema {version}")
    found: list[tuple[Any, ...]] = connection.execute("SELECT * FROM state").fetchall()
    state = state_of(found[0][1:]) if len(found) == 1 else None
    if state is None:
        raise DamagedError("its state is missing or damaged")
    if version < VERSION:
        connection.execute("BEGIN IMMEDIATE")
        for step in range(version, VERSION):
            for statement in UPGRADES.get(step, ()):
                connection.execute(statement)
        # not open: the first use checkpoints it, so that earlier versions of this library see that it is a later one's
        state = state._replace(
            commits=state.commits + 1, position=state.position or position, is_open=False, version=VERSION
        )
        connection.execute(
            "UPDATE state SET file_id = ?, next_seq = ?, events = ?, commits = ?, position = ?, destination = ?, "
            "is_open = ?, checksum = ?",
            state.values,
        )
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    return state


def checksum_of_row(row: StoredEvent) -> int:
    """Return the checksum over all columns of an event."""
    seq, player, name, encoded, mobile, email, accepted_at, together = row
    numbers = _pack(seq, accepted_at, -1 if together is None else together)
    # nearly every event has no contact, and formatting None takes longer than a constant
    contact = "None\0None" if mobile is None and email is None else f"{mobile}\0{email}"
    return crc32(encoded, crc32(f"{player}\0{name}\0{contact}".encode(), crc32(numbers)))


_pack = struct.Struct("<qdq").pack


def checksum_of_batch(first: int, members: str) -> int:
    """Return the checksum of a sealed batch."""
    return crc32(f"{first} {members}".encode())


def columns_of_seal(batch: SealRecord) -> tuple[int, str, int]:
    """Return the columns of a sealed batch."""
    first, members = batch.members[0], list(batch.members)
    job = () if batch.job is None else (batch.job,)
    text = json.dumps([members, batch.mobile, batch.email, *job])
    return first, text, checksum_of_batch(first, text)


def sealed_of(first: object, text: object, checksum: object) -> SealRecord | None:
    """Return a sealed batch from its columns; None if it is damaged."""
    if not isinstance(first, int) or not isinstance(text, bytes):
        return None
    decoded = text.decode(errors="replace")
    if checksum_of_batch(first, decoded) != checksum:
        return None
    return SealRecord(*json.loads(decoded))


Record = tuple[Any, ...]
"""An event's columns, unchecked."""

_COLUMNS = "seq, player, name, encoded, mobile, email, accepted_at, together, checksum"

_SINGLE_STEPS = 1000  # seqs tried one by one after damage, before the steps grow
_GREATEST = 2**63 - 1


def records(db: sqlite3.Connection, condition: str, *parameters: int) -> Generator[Record, None, None]:
    """Yield events unchecked; closing the iterator ends the statement."""
    cursor = db.execute(f"SELECT {_COLUMNS} FROM events WHERE {condition}", parameters)  # noqa: S608 no value is in it
    try:
        yield from cursor
    finally:
        cursor.close()


def row_of(record: Record) -> StoredEvent | None:
    """Return the event in a record; None if its checksum is wrong."""
    seq, player, name, encoded, mobile, email, accepted_at, together, checksum = record
    try:
        mobile = None if mobile is None else mobile.decode()
        email = None if email is None else email.decode()
        row = StoredEvent(seq, player.decode(), name.decode(), encoded, mobile, email, accepted_at, together)
        return row if checksum_of_row(row) == checksum else None
    except (AttributeError, TypeError, ValueError, struct.error):  # damage can change a type, or break UTF-8
        return None


def readable(source: sqlite3.Connection) -> Iterator[StoredEvent]:
    """Yield every intact event: those before the damage, those after it, then those in between."""
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
        if step > 1:  # events that the step skipped and that are after the damage
            yield from _run(source, reached + 1, min(at - 1, high), backwards=True)


def _run(
    source: sqlite3.Connection, low: int, high: int, *, backwards: bool = False
) -> Generator[StoredEvent, None, int | None]:
    """Yield the events from one seq to another, up to the first damage.

    Returns:
        The first seq in this direction that could not be read; None without damage.
    """
    order, step, at = ("DESC", -1, high) if backwards else ("ASC", 1, low)
    try:
        with closing(records(source, f"seq BETWEEN ? AND ? ORDER BY seq {order}", low, high)) as found:
            for record in found:
                if (record[0] - at) * step < 0 or not low <= record[0] <= high:
                    return at  # a damaged tree can lead back to pages already read
                at = record[0] + step
                row = row_of(record)
                if row is not None:
                    yield row
    except sqlite3.DatabaseError:
        return at
    return None
