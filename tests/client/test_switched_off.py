"""`enabled=False` and GAMEBALL_ENABLED=0: events are checked, and nothing is sent; the other variables."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gameball_async import (
    AsyncGameball,
    ClientClosed,
    ConfigurationError,
    Dropped,
    DropReason,
    EventDraft,
    InvalidEvent,
    NotStarted,
)
from gameball_async.integrations.asgi import gameball_app, get_gameball
from gameball_async.sandbox import Sandbox
from gameball_async.sync import Gameball
from gameball_async.testing import Recorder

from .kinds import Call, Failures, Make, outcome_of, quick_client
from .support import assert_conserved

pytestmark = pytest.mark.anyio

OFF = ["0", "false", "No", "OFF", " 0 "]
ON = ["1", "true", "Yes", "ON", ""]


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "SECRET_KEY", "BASE_URL", "API_VERSION", "ENABLED"):
        monkeypatch.delenv(f"GAMEBALL_{name}", raising=False)


# ---------------------------------------------------------------- the switch


async def test_a_hook_that_fails_is_no_failure_if_nothing_is_sent_anyway(make: Make, call: Call) -> None:
    failures = Failures()

    def fail(draft: EventDraft) -> EventDraft:
        raise KeyError(draft.name)

    async with make(enabled=False, before_send=fail, on_failure=failures.add) as gameball:
        assert (await outcome_of(await call(gameball, "player123", "review"))).reason is DropReason.DISABLED
        with pytest.raises(Dropped) as caught:
            await gameball.send("player123", {"review": None})
        assert caught.value.reason is DropReason.DISABLED
        assert_conserved(gameball.stats())
    assert failures.seen == []


async def test_nothing_is_sent_and_every_event_has_its_outcome_at_once(
    make: Make, call: Call, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures()
    async with make(enabled=False, on_failure=failures.add) as gameball:
        error = await outcome_of(await call(gameball, "player123", "review", {"rating": 5}))
        assert error.reason is DropReason.DISABLED
        assert str(error) == "the client is switched off by enabled=False, so the event is not sent."
        with pytest.raises(Dropped, match="switched off by enabled=False"):
            await gameball.send("player123", {"review": None, "reserve": {"rooms": 2}})
        await gameball.flush()
        stats = gameball.stats()
        assert (stats.accepted, stats.dropped, stats.filtered, stats.pending, stats.requests) == (3, 3, 3, 0, 0)
        assert_conserved(stats)
    report = await gameball.aclose()
    assert (report.undelivered, failures.seen, sandbox.requests) == ((), [], [])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_events_are_checked_as_ever(make: Make, call: Call) -> None:
    async with make(enabled=False) as gameball:
        with pytest.raises(InvalidEvent, match="key 'gift': the value is a bool"):
            await call(gameball, "player123", "review", {"gift": True})
        with pytest.raises(InvalidEvent, match="at least one event"):
            await gameball.send("player123", {})
        assert gameball.stats().accepted == 0


async def test_the_size_of_an_event_is_checked_too(sandbox: Sandbox) -> None:
    async with quick_client(sandbox, enabled=False) as gameball:
        with pytest.raises(InvalidEvent, match="makes a request of"):
            await gameball.track("player123", "review", {"text": "x" * 300_000})
        with pytest.raises(InvalidEvent, match="101 events are more than"):
            await gameball.send("player123", {f"event{number}": None for number in range(101)})


async def test_the_rules_of_its_life_stay(make: Make) -> None:
    gameball = make(enabled=False)
    assert (await gameball.track("player123", "review")).done
    with pytest.raises(NotStarted):
        await gameball.send("player123", {"review": None})
    with pytest.raises(NotStarted):
        await gameball.flush()
    async with gameball:
        pass
    with pytest.raises(ClientClosed):
        await gameball.track("player123", "review")
    with pytest.raises(ClientClosed):
        gameball.track_nowait("player123", "review")


async def test_one_line_at_the_start_names_the_switch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncGameball(enabled=False) as gameball:
        assert repr(gameball) == "<AsyncGameball v3.0 at https://api.gameball.co, running, switched off>"
        for _ in range(3):
            await gameball.track("player123", "review")
    monkeypatch.setenv("GAMEBALL_ENABLED", "off")
    async with AsyncGameball(base_url="http://example.com"):
        pass
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "gameball_async"]
    assert lines == [
        ("WARNING", f"the client is switched off by {switch}: events are checked, and not sent.")
        for switch in ("enabled=False", "GAMEBALL_ENABLED=off")
    ]


def test_it_needs_no_key_opens_no_journal_and_imports_no_http_library(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from gameball_async import AsyncGameball, Dropped\n"
        "async def main():\n"
        "    async with AsyncGameball(api_version='v4.1', journal=sys.argv[1]) as gameball:\n"
        "        receipt = await gameball.track('player123', 'review')\n"
        "        assert receipt.done and not receipt.durable\n"
        "asyncio.run(main())\n"
        "print(sorted({'httpx', 'httpcore', 'sqlite3'} & set(sys.modules)))\n"
    )
    folder = tmp_path / "journal"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={"GAMEBALL_ENABLED": "0", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert done.stderr == "the client is switched off by GAMEBALL_ENABLED=0: events are checked, and not sent.\n"
    assert not folder.exists()


@pytest.mark.parametrize("value", OFF)
def test_the_variable_switches_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", value)
    assert "switched off" in repr(AsyncGameball())
    assert "switched off" not in repr(AsyncGameball("key", enabled=True)), "the argument takes precedence"


@pytest.mark.parametrize("value", ON)
def test_the_variable_switches_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", value)
    with pytest.raises(ConfigurationError, match="api_key is missing"):
        AsyncGameball()
    assert "switched off" in repr(AsyncGameball(enabled=False))


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "maybe")
    with pytest.raises(ConfigurationError, match="GAMEBALL_ENABLED is set to a word that is neither yes nor no: use 1"):
        AsyncGameball("key")
    with pytest.raises(ConfigurationError, match="enabled is of type str: give True or False"):
        AsyncGameball("key", enabled="0")  # type: ignore[arg-type]


def test_the_synchronous_client_is_switched_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    with Gameball() as gameball:
        receipt = gameball.track("player123", "review")
        with pytest.raises(Dropped, match="GAMEBALL_ENABLED=0"):
            receipt.result(timeout=30)
        with pytest.raises(Dropped, match="GAMEBALL_ENABLED=0"):
            gameball.send("player123", {"review": None})
        gameball.flush(timeout=30)


async def test_a_recorder_records_whatever_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    recorder = Recorder(started=True)
    await recorder.track("player123", "review")
    recorder.assert_tracked("player123", "review")
    disabled = Recorder(started=True, enabled=False)
    await disabled.track("player123", "review")
    disabled.assert_nothing_tracked()


async def test_an_app_starts_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_ENABLED", "0")
    sent: list[dict[str, Any]] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def app(scope: Any, _: Any, __: Any) -> None:
        if scope["type"] == "http":
            await get_gameball(scope).track("player123", "review")

    wrapped = gameball_app(app)

    async def receive() -> dict[str, Any]:
        if len(messages) == 1:
            await wrapped({"type": "http"}, receive, send)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await wrapped({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# ---------------------------------------------------------------- address and version


async def test_address_and_version_come_from_the_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "any-key")
    monkeypatch.setenv("GAMEBALL_BASE_URL", sandbox.url)
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v4.0")
    async with AsyncGameball() as gameball:
        assert (await gameball.send("player123", {"review": None})).status == 200
        assert repr(gameball) == f"<AsyncGameball v4.0 at {sandbox.url}, running>"
    argued = AsyncGameball(base_url="https://example.com", api_version="v3.0")
    assert repr(argued) == "<AsyncGameball v3.0 at https://example.com, new>"
    monkeypatch.setenv("GAMEBALL_BASE_URL", "")
    monkeypatch.setenv("GAMEBALL_API_VERSION", "")
    assert repr(AsyncGameball()) == "<AsyncGameball v3.0 at https://api.gameball.co, new>"


def test_an_error_names_the_variable_that_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_BASE_URL", "example.com")
    with pytest.raises(ConfigurationError, match=r"^GAMEBALL_BASE_URL is no http or https address"):
        AsyncGameball("key")
    with pytest.raises(ConfigurationError, match=r"^base_url is no http or https address"):
        AsyncGameball("key", base_url="example.org")
    monkeypatch.delenv("GAMEBALL_BASE_URL")
    monkeypatch.setenv("GAMEBALL_API_VERSION", "v5")
    with pytest.raises(ConfigurationError, match=r"^GAMEBALL_API_VERSION is 'v5': give one of"):
        AsyncGameball("key")
    with pytest.raises(ConfigurationError, match=r"^api_version is 'v6': give one of"):
        AsyncGameball("key", api_version="v6")
