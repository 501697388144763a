"""The page on the journal: its tables and messages are the code's, and sentences of it that no other test proves."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

import gameball_async
from gameball_async import (
    AsyncGameball,
    Batching,
    DeadLetterKind,
    DeadLetters,
    DropReason,
    FlusherDied,
    Journal,
    JournalError,
    OutcomeUnknown,
    Receipt,
    Retry,
    inspect_journal,
)
from gameball_async._journal.commands import ACK_LAG
from gameball_async._journal.disk_reserve import CHECK_AFTER, MIB, SIZES
from gameball_async._journal.journal_storage import _LONGEST_CLOSE
from gameball_async._journal.segment import RETRY_AFTER
from gameball_async._journal.segment_file import HEADROOM
from gameball_async._journal.segment_set import MAX_RECOVERED
from gameball_async.sandbox import Fault, Sandbox

from .pages import DOCS, code_in

PAGE = DOCS["journal"]
TABLES = PAGE.tables()
TEXT = " ".join(PAGE.text.split())
FAILURES = TABLES["When the disk fails/What happens"]

DOWN = Fault.status(503)


@cache
def strings() -> list[str]:
    """Every string of the code, those of messages with values cut at these."""
    return list(_strings(Path(gameball_async.__file__).parent))


def _strings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("row", TABLES["How the calls behave/Call"], ids=lambda row: row["Call"])
def test_a_call_of_the_table_exists(row: dict[str, str]) -> None:
    name = re.sub(r"await |receipt\.|\(\)", "", code_in(row["Call"])[0])
    assert hasattr(AsyncGameball, name) or hasattr(Receipt, name) or name == "receipt"


@pytest.mark.parametrize("row", FAILURES, ids=lambda row: row["What happens"])
def test_a_failure_is_told_in_words_and_by_names_of_the_code(row: dict[str, str]) -> None:
    import gameball_async  # noqa: PLC0415 only here the package itself is the subject

    told = row["How you notice"]
    for words in re.findall(r'"([^"]+)"', told):
        assert any(words in text for text in strings()), words
    for name in code_in(told):
        call, is_call, _ = name.partition("(")
        known = AsyncGameball if is_call else gameball_async
        assert hasattr(known, call) or name in {"on_failure", *DropReason.__members__}, name


@pytest.mark.parametrize(
    "name",
    sorted({name for row in TABLES["What can happen to its files/What happens"] for name in code_in(row["Test"])}),
)
def test_each_row_of_what_can_happen_has_its_test(name: str) -> None:
    tests = Path(__file__).parent.parent / "unit"
    named = [
        node.name
        for path in (*tests.glob("journal/test_*.py"), *tests.glob("journal_dead_letters/test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert named.count(name) == 1


def test_every_kind_of_dead_letter_stands() -> None:
    assert [code_in(row["Kind"])[0] for row in TABLES["Dead letters/Kind"]] == list(DeadLetterKind)


@pytest.mark.parametrize(
    "name", [name for row in TABLES["The folder/File"] for name in code_in(row["File"])], ids=lambda name: name
)
def test_a_file_of_the_table_has_a_name_that_the_code_gives(name: str) -> None:
    suffix = name.removeprefix("….journal" if name == "….journal-wal" else "…")
    assert suffix in strings()


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert (ACK_LAG, RETRY_AFTER, _LONGEST_CLOSE, MAX_RECOVERED) == (0.1, 1, 2, 100)
    assert (CHECK_AFTER, SIZES) == (RETRY_AFTER, (8 * MIB, 2 * MIB, MIB // 2))
    assert 2 * HEADROOM == 8 * 1024 * 1024
    for words in (
        "acknowledgements may lag by 100 ms",
        "tries to open it again every second",
        "the close waits up to 2 s longer",
        "at most 100 each time",
        "by at most 8 MiB",
        "reserves 8 MiB of the disk, or 2 MiB or 0.5 MiB if",
    ):
        assert words in TEXT


# ---------------------------------------------------------------- what the page promises


async def leave(sandbox: Sandbox, *, players: int, retry: Retry) -> None:
    """Let a client try events in an outage, and close with them."""
    sandbox.script(DOWN)
    gameball = AsyncGameball(
        "key", base_url=sandbox.url, journal="journal", batching=Batching(linger=0), retry=retry, rate=None
    )
    await gameball.start()
    for number in range(players):
        await gameball.track(f"player{number}", "event")
    await until(lambda: gameball.stats().requests and not gameball.stats().in_flight)
    assert (await gameball.aclose(timeout=0)).kept == players
    sandbox.script()


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until something is true; the test's timeout is the limit."""
    while not condition():
        await checkpoint()


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of a folder and of what is in it, by suffix."""
    return {path.suffix or path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


def contents_of(folder: Path) -> bytes:
    """The bytes of all files of a folder."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.anyio
async def test_what_had_clearly_failed_goes_again_and_counts_as_ambiguous_with_resend_alone(sandbox: Sandbox) -> None:
    for ambiguous, counted in (("resend", 1), ("report", 0)):
        retry = Retry(initial=30, ambiguous=ambiguous)  # type: ignore[arg-type] # one of the two words
        await leave(sandbox, players=1, retry=retry)
        async with AsyncGameball("key", base_url=sandbox.url, journal="journal", retry=retry) as gameball:
            await gameball.flush()
            assert (gameball.stats().delivered, gameball.stats().ambiguous) == (1, counted)


@pytest.mark.anyio
async def test_who_wants_no_repeats_is_told_at_the_close_of_requests_whose_answer_did_not_come(
    sandbox: Sandbox,
) -> None:
    sandbox.script(Fault.hang())
    gameball = AsyncGameball(
        "key",
        base_url=sandbox.url,
        journal="journal",
        batching=Batching(linger=0),
        retry=Retry(ambiguous="report"),
    )
    async with gameball:
        await gameball.track("player123", "review")
        await until(lambda: gameball.stats().in_flight)
        report = await gameball.aclose(timeout=0)
    assert [type(entry.error) for entry in report.undelivered] == [OutcomeUnknown]
    assert report.kept == 0


@pytest.mark.anyio
async def test_what_a_process_tracks_comes_behind_all_that_it_has_found(sandbox: Sandbox) -> None:
    await leave(sandbox, players=5, retry=Retry(initial=30))
    batching = Batching(linger=0, buffer_events=1)
    async with AsyncGameball("key", base_url=sandbox.url, journal="journal", batching=batching) as gameball:
        await gameball.track("another", "later")
        await gameball.flush()
    assert [request.player for request in sandbox.requests][-1] == "another"


@pytest.mark.anyio
async def test_an_event_takes_some_fifty_bytes_on_disk_beside_its_own(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    events, text = 5_000, "x" * 100
    own = len(f'"place_order":{{"text":"{text}"}}')
    async with AsyncGameball("key", base_url=sandbox.url, journal="journal") as gameball:
        receipts = [
            gameball.track_nowait(f"player{number % 10}", "place_order", {"text": text}) for number in range(events)
        ]
        await until(lambda: receipts[-1].durable)
        per_event = gameball.stats().journal_bytes / events
        await gameball.aclose(timeout=0)
    assert own + 30 < per_event < own + 75


@pytest.mark.anyio
async def test_nothing_is_given_to_on_failure_of_what_is_kept(sandbox: Sandbox) -> None:
    sandbox.script(DOWN)
    told: list[object] = []
    async with AsyncGameball(
        "key", base_url=sandbox.url, journal="journal", on_failure=lambda event, _: told.append(event)
    ) as gameball:
        await gameball.track("player123", "review")
        report = await gameball.aclose(timeout=0)
    assert (report.kept, report.undelivered, told) == (1, (), [])


@pytest.mark.anyio
async def test_every_file_and_a_folder_that_was_missing_are_for_their_owner_alone(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(400, events={"bad"}))
    async with AsyncGameball("key", base_url=sandbox.url, journal="journal") as gameball:
        with pytest.raises(Exception, match="refused"):
            await (await gameball.track("player123", "bad"))
        await until(lambda: len(DeadLetters("journal")))  # a burial may lag
        modes = modes_in(Path("journal"))
    assert modes.pop("journal") == 0o700
    assert modes == dict.fromkeys([".db", ".journal", ".journal-wal", ".lock", ".mark", ".reserve"], 0o600)


@pytest.mark.anyio
async def test_what_was_delivered_is_not_in_the_files_any_more(sandbox: Sandbox) -> None:
    """The file stays for the sake of another event; what SQLite keeps beside it goes with the close."""
    sandbox.script(Fault.status(503, events={"kept"}))
    async with AsyncGameball("key", base_url=sandbox.url, journal="journal", batching=Batching(linger=0)) as gameball:
        delivered = await gameball.track("player-4711", "review", {"wish": "a-private-wish"}, email="jon@example.com")
        await gameball.track("another", "kept", {"wish": "a-public-wish"})
        await delivered
        assert (await gameball.aclose(timeout=0)).kept == 1
    content = contents_of(Path("journal"))
    assert b"a-public-wish" in content
    assert [word for word in (b"player-4711", b"a-private-wish", b"jon@example.com") if word in content] == []


@pytest.mark.anyio
async def test_a_client_that_could_not_start_stays_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    gameball = AsyncGameball("key", journal="file")
    with pytest.raises(JournalError):
        await gameball.start()
    (tmp_path / "file").unlink()
    with pytest.raises(FlusherDied, match="make a new client"):
        await gameball.start()


def test_the_limit_of_a_file_is_at_least_one_mebibyte() -> None:
    assert Journal("journal", max_bytes=1024 * 1024).max_bytes == 1024 * 1024
    with pytest.raises(ValueError, match="1,048,576"):
        Journal("journal", max_bytes=1024 * 1024 - 1)


FORK = """
import asyncio, os, sys
from gameball_async import AsyncGameball, NotStarted

gameball = AsyncGameball("any-key", base_url=sys.argv[1], journal="journal")
loop = asyncio.new_event_loop()
loop.run_until_complete(gameball.start())
loop.run_until_complete(gameball.track("parent", "before_the_fork"))
child = os.fork()

async def live():
    try:
        gameball.track_nowait("child", "too_early")
    except NotStarted:
        print("not started", flush=True)
    async with gameball:
        assert gameball.stats().accepted == 0
        await gameball.track("child", "after_the_fork")

if child:
    assert os.waitpid(child, 0)[1] == 0
    loop.run_until_complete(gameball.aclose())
    loop.close()
else:
    asyncio.set_event_loop(None)
    asyncio.run(live())
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no fork")
def test_a_child_starts_with_a_file_of_its_own_and_leaves_its_parents_alone(sandbox: Sandbox) -> None:
    run = subprocess.run([sys.executable, "-c", FORK, sandbox.url], check=True, timeout=100, capture_output=True)
    assert run.stdout == b"not started\n"
    held = {player: [event.name for event in events] for player, events in sandbox.holdings().items()}
    assert held == {"parent": ["before_the_fork"], "child": ["after_the_fork"]}
    assert inspect_journal("journal") == []


KILLED = """
import asyncio, os, signal, sys
from gameball_async import AsyncGameball

async def main():
    gameball = AsyncGameball("any-key", base_url=sys.argv[1], journal="journal")
    await gameball.start()
    await gameball.track("player123", "place_order", {"total_amount": 100})
    await gameball.track("player123", "review")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.anyio
async def test_what_a_killed_process_had_tracked_is_sent_by_the_next(sandbox: Sandbox) -> None:
    killed = await anyio.run_process([sys.executable, "-c", KILLED, sandbox.url], check=False)
    assert killed.returncode < 0
    assert not sandbox.requests
    (left,) = inspect_journal("journal")
    assert (left.is_in_use, left.pending) == (False, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with AsyncGameball("any-key", base_url=sandbox.url, journal="journal") as gameball:
            await gameball.flush()
    assert [event.name for event in sandbox.holdings()["player123"]] == ["place_order", "review"]
