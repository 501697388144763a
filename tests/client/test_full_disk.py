"""A disk without any room: what is durable is delivered, and nothing else is called so."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gameball_async import AsyncGameball, DeadLetters, JournalError, Retry
from gameball_async.sandbox import Fault, Sandbox

from .support import Placed, assert_all_arrived, assert_conserved, client, track_all, until, workload

pytestmark = pytest.mark.anyio

DOWN = Fault.status(503)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a file system in memory is mounted that is soon full."""
    disk = tmp_path / "small"
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "small", str(disk)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here: a full disk is tested where there is")
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here, that is for root alone: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameball_async._journal.segment.RETRY_AFTER", 0.01)
    monkeypatch.setattr("gameball_async._journal.disk_reserve.CHECK_AFTER", 0.01)


async def fill(gameball: AsyncGameball, disk: Path) -> list[Placed]:
    """Let another file take all that is left of the disk, and the client find out; returns what it could still take."""
    with suppress(OSError), (disk / "other").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    placed: list[Placed] = []
    error: JournalError | None = None
    while error is None:  # SQLite may have some room in its own files
        number = 10_000 + len(placed)
        try:
            await gameball.track("filler", "event", {"number": number, "text": "x" * 100_000})
            placed.append(("filler", "event", number))
        except JournalError as refused:
            error = refused
    assert "on its disk" in str(error)
    return placed


async def until_taken(gameball: AsyncGameball, placed: Placed) -> None:
    """Track an event as soon as events are taken again."""

    def is_taken() -> bool:
        try:
            gameball.track_nowait(placed[0], placed[1], {"number": placed[2]})
        except JournalError:
            return False
        return True

    await until(is_taken)


async def test_what_is_durable_is_delivered_while_the_disk_is_full(
    sandbox: Sandbox, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    placed = list(workload(500, 20))
    sandbox.script(DOWN)
    async with client(sandbox, journal=disk / "journal") as gameball:
        await track_all(gameball, placed)
        placed += await fill(gameball, disk)
        sandbox.script()
        await until(lambda: gameball.stats().delivered == len(placed))
        with pytest.raises(JournalError, match="on its disk"):
            await gameball.track("player123", "still_too_much")
        assert gameball.stats().pending == 0
        assert_conserved(gameball.stats())

        (disk / "other").unlink()
        await until_taken(gameball, ("player123", "after", 1000))
        await gameball.flush()
    assert_all_arrived(sandbox, [*placed, ("player123", "after", 1000)])
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if "journal" in record.getMessage()]
    assert [level for level, _ in lines] == ["ERROR", "WARNING"]
    assert "its disk is full" in lines[0][1]
    assert "works again" in lines[1][1]
    assert not list((disk / "journal").iterdir())


async def test_what_is_refused_while_the_disk_is_full_is_a_dead_letter(sandbox: Sandbox, disk: Path) -> None:
    sandbox.script(DOWN)
    async with client(sandbox, journal=disk / "journal") as gameball:
        await gameball.track("player123", "bad", {"number": 1})
        await gameball.track("player123", "good", {"number": 2})
        placed = await fill(gameball, disk)
        sandbox.script(Fault.status(400, events={"bad"}))
        await until(lambda: not gameball.stats().pending)
        assert (gameball.stats().delivered, gameball.stats().rejected) == (1 + len(placed), 1)
    assert [letter.event.name for letter in DeadLetters(disk / "journal") if letter.event] == ["bad"]
    assert_all_arrived(sandbox, [("player123", "good", 2), *placed])


async def test_what_is_kept_at_a_close_on_a_full_disk_is_sent_by_the_next_client(sandbox: Sandbox, disk: Path) -> None:
    placed = list(workload(100, 5))
    sandbox.script(DOWN)
    async with client(sandbox, journal=disk / "journal", retry=Retry(initial=30)) as gameball:
        await track_all(gameball, placed)
        placed += await fill(gameball, disk)
        await until(
            lambda: gameball.stats().requests and not gameball.stats().in_flight
        )  # else it may arrive after all
        assert (await gameball.aclose(timeout=0)).kept == len(placed)
    sandbox.script()
    async with client(sandbox, journal=disk / "journal") as gameball:
        await until(lambda: gameball.stats().delivered == len(placed))
    assert_all_arrived(sandbox, placed)
