"""Two relays deliver a shop's orders; one is suspended and one killed meanwhile, and every event is compared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import psycopg

from gameball_async._log import counted
from gameball_async.cli._terminal import print_wrapped
from gameball_async.outbox import schema

from .postgres import Postgres
from .report import Held, Incident, Outcome, compare, print_outcome
from .shop import Base, orders

ROOT = Path(__file__).parents[2]
_LATENCY = '{"kind": "latency", "shortest": 0.05, "longest": 0.15}'
_TICK = 0.05  # seconds between two looks
_PATIENCE = 120.0  # seconds that a step may take


@attrs.frozen
class Plan:
    """How much the demo does, and when.

    Attributes:
        rows: the order lines of the data that are used; None for all.
        pause: seconds between two orders.
        lease: of the relays, in seconds.
        is_paced: whether Gameball's limits hold.
        suspend_at: the part of the events after whose delivery the second relay is suspended.
        kill_at: the part of the events after whose delivery the first relay is killed.
    """

    rows: int | None = None
    pause: float = 0.1
    lease: float = 3.0
    is_paced: bool = True
    suspend_at: float = 0.15
    kill_at: float = 0.5


class RelayProcess:
    """One `gameball-async relay run`."""

    def __init__(self, name: str, folder: Path, plan: Plan, environment: dict[str, str]) -> None:
        self.name = name
        self._ready = folder / f"{name}.ready"
        options = ["--name", name, "--lease", str(plan.lease), "--ready-file", str(self._ready)]
        if not plan.is_paced:
            options.append("--no-limits")
        self._log = (folder / f"{name}.log").open("wb")
        self.process = subprocess.Popen(  # noqa: S603 our own command
            [sys.executable, "-m", "gameball_async", "relay", "run", *options],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the demo, which stops the relays itself
        )

    def wait_until_ready(self) -> None:
        """Wait for the ready file."""
        _wait(lambda: self._ready.exists() or self.process.poll() is not None, f"{self.name} to be ready")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended:\n{Path(self._log.name).read_text()}")

    def end(self) -> int:
        """Stop it as an orchestrator does, and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._log.close()


class Outbox:
    """What the demo asks the database."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)

    def create_tables(self) -> None:
        """Create the shop's tables and the outbox's."""
        from sqlalchemy import create_engine  # noqa: PLC0415 only for the tables

        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self._connection.info.dsn))
        Base.metadata.create_all(engine)
        engine.dispose()
        self._connection.execute(schema().encode())

    def is_empty(self) -> bool:
        """Return whether every event has its outcome."""
        return bool(self._one("SELECT NOT EXISTS (SELECT FROM gameball_event)"))

    def shards_of(self, name: str) -> int:
        """Return how many shards the running relay of this name owns."""
        return int(
            self._one(
                "SELECT count(*) FROM gameball_shard AS shard JOIN gameball_relay AS relay ON relay.id = shard.relay "
                "WHERE relay.name = %s AND NOT relay.dead",
                name,
            )
        )

    def sealed_lines(self, name: str) -> set[int]:
        """Return the lines that the relay of this name may have sent, without having noted the answer."""
        rows = self._connection.execute(
            "SELECT (event.metadata ->> 'line')::int FROM gameball_sent AS sent "
            "JOIN gameball_relay AS relay ON relay.id = sent.relay "
            "JOIN gameball_event AS event ON event.shard = sent.shard AND event.seq = ANY(sent.seqs) "
            "WHERE relay.name = %s",
            [name],
        )
        return {line for (line,) in rows}

    def committed(self) -> dict[str, list[int]]:
        """Return the lines of the orders that were committed: by customer, in order."""
        rows = self._connection.execute(
            "SELECT customer, line.id FROM shop_order_line AS line JOIN shop_order ON shop_order.id = order_id "
            "ORDER BY line.id"
        )
        committed: dict[str, list[int]] = {}
        for customer, line in rows:
            committed.setdefault(customer, []).append(line)
        return committed

    def dead_letters(self) -> int:
        """Return the number of events that will not arrive."""
        return int(self._one("SELECT count(*) FROM gameball_dead"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _one(self, query: str, *values: object) -> Any:  # noqa: ANN401 as the query has it
        row = self._connection.execute(query.encode(), values or None).fetchone()
        return row[0] if row else None


@attrs.frozen
class Receiver:
    """The sandbox, over HTTP.

    Attributes:
        url: its address.
    """

    url: str

    def delivered(self) -> int:
        """Return the number of events it holds."""
        return int(self._get("stats")["events"])

    def held(self) -> Held:
        """Return the lines it holds, by player in order, and the requests that came too fast."""
        holdings: dict[str, list[dict[str, Any]]] = self._get("holdings")
        lines = {player: [int(event["metadata"]["line"]) for event in events] for player, events in holdings.items()}
        requests: list[dict[str, Any]] = self._get("requests")
        too_fast = sum(request["status"] == httpx.codes.TOO_MANY_REQUESTS for request in requests)
        return Held(lines, requests=len(requests), too_fast=too_fast, violations=len(self._get("violations")))

    def _get(self, what: str) -> Any:  # noqa: ANN401 JSON
        return httpx.get(f"{self.url}/_sandbox/{what}", timeout=60).raise_for_status().json()


def main() -> None:
    """Run the demo.

    Raises:
        SystemExit: with 0 if the sandbox holds exactly what was committed, else with 1.
    """
    sys.exit(0 if run(Plan()) else 1)


def run(plan: Plan) -> bool:
    """Run the demo, print the table, and return whether all is as it should be."""
    print_wrapped(
        "A shop places real orders in PostgreSQL, each with its events in the same transaction. Every eighth payment "
        "is refused, and the order rolled back. Two relays deliver to a sandbox with Gameball's limits."
    )
    with tempfile.TemporaryDirectory() as name, Postgres() as postgres, ExitStack() as stack:
        folder, started = Path(name), time.monotonic()
        outbox = Outbox(postgres.dsn)
        stack.callback(outbox.close)
        outbox.create_tables()
        environment = stack.enter_context(_sandbox(folder, plan))
        receiver = Receiver(environment["GAMEBALL_BASE_URL"])
        environment["GAMEBALL_OUTBOX_DSN"] = postgres.dsn
        relays = [_started(stack, f"relay-{number}", folder, plan, environment) for number in (1, 2)]
        with _shop(postgres.dsn, plan) as shop:
            expected = sum(len(order.drafts) for order in orders(plan.rows))
            incidents = [
                _suspend(relays[1], relays[0], outbox, receiver, round(plan.suspend_at * expected)),
                _kill(relays[0], relays[1], outbox, receiver, round(plan.kill_at * expected)),
            ]
            relays[0] = _started(stack, "relay-3", folder, plan, environment)
            print_wrapped("relay-3 was started in its place.")
            rolled_back = json.loads(shop.communicate(timeout=_PATIENCE)[0])
        _wait(outbox.is_empty, "all events to have their outcome")
        seconds = time.monotonic() - started
        codes = [relay.end() for relay in relays]
        outcome = compare(outbox.committed(), rolled_back, receiver.held(), incidents)
        outcome = attrs.evolve(outcome, dead_letters=outbox.dead_letters(), exit_codes=codes, seconds=seconds)
    return _report(outcome)


def _report(outcome: Outcome) -> bool:
    print_outcome(outcome)
    print_wrapped(
        "Data: D. Chen, Online Retail, UCI Machine Learning Repository, 2015, doi 10.24432/C5BW33, CC BY 4.0."
    )
    if outcome.is_as_promised:
        print_wrapped(
            f"Nothing lost, nothing out of order, nothing of an order that was rolled back: "
            f"{counted(outcome.committed, 'event')}, compared one by one."
        )
    else:
        print_wrapped("NOT AS PROMISED: see the table.")
    return outcome.is_as_promised


def _started(stack: ExitStack, name: str, folder: Path, plan: Plan, environment: dict[str, str]) -> RelayProcess:
    relay = RelayProcess(name, folder, plan, environment)
    stack.callback(relay.kill)
    relay.wait_until_ready()
    return relay


@contextmanager
def _sandbox(folder: Path, plan: Plan) -> Generator[dict[str, str]]:
    """Run the sandbox as a process, and yield the environment of what sends to it."""
    ready, log = folder / "sandbox.env", folder / "sandbox.log"
    command = [sys.executable, "-m", "gameball_async", "sandbox", "--port", "0", "--ready-file", str(ready)]
    command += [] if plan.is_paced else ["--no-limits"]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 our own command
            [*command, "--fault", _LATENCY], cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(lambda: ready.exists() or process.poll() is not None, "the sandbox to be ready")
        if process.poll() is not None:
            raise RuntimeError(f"the sandbox has ended:\n{log.read_text()}")
        yield dict(line.split("=", 1) for line in ready.read_text().splitlines())
    finally:
        process.kill()
        process.wait()


@contextmanager
def _shop(dsn: str, plan: Plan) -> Generator[subprocess.Popen[bytes]]:
    """Run the shop as a process."""
    rows = [] if plan.rows is None else ["--rows", str(plan.rows)]
    process = subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, "-m", "examples.demo_relay.shop", dsn, "--pause", str(plan.pause), *rows],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _suspend(relay: RelayProcess, other: RelayProcess, outbox: Outbox, receiver: Receiver, delivered: int) -> Incident:
    """Suspend a relay until the other one has taken over, and resume it."""
    _wait(lambda: receiver.delivered() >= delivered or outbox.is_empty(), "deliveries")
    _wait(lambda: outbox.shards_of(relay.name) > 0, "shards of the relay")
    _wait(lambda: bool(outbox.sealed_lines(relay.name)) or outbox.is_empty(), "a request in flight")
    began = time.monotonic()
    relay.process.send_signal(signal.Signals["SIGSTOP"])  # by name, as Windows has neither
    sealed = outbox.sealed_lines(relay.name)
    _wait(lambda: not outbox.shards_of(relay.name) and outbox.shards_of(other.name) > 0, "a takeover")
    seconds = time.monotonic() - began
    relay.process.send_signal(signal.Signals["SIGCONT"])
    print_wrapped(f"{relay.name} was suspended; {other.name} took over after {seconds:.1f} s. {relay.name} is resumed.")
    _wait(lambda: outbox.shards_of(relay.name) > 0, "the resumed relay to have shards again")
    return Incident(f"{relay.name} was suspended", sealed, seconds)


def _kill(relay: RelayProcess, other: RelayProcess, outbox: Outbox, receiver: Receiver, delivered: int) -> Incident:
    """Kill a relay, and wait until the other one has taken over."""
    _wait(lambda: receiver.delivered() >= delivered or outbox.is_empty(), "deliveries")
    _wait(lambda: outbox.shards_of(relay.name) > 0, "shards of the relay")
    _wait(lambda: bool(outbox.sealed_lines(relay.name)) or outbox.is_empty(), "a request in flight")
    began = time.monotonic()
    relay.process.kill()
    sealed = outbox.sealed_lines(relay.name)
    _wait(lambda: not outbox.shards_of(relay.name) and outbox.shards_of(other.name) > 0, "a takeover")
    seconds = time.monotonic() - began
    print_wrapped(f"{relay.name} was killed; {other.name} took over after {seconds:.1f} s.")
    return Incident(f"{relay.name} was killed", sealed, seconds)


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(_TICK)
