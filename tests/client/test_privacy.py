"""Keys and personal data reach no log line, repr or message, whatever the server echoes."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from gameball_async import AsyncGameball, ConfigurationError, GameballError, InvalidEvent
from gameball_async.sandbox import Fault, Sandbox

from .support import QUICK, SOON, until

pytestmark = pytest.mark.anyio

KEY = "live-key-7f3a9c"
SECRET = "secret-key-51be20"
PRIVATE = (KEY, SECRET, "jon.snow@example.com", "+20 100 123 4567", "201001234567", "Winterfell", "player-of-the-north")
ECHO = f"no {KEY}, {SECRET} of player-of-the-north for jon.snow@example.com or +20 100 123 4567 (201001234567)"

LINE = logging.Formatter("%(name)s %(levelname)s %(message)s")
"""A log line as a service writes it, an exception's traceback included."""

ANSWERS = {
    "a refusal": Fault.status(422, code=3001, words=ECHO),
    "a failure": Fault.status(500, code=5000, words=ECHO, times=3),
    "a halt": Fault.status(401, code=1000, words=ECHO),
    "a success that is none": Fault.success_false(words=ECHO),
    "a reset": Fault.reset_before(times=3),
    "a redirect": Fault.redirect(f"https://elsewhere.invalid/?{KEY}"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_nothing_private_is_told_whatever_the_server_echoes(
    answer: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def on_failure(event: object, error: Exception) -> None:
        told.extend((repr(event), repr(error), *traceback.format_exception(error), *locals_of(error)))
        raise RuntimeError(f"{KEY} jon.snow@example.com")

    sandbox.script(ANSWERS[answer])
    with caplog.at_level(logging.DEBUG):
        gameball = AsyncGameball(
            KEY, secret_key=SECRET, base_url=sandbox.url, batching=SOON, retry=QUICK, rate=None, on_failure=on_failure
        )
        await gameball.start()
        receipt = await gameball.track(
            "player-of-the-north",
            "event",
            {"town": "Winterfell"},
            email="jon.snow@example.com",
            mobile="+20 100 123 4567",
        )
        await until(lambda: receipt.done or gameball.stats().halted)
        told += [repr(gameball), repr(gameball.stats()), repr(receipt), repr(await gameball.aclose(timeout=1))]
        try:
            await receipt
        except GameballError as error:
            told += [*traceback.format_exception(error), *locals_of(error)]
    told += [LINE.format(record) for record in caplog.records if not is_httpcores_copy_of_headers(record)]
    assert told
    for private in PRIVATE:
        assert private not in "\n".join(told)


def locals_of(error: BaseException) -> list[str]:
    """What an error tracker that shows local variables would show of this package's frames."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [repr(frame.f_locals) for frame in frames if frame.f_globals["__name__"].startswith("gameball_async")]


def is_httpcores_copy_of_headers(record: logging.LogRecord) -> bool:
    """At DEBUG the HTTP library writes down an answer's headers as they came; a server could put a key there."""
    return record.name.startswith("httpcore") and record.getMessage().startswith("receive_response_headers.complete")


async def test_a_bad_event_is_told_without_its_values() -> None:
    gameball = AsyncGameball(KEY)
    with pytest.raises(InvalidEvent) as caught:
        await gameball.track("player123", "event", {"good": "Winterfell", "bad": {"jon.snow@example.com": 1}})  # type: ignore[dict-item]
    with pytest.raises(InvalidEvent) as caught_too:
        await gameball.track("player123", "event", email=b"jon.snow@example.com")  # type: ignore[arg-type]
    for private in PRIVATE:
        assert private not in f"{caught.value}{caught_too.value}"


@pytest.mark.parametrize("key", [f"{KEY}\r\nX-Injected: 1", f"{KEY} ", f"{KEY}ü", f"\t{KEY}"])
@pytest.mark.parametrize("argument", ["api_key", "secret_key"])
async def test_a_key_that_could_inject_a_header_is_refused_and_not_shown(argument: str, key: str) -> None:
    arguments: dict[str, Any] = {"api_key": "key", argument: key}
    with pytest.raises(ConfigurationError, match=argument) as caught:
        AsyncGameball(**arguments)
    assert KEY not in str(caught.value)


async def test_control_characters_in_ids_and_names_arrive_as_they_are(sandbox: Sandbox) -> None:
    player, name = 'a\r\nAPIKey: x"\\\x00', "event\u2028\t\x7f"
    async with AsyncGameball(KEY, base_url=sandbox.url, batching=SOON) as gameball:
        await gameball.send(player, {name: {"key\n": "value\x1b"}})
    (event,) = sandbox.holdings()[player]
    assert (event.name, event.metadata) == (name, {"key\n": "value\x1b"})
