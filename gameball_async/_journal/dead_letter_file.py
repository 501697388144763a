"""The SQLite file of dead letters, which any process may use at any time: its schema, transactions and damage.

No connection outlives a call: threads may share the object, a forked child inherits no connection, and a file that
another process has set aside is noticed before anything is written to it.
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
from pathlib import Path
from typing import Any, TypeVar

from .._log import fields, logger
from .._platform import CAN_MOVE_OPEN_FILES, locked_folder, sync_folder
from ..errors import JournalError
from . import schema
from .folder import create_private, free_name

_T = TypeVar("_T")

_log = logger("gameball_async")

FILE_NAME = "dead-letters.db"

_APPLICATION_ID = 0x67624C31  # "gbL1"; it distinguishes the file from other databases
_WITHOUT_CHECKSUMS = 1  # schema version
_BUSY_TIMEOUT = 5.0  # seconds to wait for other processes; our own transactions take no longer than their syncs
_BUSY_INTERVAL = 0.001  # seconds between two attempts while the file is locked
_MAX_TRIES = 3  # files that one write tries: a broken disk must not be filled with damaged files

_PRAGMAS = (
    "fullfsync=ON",  # on macOS fsync ends at the drive's cache
    # EXTRA is FULL plus a sync of the folder after the rollback journal is deleted: with FULL, a power failure may
    # restore that file and undo the transaction (https://sqlite.org/pragma.html#pragma_synchronous)
    "synchronous=EXTRA",
    "secure_delete=ON",
)

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
"""The statements that upgrade the file from one schema version to the next; the first one creates it.

AUTOINCREMENT: the id of a dropped dead letter must never be reused, or a late `drop` would delete the wrong one.
"""


class DeadLetterFile:
    """The file of dead letters in a folder; nothing is read or created before the first use."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = Path(folder) / FILE_NAME

    def insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement with each row in one durable transaction.

        A missing file is created. A damaged one is renamed, and a new one created.

        Raises:
            sqlite3.Error: if the rows cannot be written; none of them was.
            OSError: if the rows cannot be written; none of them was. ENOSPC on a full disk.
        """
        for _ in range(_MAX_TRIES):
            inode = self._create()
            try:
                if self._run(partial(self._write, statement, rows, inode), inode) is not None:
                    return
            except (sqlite3.DatabaseError, schema.DamagedError) as error:
                if schema.is_damage(error):
                    self._set_aside(inode, error)
                elif schema.error_code(error) == sqlite3.SQLITE_FULL:  # unlike segments, this file has no size limit
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path)) from error
                else:
                    raise
        raise sqlite3.OperationalError(f"{FILE_NAME} was damaged repeatedly: check the disk")

    def change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run a statement with each row in one durable transaction, and return the number of changed rows.

        Raises:
            JournalError: if the file cannot be written; nothing was changed.
        """
        with self._mapped_errors():
            if not (inode := self._inode()):
                return 0
            return self._run(partial(self._write, statement, rows, inode), inode) or 0

    def read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        """Run a query; a missing or empty file has no rows.

        Raises:
            JournalError: if the file cannot be read.
        """
        with self._mapped_errors():
            if not (inode := self._inode()):
                return []
            return self._run(partial(self._fetch, query, values), inode) or []

    # ---------------------------------------------------------------- transactions

    def _run(self, work: Callable[[], _T], inode: tuple[int, int]) -> _T | None:
        """Run a transaction as soon as the file is free; returns None if another process has set it aside."""
        try:
            return _retry_busy(work)
        except sqlite3.OperationalError as error:
            # the second: the path is reopened after each wait
            if _is_moved(error) or (_cannot_open(error) and self._inode() != inode):
                return None
            raise

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]], inode: tuple[int, int]) -> int | None:
        """Run a statement in one durable transaction; returns None if another process has set this file aside."""
        with closing(self._open(_PRAGMAS)) as connection:
            if not schema.pragma(connection, "page_count"):  # possible only in an empty file
                connection.execute("PRAGMA auto_vacuum = FULL")
            # a rollback journal, not a WAL: one file between two calls, and no shared memory to recover after kill -9
            connection.execute("BEGIN IMMEDIATE")
            # only readers can block the commit now, and no new ones can start
            connection.execute(f"PRAGMA busy_timeout = {round(_BUSY_TIMEOUT * 1000)}")
            if self._inode() != inode:  # compared under the lock that setting aside needs too
                return None
            version = _version(connection)
            for step in _STEPS[version:]:
                connection.execute(step)
            if version < len(_STEPS):
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(_STEPS)}")
            changed = connection.executemany(statement, rows).rowcount
            connection.execute("COMMIT")  # without it, closing the connection rolls back
            return changed

    def _fetch(self, query: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        with closing(self._open()) as connection:
            connection.execute("BEGIN")  # one snapshot: a first insert between two reads would look like damage
            version = _version(connection)
            if version == _WITHOUT_CHECKSUMS:  # reading must not upgrade the file
                connection.execute("CREATE TEMP VIEW letters AS SELECT *, NULL AS checksum FROM main.letters")
            return connection.execute(query, values).fetchall() if version else []

    def _open(self, pragmas: Sequence[str] = ()) -> sqlite3.Connection:
        return schema.connect(self._path, pragmas, text_factory=_decode, timeout=_BUSY_INTERVAL)

    # ---------------------------------------------------------------- the file

    def _create(self) -> tuple[int, int]:
        """Create a missing file, readable only by its owner; returns its identity."""
        self._set_link_aside()
        while not (inode := self._inode()):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was faster
                create_private(self._path)
            with locked_folder(self._path.parent):
                sync_folder(self._path.parent)
        return inode

    def _inode(self) -> tuple[int, int] | None:
        """Return the identity of the file; one that others can read is made private."""
        # without opening it: closing a second descriptor would drop SQLite's locks on the file
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
        """Rename a symbolic link: dead letters must be private, in this folder."""
        if not self._path.is_symlink():
            return
        with locked_folder(self._path.parent):
            if not self._path.is_symlink():
                return
            aside = self._rename()
        _log.error(
            "%s is a symbolic link, which is not followed: it was renamed to %s, and a new file was created; to "
            "restore its dead letters, move the link's target to this path",
            FILE_NAME,
            aside.name,
            extra=fields("dead_letters", file=aside.name),
        )

    def _set_aside(self, inode: tuple[int, int], error: Exception) -> None:
        """Rename the damaged file, unless another process has done so."""
        with locked_folder(self._path.parent):
            if self._inode() != inode:
                return
            with closing(self._open()) as connection:
                _retry_busy(partial(_lock_exclusively, connection))
                if not CAN_MOVE_OPEN_FILES:
                    connection.close()
                aside = self._rename()
        _log.error(
            "the dead letters in %s are damaged (%s): they were renamed to %s, and a new file was created",
            FILE_NAME,
            error,
            aside.name,
            extra=fields("dead_letters", file=aside.name, cause=str(error)),
        )

    def _rename(self) -> Path:
        aside = free_name(self._path, ".damaged")
        self._path.rename(aside)
        sync_folder(self._path.parent)
        return aside

    @contextmanager
    def _mapped_errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, schema.DamagedError) as error:
            raise JournalError(f"{self._path} cannot be used: {_with_remedy(error)}") from error
        except OSError as error:
            raise JournalError(
                f"{self._path} cannot be used ({error.strerror}): check the folder's path and permissions."
            ) from error


def _decode(text: bytes) -> str:
    """Decode a column; the checksum reveals damaged text."""
    return text.decode("utf-8", "replace")


def _retry_busy(work: Callable[[], _T]) -> _T:
    """Call `work` until no other process locks the file.

    SQLite's own busy handler polls only every 100 ms in the end: next to a process that added dead letters without a
    pause, five commands took 15 s, and one in five runs failed after 5 s. Polling every millisecond they took 0.3 s.

    Raises:
        sqlite3.OperationalError: if the file stays locked.
        DamagedError: if the schema is damaged.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            return work()
        except UnicodeDecodeError as error:  # sqlite3 fails to decode SQLite's message, which quotes damage
            raise schema.DamagedError("its schema is not text") from error
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= deadline:
                raise


def _version(connection: sqlite3.Connection) -> int:
    """Return the schema version; 0 for an empty file.

    Raises:
        DamagedError: if it is not a file of dead letters.
        sqlite3.OperationalError: if a later version of this library wrote it.
    """
    names = ("application_id", "user_version", "schema_version")
    application, version, changes = (schema.pragma(connection, name) for name in names)
    if application != _APPLICATION_ID and (application, version, changes) != (0, 0, 0):
        raise schema.DamagedError("it is a database of another program")
    if version > len(_STEPS):
        # not damage: the journal thread retries this error
        raise sqlite3.OperationalError(f"{FILE_NAME} was written by a later version of gameball_async: install that")
    return version


def _is_busy(error: BaseException) -> bool:
    return schema.error_code(error) == sqlite3.SQLITE_BUSY


def _is_moved(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED


def _cannot_open(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN


def _with_remedy(error: Exception) -> str:
    if schema.is_damage(error):
        return f"it is damaged ({error}). Move it away, or keep it: the next dead letter sets it aside."
    if _is_busy(error):
        return f"another process has locked it for {_BUSY_TIMEOUT:g} s: retry when that process has ended."
    return f"{error}. Check the disk's space and the file's permissions."


def _lock_exclusively(connection: sqlite3.Connection) -> None:
    """Wait for the transactions of other processes; no process writes to a file without a readable header.

    SQLite first rolls back what a crash has left, so that no rollback journal stays behind and is applied to the new
    file.
    """
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.DatabaseError as error:
        if not schema.is_damage(error):
            raise
