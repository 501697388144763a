"""The progress file: settled rows and their checksums, so that `--resume` can continue, even after kill -9.

Each save replaces the whole file. Only its owner can read it, and a running command locks it.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from .._platform import HAS_LOCKS, hold_lock, open_private, release_lock, sync_folder
from ._lines import InputRow
from ._terminal import UsageProblem, printable

_VERSION = 1
_HEAD = 64 * 1024  # bytes at the beginning of a file that identify it
_MOST_MARKS = 8192  # of a file; the progress file is written every second
_DIGEST_BYTES = 4


class RangeSet:
    """A set of line numbers, stored as ranges; rows are settled almost in order, so there are few.

    Args:
        ranges: first and last line of each range, in order and with a gap between them.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            if first > last or (self._lasts and first <= self._lasts[-1] + 1) or first < 1:
                raise ValueError(f"lines {first} to {last} are out of order")
            self._firsts.append(first)
            self._lasts.append(last)

    def add(self, first: int, last: int) -> None:
        """Add the lines from `first` to `last`, both included."""
        at = bisect_left(self._lasts, first - 1)  # the first range that ends next to or after them
        end = bisect_right(self._firsts, last + 1)  # the first range that begins after a gap
        if at < end:
            first, last = min(first, self._firsts[at]), max(last, self._lasts[end - 1])
        self._firsts[at:end] = [first]
        self._lasts[at:end] = [last]

    def __contains__(self, line: int) -> bool:
        at = bisect_left(self._lasts, line)
        return at < len(self._firsts) and self._firsts[at] <= line

    def ranges(self) -> list[tuple[int, int]]:
        """Return first and last line of each range, in order."""
        return list(zip(self._firsts, self._lasts, strict=True))


class ChangedError(UsageProblem):
    """A row differs from the one that an earlier run has read; the message names it."""


@attrs.frozen
class RowChecksum:
    """A short hexadecimal hash of all rows up to a position: a row's last line, or its entry number."""

    position: int
    digest: str


def encode_marks(marks: Sequence[RowChecksum]) -> str:
    """Encode checksums as one short text."""
    return " ".join(f"{mark.position}:{mark.digest}" for mark in marks)


def decode_marks(text: str) -> tuple[RowChecksum, ...]:
    """Decode the text of `encode_marks`."""
    pairs = (word.partition(":") for word in text.split())
    return tuple(RowChecksum(int(position), digest) for position, _, digest in pairs)


class Fingerprint:
    """Hash the rows of one file in order, and compare them with the checksums of an earlier run.

    Every digest covers all rows before it, so the next checksum reveals any change. In long files, older checksums are
    thinned out, and a change is located between two of them.
    """

    def __init__(self, earlier: Sequence[RowChecksum] = ()) -> None:
        self._hash = hashlib.sha256()
        self._kept = [*earlier]
        self._expected = deque(earlier)
        self._verified = self._previous = 0
        self._ahead: deque[RowChecksum] = deque()

    @property
    def is_verified(self) -> bool:
        """Whether all rows of the earlier run have been compared."""
        return not self._expected

    def add(self, row: InputRow) -> None:
        """Add the next row; called in the reader's thread, `marks` in the main thread."""
        position = row.position[-1]
        data = row.raw.rstrip(b"\r\n")  # a line end may be appended to the last line later
        self._hash.update(b"%d %d " % (position, len(data)) + data)
        mark = RowChecksum(position, self._hash.copy().digest()[:_DIGEST_BYTES].hex())
        if not self._expected:
            self._ahead.append(mark)
        elif position >= self._expected[0].position:
            if mark != self._expected.popleft():
                noun, start = ("line", row.line) if row.entry is None else ("entry", row.entry)
                is_known = self._verified == self._previous  # there is no row between the last checksum and this one
                where = f"at {noun} {start}" if is_known else f"between {noun} {self._verified + 1} and {position}"
                raise ChangedError(f"has changed since then {where}")
            self._verified = position
        self._previous = position

    def finish(self) -> None:
        """Add the end of the file."""
        if self._expected:
            raise ChangedError(f"is shorter than then: rows after line {self._verified} are missing")

    def marks(self, until: int) -> tuple[RowChecksum, ...]:
        """Return the checksums that a later run needs to verify the rows up to a position."""
        while self._ahead and self._ahead[0].position <= until:
            self._kept.append(self._ahead.popleft())
        if len(self._kept) > _MOST_MARKS:
            self._kept = self._kept[::-2][::-1]  # keeps the last one
        return tuple(self._kept)


class CheckpointError(UsageProblem):
    """The progress file cannot be used; the message says why and how to fix it."""


@attrs.frozen(kw_only=True)
class FileNote:
    """The progress in one file."""

    path: str  # the file's absolute path, or `-`
    head: str  # a hash of its first bytes, to detect another file of the same name
    head_bytes: int  # the number of these bytes
    settled: tuple[tuple[int, int], ...] = ()  # the lines that have an outcome
    marks: str = ""  # checksums of the rows up to the last of them, encoded by `encode_marks`


@attrs.frozen(kw_only=True)
class Checkpoint:
    """The state of a run."""

    files: tuple[FileNote, ...]  # the files, in the order of sending
    mapping: Mapping[str, Any]  # the options that define the meaning of rows
    counts: Mapping[str, int] = attrs.field(factory=dict[str, int])  # the counters of the final table
    rejects: str = ""  # the rejects file's absolute path
    rejects_bytes: int = 0  # the length of it that belongs to this state
    under_way: int = 0  # unsettled rows that were passed to the client
    maybe_arrived: int = 0  # those of them whose request was sent and not answered; known after the run
    stopped: bool = False  # True if the run ended in order after this state; False while it runs

    def to_json(self) -> bytes:
        """Encode it as the content of the progress file."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Checkpoint:
        """Decode the content of a progress file."""
        try:
            fields = json.loads(text)
            if fields.pop("version") != _VERSION:
                raise ValueError("it was written by another version")
            files = tuple(_decode_file(file) for file in fields.pop("files"))
            checkpoint = cls(files=files, **fields)
            counts = (checkpoint.rejects_bytes, checkpoint.under_way, checkpoint.maybe_arrived)
            if not all(isinstance(count, int) and count >= 0 for count in (*counts, *checkpoint.counts.values())):
                raise ValueError("a counter in it is not a number")
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is not a progress file ({type(error).__name__})") from None
        return checkpoint

    def difference(self, files: Sequence[FileNote], mapping: Mapping[str, Any]) -> str | None:
        """Return why a run with these files and options cannot resume from here, or None if it can."""
        if [file.path for file in self.files] != [file.path for file in files]:
            return "it is about other files: " + printable(", ".join(file.path for file in self.files))
        for noted in self.files:
            if noted.head_bytes and head_of(noted.path, noted.head_bytes) != (noted.head, noted.head_bytes):
                return f"{printable(noted.path)} has changed at its beginning since then"
        changed = sorted(key for key in {*self.mapping, *mapping} if self.mapping.get(key) != mapping.get(key))
        return f"these options were different then: {', '.join(changed)}" if changed else None


def _decode_file(fields: dict[str, Any]) -> FileNote:
    settled = tuple((int(first), int(last)) for first, last in fields.pop("settled"))
    RangeSet(settled)
    decode_marks(fields.get("marks", ""))
    return FileNote(settled=settled, **fields)


def head_of(path: str, size: int = _HEAD) -> tuple[str, int]:
    """Return the hash of a file's first bytes, and their number."""
    with Path(path).open("rb") as file:
        head = file.read(size)
    return hashlib.sha256(head).hexdigest(), len(head)


def file_note(path: str) -> FileNote:
    """Return the note of a file without progress; a pipe, which cannot be read twice, has no hash."""
    head, size = head_of(path) if Path(path).is_file() else ("", 0)
    return FileNote(path=absolute(path), head=head, head_bytes=size)


def absolute(path: str) -> str:
    """Return the path that a progress file stores for a file."""
    return path if path == "-" else str(Path(path).absolute())


class CheckpointFile:
    """The progress file of one run, locked until `close` or the end of the process."""

    def __init__(self, path: Path, lock: int | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def begin(cls, path: Path) -> CheckpointFile:
        with cls._locked(path, "written", ": name another one with --progress") as checkpoint_file:
            try:
                os.close(open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                raise CheckpointError(
                    f"{printable(path)} says that these files were sent in part: resume with --resume, "
                    "or delete it to send everything again."
                ) from None
        return checkpoint_file

    @classmethod
    def resume(cls, path: Path) -> tuple[CheckpointFile, Checkpoint]:
        """Open the file of an earlier run."""
        try:
            path.stat()  # before locking, which would create a lock file
        except FileNotFoundError:
            raise CheckpointError(
                f"there is no progress file {printable(path)}, so there is nothing to resume: "
                "everything was sent, or nothing; without --resume everything is sent."
            ) from None
        except OSError:
            pass  # locking fails in the same way, and reports it
        with cls._locked(path, "read") as checkpoint_file:
            text = path.read_bytes()
            try:
                return checkpoint_file, Checkpoint.from_json(text)
            except ValueError as error:
                # a run that was killed before its first save, and so before it sent anything, leaves an empty file
                reason = f"cannot be used: {error}" if text else "is empty: nothing had been sent"
                raise CheckpointError(
                    f"the progress file {printable(path)} {reason}. Delete it to send everything."
                ) from None

    @classmethod
    @contextmanager
    def _locked(cls, path: Path, action: str, remedy: str = "") -> Generator[CheckpointFile]:
        """Lock a progress file; an error within the block releases the lock."""
        checkpoint_file = None
        try:
            checkpoint_file = cls(path, _lock(path))
            yield checkpoint_file
        except BaseException as error:
            if checkpoint_file is not None:
                checkpoint_file.close()
            if isinstance(error, OSError):
                message = f"the progress file {printable(path)} cannot be {action} ({error.strerror}){remedy}."
                raise CheckpointError(message) from None
            raise

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the content, durably."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        try:
            _write(temporary, checkpoint.to_json())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        with suppress(OSError):  # some network file systems refuse it, and the folder may be unreadable
            sync_folder(self.path.parent)

    def remove(self) -> None:
        """Delete the file: there is nothing to resume."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the lock; the file stays."""
        if self._lock is not None:
            release_lock(self._lock, _lock_of(self.path))
            self._lock = None


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _lock(path: Path) -> int | None:
    if not HAS_LOCKS:
        return None
    lock = hold_lock(_lock_of(path))
    if lock is None:
        raise CheckpointError(f"another run is using {printable(path)}: wait until it has ended.")
    return lock


def _lock_of(path: Path) -> Path:
    """The lock file: separate, as each save replaces the progress file."""
    return path.with_name(path.name + ".lock")
