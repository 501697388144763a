"""A round: clients fill a folder, its files are damaged, later clients send what is left, and the sums are checked.

The folders of the rounds at rest are filled once for several rounds: each round damages a copy.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import anyio
import attrs
import httpx

from gameball_async import DeadLetterKind, DeadLetters, DeliveryError, Event, JournalError, inspect_journal
from gameball_async._journal.state import MARK, read_mark
from gameball_async.sandbox import Sandbox

from .damages import AT_REST, WHILE_OPEN, Damage, Place
from .lives import PATIENCE, REFUSAL, TROUBLE, Life, Tracker, Victim
from .model import Arrival, Key, Ledger, key_of, keys_in, metadata_of, reported_losses

ROUNDS_PER_FOLDER = 10
ACCOUNTS = ("a", "b")


@attrs.frozen(kw_only=True)
class Filled:
    """A folder as clients left it.

    Attributes:
        folder: where it is.
        older: a copy of it from an earlier moment.
        ledger: what the clients were told.
        arrivals: what the sandbox had got.
    """

    folder: Path
    older: Path
    ledger: Ledger
    arrivals: tuple[Arrival, ...]


@attrs.frozen(kw_only=True)
class Result:
    """A round that has passed.

    Attributes:
        seed: its seed.
        what: what happened.
        durable: events that were durable.
        missing: those of them that neither arrived nor came back.
        reported: how many lost events the log reports, at most.
    """

    seed: int
    what: str
    durable: int
    missing: int
    reported: int


class Log(logging.Handler):
    """The lines of the library's log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, unless it is about the answers of the sandbox."""
        line = f"{record.levelname} {record.getMessage()}"
        if not _EXPECTED.search(line):
            self.lines.append(line)


_EXPECTED = re.compile(
    r"will not arrive, 'refused'|the client was closed before delivery|Gameball|sends? again|fails again and again"
)


class Rounds:
    """Rounds, one after another, in one event loop.

    Args:
        folder: an empty one.
        sandbox: where the clients send to.
        http_client: what they send with.
    """

    def __init__(self, folder: Path, sandbox: Sandbox, http_client: httpx.AsyncClient) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._http_client = http_client
        self._filled: dict[int, Filled] = {}

    async def run(self, seed: int) -> Result:
        """Run one round.

        Raises:
            AssertionError: if a promise is broken.
        """
        round_ = _Round(seed, self._folder / "round", self._sandbox, self._http_client)
        log = Log()
        logger = logging.getLogger("gameball_async")
        logger.addHandler(log)
        is_propagated, logger.propagate = logger.propagate, False
        try:
            round_.log = log.lines
            with anyio.fail_after(PATIENCE):
                if seed % 3 == 2:
                    await round_.run_while_open()
                else:
                    await round_.run_at_rest(await self._folder_of(seed))
            return round_.check()
        except BaseException as error:
            kept = Path(tempfile.mkdtemp(prefix=f"journal-fuzz-{seed}-"))
            with suppress(OSError):
                shutil.copytree(round_.found, kept, symlinks=True, dirs_exist_ok=True)
            error.add_note("\n".join([f"Seed {seed}: {round_.what}", f"The files are kept in {kept}.", *log.lines]))
            raise
        finally:
            logger.removeHandler(log)
            logger.propagate = is_propagated

    async def _folder_of(self, seed: int) -> Filled:
        number = seed // ROUNDS_PER_FOLDER
        if number not in self._filled:
            self._filled.clear()
            self._filled[number] = await self._fill(number)
        return self._filled[number]

    async def _fill(self, number: int) -> Filled:
        """Let clients fill a folder and end, in one of the ways in which clients end."""
        random = Random(f"folder {number}")
        base = self._folder / "filled"
        shutil.rmtree(base, ignore_errors=True)
        live, older, left = base / "live", base / "older", base / "left"
        self._sandbox.reset()
        self._sandbox.script(*TROUBLE)
        lives = [
            Life(account=account, number=life, seed=f"{number} {life}", url=self._sandbox.url, folder=live)
            for life, account in enumerate(random.choice(["a", "a", "aa", "ab", "aab"]))
        ]
        if random.random() < 0.3:
            ledger = await self._fill_and_kill(lives)
            shutil.copytree(live, left)
            shutil.copytree(live, older)
        else:
            ledger = await self._fill_and_close(lives, older, left, is_clean=random.random() < 0.4)
        self._sandbox.wait_for(lambda tally: not tally.in_flight)
        return Filled(folder=left, older=older, ledger=ledger, arrivals=tuple(arrivals_in(self._sandbox, 0)))

    async def _fill_and_kill(self, lives: Sequence[Life]) -> Ledger:
        """Let clients work in processes of their own; kill them when all are done, or a late one adopts files."""
        ledger = Ledger()
        victims = [Victim(life) for life in lives]
        try:
            for victim in victims:
                ledger += await anyio.to_thread.run_sync(victim.result)
        finally:
            for victim in victims:
                victim.kill()
        return ledger

    async def _fill_and_close(self, lives: Sequence[Life], older: Path, left: Path, *, is_clean: bool) -> Ledger:
        """Let clients work here; the files are copied before the close, as a dead process leaves them, or after it."""
        live, ledger = lives[0].folder, Ledger()
        trackers = [Tracker(life, self._http_client) for life in lives]
        for tracker in trackers:
            await tracker.start()
        for tracker in trackers:
            await tracker.settle_some()
        shutil.copytree(live, older)
        for tracker in trackers:
            await tracker.leave_some()
        if not is_clean:
            shutil.copytree(live, left)
            for tracker in trackers:
                ledger += tracker.ledger
        for tracker in trackers:
            await tracker.close(0.02)
        if is_clean:
            shutil.copytree(live, left)
            for tracker in trackers:
                ledger += tracker.ledger
        return ledger


class _Round:
    def __init__(self, seed: int, base: Path, sandbox: Sandbox, http_client: httpx.AsyncClient) -> None:
        self.what = "not begun"
        self.log: list[str] = []
        self._seed = seed
        self._random = Random(f"round {seed}")
        shutil.rmtree(base, ignore_errors=True)
        self._folder, self._elsewhere = base / "journal", base / "elsewhere"
        self._elsewhere.mkdir(parents=True)
        self.found = base / "found"
        self._sandbox = sandbox
        self._http_client = http_client
        self._damages: list[Damage] = []
        self._ledger = Ledger()
        self._arrivals: list[Arrival] = []
        self._phase = 0
        self._before: set[Key] = set()
        self._untraceable: set[Key] = set()

    # ---------------------------------------------------------------- at rest

    async def run_at_rest(self, filled: Filled) -> None:
        """Damage files between two clients."""
        self._sandbox.reset()
        self._ledger += filled.ledger
        self._arrivals += filled.arrivals
        shutil.copytree(filled.folder, self._folder)
        intact = files_in(self._folder)
        for _ in range(self._random.choice([1, 1, 1, 2])):
            self._damage(AT_REST, filled.older)
        self._keep()
        self._untraceable = untraceable(intact, self._folder)
        self._inspect()
        await self._send_what_is_left()

    def _damage(self, table: Sequence[Damage], older: Path) -> None:
        damage = self._random.choice(table)
        self._damages.append(damage)
        place = Place(self._folder, older, self._elsewhere, self._random)
        try:
            where = damage.apply(place)
        except (IndexError, FileNotFoundError):  # there is no such file
            where = "nothing"
        self.what = f"{self.what}, {damage.name}: {where}".removeprefix("not begun, ")

    def _keep(self) -> None:
        """Keep the files as the next client finds them."""
        with suppress(FileNotFoundError):
            shutil.copytree(self._folder, self.found, symlinks=True)
        self._before = content_of(self.found)

    def _inspect(self) -> None:
        before = snapshot_of(self._folder)
        with suppress(JournalError):
            inspect_journal(self._folder)
        assert snapshot_of(self._folder) == before, "an inspection changes nothing"

    # ---------------------------------------------------------------- while open

    async def run_while_open(self) -> None:
        """Damage files while a client has them open."""
        self._sandbox.reset()
        self._sandbox.script(*TROUBLE)
        older = self._elsewhere / "older"
        life = Life(account="a", number=0, seed=f"open {self._seed}", url=self._sandbox.url, folder=self._folder)
        tracker = Tracker(life, self._http_client)
        await tracker.start()
        shutil.copytree(self._folder, older)
        moment = self._random.randrange(4)
        steps = [tracker.settle_some, tracker.leave_some, tracker.leave_some]
        for number, step in enumerate(steps):
            if number == moment:
                self._damage(WHILE_OPEN, older)
            await step()
            if number == 0:
                shutil.rmtree(older)
                older.mkdir()
                with suppress(FileNotFoundError):
                    shutil.copytree(self._folder, older, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        intact: dict[str, set[Key]] = {}
        if moment == len(steps):
            intact = files_in(self._folder)
            self._damage(WHILE_OPEN, older)
        end = self._random.choice(["kill", "close", "flush"])
        if end == "kill":  # what a later process finds
            self._untraceable = untraceable(intact, self._folder)
            with suppress(FileNotFoundError):
                shutil.copytree(self._folder, self._elsewhere / "left", symlinks=True)
            self._ledger += tracker.ledger
        if end == "flush":
            self._sandbox.script(REFUSAL)
            with anyio.move_on_after(10):
                await tracker.flush()
        lines = len(self.log)
        await tracker.close(0.02)
        if end == "kill":
            del self.log[lines:]
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(FileNotFoundError):
                (self._elsewhere / "left").rename(self._folder)
        else:
            self._ledger += tracker.ledger
        self.what = f"{self.what}, at step {moment}, then {end}"
        self._collect()
        self._keep()
        self._inspect()
        await self._send_what_is_left()

    # ---------------------------------------------------------------- afterwards

    async def _send_what_is_left(self) -> None:
        """Start clients until everything is sent that clients can send."""
        self._sandbox.script(REFUSAL)
        await self._send("a", is_fresh=True)
        await self._send("a")
        if any(key.player.startswith("b") for key in self._ledger.names):
            await self._send("b")
        if any("adopt=" in line for line in self.log):
            await self._send("a", any_=True)

    async def _send(self, account: str, *, any_: bool = False, is_fresh: bool = False) -> None:
        life = Life(account=account, number=8, seed="later", url=self._sandbox.url, folder=self._folder)
        client = life.client(self._failed, self._http_client, any_=any_)
        await client.start()
        if is_fresh:
            for player in sorted({key.player for key in self._ledger.names if key.player.startswith(account)}):
                key = Key(player, life.number, 1)
                self._ledger.names[key] = "fresh"
                await client.track(player, "fresh", metadata_of(key))
                self._ledger.durable.add(key)
        with anyio.fail_after(PATIENCE / 2):
            await client.flush()
        report = await client.aclose(timeout=10)
        stats = client.stats()
        parts = stats.delivered + stats.rejected + stats.dropped + stats.unknown + stats.pending
        assert stats.accepted == parts, stats
        self._ledger.reported |= {key_of(undelivered.event.metadata) for undelivered in report.undelivered}
        self._collect()

    def _failed(self, event: Event, _: DeliveryError) -> None:
        key = key_of(event.metadata)
        assert event.metadata == metadata_of(key), key
        self._ledger.reported.add(key)

    def _collect(self) -> None:
        self._sandbox.wait_for(lambda tally: not tally.in_flight)
        self._phase += 1
        self._arrivals += arrivals_in(self._sandbox, self._phase)
        self._sandbox.reset()
        self._sandbox.script(REFUSAL)

    # ---------------------------------------------------------------- the promises

    def check(self) -> Result:
        """Check every promise."""
        copies: dict[Key, list[Arrival]] = defaultdict(list)
        for arrival in self._arrivals:
            key = key_of(arrival.metadata)
            assert key in self._ledger.names, f"{key} was never placed"
            assert (arrival.player, arrival.name) == (key.player, self._ledger.names[key]), f"{key} was altered"
            assert arrival.metadata == metadata_of(key), f"{key} was altered"
            copies[key].append(arrival)
        self._check_order(copies)
        self._check_repeats(copies)
        return self._check_losses(set(copies))

    def _check_order(self, copies: dict[Key, list[Arrival]]) -> None:
        order: dict[tuple[int, str], list[Key]] = defaultdict(list)
        for key, arrivals in copies.items():
            order[arrivals[0].phase, key.player].append(key)
        for keys in order.values():
            assert keys == sorted(keys), f"the order of {keys[0].player} was changed: {keys}"

    def _check_repeats(self, copies: dict[Key, list[Arrival]]) -> None:
        if self._is_untraceable or "may be sent twice" in "".join(self.log):
            return
        repeated = {key for key, arrivals in copies.items() if len(arrivals) > 1}
        settled = repeated & self._ledger.settled
        assert not settled, f"sent again, although their removal was durable: {sorted(settled)[:5]}"

    @property
    def _is_untraceable(self) -> bool:
        """Whether the folder was brought back to an earlier moment, and what shows that is damaged too."""
        is_older = any(damage.is_older for damage in self._damages)
        return any(damage.is_untraceable for damage in self._damages) or (is_older and len(self._damages) > 1)

    def _check_losses(self, arrived: set[Key]) -> Result:
        letters, damaged_letters = self._letters()
        missing = self._ledger.durable - arrived - letters - self._ledger.reported - self._untraceable
        reported = reported_losses(self.log) + self._left_in_files()
        gone = missing & (self._before - content_of(self._folder) - content_of(self._elsewhere))
        if self._is_untraceable:
            reported = max(reported, len(missing))
        reported += damaged_letters
        assert len(missing) <= reported, (
            f"{len(missing)} are lost and {reported} reported, among them {sorted(missing)[:5]}"
        )
        assert len(gone) <= damaged_letters, f"unlinked although it was not sent: {sorted(gone)[:5]}"
        if all(damage.is_harmless for damage in self._damages):
            assert all("another account" in line for line in self.log), "a false alarm"
        return Result(
            seed=self._seed,
            what=self.what,
            durable=len(self._ledger.durable),
            missing=len(missing),
            reported=reported,
        )

    def _letters(self) -> tuple[set[Key], int]:
        """The events among the dead letters, and how many letters are damaged."""
        keys: set[Key] = set()
        damaged = 0
        with suppress(JournalError):
            for letter in DeadLetters(self._folder):
                if letter.kind is DeadLetterKind.DAMAGED:
                    damaged += 1
                    continue
                key = key_of(letter.metadata)
                assert letter.event is not None
                assert letter.metadata == metadata_of(key), f"the dead letter {key} was altered"
                assert letter.event.player_unique_id == key.player, f"the dead letter {key} was altered"
                keys.add(key)
        return keys, damaged

    def _left_in_files(self) -> int:
        """How many events are in files that the status shows, at most."""
        with suppress(JournalError):
            shown = [file for file in inspect_journal(self._folder) if ".damaged" not in file.path.name]
            return sum(10**9 if file.pending is None else file.pending for file in shown)
        return 0


def arrivals_in(sandbox: Sandbox, phase: int) -> list[Arrival]:
    """What the sandbox holds."""
    return [
        Arrival(phase, player, held.name, dict(held.metadata))
        for player, events in sandbox.holdings().items()
        for held in events
    ]


def content_of(folder: Path) -> set[Key]:
    """The events whose text lies in any file of a folder."""
    keys: set[Key] = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".reserve":
            keys |= keys_in(path.read_bytes())
    return keys


def files_in(folder: Path) -> dict[str, set[Key]]:
    """The events in the files of each client, by what the names of its files begin with."""
    found: dict[str, set[Key]] = defaultdict(set)
    for path in folder.iterdir():
        if path.suffix in _TRACES and path.is_file():
            found[path.stem] |= keys_in(path.read_bytes())
    return found


def untraceable(before: Mapping[str, set[Key]], folder: Path) -> set[Key]:
    """The events of clients of whose files nothing is left: no later client can know that there were any."""
    left: set[str] = set()
    if folder.is_dir():
        left = {path.stem for path in folder.iterdir() if path.suffix in _TRACES and _is_trace(path)}
    return {key for stem, keys in before.items() if stem not in left for key in keys}


def _is_trace(path: Path) -> bool:
    """Whether something can be known from a file; a mark that is damaged says nothing."""
    if path.is_symlink() or not path.is_file():
        return True
    if path.suffix == MARK:
        return read_mark(path) is not None or path.stat().st_size > 1024
    return bool(path.read_bytes().strip(b"\0"))


_TRACES = (".journal", ".journal-wal", ".mark")


def snapshot_of(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything in a folder, as it is now."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found
