"""The relay's statements on PostgreSQL, each committed by itself, so that they also work through pgbouncer."""

# ruff: noqa: S608 statements are put together of constants

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import conninfo, errors

from .._core.job_answers import parsed_job_id
from ..errors import ConfigurationError
from ._port import (
    Changes,
    DatabaseUnavailable,
    Membership,
    OutboxDatabase,
    OutboxPage,
    OutboxRow,
    RelayReport,
    SealedBatch,
)
from ._tables import COMMENT, VERSION

_CHECK = """
SELECT pg_is_in_recovery(), to_regclass('gameball_event') IS NOT NULL,
  obj_description(to_regclass('gameball_event'), 'pg_class')"""

_REGISTER = """
INSERT INTO gameball_relay (name, until, version)
VALUES (%(name)s, clock_timestamp() + %(lease)s * interval '1 second', %(version)s) RETURNING id"""

_RENEW = """
WITH me AS (
  UPDATE gameball_relay SET until = clock_timestamp() + %(lease)s * interval '1 second',
    paused_until = CASE WHEN %(paused)s > 0 THEN clock_timestamp() + %(paused)s * interval '1 second' END,
    delivered = %(delivered)s, rate = %(rate)s
  WHERE id = %(relay)s AND NOT dead RETURNING id
), others AS (
  SELECT until < clock_timestamp() AS expired FROM gameball_relay WHERE NOT dead AND id <> %(relay)s
), own AS (
  SELECT shard, coalesce(greatest(0, extract(epoch FROM quiet_until - clock_timestamp())), 0)::float8 AS quiet
  FROM gameball_shard WHERE relay = %(relay)s
)
SELECT (SELECT count(*) FROM me),
  (SELECT count(*) + 1 FROM others),
  (SELECT count(*) FROM others WHERE expired),
  (SELECT coalesce(greatest(0, extract(epoch FROM max(paused_until) - clock_timestamp())), 0)::float8
    FROM gameball_relay WHERE id <> %(relay)s),
  (SELECT count(*) FROM gameball_shard s
    WHERE NOT EXISTS (SELECT FROM gameball_relay r WHERE r.id = s.relay AND NOT r.dead)),
  (SELECT coalesce(array_agg(shard), '{}') FROM own),
  (SELECT coalesce(array_agg(quiet), '{}') FROM own)"""

_DECLARE_DEAD = """
WITH old AS (
  DELETE FROM gameball_relay WHERE dead AND until < clock_timestamp() - interval '1 day'
)
UPDATE gameball_relay SET dead = true
WHERE NOT dead AND (id = %(relay)s OR %(relay)s::bigint IS NULL AND until < clock_timestamp())"""

# `seen` is what the statement's snapshot shows. A relay that has registered and claimed a shard since then is not in
# the snapshot, so its shard looks free; but the shard's row is read again when it is locked, and the owner has changed.
_CLAIM = """
WITH me AS MATERIALIZED (
  SELECT id FROM gameball_relay WHERE id = %(relay)s AND NOT dead FOR SHARE
), seen AS MATERIALIZED (
  SELECT shard, relay FROM gameball_shard s
  WHERE NOT EXISTS (SELECT FROM gameball_relay r WHERE r.id = s.relay AND NOT r.dead)
), free AS MATERIALIZED (
  SELECT s.shard FROM gameball_shard s, seen
  WHERE s.shard = seen.shard AND s.relay IS NOT DISTINCT FROM seen.relay AND EXISTS (SELECT FROM me)
  ORDER BY s.shard LIMIT %(most)s FOR UPDATE OF s SKIP LOCKED
)
UPDATE gameball_shard s SET relay = %(relay)s,
  quiet_until = CASE WHEN s.relay IS NULL THEN s.quiet_until
    ELSE clock_timestamp() + %(quiet)s * interval '1 second' END
FROM free WHERE s.shard = free.shard RETURNING s.shard"""

_RELEASE = """
UPDATE gameball_shard SET relay = NULL, quiet_until = clock_timestamp() + %(quiet)s * interval '1 second'
WHERE relay = %(relay)s AND shard = ANY(%(shards)s::smallint[])"""

_EVENT = """e.seq, e.shard, e.player, e.name, e.metadata::text, e.mobile, e.email,
  extract(epoch FROM clock_timestamp() - e.accepted_at)::float8"""

_WITHIN = "(%(within)s::pg_snapshot IS NULL OR pg_visible_in_snapshot(e.xid, %(within)s::pg_snapshot))"

_SEALED = f"""
SELECT s.shard, s.player, s.seqs, s.mobile, s.email, s.job, {_EVENT}
FROM gameball_sent s CROSS JOIN unnest(s.seqs) WITH ORDINALITY u(seq, place)
  LEFT JOIN gameball_event e ON e.shard = s.shard AND e.player = s.player AND e.seq = u.seq
WHERE s.shard = ANY(%(shards)s::smallint[]) ORDER BY s.shard, s.first, u.place"""

_SCAN = f"""
SELECT pg_current_snapshot()::text, e.* FROM (SELECT) one LEFT JOIN LATERAL (
  SELECT {_EVENT} FROM gameball_event e
  WHERE e.shard = %(shard)s::smallint AND (e.player, e.seq) > (%(player)s::text, %(seq)s::bigint) AND {_WITHIN}
  ORDER BY e.player, e.seq LIMIT %(limit)s
) e ON true"""

_TAIL = f"""
SELECT pg_current_snapshot()::text, e.* FROM (SELECT) one LEFT JOIN LATERAL (
  SELECT {_EVENT} FROM gameball_event e
  WHERE e.xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
    AND NOT pg_visible_in_snapshot(e.xid, %(snapshot)s::pg_snapshot)
    AND e.seq > %(after)s::bigint AND e.shard = ANY(%(shards)s::smallint[]) AND {_WITHIN}
  ORDER BY e.seq LIMIT %(limit)s
) e ON true"""

# `FOR SHARE` waits for a declaration of death that has begun, and one that comes later waits for this statement: what
# is written here was written by a living relay. The numbers are for a statement that the network delivers late, when
# the relay has given it up, repeated it and continued: it must not remove or replace a later seal.
_WRITE = """
WITH me AS MATERIALIZED (
  SELECT id FROM gameball_relay WHERE id = %(relay)s AND NOT dead FOR SHARE
), unsealed AS (
  DELETE FROM gameball_sent s USING me, unnest(%(unsealed_shards)s::smallint[], %(unsealed)s::bigint[]) u(shard, first)
  WHERE s.shard = u.shard AND s.first = u.first AND CASE WHEN s.relay = me.id THEN s.number < %(number)s
    ELSE EXISTS (SELECT FROM gameball_shard own WHERE own.shard = s.shard AND own.relay = me.id) END
), sealed AS (
  INSERT INTO gameball_sent (shard, first, seqs, player, mobile, email, job, relay, number)
  SELECT b.shard, (b.seqs::bigint[])[1], b.seqs::bigint[], b.player, b.mobile, b.email, b.job, me.id, %(number)s
  FROM me, unnest(%(sealed_shards)s::smallint[], %(sealed)s::text[], %(sealed_players)s::text[], %(mobiles)s::text[],
    %(emails)s::text[], %(jobs)s::text[]) b(shard, seqs, player, mobile, email, job)
  ON CONFLICT (shard, first) DO UPDATE SET seqs = excluded.seqs, mobile = excluded.mobile, email = excluded.email,
    job = excluded.job, relay = excluded.relay, number = excluded.number
  WHERE gameball_sent.relay <> excluded.relay OR gameball_sent.number <= excluded.number
), deleted AS (
  DELETE FROM gameball_event e
  USING me, unnest(%(shards)s::smallint[], %(players)s::text[], %(seqs)s::bigint[]) d(shard, player, seq)
  WHERE e.shard = d.shard AND e.player = d.player AND e.seq = d.seq RETURNING e.*
), dead AS (
  INSERT INTO gameball_dead (seq, player, name, metadata, mobile, email, accepted_at, kind, error, status, code)
  SELECT e.seq, e.player, e.name, e.metadata, e.mobile, e.email, e.accepted_at, l.kind, l.error, l.status, l.code
  FROM deleted e JOIN unnest(%(dead)s::bigint[], %(kinds)s::text[], %(errors)s::text[], %(statuses)s::int[],
    %(codes)s::int[]) l(seq, kind, error, status, code) ON l.seq = e.seq
  ON CONFLICT (seq) DO NOTHING
)
SELECT count(*) FROM me"""


class PostgresOutbox(OutboxDatabase):
    """The outbox in a PostgreSQL database, over three connections: a slow read delays neither a seal nor a renewal.

    Args:
        dsn: where the database is, as libpq takes it.
        timeout: seconds after which a statement without an answer is given up, and its connection closed.

    Raises:
        ConfigurationError: if the address cannot be read.
    """

    def __init__(self, dsn: str, timeout: float) -> None:
        parse_dsn(dsn)
        self._control, self._reader, self._writer = (_Link(dsn, timeout) for _ in range(3))

    async def check(self) -> None:
        ((is_replica, exists, comment),) = await self._control.execute(_CHECK, {})
        if is_replica:
            raise DatabaseUnavailable("it is a replica that cannot be written to")
        if not exists:
            raise ConfigurationError(
                "the database has no outbox: apply what `gameball-async relay schema` prints, or check the address, "
                "its search_path, and that the role has USAGE on the schema."
            )
        if comment != f"{COMMENT}{VERSION}":
            raise ConfigurationError(
                f"the outbox's tables are of another version ({comment or 'unknown'}; this relay needs {VERSION}): "
                "apply what `gameball-async relay schema --since` prints, or install the version of gameball-async "
                "that made them."
            )
        await self._control.execute(_RENEW, _renewal(0, 0, RelayReport()))  # without an effect: may the tables be used?

    async def register(self, name: str, lease: float) -> int:
        ((relay,),) = await self._control.execute(_REGISTER, {"name": name, "lease": lease, "version": VERSION})
        return int(relay)

    async def renew(self, relay: int, lease: float, report: RelayReport) -> Membership | None:
        ((is_alive, relays, expired, paused, free, shards, quiet),) = await self._control.execute(
            _RENEW, _renewal(relay, lease, report)
        )
        if not is_alive:
            return None
        return Membership(
            relays=relays, shards=dict(zip(shards, quiet, strict=True)), free=free, expired=expired, paused=paused
        )

    async def declare_dead(self, relay: int | None = None) -> None:
        await self._control.execute(_DECLARE_DEAD, {"relay": relay})

    async def claim(self, relay: int, most: int, quiet: float) -> list[int]:
        claimed = await self._control.execute(_CLAIM, {"relay": relay, "most": most, "quiet": quiet})
        return [shard for (shard,) in claimed]

    async def release(self, relay: int, shards: Collection[int], quiet: float) -> None:
        await self._control.execute(_RELEASE, {"relay": relay, "shards": list(shards), "quiet": quiet})

    async def sealed(self, shards: Collection[int]) -> list[tuple[SealedBatch, list[OutboxRow]]]:
        batches: dict[SealedBatch, list[OutboxRow]] = {}
        for shard, player, seqs, mobile, email, job, *event in await self._reader.execute(
            _SEALED, {"shards": list(shards)}
        ):
            batch = SealedBatch(shard, player, tuple(seqs), mobile, email, None if job is None else parsed_job_id(job))
            batches.setdefault(batch, []).extend(_rows([event]))
        return list(batches.items())

    async def scan(self, shard: int, after: tuple[str, int], limit: int, within: str | None) -> OutboxPage:
        player, seq = after
        place = {"shard": shard, "player": player, "seq": seq}
        return _page(await self._reader.execute(_SCAN, {**place, "limit": limit, "within": within}))

    async def tail(
        self, shards: Collection[int], snapshot: str, after: int, limit: int, within: str | None
    ) -> OutboxPage:
        place = {"shards": list(shards), "snapshot": snapshot, "after": after}
        return _page(await self._reader.execute(_TAIL, {**place, "limit": limit, "within": within}))

    async def write(self, relay: int, number: int, changes: Changes) -> bool:
        seals, settled, dead = changes.seals.values(), changes.settled, changes.dead_letters
        unsealed = [*changes.unseals, *((batch.shard, batch.seqs[0]) for batch in settled)]
        ((is_alive,),) = await self._writer.execute(
            _WRITE,
            {
                "relay": relay,
                "number": number,
                "unsealed_shards": [shard for shard, _ in unsealed],
                "unsealed": [first for _, first in unsealed],
                "sealed_shards": [batch.shard for batch in seals],
                "sealed": [f"{{{','.join(map(str, batch.seqs))}}}" for batch in seals],
                "sealed_players": [batch.player for batch in seals],
                "mobiles": [batch.mobile for batch in seals],
                "emails": [batch.email for batch in seals],
                "jobs": [None if batch.job is None else str(batch.job) for batch in seals],
                "shards": [batch.shard for batch in settled for _ in batch.seqs],
                "players": [batch.player for batch in settled for _ in batch.seqs],
                "seqs": [seq for batch in settled for seq in batch.seqs],
                "dead": [letter.seq for letter in dead],
                "kinds": [letter.kind for letter in dead],
                "errors": [letter.error.replace("\0", "") for letter in dead],
                "statuses": [letter.status for letter in dead],
                "codes": [letter.code for letter in dead],
            },
        )
        return bool(is_alive)

    async def close(self) -> None:
        for link in (self._control, self._reader, self._writer):
            await link.close()


def _renewal(relay: int, lease: float, report: RelayReport) -> dict[str, Any]:
    return {
        "relay": relay,
        "lease": lease,
        "paused": report.paused,
        "delivered": report.delivered,
        "rate": report.rate,
    }


def _page(found: Sequence[tuple[Any, ...]]) -> OutboxPage:
    return OutboxPage(_rows(row[1:] for row in found), found[0][0])


def _rows(found: Iterable[Sequence[Any]]) -> list[OutboxRow]:
    """Return events; a row without one is what an outer join left."""
    return [
        OutboxRow(seq, shard, player, name, metadata.encode(), mobile, email, age)
        for seq, shard, player, name, metadata, mobile, email, age in found
        if seq is not None
    ]


class _Link:
    """One connection, opened again after it broke; one statement at a time.

    Args:
        dsn: where the database is.
        timeout: seconds that a statement, or opening the connection, may take.
    """

    def __init__(self, dsn: str, timeout: float) -> None:
        self._dsn = dsn
        self._timeout = timeout
        self._connection: psycopg.AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def execute(self, statement: LiteralString, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Execute a statement and return its rows.

        Raises:
            DatabaseUnavailable: if the connection broke, or the statement took too long.
            ConfigurationError: if the tables are not there, or this role may not use them.
        """
        async with self._turn:
            with mapped_errors():
                connection = self._connection or await self._connect()
                # psycopg answers a cancellation by asking the server to cancel, perhaps over a network that is gone
                task = asyncio.create_task(_execute(connection, statement, parameters))
                timer = asyncio.get_running_loop().call_later(self._timeout, _shut_down, connection)
                began = time.monotonic()
                try:
                    return await asyncio.shield(task)
                except BaseException as error:
                    _shut_down(connection)
                    self._connection = None
                    closing = asyncio.create_task(_close_after(task, connection))
                    self._closing.add(closing)
                    closing.add_done_callback(self._closing.discard)
                    if isinstance(error, psycopg.Error) and time.monotonic() - began >= self._timeout:
                        raise DatabaseUnavailable(f"no answer within {self._timeout:g} s") from None
                    raise
                finally:
                    timer.cancel()

    async def _connect(self) -> psycopg.AsyncConnection:
        try:
            async with asyncio.timeout(self._timeout):
                self._connection = await psycopg.AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    prepare_threshold=None,  # pgbouncer's transaction mode has no prepared statements
                    client_encoding="utf8",
                    application_name="gameball-async relay",
                )
        except TimeoutError:
            raise DatabaseUnavailable(f"no connection within {self._timeout:g} s") from None
        return self._connection

    async def close(self) -> None:
        """Close the connection; the next statement opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        while self._closing:
            await asyncio.wait(self._closing)


async def _execute(
    connection: psycopg.AsyncConnection, statement: LiteralString, parameters: Mapping[str, Any]
) -> Sequence[tuple[Any, ...]]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall() if cursor.description else ()


async def _close_after(statement: asyncio.Task[Any], connection: psycopg.AsyncConnection) -> None:
    """Close a connection that was shut down, when the statement on it has ended."""
    with suppress(psycopg.Error):
        await statement
    await connection.close()


def _shut_down(connection: psycopg.AsyncConnection) -> None:
    """Let the statement that waits for an answer fail."""
    with (
        suppress(OSError, psycopg.Error),
        socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy,  # it may be of any family
    ):
        copy.shutdown(socket.SHUT_RDWR)


def parse_dsn(dsn: str) -> dict[str, Any]:
    """Return the parts of a database's address.

    Raises:
        ConfigurationError: if it cannot be read; the message does not quote it, because it may hold a password.
    """
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        parts = None
    if parts is None or _is_torn(parts):
        has_driver = dsn.startswith("postgres") and "+" in dsn.partition(":")[0]
        hint = ", without the driver" if has_driver else ""
        raise ConfigurationError(
            "the database's address cannot be read: give one such as postgresql://user@host:5432/name"
            f"{hint}, with special characters encoded (@ as %40), or host=... dbname=... user=..."
        )
    return parts


def _is_torn(parts: dict[str, Any]) -> bool:
    """Whether the host or the port holds a part of a password in which `@` or `/` was not encoded."""
    hosts = str(parts.get("host", "")).split(",")
    ports = str(parts.get("port", "")).split(",")
    has_password = any("@" in host and not host.startswith("/") for host in hosts)
    return has_password or not all(port.strip().isdecimal() for port in ports if port)


@contextmanager
def mapped_errors() -> Generator[None]:
    """Convert psycopg's errors to ConfigurationError, or to DatabaseUnavailable if the statement can be repeated."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"the outbox cannot be used ({_first_line(error)}): as the owner of the tables, apply what "
            f"`gameball-async relay schema --since {VERSION} --grants APPLICATION RELAY` prints, with the names of the "
            "application's and the relay's role."
        ) from None
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise ConfigurationError(
            f"the outbox cannot be used ({_first_line(error)}): apply what `gameball-async relay schema` prints, or "
            "check the address, its search_path, and that the role has USAGE on the schema."
        ) from None
    except (psycopg.OperationalError, psycopg.InterfaceError, errors.ReadOnlySqlTransaction) as error:
        raise DatabaseUnavailable(_first_line(error)) from None


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
