"""What operators see and do: the state of the outbox, and its dead letters."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, Self

import attrs
import psycopg
from psycopg.rows import class_row

from ..errors import GameballError
from ._port import DatabaseUnavailable
from ._postgres import mapped_errors, parse_dsn

MOST_COUNTED = 1_000_000
"""Waiting events are counted up to here: a count reads all of them, and probes ask often."""

_PAGE = 1000  # dead letters in one statement
_CONNECT_TIMEOUT = 10  # seconds, if the DSN has no connect_timeout


class OutboxUnreachable(GameballError):
    """The database with the outbox cannot be reached; the message says why."""


@attrs.frozen(kw_only=True)
class RelayState:
    """One running relay, whose lease is not over.

    Attributes:
        id: its number; a relay that started over has a new one.
        name: its name.
        age: seconds since it started.
        lease: seconds until other relays take its shards over, unless it renews its lease before.
        shards: the shards it owns, of 64.
        paused: seconds for which Gameball asked it not to send; 0.0 if it did not.
        delivered: events it has delivered.
        rate: events it delivered per second, lately.
    """

    id: int
    name: str
    age: float
    lease: float
    shards: int
    paused: float
    delivered: int
    rate: float


@attrs.frozen(kw_only=True)
class OutboxState:
    """The outbox at one moment.

    Attributes:
        waiting: events in the table, counted up to `MOST_COUNTED`.
        is_counted: whether these are all of them.
        oldest_age: seconds since the oldest of them was inserted; 0.0 without any.
        sealed: batches that are being sent or will be sent again, or are in jobs; relays that died may have sent them.
        jobs: bulk requests that Gameball has accepted, and whose outcome is not known yet.
        dead_letters: events that will not arrive.
        size_bytes: the size of the events' table with its indexes.
        shards: all shards.
        ownerless: those that no running relay owns.
        relays: running relays, oldest first.
    """

    waiting: int
    is_counted: bool
    oldest_age: float
    sealed: int
    jobs: int
    dead_letters: int
    size_bytes: int
    shards: int
    ownerless: int
    relays: Sequence[RelayState] = ()

    @property
    def paused(self) -> float:
        """Seconds for which Gameball asked the relays not to send; 0.0 if it did not."""
        return max((relay.paused for relay in self.relays), default=0.0)

    @property
    def rate(self) -> float:
        """Events that all relays delivered per second, lately."""
        return sum(relay.rate for relay in self.relays)


@attrs.frozen(kw_only=True)
class OutboxLetter:
    """An event that will not arrive; its `repr` has no personal data.

    Attributes:
        seq: its number in the table of events.
        player: the player's id.
        name: the event's name.
        metadata: JSON as the application wrote it.
        mobile: the player's mobile number, if it was given.
        email: the player's e-mail address, if it was given.
        accepted_at: when the application inserted it.
        kind: the error's class, such as `Rejected`.
        error: the error's message, including Gameball's own message.
        status: the HTTP status that decided, if one did.
        code: Gameball's error code, if there was one.
        at: when it became a dead letter.
    """

    seq: int
    player: str = attrs.field(repr=False)
    name: str
    metadata: str = attrs.field(repr=False)
    mobile: str | None = attrs.field(repr=False)
    email: str | None = attrs.field(repr=False)
    accepted_at: datetime
    kind: str
    error: str = attrs.field(repr=False)
    status: int | None
    code: int | None
    at: datetime

    @property
    def may_have_arrived(self) -> bool:
        """Whether its request was sent once and the answer got lost."""
        return self.kind == "OutcomeUnknown"


@attrs.frozen(kw_only=True)
class LetterFilter:
    """Which dead letters are meant; each condition that is not None must hold.

    Attributes:
        seqs: those with these numbers.
        kind: those of this kind.
        name: those of this event.
        older_than: those that have been dead for this many seconds.
    """

    seqs: Sequence[int] | None = None
    kind: str | None = None
    name: str | None = None
    older_than: float | None = None

    def parameters(self) -> dict[str, Any]:
        seqs = None if self.seqs is None else list(self.seqs)
        return {"seqs": seqs, "kind": self.kind, "name": self.name, "older_than": self.older_than}


_RELAYS = """
SELECT relay.id, relay.name, extract(epoch FROM clock_timestamp() - relay.started_at)::float8 AS age,
  extract(epoch FROM relay.until - clock_timestamp())::float8 AS lease,
  (SELECT count(*) FROM gameball_shard AS shard WHERE shard.relay = relay.id) AS shards,
  greatest(coalesce(extract(epoch FROM relay.paused_until - clock_timestamp()), 0), 0)::float8 AS paused,
  relay.delivered, relay.rate::float8 AS rate
FROM gameball_relay AS relay WHERE NOT relay.dead AND relay.until > clock_timestamp() ORDER BY relay.id
"""

# The oldest event is that of the oldest transaction: the index on `xid` finds it, however many events there are.
_STATE = """
SELECT least(counted.count, %(most)s) AS waiting, counted.count <= %(most)s AS is_counted,
  coalesce((
    SELECT greatest(extract(epoch FROM clock_timestamp() - accepted_at), 0) FROM gameball_event ORDER BY xid LIMIT 1
  ), 0)::float8 AS oldest_age,
  (SELECT count(*) FROM gameball_sent) AS sealed,
  (SELECT count(DISTINCT job) FROM gameball_sent) AS jobs,
  (SELECT count(*) FROM gameball_dead) AS dead_letters,
  pg_total_relation_size('gameball_event') AS size_bytes,
  (SELECT count(*) FROM gameball_shard) AS shards,
  (
    SELECT count(*) FROM gameball_shard AS shard WHERE NOT EXISTS (
      SELECT FROM gameball_relay AS relay
      WHERE relay.id = shard.relay AND NOT relay.dead AND relay.until > clock_timestamp()
    )
  ) AS ownerless
FROM (SELECT count(*) AS count FROM (SELECT FROM gameball_event LIMIT %(most)s + 1) AS event) AS counted
"""

_CHOSEN: LiteralString = """
seq > %(after)s AND (%(seqs)s::bigint[] IS NULL OR seq = ANY(%(seqs)s)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(older_than)s::float8 IS NULL OR at <= clock_timestamp() - make_interval(secs => %(older_than)s))
"""
_LETTERS: LiteralString = f"""
SELECT seq, player, name, metadata::text AS metadata, mobile, email, accepted_at, kind, error, status, code, at
FROM gameball_dead WHERE {_CHOSEN} ORDER BY seq LIMIT %(limit)s"""  # noqa: S608 no value is in it
_COUNT: LiteralString = f"""
SELECT count(*) FROM gameball_dead WHERE {_CHOSEN}"""  # noqa: S608 no value is in it
_DELETE: LiteralString = f"""
DELETE FROM gameball_dead WHERE seq IN (
  SELECT seq FROM gameball_dead WHERE {_CHOSEN} ORDER BY seq LIMIT %(limit)s
)"""  # noqa: S608 no value is in it
_PURGE: LiteralString = f"""
WITH purged AS ({_DELETE} RETURNING seq)
SELECT count(*), max(seq) FROM purged"""  # noqa: S608 no value is in it
# INSERT assigns the new seqs in the order of the SELECT
_RETRY: LiteralString = f"""
WITH retried AS ({_DELETE} RETURNING seq, player, name, metadata, mobile, email),
inserted AS (
  INSERT INTO gameball_event (player, name, metadata, mobile, email)
  SELECT player, name, metadata, mobile, email FROM retried ORDER BY seq
)
SELECT count(*), max(seq) FROM retried"""  # noqa: S608 no value is in it


class OutboxOperations:
    """A connection to the outbox, for a person or a probe; each statement is committed by itself.

    Args:
        dsn: as libpq takes it.

    Raises:
        ConfigurationError: if the DSN cannot be read.
        OutboxUnreachable: if no connection can be made.
    """

    def __init__(self, dsn: str) -> None:
        with _reachable():
            self._connection = psycopg.connect(
                dsn,
                autocommit=True,
                prepare_threshold=None,  # a pgbouncer in transaction mode gives each statement any connection
                connect_timeout=parse_dsn(dsn).get("connect_timeout", _CONNECT_TIMEOUT),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def state(self) -> OutboxState:
        """Return the state of the outbox."""
        with _reachable():
            with self._connection.cursor(row_factory=class_row(OutboxState)) as cursor:
                state = cursor.execute(_STATE, {"most": MOST_COUNTED}).fetchone()
            assert state is not None, "it is one row"  # noqa: S101 an invariant
            with self._connection.cursor(row_factory=class_row(RelayState)) as relays:
                return attrs.evolve(state, relays=relays.execute(_RELAYS).fetchall())

    def letters(self, chosen: LetterFilter) -> Iterator[OutboxLetter]:
        """Yield dead letters in the order of their events."""
        after = 0
        while True:
            parameters = {**chosen.parameters(), "after": after, "limit": _PAGE}
            with _reachable(), self._connection.cursor(row_factory=class_row(OutboxLetter)) as cursor:
                page = cursor.execute(_LETTERS, parameters).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def count(self, chosen: LetterFilter) -> int:
        """Return the number of dead letters."""
        with _reachable():
            row = self._connection.execute(_COUNT, {**chosen.parameters(), "after": 0}).fetchone()
        return row[0] if row else 0

    def retry(self, chosen: LetterFilter) -> int:
        """Move dead letters back to the events, in order; return how many.

        They are new events: they arrive after those of their player that are waiting.
        """
        return self._in_pages(_RETRY, chosen)

    def purge(self, chosen: LetterFilter) -> int:
        """Delete dead letters for good; return how many."""
        return self._in_pages(_PURGE, chosen)

    def _in_pages(self, statement: LiteralString, chosen: LetterFilter) -> int:
        done = after = 0
        while True:
            parameters = {**chosen.parameters(), "after": after, "limit": _PAGE}
            with _reachable():
                row = self._connection.execute(statement, parameters).fetchone()
            count, last = row or (0, None)
            if last is None:
                return done
            done, after = done + count, last


@contextmanager
def _reachable() -> Generator[None]:
    try:
        with mapped_errors():
            yield
    except DatabaseUnavailable as error:
        raise OutboxUnreachable(f"the outbox's database cannot be used: {error}.") from None
