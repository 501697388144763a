"""The power fails: of what was not synced nothing is left, or all of it, or any part; a fresh client sends the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from gameball_async import AsyncGameball, Batching, DeadLetterKind, DeadLetters, Journal, Retry, inspect_journal
from gameball_async.sandbox import Fault, Sandbox

from .conftest import CRASHES, SEED
from .disk import Disk
from .syscalls import Call, trace
from .traced import LATER, PLAYERS, marker, name_of, placed

POINTS = max(CRASHES // 20, 3)
"""Moments at which the power fails in each of the two traced lives; and as many of those that follow a receipt."""

EVENTS, PADDING = (6, 0) if CRASHES < 1000 else (50, 2000)
"""Events of each player, and bytes of each; the many long ones let SQLite move its log into the file many times."""

pytestmark = pytest.mark.timeout(400 + CRASHES)

REFUSAL = Fault.status(400, code=3000, events={"guilty"})
_NUMBER = re.compile(rb"marker-(\d{6})\.")


@attrs.frozen
class Traced:
    """A life that was traced, and the folder as it was before.

    Attributes:
        calls: all of its calls, in the order in which they ended.
        before: the disk, before the first of them.
        acknowledged: the line of the log in which each event was acknowledged; -1 if an earlier life had done so.
        delivered: the line in which its answer was read.
    """

    calls: list[Call]
    before: Callable[[], Disk]
    acknowledged: dict[int, int]
    delivered: dict[int, int]


@pytest.fixture(scope="module", params=["the first life", "a life that adopts"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """One that begins with an empty folder; and one that takes over what a killed one has left, sealed batches too."""
    folder = tmp_path_factory.mktemp("traced")
    journal, book = folder / "journal", folder / "book"
    with Sandbox(limits=None) as sandbox:
        is_first = request.param == "the first life"
        if is_first:
            journal.mkdir()
        else:
            _leave_a_backlog(sandbox, journal, book)
        earlier = _numbers(book.read_bytes(), b"receipt") if book.exists() else []
        files = {path.name: path.read_bytes() for path in journal.iterdir()}
        sandbox.script(REFUSAL)
        calls = trace(folder / "log", "traced", sandbox.url, journal, book, 0 if is_first else LATER, EVENTS, PADDING)
    acknowledged = dict.fromkeys(earlier, -1)
    for call in calls:
        if call.name == "write" and call.path == str(book):
            acknowledged.update(dict.fromkeys(_numbers(call.data[0], b"receipt"), call.begin))
    return Traced(calls, lambda: Disk(journal, files), acknowledged, _deliveries(calls))


def _leave_a_backlog(sandbox: Sandbox, journal: Path, book: Path) -> None:
    """Let a life track its first wave in an outage, and kill it while it sends."""
    sandbox.script(Fault.hang())
    command = [sys.executable, "-m", f"{__package__}.traced", sandbox.url, journal, book, 0, EVENTS, PADDING]
    with subprocess.Popen([str(part) for part in command], cwd=Path(__file__).parent.parent) as process:
        sandbox.wait_for(lambda tally: tally.in_flight == PLAYERS, timeout=100)
        process.kill()


def _numbers(text: bytes, kind: bytes = b"") -> list[int]:
    return [int(number) for line in text.splitlines() if kind in line for number in _NUMBER.findall(line)]


def _deliveries(calls: list[Call]) -> dict[int, int]:
    """Where the answer was read that ended a request well, by event."""
    waiting: dict[str, list[int]] = {}
    delivered: dict[int, int] = {}
    for call in calls:
        if call.name in ("sendto", "sendmsg", "write") and "socket" in call.path:
            waiting[call.path] = _numbers(b"".join(call.data)) or waiting.get(call.path, [])
        elif call.name == "recvfrom" and call.data and call.data[0].startswith(b"HTTP/1.1 200"):
            delivered.update(dict.fromkeys(waiting.pop(call.path, []), call.end))
    return delivered


# ---------------------------------------------------------------- after the failure


def test_what_was_acknowledged_survives_a_loss_of_power_at_any_moment(traced: Traced, tmp_path: Path) -> None:
    """Torn writes too: any sectors or pages of what was not synced, and any names of files."""
    random = Random(f"power {SEED}")
    lines = [call.end for call in traced.calls if "/journal" in call.path]
    points = {*random.sample(lines, min(POINTS, len(lines))), *random.sample(sorted(_receipts(traced)), POINTS)}
    disk, places = traced.before(), count()
    with Sandbox(limits=None) as sandbox:
        sandbox.script(REFUSAL)
        for call in traced.calls:
            disk.apply(call)
            if call.end in points:
                for files in (disk.nothing_more(), disk.everything(), *(disk.something(random) for _ in range(2))):
                    _check(traced, call.end, files, tmp_path / str(next(places)), sandbox)


def _receipts(traced: Traced) -> set[int]:
    begins = {line for line in traced.acknowledged.values() if line >= 0}
    return {call.end for call in traced.calls if call.begin in begins}


def _check(traced: Traced, line: int, files: dict[str, bytes], folder: Path, sandbox: Sandbox) -> None:
    """Start a client on what is left, and assert that nothing that was acknowledged is missing."""
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sandbox.reset()
    anyio.run(_send_all, sandbox.url, folder)
    holdings = sandbox.holdings()
    arrived = {player: [_number(event.metadata) for event in events] for player, events in holdings.items()}
    letters = list(DeadLetters(folder))
    assert {letter.kind for letter in letters} <= {DeadLetterKind.REJECTED}
    buried = {_number(letter.metadata) for letter in letters}
    safe = buried.union(*arrived.values(), (number for number, at in traced.delivered.items() if at <= line))
    missing = {number for number, at in traced.acknowledged.items() if at <= line} - safe
    assert not missing, f"lost when the power failed after line {line}: {sorted(missing)}, of {sorted(files)}"
    for player, numbers in arrived.items():
        own = int(player.removeprefix("player"))
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))
        assert set(numbers) <= {*placed(own, 0, EVENTS), *placed(own, LATER, EVENTS)}
        assert [event.name for event in holdings[player]] == [name_of(number) for number in numbers]
    assert inspect_journal(folder) == [], f"left over after line {line}, of {sorted(files)}"
    shutil.rmtree(folder)


async def _send_all(url: str, folder: Path) -> None:
    gameball = AsyncGameball(
        "power-key",
        base_url=url,
        journal=Journal(folder, adopt="any"),  # the life had another key and another address
        rate=None,
        batching=Batching(linger=0),
        retry=Retry(initial=0.02),
    )
    async with gameball:
        await gameball.flush(timeout=20)


def _number(metadata: Mapping[str, object]) -> int:
    (number,) = _numbers(str(metadata).encode())
    assert metadata == {"marker": marker(number), "padding": "." * PADDING}
    return number
