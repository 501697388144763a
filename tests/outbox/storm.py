"""Relays under random faults: processes that are killed and suspended, a database that restarts, a network gone dark.

`python -m tests.outbox.storm --rounds 100 --first 1` runs many rounds; each is one seed.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import psycopg

from gameball_async.sandbox import Fault, Sandbox

from .network import DarkNetwork
from .postgres import PostgresServer, initialise
from .relays import INSERT, RelayProcess, count

PLAYERS = 30
LEASE = 1.5


class Shop(threading.Thread):
    """An application that commits one transaction after another until it is stopped; some it rolls back.

    Attributes:
        committed: each player's numbers, in the order of their commits.
        rolled_back: numbers that must never arrive.
        uncertain: numbers whose commit was not answered: they may arrive.
    """

    def __init__(self, dsn: str, generator: random.Random) -> None:
        super().__init__(daemon=True)
        self.committed: dict[str, list[int]] = defaultdict(list)
        self.rolled_back: set[int] = set()
        self.uncertain: set[int] = set()
        self.is_stopped = threading.Event()
        self._dsn = dsn
        self._random = generator
        self._number = 0

    def run(self) -> None:
        while not self.is_stopped.wait(0.05):
            with suppress(psycopg.OperationalError), psycopg.connect(self._dsn) as connection:
                while not self.is_stopped.wait(self._random.uniform(0, 0.03)):
                    self._transact(connection)

    def _transact(self, connection: psycopg.Connection) -> None:
        events = [self._new_event() for _ in range(self._random.randint(1, 8))]
        numbers = {number for *_, number in events}
        with connection.cursor() as cursor:
            cursor.executemany(INSERT, events)
        if self._random.random() < 0.1:
            self.rolled_back |= numbers
            connection.rollback()
            return
        try:
            connection.commit()
        except psycopg.OperationalError:
            self.uncertain |= numbers
            raise
        for player, _, number in events:
            self.committed[player].append(number)

    def _new_event(self) -> tuple[str, str, int]:
        self._number += 1
        return f"player{self._random.randrange(PLAYERS)}", f"event{self._random.randrange(6)}", self._number


@attrs.define
class _Site:
    """A relay's process, and the network between it and the database."""

    network: DarkNetwork
    process: RelayProcess
    is_suspended: bool = False


@attrs.frozen
class Figures:
    """What a round has come to.

    Attributes:
        events: events that have committed.
        requests: requests that the sandbox got.
        duplicates: events that arrived more than once.
        faults: what was done.
    """

    events: int
    requests: int
    duplicates: int
    faults: tuple[str, ...]


class Storm:
    """One round: its faults are decided by the seed; when they strike, by the machine.

    Args:
        server: a server of the round's own; it is restarted.
        seed: decides the faults.
        faults: how many.
    """

    def __init__(self, server: PostgresServer, seed: int, faults: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._faults = [self._random.choice(_FAULTS) for _ in range(faults)]
        self._ambiguous = self._random.choice(("resend", "resend", "report"))
        self._relays = self._random.randint(2, 4)
        self._database = server.create_database()
        self._sites: list[_Site] = []

    def run(self) -> Figures:
        """Run it, and check what has arrived."""
        with ExitStack() as stack:
            sandbox = stack.enter_context(Sandbox(limits=None))
            sandbox.script(
                Fault.reset_after(probability=0.01), Fault.status(503, probability=0.02), Fault.latency(0.0, 0.05)
            )
            for _ in range(self._relays):
                network = stack.enter_context(DarkNetwork(self._server.socket_folder))
                self._sites.append(_Site(network, stack.enter_context(self._new_process(network, sandbox))))
            shop = Shop(self._server.dsn(self._database), self._random)
            shop.start()
            for fault in self._faults:
                time.sleep(self._random.uniform(0.1, 1.0))
                getattr(self, f"_{fault}")(stack, sandbox)
            shop.is_stopped.set()
            shop.join()
            self._end_faults(stack, sandbox)
            self._drain()
            return self._check(shop, sandbox)

    def _new_process(self, network: DarkNetwork, sandbox: Sandbox) -> RelayProcess:
        return RelayProcess(network.dsn(self._database), sandbox.url, lease=LEASE, ambiguous=self._ambiguous)

    # ---------------------------------------------------------------- faults

    def _kill(self, stack: ExitStack, sandbox: Sandbox) -> None:
        site = self._random.choice(self._sites)
        site.process.kill()
        site.process = stack.enter_context(self._new_process(site.network, sandbox))
        site.is_suspended = False

    def _stop(self, stack: ExitStack, sandbox: Sandbox) -> None:
        site = self._random.choice(self._sites)
        site.process.signal(signal.SIGTERM)
        site.process = stack.enter_context(self._new_process(site.network, sandbox))
        site.is_suspended = False

    def _suspend(self, *_: object) -> None:
        site = self._random.choice(self._sites)
        site.process.signal(signal.SIGSTOP)
        site.is_suspended = True

    def _resume(self, *_: object) -> None:
        for site in self._sites:
            if site.is_suspended:
                site.process.signal(signal.SIGCONT)
                site.is_suspended = False

    def _go_dark(self, *_: object) -> None:
        self._random.choice(self._sites).network.go_dark()

    def _light_up(self, *_: object) -> None:
        for site in self._sites:
            site.network.light_up()

    def _terminate(self, *_: object) -> None:
        with suppress(psycopg.OperationalError), self._server.connect(self._database) as connection:
            for _number in range(20):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'gameball-async relay' AND random() < 0.3"
                )
                time.sleep(self._random.uniform(0, 0.02))

    def _restart(self, *_: object) -> None:
        self._server.restart(self._random.choice((signal.SIGINT, signal.SIGQUIT)))

    def _end_faults(self, stack: ExitStack, sandbox: Sandbox) -> None:
        self._resume()
        self._light_up()
        for site in self._sites:
            if site.process.has_ended:
                raise AssertionError(f"a relay has ended by itself: {site.process.log()}")
        del stack, sandbox

    # ---------------------------------------------------------------- the end

    def _drain(self) -> None:
        with self._server.connect(self._database) as connection:
            while count(connection, "gameball_event") or count(connection, "gameball_sent"):
                time.sleep(0.1)  # the test's timeout is the limit

    def _check(self, shop: Shop, sandbox: Sandbox) -> Figures:
        with self._server.connect(self._database) as connection:
            dead: dict[int, str] = dict(
                connection.execute("SELECT (metadata->>'number')::int, kind FROM gameball_dead").fetchall()
            )
        assert set(dead.values()) <= ({"OutcomeUnknown"} if self._ambiguous == "report" else set())
        seen = {
            player: [(int(str(event.metadata["number"])), event.request) for event in events]
            for player, events in sandbox.holdings().items()
        }
        arrived = {number for events in seen.values() for number, _ in events}
        assert not arrived & shop.rolled_back
        digests = {request.number: request.digest for request in sandbox.requests}
        duplicates = 0
        for player, numbers in shop.committed.items():
            events = [event for event in seen.get(player, []) if event[0] not in shop.uncertain]
            first = list(dict.fromkeys(number for number, _ in events))
            assert first == [number for number in numbers if number in arrived], f"{player} is out of order"
            assert set(numbers) <= arrived | set(dead), "events are missing"
            for number in first:
                requests = [request for each, request in events if each == number]
                assert len({digests[request] for request in requests}) == 1, "an event was resent with others"
                duplicates += len(requests) > 1
        assert not duplicates or self._ambiguous == "resend", "`report` has sent an event twice"
        return Figures(
            events=sum(map(len, shop.committed.values())),
            requests=len(sandbox.requests),
            duplicates=duplicates,
            faults=tuple(self._faults),
        )


_FAULTS = (
    "kill",
    "kill",
    "stop",
    "suspend",
    "suspend",
    "resume",
    "go_dark",
    "go_dark",
    "light_up",
    "terminate",
    "terminate",
    "restart",
)


def main() -> int:
    """Run many rounds and print what each has come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--faults", type=int, default=12)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir(mode=0o700)
        initialise(data)
        server = PostgresServer(data)
        server.start()
        server.create_template()
        for seed in range(options.first, options.first + options.rounds):
            figures = Storm(server, seed, options.faults).run()
            sys.stdout.write(
                f"seed {seed}: {figures.events} events in {figures.requests} requests, {figures.duplicates} twice; "
                f"{', '.join(figures.faults)}\n"
            )
            sys.stdout.flush()
        server.delete()
    return 0


if __name__ == "__main__":
    sys.exit(main())
