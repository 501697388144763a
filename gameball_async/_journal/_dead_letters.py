"""Events that will not arrive, kept in a file of their own that every process may open at any time.

No connection outlives a call: threads may share the object, a fork inherits nothing, and a file that another
process has set aside is noticed before anything is written into it.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import attrs

from .._events import Event
from ..errors import DeliveryError, Dropped, DropReason, JournalError, OutcomeUnknown, Rejected
from ._rows import Letter

if sys.platform != "win32":
    import fcntl

_T = TypeVar("_T")

_log = logging.getLogger("gameball_async")

FILE_NAME = "dead-letters.db"

_APPLICATION_ID = 0x67624C31  # "gbL1": by it a file that is something else is recognised
_BUSY_TIMEOUT = 5.0  # seconds for another process's transaction; none of ours lasts longer than its syncs
_BETWEEN_LOOKS = 0.001  # seconds between two looks whether that has ended
_PAGE = 100  # letters read at once: 25 MB even if each has the 256 KiB that an event may have by default
_MOST_TRIES = 3  # files that one burial tries: a disk that damages each of them is not to be filled
_LEAST_INTEGER, _GREATEST_INTEGER = -(2**63), 2**63 - 1  # what SQLite can store

_STEPS = (
    """
    CREATE TABLE letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        file_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        kind TEXT NOT NULL,
        reason TEXT NOT NULL,
        status INTEGER,
        code INTEGER,
        may_have_arrived INTEGER NOT NULL,
        buried_at REAL NOT NULL,
        player TEXT,
        name TEXT,
        mobile TEXT,
        email TEXT,
        encoded BLOB NOT NULL,
        UNIQUE (file_id, seq)
    )
    """,
)
"""How a file comes from one version of the schema to the next; the first step makes it.

AUTOINCREMENT: an id that was dropped must never name another letter, or a late `drop` would hit the wrong one.
"""

_BURY = (
    "INSERT INTO letters (file_id, seq, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, "
    "email, encoded) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (file_id, seq) DO NOTHING"
)
_SELECT = (
    "SELECT id, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, email, encoded "
    "FROM letters"
)


class DeadLetterKind(StrEnum):
    """Why an event is a dead letter."""

    REJECTED = "rejected"
    """Gameball refused it for good."""
    EXPIRED = "expired"
    """It could not be delivered within `Retry(give_up_after=...)`."""
    UNKNOWN = "unknown"
    """It was sent, its answer got lost, and it was not sent again."""
    DROPPED = "dropped"
    """The client gave it up for another reason."""
    DAMAGED = "damaged"
    """It could not be read from the journal."""


@attrs.frozen
class DeadLetter:
    """An event that will not arrive; its `repr` shows the id, the kind and the event's name alone.

    Attributes:
        id: its number, never used again in its file.
        event: the event; None if it was damaged.
        kind: why it is here, in a word.
        reason: the error's message, with Gameball's own words if it had any.
        status: the HTTP status of the answer that decided, if one did.
        code: Gameball's own error code of that answer, if it had one.
        may_have_arrived: whether an attempt ended without an answer that settles the matter, so that sending it
            again may count twice.
        buried_at: when it became a dead letter, in UTC.
        raw: what of a damaged event could be read; None otherwise.
    """

    id: int
    event: Event | None
    kind: DeadLetterKind = attrs.field(repr=str)
    reason: str = attrs.field(repr=False)
    status: int | None = attrs.field(repr=False)
    code: int | None = attrs.field(repr=False)
    may_have_arrived: bool = attrs.field(repr=False)
    buried_at: datetime = attrs.field(repr=False)
    raw: bytes | None = attrs.field(repr=False, default=None)

    @property
    def metadata(self) -> dict[str, Any]:
        """The event's metadata, empty if it was damaged: tracking it again sends the same bytes.

        Fractions are `Decimal`; numbers that were written with an exponent are floats.
        """
        if self.event is None:
            return {}
        encoded = self.event._encoded  # noqa: SLF001 Event shows it to no one outside the package
        decoded: dict[str, dict[str, Any]] = json.loads(
            b"{" + encoded + b"}", parse_float=_same_fraction, parse_int=_same_integer
        )
        return decoded[self.event.name]


class DeadLetters:
    """The dead letters of one journal, in order of their burial.

    They can be read and dropped at any time, also while clients run. Its calls wait for the disk, so let a thread
    make them if your event loop must not wait. Letters that are buried during an iteration are not part of it.

    Args:
        folder: the journal's folder; nothing is read or made before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder) / FILE_NAME

    # ---------------------------------------------------------------- burying

    def add(self, file_id: str, letters: Iterable[Letter]) -> None:
        """Bury letters in one durable transaction; a letter that lies there already stays as it is.

        A damaged file is renamed, and a fresh one begun.

        Args:
            file_id: the name of the journal's file that they come from; with the seq it names a letter for ever.
            letters: the letters.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: likewise.
        """
        now = time.time()
        self._bury([(file_id, letter.seq, *_row(letter.error, now), *_event_row(letter.event)) for letter in letters])

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
        row = (DeadLetterKind.DAMAGED, _storable(reason), None, None, True, time.time())
        self._bury([(file_id, seq, *row, None, None, None, None, raw)])

    def close(self) -> None:
        """End the use of the file; nothing is open between two calls, and a later use is fine."""

    # ---------------------------------------------------------------- reading

    def __iter__(self) -> Iterator[DeadLetter]:
        """Read the letters in order of their burial, a page at a time.

        Raises:
            JournalError: if the file cannot be read.
        """
        after, newest = (
            0,
            max((row[0] for row in self._read("SELECT id FROM letters ORDER BY id DESC LIMIT 1")), default=0),
        )
        while page := self._read(f"{_SELECT} WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}", after, newest):
            yield from map(_letter, page)
            after = page[-1][0]

    def __len__(self) -> int:
        """Count the letters.

        Raises:
            JournalError: if the file cannot be read.
        """
        counted = self._read("SELECT count(*) FROM letters")
        return int(counted[0][0]) if counted else 0

    def __bool__(self) -> bool:
        """Be true, letters or none: `if letters` must read no file."""
        return True

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return one letter, or None if there is none of this id.

        Raises:
            JournalError: if the file cannot be read.
        """
        page = self._read(f"{_SELECT} WHERE id = ?", _storable_integer(letter_id))
        return _letter(page[0]) if page else None

    def drop(self, ids: Iterable[int]) -> int:
        """Delete letters for good, in one durable transaction; their bytes are overwritten.

        Args:
            ids: their ids; an id that is not there is no error.

        Returns:
            How many were deleted.

        Raises:
            JournalError: if the file cannot be written; none of them was deleted.
        """
        rows = [(_storable_integer(letter_id),) for letter_id in ids]
        with self._told_errors():
            if not (inode := self._inode()):
                return 0
            deleted = _patiently(partial(self._write, "DELETE FROM letters WHERE id = ?", rows, inode))
        return deleted or 0

    # ---------------------------------------------------------------- the file

    def _bury(self, rows: Sequence[tuple[object, ...]]) -> None:
        for _ in range(_MOST_TRIES):
            inode = self._made()
            try:
                if _patiently(partial(self._write, _BURY, rows, inode)) is not None:
                    return
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._set_aside(inode, error)
                elif _code(error) != sqlite3.SQLITE_READONLY_DBMOVED:  # another process has set it aside
                    raise
        raise sqlite3.OperationalError(f"{FILE_NAME} was damaged again and again: check the disk")

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]], inode: tuple[int, int]) -> int | None:
        """Run a statement in one durable transaction.

        Returns:
            The rows that it changed, or None if another process has set this very file aside.
        """
        with closing(self._opened()) as connection, _transaction(connection):
            # compared under the lock that setting aside needs too: from here on the file stays where it is
            if self._inode() != inode:
                return None
            version = _version(connection)
            for step in _STEPS[version:]:
                connection.execute(step)
            if version < len(_STEPS):
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(_STEPS)}")
            return connection.executemany(statement, rows).rowcount

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Run a query; a file that is not there, or was made this instant, holds nothing."""
        with self._told_errors():
            return _patiently(partial(self._fetch, query, values)) if self._inode() else []

    def _fetch(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        with closing(self._opened()) as connection:
            return connection.execute(query, values).fetchall() if _version(connection) else []

    def _opened(self) -> sqlite3.Connection:
        # mode=rw: SQLite must not make the file, it would give it the umask's permissions
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=_BETWEEN_LOOKS, isolation_level=None)

    def _made(self) -> tuple[int, int]:
        """Make the file if it is missing, for its owner only; returns which file it is."""
        while not (inode := self._inode()):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except FileExistsError:  # another process was faster; a dangling link is for SQLite to refuse
                if self._path.is_symlink():
                    raise
            with self._locked_folder() as folder:
                _sync(folder)
        return inode

    def _inode(self) -> tuple[int, int] | None:
        # never by opening it: closing a second descriptor would drop SQLite's locks on the file
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _set_aside(self, inode: tuple[int, int], error: sqlite3.Error) -> None:
        """Rename the damaged file, unless another process did so already."""
        with self._locked_folder() as folder, closing(self._opened()) as connection:
            _patiently(partial(_lock_out_others, connection))
            if self._inode() != inode:
                return
            aside = _free_name(self._path)
            self._path.rename(aside)
            _sync(folder)
        _log.error(
            "the dead letters in %s are damaged (%s): they were renamed to %s, and a fresh file is begun",
            FILE_NAME,
            error,
            aside.name,
        )

    @contextmanager
    def _locked_folder(self) -> Generator[int]:
        """Hold the folder, against other processes that would set the file aside; yields its descriptor."""
        if sys.platform == "win32":
            yield -1
            return
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _told_errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} cannot be used: {_remedied(error)}") from error
        except OSError as error:
            raise JournalError(
                f"{self._path} cannot be used ({error.strerror}): check the folder's path and permissions."
            ) from error


class _Foreign(sqlite3.DatabaseError):
    """The file is a database, and not one of dead letters."""


def _patiently(work: Callable[[], _T]) -> _T:
    """Do work on the file as soon as no other process is in its way.

    SQLite itself would wait too, but in the end look every 100 ms only: beside a process that buried one letter after
    another without a pause, five commands took 15 s as a rule, and one in five runs gave up after 5 s of no gap.
    Looking every millisecond they took 0.3 s.

    Raises:
        sqlite3.OperationalError: if the others take too long.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Run one durable transaction; closing the connection rolls back what raised.

    A rollback journal and not a WAL: one file between two calls, and no shared memory to recover after kill -9. EXTRA
    is FULL plus a sync of the folder once the rollback journal is gone: with FULL alone a power loss may bring that
    file back and take the burial back with it (https://sqlite.org/pragma.html#pragma_synchronous).
    """
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA secure_delete = ON")
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # works in an empty file alone, and in any other one would be a transaction of its own
        connection.execute("PRAGMA auto_vacuum = FULL")
    connection.execute("BEGIN IMMEDIATE")
    # what is still to be waited for is the end of reading, and while one waits nobody else begins to read
    connection.execute(f"PRAGMA busy_timeout = {round(_BUSY_TIMEOUT * 1000)}")
    yield
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    """Return the file's version of the schema; 0 if nothing was written to it yet.

    Raises:
        sqlite3.DatabaseError: if it is not a file of dead letters.
        sqlite3.OperationalError: if it was written by a later version of this library.
    """
    application, version, changes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("application_id", "user_version", "schema_version")
    )
    if application != _APPLICATION_ID and (application, version, changes) != (0, 0, 0):
        raise _Foreign("it is a database of something else")
    if version > len(_STEPS):
        # not a damage: the writer's thread takes this one for what passes
        raise sqlite3.OperationalError(f"{FILE_NAME} was written by a later version of gameball_async: install that")
    return version


def _is_damage(error: sqlite3.Error) -> bool:
    # the low byte is the kind of error, the others tell more of it
    return isinstance(error, _Foreign) or _code(error) & 0xFF in _DAMAGES


_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: a table is missing


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) & 0xFF == sqlite3.SQLITE_BUSY


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)  # the module's own errors have none


def _remedied(error: sqlite3.Error) -> str:
    if _is_damage(error):
        return f"it is damaged ({error}). Move it away, or leave it: the next burial sets it aside."
    if _is_busy(error):
        return f"another process has held it for {_BUSY_TIMEOUT:g} s: try again when that has ended."
    return f"{error}. Check the disk's space and the file's permissions."


def _lock_out_others(connection: sqlite3.Connection) -> None:
    """Let other processes end what they are writing; into a file without a readable header nobody writes.

    Before SQLite reads the header it rolls back what a crash has left, so no rollback journal stays behind, by which
    the fresh file would be rolled back.
    """
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise


def _free_name(path: Path) -> Path:
    suffixes = (f".{number}" if number > 1 else "" for number in count(1))
    names = (path.with_name(f"{path.name}.damaged{suffix}") for suffix in suffixes)
    return next(name for name in names if not name.exists())


def _sync(folder: int) -> None:
    if folder >= 0:
        os.fsync(folder)


# -------------------------------------------------------------------- rows


def _row(error: DeliveryError, now: float) -> tuple[object, ...]:
    code = None if error.code is None else _storable_integer(error.code)
    return _kind_of(error), _storable(str(error)), error.status, code, error.may_have_arrived, now


def _event_row(event: Event) -> tuple[object, ...]:
    encoded = event._encoded  # noqa: SLF001 Event shows it to no one outside the package
    return event.player_unique_id, event.name, event.mobile, event.email, encoded


def _kind_of(error: DeliveryError) -> DeadLetterKind:
    match error:
        case Rejected():
            return DeadLetterKind.REJECTED
        case OutcomeUnknown():
            return DeadLetterKind.UNKNOWN
        case Dropped(reason=DropReason.EXPIRED):
            return DeadLetterKind.EXPIRED
        case _:
            return DeadLetterKind.DROPPED


def _storable(text: str) -> str:
    # Gameball's words may hold a lone surrogate, which SQLite's UTF-8 cannot
    return text.encode("utf-8", "replace").decode()


def _storable_integer(number: int) -> int:
    # beyond 64 bits sqlite3 raises OverflowError; no letter's id and no known code comes near
    return min(max(number, _LEAST_INTEGER), _GREATEST_INTEGER)


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    number, kind, reason, status, code, may_have_arrived, buried_at, player, name, mobile, email, encoded = row
    is_damaged = kind == DeadLetterKind.DAMAGED
    return DeadLetter(
        id=number,
        event=None if is_damaged else Event(player, name, mobile, email, encoded),
        kind=DeadLetterKind(kind),
        reason=reason,
        status=status,
        code=code,
        may_have_arrived=bool(may_have_arrived),
        buried_at=datetime.fromtimestamp(buried_at, UTC),
        raw=encoded if is_damaged else None,
    )


def _same_fraction(text: str) -> Decimal | float:
    """Read a number as what is encoded to the very same text."""
    exact = Decimal(text)
    return exact if format(exact, "f") == text else float(text)


def _same_integer(text: str) -> Decimal | int:
    # more digits than 64 bits hold come from a Decimal, and so does -0
    return Decimal(text) if not _LEAST_INTEGER <= int(text) <= _GREATEST_INTEGER or text == "-0" else int(text)
