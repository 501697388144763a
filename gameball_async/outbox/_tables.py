"""The outbox's tables as versioned SQL, and the privileges of the roles that use them."""

from __future__ import annotations

from .._core.texts import without_surrogates
from ..errors import ConfigurationError

VERSION = 2
"""The latest version of the tables."""

TABLES = ("gameball_event", "gameball_relay", "gameball_shard", "gameball_sent", "gameball_dead")

APPENDED = ("player", "name", "metadata", "mobile", "email")
"""The columns that applications write."""

LONGEST_PLAYER = 512  # bytes; the primary key's index takes rows of up to 2,704

_LONGEST_ROLE = 63  # bytes, PostgreSQL's own limit; it would shorten a longer name

COMMENT = "gameball_async outbox, version "
"""The comment on `gameball_event` before the version."""

# `seq` has CACHE 1, PostgreSQL's default: with more, the order of two sessions' events would not be that of their seqs.
# `metadata` is json: jsonb would reorder keys and rewrite numbers. Tables of short-lived rows are vacuumed by count,
# because a share of their size says nothing; tables of updated rows have room for new versions beside the old ones.
_VERSIONS = {
    1: f"""\
CREATE TABLE gameball_event (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  shard smallint GENERATED ALWAYS AS (CAST(hashtextextended(player, 0) & 63 AS smallint)) STORED,
  player text COLLATE "C" NOT NULL CHECK (octet_length(player) <= {LONGEST_PLAYER}),
  name text NOT NULL,
  metadata json NOT NULL DEFAULT '{{}}',
  mobile text,
  email text,
  accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  PRIMARY KEY (shard, player, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX gameball_event_xid ON gameball_event (xid);
CREATE TABLE gameball_relay (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  until timestamptz NOT NULL,
  dead boolean NOT NULL DEFAULT false,
  paused_until timestamptz,
  delivered bigint NOT NULL DEFAULT 0,
  rate real NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE TABLE gameball_shard (
  shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
  relay bigint,
  quiet_until timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO gameball_shard (shard) SELECT generate_series(0, 63);
CREATE TABLE gameball_sent (
  shard smallint NOT NULL,
  first bigint NOT NULL,
  seqs bigint[] NOT NULL,
  player text COLLATE "C" NOT NULL,
  mobile text,
  email text,
  relay bigint NOT NULL,
  number bigint NOT NULL DEFAULT 0,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (shard, first)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE gameball_dead (
  seq bigint PRIMARY KEY,
  player text NOT NULL,
  name text NOT NULL,
  metadata json NOT NULL,
  mobile text,
  email text,
  accepted_at timestamptz NOT NULL,
  kind text NOT NULL,
  error text NOT NULL,
  status int,
  code int,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);""",
    # Relays of version 1 would send the events of accepted jobs again. Those that run are declared dead, and cannot
    # register again, because they name no version. Relays lock the tables in this order too.
    2: """\
ALTER TABLE gameball_relay ADD COLUMN version int NOT NULL DEFAULT 1;
ALTER TABLE gameball_relay ALTER COLUMN version DROP DEFAULT;
UPDATE gameball_relay SET dead = true;
ALTER TABLE gameball_sent ADD COLUMN job text;""",
}
"""What brings the tables from the version before to each version."""


def schema(since: int = 0, to: int = VERSION) -> str:
    """Return the SQL that creates the outbox's tables or brings them up to date, for psql or a migration.

    It is one statement, so every driver and migration tool can run it, completely or not at all. Tables are created in
    the first schema of the `search_path`. If the tables are not at version `since`, it fails and says so.

    Args:
        since: the version that the database has. 0, the default: none. The comment on the table `gameball_event`
            names it.
        to: the version that it gets, by default the latest. Pass it in migrations, which must not change with releases.

    Returns:
        The SQL, or an empty string if `since` is `to`.

    Raises:
        ConfigurationError: if a version is unknown, or the later one is first.
    """
    if since not in range(VERSION + 1) or to not in range(since, VERSION + 1):
        raise ConfigurationError(
            f"the outbox cannot go from version {since!r} to {to!r}: pass numbers from 0 to {VERSION}, the lower first."
        )
    if since == to:
        return ""
    comment = f"'{COMMENT}{since}'" if since else "NULL"
    steps = "\n".join(_VERSIONS[version] for version in range(since + 1, to + 1))
    return _one_statement(
        f"""\
IF obj_description(to_regclass('gameball_event'), 'pg_class') IS DISTINCT FROM {comment}
  OR {since} = 0 AND to_regclass('gameball_event') IS NOT NULL THEN
  RAISE EXCEPTION USING MESSAGE = 'the outbox is not at version {since}, but at '
    || coalesce('"' || obj_description(to_regclass('gameball_event'), 'pg_class') || '"', 'none')
    || '; ask schema() for the SQL since that version';
END IF;
{steps}
COMMENT ON TABLE gameball_event IS '{COMMENT}{to}';"""
    )


def drop_schema() -> str:
    """Return the SQL that drops the outbox's tables, with the events and dead letters that are still there.

    Stop the relays before, and the application that appends.
    """
    return f"DROP TABLE IF EXISTS {', '.join(TABLES)};"


def grants(*, application: str | None = None, relay: str | None = None) -> str:
    """Return the SQL that grants existing roles what they need on the outbox's tables, and no more.

    Args:
        application: the role of an application that appends events. It may insert, and not even read.
        relay: the role of `gameball-async relay`.

    Raises:
        ConfigurationError: if no role is passed, or one that cannot be the name of a role.
    """
    statements: list[str] = []
    if application is not None:
        statements.append(f"GRANT INSERT ({', '.join(APPENDED)}) ON {TABLES[0]} TO {_quoted(application)};")
    if relay is not None:
        statements += [
            f"GRANT SELECT, INSERT, DELETE ON {TABLES[0]} TO {_quoted(relay)};",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(TABLES[1:])} TO {_quoted(relay)};",
        ]
    if not statements:
        raise ConfigurationError("grants() needs a role: pass application=, relay= or both.")
    return _one_statement("\n".join(statements))


def _quoted(role: str) -> str:
    has_surrogates = isinstance(role, str) and without_surrogates(role) != role
    if not isinstance(role, str) or has_surrogates or "\0" in role or not 1 <= len(role.encode()) <= _LONGEST_ROLE:
        raise ConfigurationError(
            f"{role!r} cannot be the name of a role: pass a text of 1 to {_LONGEST_ROLE} bytes of UTF-8 without NUL."
        )
    return '"' + role.replace('"', '""') + '"'


def _one_statement(body: str) -> str:
    """Wrap statements in a block: drivers that prepare statements, such as asyncpg, take one at a time."""
    tag = "gameball"
    while f"${tag}$" in body:
        tag += "_"
    indented = "\n".join(f"  {line}" for line in body.splitlines())
    return f"DO ${tag}$\nBEGIN\n{indented}\nEND\n${tag}$;\n"
