"""Sentences of the pages that no other test proves: what a fork does, and what never reaches a log."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import anyio
import pytest

from gameball_async import AsyncGameball, Batching, DeliveryError, Event, InvalidEvent, Metadata, Retry
from gameball_async.sandbox import Fault, Sandbox

FORK = """
import asyncio, os, sys
from gameball_async import AsyncGameball

gameball = AsyncGameball("any-key", base_url=sys.argv[1])
gameball.track_nowait("player123", "before_the_fork")
child = os.fork()

async def live():
    assert gameball.stats().accepted == (1 if child else 0)
    async with gameball:
        await gameball.track("parent" if child else "child", "after_the_fork")

asyncio.run(live())
if child:
    sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no fork")
def test_after_a_fork_the_parent_sends_what_it_held_and_the_child_does_not(sandbox: Sandbox) -> None:
    subprocess.run([sys.executable, "-c", FORK, sandbox.url], check=True, timeout=100)
    held = {player: [event.name for event in events] for player, events in sandbox.holdings().items()}
    assert held == {"player123": ["before_the_fork"], "parent": ["after_the_fork"], "child": ["after_the_fork"]}


@pytest.mark.anyio
async def test_after_the_deadline_of_a_close_on_failure_is_called_but_not_waited_for(sandbox: Sandbox) -> None:
    told: list[str] = []

    async def slow(event: Event, error: DeliveryError) -> None:
        told.append(f"{event.name}: {type(error).__name__}")
        await anyio.sleep(3600)
        told.append("never")

    sandbox.script(Fault.hang())
    gameball = AsyncGameball("any-key", base_url=sandbox.url, on_failure=slow)
    await gameball.start()
    await gameball.track("player123", "event")
    report = await gameball.aclose(timeout=0.1)
    assert [entry.event.name for entry in report.undelivered] == ["event"]
    assert told in (["event: OutcomeUnknown"], ["event: Dropped"])


KEY, SECRET = "api-key-0123456789", "secret-key-9876543210"
PLAYER, EMAIL, MOBILE, VALUE = "player-4711", "jon.snow@example.com", "+491234567890", "a-private-wish"
PERSONAL = (KEY, SECRET, PLAYER, EMAIL, MOBILE, VALUE)

ECHO = f"wrong: {KEY} {SECRET} {EMAIL} {MOBILE}"
"""What a server may answer: it quotes what it was sent."""

FAULTS = {
    "success": Fault.latency(0),
    "refused": Fault.status(422, code=3001, words=ECHO),
    "halted": Fault.status(401, code=1000, words=ECHO),
    "failing": Fault.status(503, code=5003, words=ECHO),
    "rate limited": Fault.status(429, code=4290, words=ECHO, retry_after=60),
    "gateway": Fault.html(502),
    "reset": Fault.reset_after(),
    "hanging": Fault.hang(),
    "redirect": Fault.redirect(f"https://elsewhere.invalid/{KEY}"),
}


@pytest.mark.parametrize("ambiguous", ["resend", "report"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_key_and_nothing_personal_reaches_a_log_line_an_error_or_a_repr(
    fault: str, ambiguous: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gameball_async")
    caplog.set_level(logging.INFO, "httpx")
    seen: list[object] = []
    sandbox.script(FAULTS[fault])

    def on_failure(event: object, error: DeliveryError) -> None:
        seen.extend([event, error])
        raise ValueError(VALUE)

    async def live() -> None:
        gameball = AsyncGameball(
            KEY,
            secret_key=SECRET,
            base_url=sandbox.url,
            batching=Batching(linger=0, buffer_events=3, when_full="drop_oldest"),
            retry=Retry(initial=0.01, maximum=0.02, ambiguous=ambiguous),  # type: ignore[arg-type]
            on_failure=on_failure,
        )
        async with gameball:
            for number in range(9):
                metadata: Metadata = {"wish": VALUE, "number": number}
                receipt = await gameball.track(PLAYER, "event", metadata, email=EMAIL, mobile=MOBILE)
                seen.append(receipt)
            try:
                await gameball.flush(timeout=0.2)
            except Exception as error:  # noqa: BLE001 whatever it is, it must not tell
                seen.append(error)
            seen.extend([gameball, gameball.stats(), await gameball.aclose(timeout=0.1)])

    anyio.run(live)
    told = "\n".join([caplog.text, *map(repr, seen), *map(str, seen)])
    assert "event" in told
    assert [word for word in PERSONAL if word in told] == []


BAD: list[tuple[str, str, Any, dict[str, Any]]] = [
    (PLAYER, "event", {"wish": {VALUE: VALUE}}, {}),
    (PLAYER, "event", {"wish": [VALUE, None]}, {}),
    (PLAYER, "event", VALUE, {}),
    (PLAYER, "", {}, {}),
    (PLAYER, "event", {}, {"email": EMAIL.encode()}),
    (PLAYER, "event", {}, {"mobile": f"{MOBILE}\ud800"}),
    (f"{PLAYER}\ud800", "event", {}, {}),
]


@pytest.mark.parametrize(("player", "name", "metadata", "contact"), BAD)
def test_a_refusal_at_the_call_quotes_no_value(player: str, name: str, metadata: Any, contact: dict[str, Any]) -> None:
    gameball = AsyncGameball(KEY)
    with pytest.raises(InvalidEvent) as caught:
        gameball.track_nowait(player, name, metadata, **contact)
    assert [word for word in PERSONAL if word in str(caught.value)] == []
