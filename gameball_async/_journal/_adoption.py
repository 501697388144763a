"""Which files a client takes when it starts: one of its own, and those whose owner is gone."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from .._platform import hold_lock, release_lock
from . import _schema
from ._folder import JOURNAL, RESERVE, SALVAGED, Folder, is_gone, make_database, take_lock
from ._forks import Guard
from ._origin import Origin
from ._room import Note, Room

ADOPT_MOST = 100
"""Files that are adopted at one start: each costs three descriptors, of which many systems allow 1,024."""

_PATIENCE = 0.1  # seconds that a start waits in all for those who look at files without an owner
_BETWEEN_TRIES = 0.002


class Holdings:
    """The files of one client, oldest first, its own last.

    Args:
        folder: where they are.
        guard: is told of the locks, so that a forked child lets go of them.
        notes: where log lines go.

    Attributes:
        origins: the files by their number.
        own: the file that events are appended to, once it is taken.
        room: the room that is kept on the disk for all of them.
    """

    def __init__(self, folder: Folder, guard: Guard, notes: list[Note]) -> None:
        self.origins: dict[int, Origin] = {}
        self.own: Origin | None = None
        self._folder = folder
        self._guard = guard
        self._notes = notes
        self.room = Room(notes)

    def take(self, max_bytes: int) -> Origin:
        """Take everything.

        Args:
            max_bytes: bytes of the own file's events, at most.

        Returns:
            The own file.

        Raises:
            OSError: if the own file cannot be made or locked; nothing is held then.
            sqlite3.Error: likewise.
        """
        self._folder.make()
        self._free_reserves()
        own = self._make_own(max_bytes)
        adopted = self._adopt_all()
        for number, origin in enumerate([*adopted, own]):
            origin.number = number
            self.origins[number] = origin
        self.own = own
        self.room.take(self._folder.reserve(own.stem))
        self.heed_room()
        return own

    def _free_reserves(self) -> None:
        """Give the disk back what was reserved by owners that are gone."""
        for path in self._folder.path.glob("*" + RESERVE):
            with suppress(OSError):  # it is tried again when its file is removed
                descriptor = hold_lock(self._folder.lock(path.stem))
                if descriptor is None:
                    continue
                try:
                    path.unlink(missing_ok=True)
                finally:
                    release_lock(descriptor)

    def heed_room(self) -> None:
        """Let what lies beside the files be as large as the room allows."""
        for origin in self.origins.values():
            origin.heed_room()

    def _make_own(self, max_bytes: int) -> Origin:
        stem = self._folder.new_stem()
        descriptor = take_lock(self._folder.lock(stem))
        if descriptor is None:  # pragma: no cover whoever looks for strays may hold it for an instant; a new name helps
            return self._make_own(max_bytes)
        self._guard.descriptors.add(descriptor)
        origin = Origin(self._folder, stem, descriptor, max_bytes, self.room, self._notes)
        try:
            make_database(self._folder.journal(stem))
            origin.open()
        except BaseException:
            self._remove(origin)
            raise
        return origin

    def _adopt_all(self) -> list[Origin]:
        adopted: list[Origin] = []
        stems = self._folder.stems()
        deadline = time.monotonic() + _PATIENCE
        for place, stem in enumerate(stems):
            if len(adopted) == ADOPT_MOST:
                self._note("up to %d more files of the journal wait for the next start", len(stems) - place)
                break
            try:
                origin = self._adopt(stem, deadline)
            except (OSError, sqlite3.Error) as error:
                self._note("the journal's file %s is left alone: %s", stem + JOURNAL, _schema.reason_of(error))
            else:
                adopted += [origin] if origin is not None else []
        return adopted

    def _adopt(self, stem: str, deadline: float) -> Origin | None:
        """Take a file, if its owner is gone and something lies in it."""
        lock = self._folder.lock(stem)
        descriptor = take_lock(lock)
        while descriptor is None and is_gone(lock) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_TRIES)  # somebody looks at it: that takes milliseconds
            descriptor = take_lock(lock)
        if descriptor is None:
            return None
        self._guard.descriptors.add(descriptor)
        origin = Origin(self._folder, stem, descriptor, None, self.room, self._notes)
        try:
            is_worth_it = self._has_events(origin)
        except _schema.NewerSchemaError as error:
            self._release(origin)
            self._note(
                "the journal's file %s was written by a later version of gameball_async (%s) and is left alone: "
                "upgrade to send its events",
                stem + JOURNAL,
                error,
            )
            return None
        except BaseException:
            self._release(origin)
            raise
        if not is_worth_it:
            self._remove(origin)
            return None
        return origin

    def _has_events(self, origin: Origin) -> bool:
        path = self._folder.journal(origin.stem)
        if not path.exists() and not path.with_suffix(SALVAGED).exists():
            return False  # only a lock: its owner ended in between
        try:
            return not origin.open().is_empty
        except _schema.BlankError:
            return False

    # ---------------------------------------------------------------- letting go

    def discard(self, number: int) -> None:
        """Remove an adopted file without events; one that holds events stays."""
        origin = self.origins.get(number)
        if origin is None or origin is self.own:
            return
        if not _is_known_to_be_empty(origin):
            self._note("the journal's file %s may still hold events and is kept", origin.stem + JOURNAL)
            return
        del self.origins[number]
        self._remove(origin)

    def let_go(self) -> None:
        """Close everything, remove what holds no events, release the locks."""
        self.room.leave()
        for origin in self.origins.values():
            if _is_known_to_be_empty(origin):
                self._remove(origin)
            else:
                self._release(origin)
        self.origins.clear()
        self.own = None

    def release(self) -> None:
        """Close everything, give up the reserve and the locks, but change no file: something went wrong."""
        for origin in self.origins.values():
            self._release(origin)
        self.origins.clear()
        self.own = None
        self.room.leave()

    def _remove(self, origin: Origin) -> None:
        origin.close()
        lock = None
        try:
            self._folder.remove(origin.stem)
            lock = self._folder.lock(origin.stem)
        except OSError as error:
            self._note("the journal's file %s cannot be removed: %s", origin.stem + JOURNAL, _schema.reason_of(error))
        self._release(origin, lock)

    def _release(self, origin: Origin, remove: Path | None = None) -> None:
        origin.close()
        self._guard.descriptors.discard(origin.descriptor)
        release_lock(origin.descriptor, remove)

    def _note(self, message: str, *arguments: object) -> None:
        self._notes.append((logging.WARNING, message, arguments))


def _is_known_to_be_empty(origin: Origin) -> bool:
    with suppress(sqlite3.Error):
        return origin.file is not None and origin.file.is_empty
    return False
