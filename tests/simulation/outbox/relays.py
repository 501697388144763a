"""A relay as a process: the real one, with the world's database and network."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from random import Random

from gameball_async import Stats
from gameball_async.outbox import Relay

from .database import Network, SimulatedOutbox
from .oracle import Oracle
from .plan import OutboxPlan
from .tables import Tables
from .world import Process, World


class RelayProcess:
    """One life of a relay.

    Args:
        name: for the trace.
        world: what it lives in.
        plan: the settings.
        tables: the database.
        network: before the database.
        oracle: is told of what is wrong.

    Attributes:
        is_stopping: whether it was stopped.
    """

    def __init__(
        self, name: str, world: World, plan: OutboxPlan, tables: Tables, network: Network, oracle: Oracle
    ) -> None:
        self.process = Process(world, name)
        self.is_stopping = False
        self.has_returned = False
        self._stopped_at = 0.0
        self._plan = plan
        self._oracle = oracle
        self._on_seal: Callable[[], object] | None = None
        random = Random(f"{plan.seed} {name}")
        self._database = _Database(world, self.process, tables, network, random)
        self._relay: Relay | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it takes no further step."""
        return self.has_returned or self.process.is_dead

    def start(self, ids: dict[str, int]) -> None:
        """Run it."""
        self._database.ids = ids
        self.process.start(self._main)

    async def _main(self) -> None:
        plan = self._plan
        relay = self._relay = Relay(
            self._database,
            "key",
            base_url="http://gameball.invalid",
            lease=plan.lease,
            rate=plan.rate,
            batching=plan.batching,
            retry=plan.retry,
            timeout=plan.timeout,
            name=self.process.name,
        )
        if self.is_stopping:
            relay.stop()
        try:
            await relay.run()
        except Exception as error:  # noqa: BLE001 whatever comes out of it is a finding
            if not self.process.is_dead:
                self._oracle.fail(f"{self.process}: {''.join(traceback.format_exception(error))}")
        else:
            if not self.is_stopping and not self.process.is_dead:
                self._oracle.fail(f"{self.process} ended by itself")
        if not self.process.is_dead:
            self.has_returned = True
            self._oracle.check_ended(
                self.process, relay.stats(), is_closed=self._database.is_closed, stopped_at=self._stopped_at
            )

    def stats(self) -> Stats | None:
        """What it says of itself."""
        return None if self._relay is None or self.has_ended else self._relay.stats()

    # ---------------------------------------------------------------- what happens to it

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def stop(self) -> None:
        """Let it hand over its shards and end, as SIGTERM does."""
        if self.is_stopping:
            return
        self.is_stopping, self._stopped_at = True, self._oracle.now()
        if self._relay is not None:
            self.process.post(self._relay.stop)

    def suspend(self, *, asleep: bool) -> None:
        """Stop it, as SIGSTOP does; `asleep`: with the machine."""
        if not self.process.is_suspended:
            self.process.suspend(asleep=asleep)

    def suspend_before_request(self, on_suspended: Callable[[], object] | None) -> None:
        """Stop it when it has got the reply to a seal and has not written its request; None: not any more."""
        self._on_seal = on_suspended

    async def sealed(self) -> None:
        """Between the reply to a seal and the request: here it may be stopped."""
        if (on_suspended := self._on_seal) is not None and not self.process.is_suspended:
            self._on_seal = None
            self._oracle.trace.note("suspended", self.process, "between seal and request")
            self.process.suspend()
            on_suspended()
            await asyncio.sleep(0)


class _Database(SimulatedOutbox):
    """Notes under which id the relay lives."""

    ids: dict[str, int]

    async def register(self, name: str, lease: float) -> int:
        relay = await super().register(name, lease)
        self.ids[self._process.name] = relay
        return relay
