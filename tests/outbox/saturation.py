"""The account's windows with one, two, three and one relay, in real time: `python -m tests.outbox.saturation`.

The sandbox counts as Gameball does. It must see no violation, and between the changes at least 98 % of the windows must
be used. After a change the shards that have moved are quiet for 30 s. It takes eight minutes.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gameball_async.sandbox import Sandbox

from .postgres import PostgresServer, initialise
from .relays import RelayProcess

WINDOW = 30.0
PER_WINDOW = 1200
SETTLED = 45.0
"""Seconds after a change: the lease, and then the quiet time of the shards that have moved."""

MEASURED = 2 * WINDOW
LEAST = 0.98


@contextmanager
def running_server() -> Generator[PostgresServer]:
    """Run a server of this script's own."""
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        initialise(data)
        server = PostgresServer(data)
        server.start()
        server.create_template()
        try:
            yield server
        finally:
            server.delete()


def main() -> int:
    """Run it; 0 if the windows were kept and used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    shares: dict[str, float] = {}
    with running_server() as server, Sandbox() as sandbox, ExitStack() as stack:
        database = server.create_database()
        with server.connect(database) as connection:
            connection.execute(
                "INSERT INTO gameball_event (player, name)"
                " SELECT 'player' || n, 'visit' FROM generate_series(1, 30000) n"
            )

        def start() -> RelayProcess:
            process = RelayProcess(server.dsn(database), sandbox.url, share=1.0, lease=3.0, timeout=30.0)
            stack.enter_context(process)
            process.wait_for("ready")
            return process

        def measure(phase: str) -> None:
            time.sleep(SETTLED)
            began = time.monotonic()
            time.sleep(MEASURED)
            ended = sum(began < request.end <= began + MEASURED for request in sandbox.requests)
            shares[phase] = ended / (PER_WINDOW * MEASURED / WINDOW)
            sys.stdout.write(f"{phase}: {shares[phase]:.1%} used, {len(sandbox.violations)} violations\n")
            sys.stdout.flush()

        start()
        measure("one relay")
        second = start()
        measure("two relays")
        third = start()
        measure("three relays")
        second.signal(signal.SIGTERM)
        third.kill()
        measure("one relay again")
        kept = not sandbox.violations
    return 0 if kept and min(shares.values()) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
