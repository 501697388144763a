"""The oracle: what was acknowledged beside what the sandbox holds and what lies among the dead letters."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import attrs

from gameball_async import DeadLetterKind, DeadLetters, inspect_journal
from gameball_async.sandbox import HeldEvent, RequestRecord, Sandbox

from .service import GUILTY, contact_of, event, mobile_of


class Key(NamedTuple):
    """Which event it is; in this order they were placed."""

    player: str
    life: int
    serial: int


class End(NamedTuple):
    """The end of a process that may have left something behind, in seconds of `time.monotonic`.

    Attributes:
        gone: when the process was gone.
        drained: when the sandbox had read all that the process had sent.
    """

    gone: float
    drained: float


@attrs.frozen
class Figures:
    """A round in numbers.

    Attributes:
        rounds: how many rounds these are.
        kills: processes that were killed.
        acknowledged: events of which the service was told that they are safe.
        held: events that the sandbox holds, each counted once.
        dead: events among the dead letters.
        repeated: copies beyond the first.
        announced: those of them behind an attempt whose answer got lost while the process lived.
        in_flight: those of them whose first request had no answer when its process ended.
        lagging: those of them whose first request was answered, and whose removal was not on disk yet.
        lag: seconds from such an answer to the end of the process, at most.
    """

    rounds: int = 1
    kills: int = 0
    acknowledged: int = 0
    held: int = 0
    dead: int = 0
    repeated: int = 0
    announced: int = 0
    in_flight: int = 0
    lagging: int = 0
    lag: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            rounds=self.rounds + other.rounds,
            kills=self.kills + other.kills,
            acknowledged=self.acknowledged + other.acknowledged,
            held=self.held + other.held,
            dead=self.dead + other.dead,
            repeated=self.repeated + other.repeated,
            announced=self.announced + other.announced,
            in_flight=self.in_flight + other.in_flight,
            lagging=self.lagging + other.lagging,
            lag=max(self.lag, other.lag),
        )


class Book:
    """What the lives of a round have written down.

    Attributes:
        placed: the events that a life was about to place, in order, by player.
        acknowledged: those that it was told are safe.
        outcomes: those of whose delivery it was told.
        announced: those of them that may have arrived twice, as it was told.
    """

    def __init__(self, path: Path) -> None:
        self.placed: dict[str, list[Key]] = defaultdict(list)
        self.acknowledged: set[Key] = set()
        self.outcomes: set[Key] = set()
        self.announced: set[Key] = set()
        self._outcomes_of: dict[int, list[Key]] = defaultdict(list)
        self._known_before: dict[Key, int] = {}
        self._forgotten: Counter[int] = Counter()
        for line in path.read_text().splitlines() if path.exists() else ():
            kind, life, player, serial = line.split()
            self._read(kind, Key(player, int(life), int(serial)))

    def _read(self, kind: str, key: Key) -> None:
        if kind == "placed":
            self.placed[key.player].append(key)
            self._known_before[key] = len(self._outcomes_of[key.life])
        elif kind == "acknowledged":
            self.acknowledged.add(key)
            self._forgotten[key.life] = max(self._forgotten[key.life], self._known_before[key])
        else:
            self.outcomes.add(key)
            self._outcomes_of[key.life].append(key)
            if kind == "announced":
                self.announced.add(key)

    def forgotten(self) -> set[Key]:
        """Events whose removal must be on disk: what was placed behind their outcome is stored, in the same order."""
        return {key for life, known in self._outcomes_of.items() for key in known[: self._forgotten[life]]}


class Oracle:
    """What became of the events of a round.

    Args:
        book: what the lives wrote down.
        sandbox: where they sent to.
        folder: the journal.
        ends: of the lives that were killed, or closed with events left, by their number.
        names: the different event names.
    """

    def __init__(self, book: Path, sandbox: Sandbox, folder: Path, ends: Mapping[int, End], *, names: int = 8) -> None:
        self._book = Book(book)
        self._sandbox = sandbox
        self._folder = folder
        self._ends = ends
        self._names = names
        sandbox.wait_for(lambda tally: not tally.in_flight)  # a process may be gone before its request has ended
        self._requests = {request.number: request for request in sandbox.requests}
        self._copies: dict[Key, list[RequestRecord]] = defaultdict(list)

    def check(self, *, is_one_order: bool = True) -> Figures:
        """Assert every promise; returns the numbers.

        Args:
            is_one_order: whether the lives followed one another, so that a later one's events come later.
        """
        for player, events in self._sandbox.holdings().items():
            self._check_player(player, events, is_one_order=is_one_order)
        dead = self._check_dead_letters()
        lost = self._book.acknowledged - set(self._copies) - dead
        assert not lost, f"{len(lost)} acknowledged events are lost, among them {sorted(lost)[:5]}"
        assert {violation.kind for violation in self._sandbox.violations} <= {"concurrent"}
        assert inspect_journal(self._folder) == [], "the last client leaves no file without events"
        return self._check_copies() + Figures(
            rounds=1,
            acknowledged=len(self._book.acknowledged),
            held=len(self._copies),
            dead=len(dead),
        )

    def _check_player(self, player: str, events: Iterable[HeldEvent], *, is_one_order: bool) -> None:
        """Assert that the events are the player's own, unchanged, and arrived in the order of their calls."""
        arrived: dict[Key, None] = {}
        for held in events:
            key = Key(player, _whole(held.metadata["life"]), _whole(held.metadata["serial"]))
            name, metadata = event(key.life, player, key.serial, names=self._names)
            assert (held.name, held.metadata) == (name, metadata), key
            # an event without a number may have gone with one that had it
            assert held.mobile in {contact_of(player, key.serial), mobile_of(player)}, key
            arrived.setdefault(key)
            self._copies[key].append(self._requests[held.request])
        placed = [key for key in self._book.placed[player] if key in arrived]
        if is_one_order:
            assert list(arrived) == placed
        for life in {key.life for key in placed}:
            assert [key for key in arrived if key.life == life] == [key for key in placed if key.life == life]

    def _check_dead_letters(self) -> set[Key]:
        """Assert that the dead letters are those that Gameball refused, and no others."""
        dead: set[Key] = set()
        for letter in DeadLetters(self._folder):
            assert letter.kind is DeadLetterKind.REJECTED, letter
            assert letter.event is not None
            key = Key(letter.event.player_unique_id, letter.metadata["life"], letter.metadata["serial"])
            assert (letter.event.name, letter.metadata) == (GUILTY, event(key.life, key.player, key.serial)[1])
            assert key not in dead
            dead.add(key)
        assert not dead & set(self._copies)
        return dead

    # ---------------------------------------------------------------- copies

    def _check_copies(self) -> Figures:
        """Assert that every event which was applied twice has its reason."""
        forgotten, figures = self._book.forgotten(), Figures(rounds=0)
        for key, copies in self._copies.items():
            copies.sort(key=lambda request: request.start)
            assert len({request.digest for request in copies}) == 1, f"{key} was sent again in another request"
            end = self._ends.get(key.life)
            within = [request for request in copies if end is None or request.start < end.drained]
            if key in forgotten:
                assert within == copies, f"{key} was sent again, although its removal was on disk"
            if len(within) > 1 and key in self._book.outcomes:
                assert key in self._book.announced, (
                    f"{key} arrived twice in one life, and the receipt knows nothing of it"
                )
            for earlier, later in pairwise(copies):
                figures += self._why(key, earlier, later)
        return figures

    def _why(self, key: Key, earlier: RequestRecord, later: RequestRecord) -> Figures:
        """The reason why a request was sent again that had been applied."""
        ends = sorted(end for end in self._ends.values() if earlier.start < end.drained < later.start)
        was_answered = earlier.status == 200 and earlier.fault in _SUCCESSES and not earlier.left
        if not ends:
            assert not was_answered, f"{key} was sent again by the client that had its answer: {earlier}, {later}"
            return Figures(rounds=0, repeated=1, announced=1)
        lag = ends[0].gone - earlier.end
        if not was_answered or lag <= 0:
            return Figures(rounds=0, repeated=1, in_flight=1)
        return Figures(rounds=0, repeated=1, lagging=1, lag=lag)


_SUCCESSES = (None, "drip", "huge")
"""Faults, and none, of which the client learns that its request was applied."""


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
