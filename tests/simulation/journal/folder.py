"""What is durable: the files of a journal and its dead letters. It outlives every client, and forgets nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from gameball_async._journal import DeadLetterEntry, Loaded, StoredEvent


@attrs.define(eq=False)
class Sealed:
    """A batch that is about to be sent.

    Attributes:
        members: the seqs of its events.
        mobile: its contact.
        email: likewise.
        body: the bytes of the first request with it, which nobody but the oracle knows.
    """

    members: tuple[int, ...]
    mobile: str | None
    email: str | None
    body: bytes | None = None


@attrs.define(eq=False, kw_only=True)
class File:
    """One file, as it lies on the disk.

    Attributes:
        name: its place in the order of age.
        rows: the events in it by their seq, in order.
        sealed: the sealed batches, by their first member.
        next_seq: one more than the greatest seq that ever was in it.
        ever: every seq that was stored in it and acknowledged.
        owner: the life that holds its lock.
        was_forced: whether its last owner ended without a full close, or outcomes were lost on the way to the disk.
    """

    name: int
    rows: dict[int, StoredEvent] = attrs.Factory(dict[int, StoredEvent])
    sealed: dict[int, Sealed] = attrs.Factory(dict[int, Sealed])
    next_seq: int = 1
    ever: set[int] = attrs.Factory(set[int])
    owner: int | None = None
    was_forced: bool = False

    def batches(self) -> list[list[StoredEvent]]:
        """The sealed batches, by their first member."""
        return [
            [self.rows[seq]._replace(mobile=batch.mobile, email=batch.email) for seq in batch.members]
            for _, batch in sorted(self.sealed.items())
        ]

    # ---------------------------------------------------------------- changes

    def append(self, rows: Iterable[StoredEvent]) -> None:
        """Add events."""
        for row in rows:
            assert row.seq >= self.next_seq, f"event {row.seq} is appended to a file that has had {self.next_seq}"
            self.rows[row.seq] = row
            self.next_seq = row.seq + 1

    def delete(self, seqs: Iterable[int]) -> None:
        """Remove events, if they are there."""
        for seq in seqs:
            self.rows.pop(seq, None)

    def seal(self, batch: Sealed) -> None:
        """Note a batch that is about to be sent."""
        self.sealed[batch.members[0]] = batch

    def unseal(self, first: int) -> None:
        """Note that a batch was split."""
        self.sealed.pop(first, None)

    def forget(self, members: Sequence[int]) -> None:
        """Remove events that have their outcome, and their batch."""
        self.delete(members)
        self.unseal(members[0])

    # ---------------------------------------------------------------- reading

    def read(self, after: int, most_events: int, most_bytes: int) -> Loaded:
        """Read events that are in no sealed batch; what must go together is not cut."""
        loaded: list[StoredEvent] = []
        size = 0
        for row in self._free_after(after):
            size += row.size
            is_full = bool(loaded) and (len(loaded) >= most_events or size > most_bytes)
            if is_full and (row.together is None or row.together != loaded[-1].together):
                return Loaded(loaded, 0, is_last=False)
            loaded.append(row)
        return Loaded(loaded, 0, is_last=True)

    def _free_after(self, after: int) -> Iterator[StoredEvent]:
        held = {seq for batch in self.sealed.values() for seq in batch.members}
        return (row for seq, row in self.rows.items() if seq > after and seq not in held)

    def copied(self) -> File:
        """What a transaction works on."""
        return attrs.evolve(self, rows=dict(self.rows), sealed=dict(self.sealed))

    def become(self, other: File) -> None:
        """Commit what was worked on."""
        self.rows, self.sealed, self.next_seq = other.rows, other.sealed, other.next_seq


@attrs.define(eq=False)
class Folder:
    """A journal's folder.

    Attributes:
        files: oldest first; a removed file is none of them.
        letters: the dead letters, by file and seq.
        doubtful: letters that were buried in the instant of a crash: their events may live on.
    """

    files: list[File] = attrs.Factory(list[File])
    letters: dict[tuple[int, int], DeadLetterEntry] = attrs.Factory(dict[tuple[int, int], DeadLetterEntry])
    doubtful: set[tuple[int, int]] = attrs.Factory(set[tuple[int, int]])
    _names: int = 0

    def make_file(self, owner: int) -> File:
        """Make the file of a process."""
        self._names += 1
        file = File(name=self._names, owner=owner)
        self.files.append(file)
        return file

    def adopt(self, owner: int) -> list[File]:
        """Take the files whose owner is gone, oldest first; empty ones are removed."""
        self.files = [file for file in self.files if file.rows or file.owner is not None]
        adopted = [file for file in self.files if file.owner is None]
        for file in adopted:
            file.owner = owner
        return adopted

    def let_go(self, file: File) -> None:
        """Release a file; without events it is removed."""
        file.owner = None
        if not file.rows:
            self.files.remove(file)

    def dead_letter(self, file: File, letters: Iterable[DeadLetterEntry]) -> list[tuple[int, int]]:
        """Add dead letters, but for those that lie there already; returns the new ones' keys."""
        keys: list[tuple[int, int]] = []
        for letter in letters:
            key = (file.name, letter.seq)
            if key not in self.letters:
                self.letters[key] = letter
                keys.append(key)
        return keys

    @property
    def events(self) -> int:
        """How many events lie in it."""
        return sum(len(file.rows) for file in self.files)
