"""The progress file: what is settled, line by line, so that `--resume` can go on after anything, kill -9 included.

It is replaced as a whole, readable by its owner only, and locked while a run is at work on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from .._platform import HAS_LOCKS, hold_lock, open_private, release_lock, sync_folder
from ._terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._lines import InputRow


_VERSION = 1
_HEAD = 64 * 1024  # bytes at the beginning of a file by which it is recognised


class CheckpointError(Exception):
    """The progress file cannot be used; the message says why and what to do."""


@attrs.frozen(kw_only=True)
class FileNote:
    """What is settled of one file.

    Attributes:
        path: the file's absolute path, or `-`.
        head: a hash of its first bytes, by which another file of this name is noticed.
        head_bytes: how many bytes that is.
        settled: the lines that have an outcome.
        marks: checksums of the rows up to the last of them, as `_fingerprint` encodes them.
    """

    path: str
    head: str
    head_bytes: int
    settled: tuple[tuple[int, int], ...] = ()
    marks: str = ""


@attrs.frozen(kw_only=True)
class Checkpoint:
    """One state of a run.

    Attributes:
        files: the files, in the order in which they are sent.
        mapping: the options that decide what the rows mean.
        counts: the counters of the closing table.
        rejects: the rejects file's absolute path.
        rejects_bytes: the length of it that belongs to this state.
        under_way: rows handed over to be sent and without an outcome.
        maybe_arrived: of these, rows whose request was sent and not answered; known once it has stopped.
        stopped: True if the run ended in order after this state; False if it was at work.
    """

    files: tuple[FileNote, ...]
    mapping: Mapping[str, Any]
    counts: Mapping[str, int] = attrs.field(factory=dict[str, int])
    rejects: str = ""
    rejects_bytes: int = 0
    under_way: int = 0
    maybe_arrived: int = 0
    stopped: bool = False

    def to_json(self) -> bytes:
        """Return the note as the progress file holds it."""
        return json.dumps({"version": _VERSION, **attrs.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Checkpoint:
        """Read a note.

        Raises:
            ValueError: if this is none.
        """
        try:
            fields = json.loads(text)
            if fields.pop("version") != _VERSION:
                raise ValueError("it was written by another version")
            files = tuple(_file_note(file) for file in fields.pop("files"))
            note = cls(files=files, **fields)
            _require_counts(note.rejects_bytes, note.under_way, note.maybe_arrived, *note.counts.values())
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is not a progress file ({type(error).__name__})") from None
        return note

    def difference(self, files: Sequence[FileNote], mapping: Mapping[str, Any]) -> str | None:
        """Return why these files and options cannot go on from here, or None if they can."""
        if [file.path for file in self.files] != [file.path for file in files]:
            return "it is about other files: " + printable(", ".join(file.path for file in self.files))
        for noted in self.files:
            if noted.head_bytes and head_of(noted.path, noted.head_bytes) != (noted.head, noted.head_bytes):
                return f"{printable(noted.path)} has changed at its beginning since then"
        changed = sorted(key for key in {*self.mapping, *mapping} if self.mapping.get(key) != mapping.get(key))
        return f"these options were different then: {', '.join(changed)}" if changed else None


def _file_note(fields: dict[str, Any]) -> FileNote:
    settled = tuple((int(first), int(last)) for first, last in fields.pop("settled"))
    RangeSet(settled)
    decode_marks(fields.get("marks", ""))
    return FileNote(settled=settled, **fields)


def _require_counts(*counts: object) -> None:
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        raise ValueError("a counter in it is not a number")


def head_of(path: str, size: int = _HEAD) -> tuple[str, int]:
    """Return the hash of a file's first bytes, and how many these are."""
    with Path(path).open("rb") as file:
        head = file.read(size)
    return hashlib.sha256(head).hexdigest(), len(head)


def file_note(path: str) -> FileNote:
    """Return the note of a file of which nothing is settled; a pipe, which cannot be read twice, has no hash."""
    head, size = head_of(path) if Path(path).is_file() else ("", 0)
    return FileNote(path=absolute(path), head=head, head_bytes=size)


def absolute(path: str) -> str:
    """Return the path by which a progress file names a file."""
    return path if path == "-" else str(Path(path).absolute())


class CheckpointFile:
    """The progress file of one run, locked until `close` or the end of the process.

    Args:
        path: where it is.
        lock: the lock of the file beside it; None where the system has no locks.
    """

    def __init__(self, path: Path, lock: int | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def begin(cls, path: Path) -> CheckpointFile:
        """Begin a new one.

        Raises:
            NotesError: if there is one already, or it cannot be written here.
        """
        try:
            checkpoint_file = cls(path, _locked(path))
            try:
                os.close(open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except OSError:
                checkpoint_file.close()
                raise
        except BlockingIOError:
            raise _in_use(path) from None
        except FileExistsError:
            raise CheckpointError(
                f"{printable(str(path))} says that these files were sent in part: go on with --resume, "
                "or delete it to send everything again."
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"the progress file {printable(str(path))} cannot be written ({error.strerror}): "
                "name another one with --progress."
            ) from None
        return checkpoint_file

    @classmethod
    def resume(cls, path: Path) -> tuple[CheckpointFile, Checkpoint]:
        """Open one that an earlier run left.

        Raises:
            NotesError: if there is none, if it is not one, or if a run is at work on it.
        """
        try:
            path.stat()  # without it, no lock is made
            checkpoint_file = cls(path, _locked(path))
            try:
                text = path.read_bytes()
            except OSError:
                checkpoint_file.close()
                raise
        except BlockingIOError:
            raise _in_use(path) from None
        except FileNotFoundError:
            raise CheckpointError(
                f"there is no progress file {printable(str(path))}, so there is nothing to go on with: "
                "everything was sent, or nothing; without --resume everything is sent."
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"the progress file {printable(str(path))} cannot be read ({error.strerror})."
            ) from None
        try:
            return checkpoint_file, Checkpoint.from_json(text)
        except ValueError as error:
            checkpoint_file.close()
            # an empty one is what a run leaves that was killed before its first note, and so before it sent anything
            reason = f"cannot be used: {error}" if text else "is empty: nothing had been sent"
            raise CheckpointError(
                f"the progress file {printable(str(path))} {reason}. Delete it to send everything."
            ) from None

    def save(self, note: Checkpoint) -> None:
        """Replace the progress file; on return the disk has it.

        Raises:
            OSError: if it cannot be written; the one before stays.
        """
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        try:
            _write(temporary, note.to_json())
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        with suppress(OSError):  # a network's file system may refuse it, and a folder may be closed to readers
            sync_folder(self.path.parent)

    def remove(self) -> None:
        """Delete the progress file: there is nothing to go on with."""
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


def _lock_of(path: Path) -> Path:
    """The file that is locked for a progress file, which itself is replaced by each save."""
    return path.with_name(path.name + ".lock")


def _locked(path: Path) -> int | None:
    if not HAS_LOCKS:
        return None
    lock = hold_lock(_lock_of(path))
    if lock is None:
        raise BlockingIOError
    return lock


def _in_use(path: Path) -> CheckpointError:
    return CheckpointError(f"another run is at work on {printable(str(path))}: wait until it has ended.")


class RangeSet:
    """A set of line numbers, kept as ranges.

    Rows get their outcomes nearly in order, so there are about as many ranges as rows under way.

    Args:
        ranges: first and last line of each range, in order, with a gap between them.

    Raises:
        ValueError: if they are not in order, or touch.
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
        at = bisect_left(self._lasts, first - 1)  # the first range that ends beside or after them
        end = bisect_right(self._firsts, last + 1)  # the first range that begins apart from them
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


_MOST_MARKS = 8192  # of a file; the progress file is written every second
_DIGEST_BYTES = 4


@attrs.frozen
class RowChecksum:
    """What a file was up to a row.

    Attributes:
        position: the last line of the row, or its number among the file's entries.
        digest: a short hash of all rows up to there, in hexadecimal.
    """

    position: int
    digest: str


def encode_marks(marks: Sequence[RowChecksum]) -> str:
    """Return marks as one short text."""
    return " ".join(f"{mark.position}:{mark.digest}" for mark in marks)


def decode_marks(text: str) -> tuple[RowChecksum, ...]:
    """Read what `encode_marks` wrote.

    Raises:
        ValueError: if it did not.
    """
    pairs = (word.partition(":") for word in text.split())
    return tuple(RowChecksum(int(position), digest) for position, _, digest in pairs)


class ChangedError(Exception):
    """A row is not what it was; the message says which."""


class Fingerprint:
    """Takes in the rows of one file in order, and compares them with what an earlier run has taken in.

    Every digest covers all rows before it, so that any change shows at the next mark. With many rows the older marks
    are thinned out, and a change is known to lie between two of them.

    Args:
        earlier: the marks of an earlier run.
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
        """Take in the next row; called in one thread, `marks` in another.

        Raises:
            ChangedError: if it is not the row that an earlier run has read.
        """
        position = row.position[-1]
        data = row.raw.rstrip(b"\r\n")  # the last line of a file may get its end later
        self._hash.update(b"%d %d " % (position, len(data)) + data)
        mark = RowChecksum(position, self._hash.copy().digest()[:_DIGEST_BYTES].hex())
        if not self._expected:
            self._ahead.append(mark)
        elif position >= self._expected[0].position:
            if mark != self._expected.popleft():
                noun, start = ("line", row.line) if row.entry is None else ("entry", row.entry)
                is_known = self._verified == self._previous  # no row lies between the last mark and this one
                where = f"at {noun} {start}" if is_known else f"between {noun} {self._verified + 1} and {position}"
                raise ChangedError(f"has changed since then {where}")
            self._verified = position
        self._previous = position

    def finish(self) -> None:
        """Take in the end of the file.

        Raises:
            ChangedError: if an earlier run has read more.
        """
        if self._expected:
            raise ChangedError(f"is shorter than then: rows after line {self._verified} are missing")

    def marks(self, until: int) -> tuple[RowChecksum, ...]:
        """Return what a later run needs to verify the rows up to a position."""
        while self._ahead and self._ahead[0].position <= until:
            self._kept.append(self._ahead.popleft())
        if len(self._kept) > _MOST_MARKS:
            self._kept = self._kept[::-2][::-1]  # with the last one
        return tuple(self._kept)
