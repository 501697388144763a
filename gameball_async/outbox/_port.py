"""The database as the relay sees it: each method is one statement, committed by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence

import attrs

from .._core.receipts import JobId

SHARDS = 64
"""Parts of the players that relays divide among themselves; fixed by the table's `shard` column."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached, or not written to, at present; the statement may have been committed."""


@attrs.frozen
class OutboxRow:
    """One event of the table.

    Attributes:
        seq: its number, in order of the inserts.
        shard: that of its player.
        player: the player's id.
        name: the event's name.
        metadata: JSON as it was stored.
        mobile: the player's mobile number, if it was given.
        email: the player's e-mail address, if it was given.
        age: seconds since it was inserted, by the database's clock.
    """

    seq: int
    shard: int
    player: str = attrs.field(repr=False)
    name: str
    metadata: bytes = attrs.field(repr=False)
    mobile: str | None = attrs.field(repr=False)
    email: str | None = attrs.field(repr=False)
    age: float


@attrs.frozen
class OutboxPage:
    """What one read found.

    Attributes:
        rows: in the order that was asked for.
        snapshot: what the statement could see, for the next `tail`.
    """

    rows: Sequence[OutboxRow]
    snapshot: str


@attrs.frozen
class SealedBatch:
    """A batch that is about to be sent, or may have been.

    Attributes:
        shard: that of its player.
        player: the player's id.
        seqs: its events, in order; the first one identifies it.
        mobile: the mobile number in its request.
        email: the e-mail address in its request.
        job: the job that Gameball has accepted it as part of; None if it did not, or the answer is unknown.
    """

    shard: int
    player: str = attrs.field(repr=False)
    seqs: tuple[int, ...]
    mobile: str | None = attrs.field(repr=False)
    email: str | None = attrs.field(repr=False)
    job: JobId | None = None


@attrs.frozen
class Settled:
    """Events of one player that have their outcome.

    Attributes:
        shard: that of the player.
        player: the player's id.
        seqs: the events; the first one identifies the batch, if it was sealed.
    """

    shard: int
    player: str = attrs.field(repr=False)
    seqs: tuple[int, ...]


@attrs.frozen
class DeadLetterRow:
    """Why an event will not arrive.

    Attributes:
        seq: the event.
        kind: the error's class, such as `Rejected`.
        error: the error's message.
        status: the HTTP status that decided, if one did.
        code: Gameball's error code, if there was one.
    """

    seq: int
    kind: str
    error: str
    status: int | None
    code: int | None


@attrs.define
class Changes:
    """What one grouped statement writes. All of it can be repeated without harm.

    Attributes:
        seals: batches that are about to be sent, or that have got their job, by shard and first seq.
        unseals: batches that were not applied and are sealed again before they are sent.
        settled: events to delete, with the seal of their batch.
        dead_letters: those of the settled events that go to the dead letters, by seq.
    """

    seals: dict[tuple[int, int], SealedBatch] = attrs.Factory(dict[tuple[int, int], SealedBatch])
    unseals: set[tuple[int, int]] = attrs.Factory(set[tuple[int, int]])
    settled: list[Settled] = attrs.Factory(list[Settled])
    dead_letters: list[DeadLetterRow] = attrs.Factory(list[DeadLetterRow])

    def __bool__(self) -> bool:
        return bool(self.seals or self.unseals or self.settled)


@attrs.frozen
class RelayReport:
    """What a relay reports to the others, and to `relay status`, when it renews its lease.

    Attributes:
        paused: seconds for which Gameball asked it not to send; 0.0 if it did not.
        delivered: events delivered so far.
        rate: events delivered per second, lately.
    """

    paused: float = 0.0
    delivered: int = 0
    rate: float = 0.0


@attrs.frozen
class Membership:
    """What a relay learns when it renews its lease.

    Attributes:
        relays: living relays, this one included.
        shards: its own shards, with the seconds until their part of the rate limit may be used.
        free: shards that have no living owner.
        expired: other relays whose lease is over and that are not declared dead yet.
        paused: seconds for which Gameball asked any other relay not to send; 0.0 if it did not.
    """

    relays: int
    shards: Mapping[int, float]
    free: int
    expired: int
    paused: float


class OutboxDatabase(ABC):
    """Every method may raise `DatabaseUnavailable`; it can then be called again."""

    @abstractmethod
    async def check(self) -> None:
        """Check that the tables are there and may be used.

        Raises:
            ConfigurationError: if they are missing, of another version, or this role lacks privileges.
        """

    @abstractmethod
    async def register(self, name: str, lease: float) -> int:
        """Add a relay that lives for `lease` seconds, and return its id."""

    @abstractmethod
    async def renew(self, relay: int, lease: float, report: RelayReport) -> Membership | None:
        """Extend a relay's life to `lease` seconds from now; None if it was declared dead."""

    @abstractmethod
    async def declare_dead(self, relay: int | None = None) -> None:
        """Declare relays dead whose lease is over; or this one, which has ended, in any case."""

    @abstractmethod
    async def claim(self, relay: int, most: int, quiet: float) -> list[int]:
        """Take over shards without a living owner; their part of the rate limit is quiet for `quiet` seconds.

        A shard that never had an owner is not quiet. Nothing is claimed by a relay that was declared dead.
        """

    @abstractmethod
    async def release(self, relay: int, shards: Collection[int], quiet: float) -> None:
        """Give up shards; their part of the rate limit is quiet for `quiet` seconds."""

    @abstractmethod
    async def sealed(self, shards: Collection[int]) -> list[tuple[SealedBatch, list[OutboxRow]]]:
        """Return the batches of these shards that their previous owner may have sent, with their events in order.

        Events that are gone are left out.
        """

    @abstractmethod
    async def scan(self, shard: int, after: tuple[str, int], limit: int, within: str | None) -> OutboxPage:
        """Read events of a shard in order of player and seq, beginning after that place; ("", 0) is the beginning.

        Only what was visible in the snapshot `within`, if it is given: else a page could hold an event whose
        predecessor has committed behind the page before.
        """

    @abstractmethod
    async def tail(
        self, shards: Collection[int], snapshot: str, after: int, limit: int, within: str | None
    ) -> OutboxPage:
        """Read events that were not visible in an earlier snapshot, in order of seq, beginning after a seq.

        Only what was visible in the snapshot `within`, as for `scan`.
        """

    @abstractmethod
    async def write(self, relay: int, number: int, changes: Changes) -> bool:
        """Write a group of changes; False, and nothing is written, if the relay was declared dead.

        Each group of a relay has a higher number than the one before. So a group that the network delivers late, after
        its repetition and others, neither removes nor replaces a seal that was written since.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""
