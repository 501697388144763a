"""The disk under the real journal: slow, failing, full, and gone in the midst of any call.

The journal's files are real, in a folder in memory where there is one. Its connections to SQLite and its calls of the
system pass through here: a commit fails before or after it reached the disk, or finds no room; and each one that
changes a file is a step at which the process may die. What the files contain at that moment is all that remains.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Literal, NoReturn
from unittest import mock
from urllib.parse import unquote, urlsplit

import attrs

from gameball_async._journal.segment_file import SegmentFile

from .folder import DEAD_LETTERS, JOURNAL, Change, Folder, kind_of

MEMORY = Path("/dev/shm")
"""Where files cost no syncs, on Linux."""

RESERVES = (512 * 1024, 128 * 1024, 32 * 1024)
"""Sizes of a disk reserve here."""

COMMIT_BYTES = 8 * 1024
"""Free bytes without which no transaction can be committed."""

ENDLESS = 2**40

StepKind = Literal["commit", "file"]


@attrs.frozen(kw_only=True)
class DiskPlan:
    """How the disk behaves during one life.

    Attributes:
        commit: seconds of a step of the journal's thread, at least and at most.
        hiccup: the share of steps that take seconds.
        fails: the share of commits that fail.
        fails_for: seconds that the file cannot be opened again then, at most.
        reaches: the share of failed commits that did reach the disk.
        row_bytes: bytes that an event takes in the file, so that some files are full soon.
        refuses: whether the folder cannot be opened.
        full: seconds from the begin of the life during which other programs have filled the disk; equal for never.
        left: bytes that they leave free, beside the reserve.
        clock: seconds that the wall clock is wrong by; it is set at the begin of each life.
    """

    commit: tuple[float, float] = (0.0, 0.01)
    hiccup: float = 0.0
    fails: float = 0.0
    fails_for: float = 3.0
    reaches: float = 0.5
    row_bytes: int = 200
    refuses: bool = False
    full: tuple[float, float] = (0.0, 0.0)
    left: int = 0
    clock: float = 0.0


class Killed(BaseException):
    """The process died in the midst of this call."""


class _Connection(sqlite3.Connection):
    """A connection whose transactions are recorded, and end as the disk has it.

    Attributes:
        disk: the disk.
        stem: the name of its file, without suffix.
        changes: what the current transaction changes.
    """

    disk: SimulatedDisk
    stem: str
    changes: list[Change]
    is_changed = False

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run a statement."""
        if statement == "COMMIT":
            return self.disk.commit(self)
        if statement.startswith("BEGIN"):
            self.changes, self.is_changed = [], False
        elif not statement.startswith(("SELECT", "PRAGMA")):
            self.is_changed = True
            if (kind := kind_of(statement)) is not None:
                self.changes.append(Change(kind, [tuple(parameters)]))
        elif not self.disk.is_in_memory and statement.startswith(("PRAGMA synchronous", "PRAGMA fullfsync")):
            statement = "PRAGMA synchronous=OFF"
        return super().execute(statement, parameters)

    def executemany(self, statement: str, parameters: Any) -> sqlite3.Cursor:
        """Run a statement with each of the parameters."""
        rows = [tuple(row) for row in parameters]
        self.is_changed = True
        if (kind := kind_of(statement)) is not None:
            self.changes.append(Change(kind, rows))
        return super().executemany(statement, rows)

    def commit_now(self) -> sqlite3.Cursor:
        """Commit really."""
        return super().execute("COMMIT")

    def close(self) -> None:
        """Close it."""
        super().close()
        self.disk.connections.pop(id(self), None)


class SimulatedDisk:
    """One folder, over all lives of a seed.

    Args:
        note: takes what happens.
        fail: takes what is wrong.

    Attributes:
        folder: what must be in it.
        connections: those that are open.
        faults: when it refused something, in order.
        left_open: what the process had open when it ended.
        faulty: the files that it refused to write, or to open, since the last look.
        is_calm: whether it works from now on.
        is_opened: whether it may fail, and be full: that is so when the folder was opened.
        on_step: called before each change of a file, and after each commit; may call `die`.
    """

    def __init__(self, note: Callable[..., None], fail: Callable[[str], None]) -> None:
        self.is_in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
        self._root = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if self.is_in_memory else None))
        self.folder = Folder(self._root / "journal", fail)
        self._prefix = f"{self.folder.path}{os.sep}"
        self.connections: dict[int, _Connection] = {}
        self._descriptors: dict[int, object] = {}
        self._note = note
        self._fail = fail
        self._open, self._connect = os.open, sqlite3.connect

    def begin(self, plan: DiskPlan, seed: int, now: Callable[[], float]) -> None:
        """Begin a life."""
        self.plan = plan
        self.is_calm = False
        self.is_dead = False
        self.is_opened = False
        self.faults: list[float] = []
        self.faulty: set[str] = set()
        self.left_open = ""
        self.on_step: Callable[[StepKind], None] = lambda _: None
        self._random = Random(f"disk {seed}")
        self._now = now
        self._began = now()
        self._fails_until: dict[str, float] = {}
        self._used_when_full: int | None = None
        self._left: dict[str, bytes | int] = {}
        self._committing: _Connection | None = None

    @contextmanager
    def mounted(self, wall_now: Callable[[], float]) -> Generator[None]:
        """Put the journal's calls through this disk while the context lasts; at its end the process is gone."""
        clock = SimpleNamespace(time=lambda: wall_now() + self.plan.clock, sleep=self._sleep)
        unlink, rename = os.unlink, os.rename
        with ExitStack() as patches:
            for module in ("journal_storage", "loader", "writer"):
                patches.enter_context(mock.patch(f"gameball_async._journal.{module}.time", clock))
            patches.enter_context(mock.patch("gameball_async._journal.disk_reserve.SIZES", RESERVES))
            patches.enter_context(mock.patch.object(SegmentFile, "_measure", _measuring(self.plan.row_bytes)))
            patches.enter_context(mock.patch.object(sqlite3, "connect", self.connect))
            patches.enter_context(mock.patch.object(shutil, "disk_usage", self._usage))
            patches.enter_context(mock.patch.object(os, "posix_fallocate", self._allocate, create=True))
            patches.enter_context(mock.patch.object(os, "open", self._open_file))
            patches.enter_context(mock.patch.object(os, "unlink", self._stepping(unlink)))
            patches.enter_context(mock.patch.object(os, "rename", self._stepping(rename)))
            if not self.is_in_memory:
                patches.enter_context(mock.patch.object(os, "fsync"))
            try:
                yield
            finally:
                self._clean_up()

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._root)

    def _sleep(self, _: float) -> NoReturn:
        self._fail("the journal waits for another process's lock, and there is no other process")
        raise Killed

    # ---------------------------------------------------------------- steps, and the end of the process

    def step(self, kind: StepKind) -> None:
        """Do one more step, unless the process dies in it."""
        if not self.is_dead:
            self.on_step(kind)
            if self.is_dead:
                raise Killed

    def die(self) -> None:
        """End the process here: what the files contain is all that remains."""
        self.is_dead = True
        if self._committing is not None and self._random.random() < 0.5:
            self._left = self._torn(self._committing)
        else:
            self._left = self._contents()

    def _contents(self) -> dict[str, bytes | int]:
        """The files, but only the size of a reserve, which contains zeros."""
        path = self.folder.path
        return {
            file.name: file.stat().st_size if file.suffix == ".reserve" else file.read_bytes()
            for file in (path.iterdir() if path.is_dir() else ())
        }

    def _torn(self, connection: _Connection) -> dict[str, bytes | int]:
        """The files when only a part of a transaction was written."""
        name = f"{connection.stem}{JOURNAL}-wal"
        before = self._contents()
        if connection.stem == DEAD_LETTERS or name not in before:
            return before
        connection.commit_now()
        after = self._contents()
        old, new = before[name], after[name]
        assert isinstance(old, bytes)
        assert isinstance(new, bytes)
        is_in_wal_alone = all(after[other] == before[other] for other in before if other != name)
        if new == old or not is_in_wal_alone:
            return before
        cut = self._random.randint(*_difference(old, new))
        self._note("torn", len(new) - cut)
        return before | {name: new[:cut] + old[cut:]}

    def _clean_up(self) -> None:
        """End what the process has open; after its death, restore the files as they were then."""
        left = [descriptor for descriptor, identity in self._descriptors.items() if _identity(descriptor) == identity]
        if self.connections or left:
            self.left_open = f"{len(self.connections)} databases and {len(left)} other files"
        for connection in list(self.connections.values()):
            connection.close()
        for descriptor in left:
            os.close(descriptor)
        self._descriptors.clear()
        if self.is_dead:
            shutil.rmtree(self.folder.path, ignore_errors=True)
            self.folder.path.mkdir(mode=0o700)
            for name, content in self._left.items():
                file = self.folder.path / name
                file.write_bytes(b"" if isinstance(content, int) else content)
                if isinstance(content, int):
                    os.truncate(file, content)

    # ---------------------------------------------------------------- faults

    @property
    def is_full(self) -> bool:
        """Whether other programs have filled it."""
        begin, end = self.plan.full
        return begin <= self._now() - self._began < end and self.is_opened and not self.is_calm

    def _fault(self, stem: str) -> None:
        self.faults.append(self._now())
        self.faulty.add(stem)

    def _usage(self, _: Path) -> SimpleNamespace:
        if self.is_full:
            self._fault("reserve")
        return SimpleNamespace(free=self._free())

    def _free(self) -> int:
        if not self.is_full:
            self._used_when_full = None
            return ENDLESS
        used = self._used()
        if self._used_when_full is None:
            self._used_when_full = used
        return self.plan.left + self._used_when_full - used

    def _used(self) -> int:
        path = self.folder.path
        reserves = sum(file.stat().st_size for file in path.glob("*.reserve"))
        return reserves + (self.folder.events + len(self.folder.letters)) * self.plan.row_bytes

    def _allocate(self, descriptor: int, offset: int, size: int) -> None:
        held = os.fstat(descriptor).st_size
        if offset + size - held > self._free():
            self._fault("reserve")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if offset + size > held:
            os.ftruncate(descriptor, offset + size)

    # ---------------------------------------------------------------- calls

    def connect(self, database: str, **options: Any) -> sqlite3.Connection:
        """Open a database."""
        path = unquote(urlsplit(database).path)
        if not path.startswith(self._prefix):
            other: sqlite3.Connection = self._connect(database, **options)
            return other
        name, stem = Path(path).name, Path(path).stem
        if self.plan.refuses or (self._now() < self._fails_until.get(stem, 0) and not self.is_calm):
            self._fault(stem)
            raise _error("unable to open database file", sqlite3.SQLITE_CANTOPEN)
        connection = self._connect(database, factory=_Connection, **options)
        assert isinstance(connection, _Connection)
        connection.disk, connection.stem, connection.changes = self, stem, []
        self.connections[id(connection)] = connection
        if name.endswith(JOURNAL):
            self.folder.file(stem)
        return connection

    def commit(self, connection: _Connection) -> sqlite3.Cursor:
        """End a transaction: on the disk, or not, or nobody knows."""
        if not connection.is_changed or self.is_dead:
            return connection.commit_now()
        self._committing = connection
        try:
            self.step("commit")
        finally:
            self._committing = None
        if self._draws_failure():
            self._fail_commit(connection)
        rows = sum(len(change.rows) for change in connection.changes if change.kind in ("append", "dead_letter"))
        if self.is_full and COMMIT_BYTES + rows * self.plan.row_bytes > self._free():
            self._fault(connection.stem)
            self._note("full", rows)
            raise _error("database or disk is full", sqlite3.SQLITE_FULL)
        done = connection.commit_now()
        self.folder.committed(connection.stem, connection.changes, is_acknowledged=True)
        self._note("commit", self._name_of(connection), *_kinds(connection))
        self.step("commit")
        return done

    def _draws_failure(self) -> bool:
        return bool(self.plan.fails) and self._random.random() < self.plan.fails and self.is_opened and not self.is_calm

    def _fail_commit(self, connection: _Connection) -> NoReturn:
        self._fails_until[connection.stem] = self._now() + self._random.uniform(0, self.plan.fails_for)
        reached = self._random.random() < self.plan.reaches
        if reached:
            connection.commit_now()
            self.folder.committed(connection.stem, connection.changes, is_acknowledged=False)
        self._fault(connection.stem)
        self._note("failed", self._name_of(connection), "reached" if reached else "nothing", *_kinds(connection))
        raise _error("disk I/O error", sqlite3.SQLITE_IOERR)

    def _name_of(self, connection: _Connection) -> object:
        return DEAD_LETTERS if connection.stem == DEAD_LETTERS else self.folder.file(connection.stem).number

    def _open_file(self, path: Any, flags: int, *options: Any, **more: Any) -> int:
        if not str(path).startswith(self._prefix):
            return self._open(path, flags, *options, **more)
        if flags & os.O_CREAT and not os.path.lexists(path):
            self.step("file")
        descriptor = self._open(path, flags, *options, **more)
        self._descriptors[descriptor] = _identity(descriptor)
        return descriptor

    def _stepping(self, call: Callable[..., None]) -> Callable[..., None]:
        """A call that changes the names in the folder."""

        def stepping(path: Any, *more: Any, **options: Any) -> None:
            if str(path).startswith(self._prefix):
                if os.path.lexists(path):
                    self.step("file")
                if str(path).endswith(JOURNAL) and not self.is_dead and call is not os.rename:
                    self._removed(Path(path))
            call(path, *more, **options)

        return stepping

    def _removed(self, path: Path) -> None:
        if path.exists():
            self.folder.removed(path.stem)


def _measuring(row_bytes: int) -> Callable[[SegmentFile], int]:
    """What measures a segment: the pages would be others with another version of SQLite."""

    def measure(file: SegmentFile) -> int:
        return file.events * row_bytes

    return measure


def _difference(old: bytes, new: bytes) -> tuple[int, int]:
    """The first and the last place in which the new content, at least as long, differs from the old one."""
    padded = old + b"\1" * (len(new) - len(old))
    if len(new) > len(old) and new[len(old) :].startswith(b"\1"):
        padded = old + b"\0" * (len(new) - len(old))
    first = next(at for at in range(len(new)) if new[at] != padded[at])
    return first, next(at for at in reversed(range(len(new))) if new[at] != padded[at])


def _identity(descriptor: int) -> object:
    """The file that a descriptor is of; it tells whether the number is that of another file now."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _error(message: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


def _kinds(connection: _Connection) -> list[str]:
    return [change.kind for change in connection.changes]
