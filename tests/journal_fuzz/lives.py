"""Clients of a round: they track events, write down what they are told, and are closed, killed or damaged meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import anyio
import attrs
import httpx

from gameball_async import (
    AsyncGameball,
    Batching,
    BufferFull,
    DeliveryError,
    Event,
    Journal,
    JournalError,
    Receipt,
    Retry,
)
from gameball_async.sandbox import Fault

from .model import LOST, REFUSED, STUCK, Key, Ledger, key_of, metadata_of

REFUSAL = Fault.status(400, code=3000, events={REFUSED})
TROUBLE = (
    REFUSAL,
    Fault.status(503, events={STUCK}),
    Fault.fail_after_applying(events={LOST}),
)
"""The script while events are left in the journal."""

PATIENCE = 60.0
"""Seconds after which a client hangs; a busy machine is slow."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["gameball_async", "anyio._backends._asyncio", "gameball_async.sandbox"])


@attrs.frozen(kw_only=True)
class Life:
    """What a client does.

    Attributes:
        account: its API key; its players' names begin with it.
        number: tells it from others.
        seed: decides the rest.
        url: where it sends to.
        folder: the journal.
    """

    account: str
    number: int
    seed: str
    url: str
    folder: Path

    def client(
        self, on_failure: Callable[[Event, DeliveryError], None], http_client: httpx.AsyncClient, *, any_: bool = False
    ) -> AsyncGameball:
        """A client with this life's account and folder."""
        return AsyncGameball(
            self.account,
            base_url=self.url,
            journal=Journal(self.folder, adopt="any" if any_ else "same"),
            rate=None,
            timeout=20,
            batching=Batching(linger=0.01, buffer_events=Random(self.seed).choice([5, 30, 1000]), wait_timeout=30),
            retry=Retry(initial=0.02, maximum=0.2, max_attempts=10**6),
            on_failure=on_failure,
            http_client=http_client,
        )


class Tracker:
    """A client at work.

    Args:
        life: what it does.
        http_client: what it sends with.
    """

    def __init__(self, life: Life, http_client: httpx.AsyncClient) -> None:
        self.ledger = Ledger()
        self.life = life
        self._random = Random(life.seed)
        self._players = [f"{life.account}x{life.number}x{number}" for number in range(self._random.randrange(1, 5))]
        self._spread = Random(f"{life.seed} names").choice([1, 10, 10])  # few names: small requests, many: large ones
        self._serial = 0
        self._receipts: dict[Key, Receipt] = {}
        self._client = life.client(self._failed, http_client)

    def _failed(self, event: Event, _: DeliveryError) -> None:
        self.ledger.reported.add(_key_of(event))

    async def start(self) -> None:
        """Start the client."""
        await self._client.start()

    async def settle_some(self) -> None:
        """Track events, and wait until they are delivered and their removal is on disk."""
        for _ in range(self._random.randrange(40)):
            await self._track(self._random.choice(self._players), REFUSED if self._random.random() < 0.05 else None)
        with suppress(JournalError):
            await self._client.flush()
        settled = {key for key, receipt in self._receipts.items() if receipt.done}
        if await self._track(self._players[0]):  # behind the removal of all those
            self.ledger.settled |= settled

    async def leave_some(self) -> None:
        """Track events that stay in the journal."""
        for player in self._players:
            await self._track(player, self._random.choice([STUCK, STUCK, LOST, None]))
        for _ in range(self._random.choice([0, 5, 30, 100])):
            await self._track(self._random.choice(self._players))

    async def _track(self, player: str, name: str | None = None) -> bool:
        """Track one event; returns whether it is durable."""
        self._serial += 1
        key = Key(player, self.life.number, self._serial)
        self.ledger.names[key] = name or f"event{self._random.randrange(4) + 4 * (self._serial % self._spread)}"
        try:
            receipt = await self._client.track(player, self.ledger.names[key], metadata_of(key))
        except (JournalError, BufferFull):
            return False
        assert receipt.durable, key
        self._receipts[key] = receipt
        self.ledger.durable.add(key)
        return True

    async def close(self, seconds: float) -> None:
        """Close the client; what is left stays in the journal."""
        report = await self._client.aclose(timeout=seconds)
        self.ledger.reported |= {_key_of(undelivered.event) for undelivered in report.undelivered}
        for key, receipt in self._receipts.items():
            with suppress(Exception):
                delivered = await receipt
                if delivered.maybe_duplicate:
                    self.ledger.doubtful.add(key)

    async def flush(self) -> None:
        """Wait until everything is delivered."""
        with suppress(JournalError):
            await self._client.flush()


def _key_of(event: Event) -> Key:
    return key_of(event.metadata)


# ---------------------------------------------------------------- in a process of its own


class Victim:
    """A client in a process that is killed."""

    def __init__(self, life: Life) -> None:
        self._news, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_live, args=(life, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def result(self) -> Ledger:
        """Wait until it has done its work; returns what it was told."""
        assert self._news.poll(PATIENCE), "the client hangs"
        ledger: Ledger = self._news.recv()
        return ledger

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._news.close()


def _live(life: Life, news: Connection) -> None:
    anyio.run(_be_killed, life, news)


async def _be_killed(life: Life, news: Connection) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http_client:
        tracker = Tracker(life, http_client)
        await tracker.start()
        await tracker.settle_some()
        await tracker.leave_some()
        news.send(tracker.ledger)
        await anyio.sleep_forever()
