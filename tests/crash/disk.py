"""A disk that forgets: what every file of a folder may hold when the power fails, from the calls of its writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

import attrs

from .syscalls import Call


@attrs.frozen
class Write:
    """Bytes at a place of a file."""

    offset: int
    data: bytes


@attrs.frozen
class Resize:
    """A new length of a file."""

    size: int


Change = Write | Resize


@attrs.define(eq=False)
class File:
    """A file: what is on the disk for sure, and what may be or may not."""

    synced: bytes = b""
    unsynced: list[Change] = attrs.field(factory=list["Change"])

    def with_changes(self, changes: list[Change]) -> bytes:
        """What it holds if these changes reach the disk."""
        content = bytearray(self.synced)
        for change in changes:
            if isinstance(change, Resize):
                content = content[: change.size].ljust(change.size, b"\0")
            else:
                end = change.offset + len(change.data)
                content = content.ljust(end, b"\0")
                content[change.offset : end] = change.data
        return bytes(content)


Naming = dict[str, File | None]
"""What becomes of some names at once: the file that a name has from now on, or none."""


class Disk:
    """One folder. Contents are safe when their file was synced, names when the folder was.

    Args:
        folder: its path.
        files: what is in it, all of it safe.
    """

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self._folder = str(folder)
        self._files = {name: File(content) for name, content in files.items()}
        self._synced_names = dict(self._files)
        self._unsynced_names: list[Naming] = []

    # ---------------------------------------------------------------- what the writer does

    def apply(self, call: Call) -> None:
        """Take note of a call that has ended."""
        if call.path == self._folder and call.name in ("fsync", "fdatasync"):
            self._synced_names, self._unsynced_names = dict(self._files), []
        folder, _, name = call.path.rpartition("/")
        if folder == self._folder:
            self._apply(call, name)

    def _apply(self, call: Call, name: str) -> None:
        match call.name:
            case "open" | "openat" | "creat":
                if "O_CREAT" in call.flags and name not in self._files:
                    self._rename({name: File()})
                assert "O_TRUNC" not in call.flags, "no file of a journal is emptied by opening it"
            case "pwrite64":
                self._files[name].unsynced.append(Write(call.numbers[-1], call.data[0][: call.result]))
            case "write":  # of a process's number, at the beginning of a lock that was just emptied
                self._files[name].unsynced.append(Write(0, call.data[0][: call.result]))
            case "fallocate":
                start, size = call.numbers[-2:]
                file = self._files[name]
                length = len(file.with_changes(file.unsynced))
                file.unsynced.append(Resize(max(length, start + size)))
            case "ftruncate":
                self._files[name].unsynced.append(Resize(call.numbers[-1]))
            case "fsync" | "fdatasync":
                file = self._files[name]
                file.synced, file.unsynced = file.with_changes(file.unsynced), []
            case "unlink" | "unlinkat":
                self._rename({name: None})
            case "rename" | "renameat" | "renameat2":
                to = call.data[-1].decode().rpartition("/")[2]
                self._rename({name: None, to: self._files[name]})
            case unexpected:
                raise AssertionError(f"the disk does not know {unexpected}: {call}")

    def _rename(self, naming: Naming) -> None:
        self._unsynced_names.append(naming)
        _name(self._files, naming)

    # ---------------------------------------------------------------- what is left of it

    def nothing_more(self) -> dict[str, bytes]:
        """The files, if nothing survives that was not synced."""
        return self._left(lambda _: [], lambda _: [])

    def everything(self) -> dict[str, bytes]:
        """The files, if all of it does."""
        return self._left(lambda namings: namings, lambda changes: changes)

    def something(self, random: Random) -> dict[str, bytes]:
        """The files, if a part of it does: any names, any writes, and any sectors or pages of them."""
        unit = random.choice([512, 4096])

        def some_changes(changes: list[Change]) -> list[Change]:
            return [part for change in changes for part in _torn(change, unit, random)]

        return self._left(lambda namings: [naming for naming in namings if random.random() < 0.5], some_changes)

    def _left(
        self,
        namings: Callable[[list[Naming]], list[Naming]],
        changes: Callable[[list[Change]], list[Change]],
    ) -> dict[str, bytes]:
        files = dict(self._synced_names)
        for naming in namings(self._unsynced_names):
            _name(files, naming)
        return {name: file.with_changes(changes(file.unsynced)) for name, file in files.items()}


def _name(files: dict[str, File], naming: Naming) -> None:
    for name, file in naming.items():
        if file is None:
            files.pop(name, None)
        else:
            files[name] = file


def _torn(change: Change, unit: int, random: Random) -> Iterator[Change]:
    """What of a change reaches the disk: all, nothing, or some sectors."""
    kind = random.randrange(3)
    if kind == 0 or (kind == 1 and isinstance(change, Resize)):
        yield change
    elif kind == 1 and isinstance(change, Write):
        at, end = change.offset, change.offset + len(change.data)
        while at < end:
            to = min((at // unit + 1) * unit, end)
            if random.random() < 0.5:
                yield Write(at, change.data[at - change.offset : to - change.offset])
            at = to
