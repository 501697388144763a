"""A small service with a journal, made to be killed: many tasks call for many players, and it keeps a book of that.

The book is a file that lines are appended to without a buffer: it outlives the process, and whatever is in it was so.
"""

from __future__ import annotations

import math
import os
import sys
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Literal

import anyio
import attrs

from gameball_async import AsyncGameball, Batching, BufferFull, Delivered, Receipt, Rejected, Retry

GUILTY = "guilty"
"""An event that the sandbox refuses for good."""

_ALPHABET = "abcdefgh ÄÖÜ€\n\"\\'\u2028😀"


@attrs.frozen(kw_only=True)
class Life:
    """One process of the service, from its start to its end.

    Args:
        number: tells it from others of the same round; later ones are greater.
        seed: decides who calls what.
        backend: the loop.
        url: where it sends to.
        folder: the journal.
        book: where it writes down what was acknowledged.
        seconds: how long it calls.
        events: how many events it tracks, at most.
        pause: seconds between two calls of a task, at most.
        then: what it does afterwards: nothing, close at once, or close when everything is settled.
        players: whom it calls for.
        producers: tasks that call, each for players of its own.
        sends: the share of the calls that send and wait for the outcome.
        names: different event names: few, so that batches are cut where a name comes again.
        buffer_events: how many events are in memory, at most.
    """

    number: int
    seed: int
    backend: str
    url: str
    folder: Path
    book: Path
    seconds: float = math.inf
    events: float = math.inf
    pause: float = 0.01
    then: Literal["stay", "close", "settle"] = "stay"
    players: int = 30
    producers: int = 15
    sends: float = 0.05
    names: int = 8
    buffer_events: int = 100_000


def event(life: int, player: str, serial: int, *, names: int = 8) -> tuple[str, dict[str, Any]]:
    """A player's event of that serial number: its name and its metadata, the same whoever asks."""
    random = Random(f"{life} {player} {serial}")
    length = 3000 if random.random() < 0.01 else random.randrange(100)
    text = "".join(random.choice(_ALPHABET) for _ in range(length))
    # one in a hundred where batches are small; rarer where they are large, because each is split for its sake
    name = GUILTY if random.random() < 0.08 / names else f"event{serial % names}"
    return name, {"life": life, "player": player, "serial": serial, "text": text}


def mobile_of(player: str) -> str | None:
    """The mobile number of every third player."""
    number = int(player.removeprefix("player"))
    return f"+20100{number:05d}" if number % 3 == 0 else None


def contact_of(player: str, serial: int) -> str | None:
    """The mobile number that an event comes with: every second one of a player who has a number."""
    return mobile_of(player) if serial % 2 else None


def live(life: Life, news: Connection) -> None:
    """Be the process; what it has come to is sent as `news`."""
    log = os.open(life.book.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)  # the one that was inherited is pytest's
    anyio.run(_Service(life, news).run, backend=life.backend)


class _Service:
    def __init__(self, life: Life, news: Connection) -> None:
        self._life = life
        self._news = news
        self._book = os.open(life.book, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._serials: dict[str, int] = {}
        self._called = 0

    def _write(self, kind: str, player: str, serial: int) -> None:
        os.write(self._book, f"{kind} {self._life.number} {player} {serial}\n".encode())

    async def run(self) -> None:
        life = self._life
        gameball = AsyncGameball(
            "crash-key",
            base_url=life.url,
            journal=life.folder,
            rate=None,
            timeout=20,
            batching=Batching(linger=0.01, buffer_events=life.buffer_events, wait_timeout=60),
            # innocent batches draw many 5xx here; to split or reject them is not what is tested
            retry=Retry(initial=0.02, maximum=0.1, max_attempts=10**6, give_up_after=math.inf),
        )
        self._news.send_bytes(b"up")
        async with gameball:
            self._news.send_bytes(b"open")
            until = anyio.current_time() + life.seconds
            async with anyio.create_task_group() as tasks:
                for producer in range(life.producers if life.seconds else 0):
                    tasks.start_soon(self._produce, gameball, producer, until)
            if life.then == "stay":
                self._news.send_bytes(b"done")
                await anyio.sleep_forever()
            if life.then == "settle":
                await gameball.flush()
            self._news.send_bytes(b"closing")
            await gameball.aclose(timeout=0.2 if life.then == "close" else 100)

    # ---------------------------------------------------------------- the calls

    async def _produce(self, gameball: AsyncGameball, producer: int, until: float) -> None:
        life = self._life
        random = Random(f"{life.seed} {life.number} {producer}")
        own = [f"player{number}" for number in range(producer, life.players, life.producers)]
        waiting: deque[tuple[str, int, Receipt]] = deque()
        undurable: deque[tuple[str, int, Receipt]] = deque()
        while anyio.current_time() < until and self._called < life.events:
            player, kind = random.choice(own), random.random()
            if kind < life.sends:
                await self._send(gameball, player)
            elif kind < 0.8:
                waiting.append(await self._track(gameball, player))
            else:
                with suppress(BufferFull):
                    undurable.append(self._track_nowait(gameball, player))
            while undurable and undurable[0][2].durable:
                self._write("acknowledged", *undurable[0][:2])
                waiting.append(undurable.popleft())
            while waiting and waiting[0][2].done:
                await self._note_outcome(*waiting.popleft())
            await anyio.sleep(random.random() * life.pause)

    def _next(self, player: str) -> tuple[str, dict[str, Any], int]:
        self._called += 1
        serial = self._serials[player] = self._serials.get(player, 0) + 1
        self._write("placed", player, serial)
        return *event(self._life.number, player, serial, names=self._life.names), serial

    async def _track(self, gameball: AsyncGameball, player: str) -> tuple[str, int, Receipt]:
        name, metadata, serial = self._next(player)
        receipt = await gameball.track(player, name, metadata, mobile=contact_of(player, serial))
        self._write("acknowledged", player, serial)
        return player, serial, receipt

    def _track_nowait(self, gameball: AsyncGameball, player: str) -> tuple[str, int, Receipt]:
        name, metadata, serial = self._next(player)
        return player, serial, gameball.track_nowait(player, name, metadata, mobile=contact_of(player, serial))

    async def _send(self, gameball: AsyncGameball, player: str) -> None:
        (first, metadata, serial), (second, other, _) = self._next(player), self._next(player)
        events = {first: metadata, second: other}
        try:
            await gameball.send(player, events, mobile=mobile_of(player))
        except Rejected:
            assert GUILTY in events
            return
        for number in (serial, serial + 1)[2 - len(events) :]:
            self._write("acknowledged", player, number)

    async def _note_outcome(self, player: str, serial: int, receipt: Receipt) -> None:
        try:
            delivered: Delivered = await receipt
        except Rejected:
            return
        self._write("announced" if delivered.maybe_duplicate else "delivered", player, serial)
