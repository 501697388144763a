"""The file of the dead letters, which every process may open at any time: its schema, its transactions, its damages.

No connection outlives a call: threads may share the object, a fork inherits nothing, and a file that another
process has set aside is noticed before anything is written into it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from .._log import logger
from .._platform import CAN_MOVE_OPEN_FILES, locked_folder, open_private, sync_folder
from ..errors import JournalError

_T = TypeVar("_T")

_log = logger("gameball_async")

FILE_NAME = "dead-letters.db"

_APPLICATION_ID = 0x67624C31  # "gbL1": by it a file that is something else is recognised
_WITHOUT_CHECKSUMS = 1  # version of the schema
_BUSY_TIMEOUT = 5.0  # seconds for another process's transaction; none of ours lasts longer than its syncs
_BETWEEN_LOOKS = 0.001  # seconds between two looks whether that has ended
_MOST_TRIES = 3  # files that one write tries: a disk that damages each of them is not to be filled

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
    "ALTER TABLE letters ADD COLUMN checksum INTEGER",
)
"""How a file comes from one version of the schema to the next; the first step makes it.

AUTOINCREMENT: an id that was dropped must never name another letter, or a late `drop` would hit the wrong one.
"""


class LetterFile:
    """The file, whether it is there or not.

    Args:
        folder: where it is; nothing is read or made before the first use.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder) / FILE_NAME

    def insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement with each of the rows, in one durable transaction.

        The file is made if it is missing. A damaged one is renamed, and a fresh one begun.

        Raises:
            sqlite3.Error: if they cannot be written; none of them was.
            OSError: likewise; with ENOSPC if there is no room for them.
        """
        for _ in range(_MOST_TRIES):
            inode = self._made()
            try:
                if _patiently(partial(self._write, statement, rows, inode)) is not None:
                    return
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._set_aside(inode, error)
                elif _code(error) == sqlite3.SQLITE_FULL:  # unlike a journal's file, this one has no limit of its own
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path)) from error
                elif _code(error) != sqlite3.SQLITE_READONLY_DBMOVED:  # another process has set it aside
                    raise
        raise sqlite3.OperationalError(f"{FILE_NAME} was damaged again and again: check the disk")

    def change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run a statement with each of the rows, in one durable transaction; a file that is missing is not made.

        Returns:
            How many rows were changed.

        Raises:
            JournalError: if the file cannot be written; nothing was changed.
        """
        with self._told_errors():
            if not (inode := self._inode()):
                return 0
            return _patiently(partial(self._write, statement, rows, inode)) or 0

    def read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Run a query; a file that is not there, or was made this instant, holds nothing.

        Raises:
            JournalError: if the file cannot be read.
        """
        with self._told_errors():
            return _patiently(partial(self._fetch, query, values)) if self._inode() else []

    # ---------------------------------------------------------------- transactions

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

    def _fetch(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        with closing(self._opened()) as connection:
            connection.execute("BEGIN")  # one look: a first burial that ends between two would pass for damage
            version = _version(connection)
            if version == _WITHOUT_CHECKSUMS:  # reading changes no file, so what is missing is added in between
                connection.execute("CREATE TEMP VIEW letters AS SELECT *, NULL AS checksum FROM main.letters")
            return connection.execute(query, values).fetchall() if version else []

    def _opened(self) -> sqlite3.Connection:
        # mode=rw: SQLite must not make the file, it would give it the umask's permissions
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=_BETWEEN_LOOKS, isolation_level=None)
        connection.text_factory = _decoded
        return connection

    # ---------------------------------------------------------------- the file

    def _made(self) -> tuple[int, int]:
        """Make the file if it is missing, for its owner only; returns which file it is."""
        self._set_link_aside()
        while not (inode := self._inode()):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was faster
                os.close(open_private(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR))
            with locked_folder(self._path.parent):
                sync_folder(self._path.parent)
        return inode

    def _inode(self) -> tuple[int, int] | None:
        """Which file it is; one that others can read is made private.

        Raises:
            OSError: if it is a symbolic link.
        """
        # never by opening it: closing a second descriptor would drop SQLite's locks on the file
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "it is a symbolic link")
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            with suppress(OSError):  # it belongs to another user
                self._path.chmod(0o600)
        return status.st_dev, status.st_ino

    def _set_link_aside(self) -> None:
        """Rename a symbolic link: the letters are to lie in this folder, and be private."""
        if not self._path.is_symlink():
            return
        with locked_folder(self._path.parent):
            if not self._path.is_symlink():
                return
            aside = _free_name(self._path)
            self._path.rename(aside)
            sync_folder(self._path.parent)
        _log.error(
            "%s is a symbolic link, which is not followed: it was renamed to %s, and a fresh file is begun; move the "
            "file that it leads to into its place to have its letters again",
            FILE_NAME,
            aside.name,
        )

    def _set_aside(self, inode: tuple[int, int], error: sqlite3.Error) -> None:
        """Rename the damaged file, unless another process did so already."""
        with locked_folder(self._path.parent), closing(self._opened()) as connection:
            _patiently(partial(_lock_out_others, connection))
            if self._inode() != inode:
                return
            if not CAN_MOVE_OPEN_FILES:
                connection.close()
            aside = _free_name(self._path)
            self._path.rename(aside)
            sync_folder(self._path.parent)
        _log.error(
            "the dead letters in %s are damaged (%s): they were renamed to %s, and a fresh file is begun",
            FILE_NAME,
            error,
            aside.name,
        )

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


def _decoded(text: bytes) -> str:
    """Decode a column; one that is damaged comes back changed, which its checksum shows."""
    return text.decode("utf-8", "replace")


class _Foreign(sqlite3.DatabaseError):
    """The file is a database, and not one of dead letters."""


def _patiently(work: Callable[[], _T]) -> _T:
    """Do work on the file as soon as no other process is in its way.

    SQLite itself would wait too, but in the end look every 100 ms only: beside a process that buried one letter after
    another without a pause, five commands took 15 s as a rule, and one in five runs gave up after 5 s of no gap.
    Looking every millisecond they took 0.3 s.

    Raises:
        sqlite3.OperationalError: if the others take too long.
        sqlite3.DatabaseError: if the file is damaged.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            return work()
        except UnicodeDecodeError as error:  # sqlite3 fails to decode SQLite's message, which quotes damage
            raise _Foreign("its schema is not text") from error
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
    connection.execute("PRAGMA fullfsync = ON")  # on macOS fsync ends at the drive's cache
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
    return next(name for name in names if not os.path.lexists(name))
