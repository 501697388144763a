"""Bad input raises at the call, says what to do, and harms nothing else."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import anyio.to_thread
import pytest

from gameball_async import AsyncGameball, Batching, ConfigurationError, InvalidEvent, Retry
from gameball_async.sandbox import Sandbox

from .support import assert_conserved, client

pytestmark = pytest.mark.anyio


class Missing(datetime):
    """As `pandas.NaT` is: a datetime that is not equal to itself."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.__hash__

    def isoformat(self, *_: object, **__: object) -> str:
        return "NaT"


BAD_EVENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "an empty player id": (("", "event"), {}, "player_unique_id is an empty string"),
    "a player id that is an int": ((17850, "event"), {}, "player_unique_id is an int.*str"),
    "no player id": ((None, "event"), {}, "player_unique_id is None.*do not track guests"),
    "a blank player id": ((" ", "event"), {}, "player_unique_id is blank.*do not track guests"),
    "an invisible player id": (("\N{ZERO WIDTH SPACE}\N{NO-BREAK SPACE}", "event"), {}, "player_unique_id is blank"),
    "a blank name": (("player123", "\N{ZERO WIDTH NO-BREAK SPACE}"), {}, "name is blank"),
    "a blank key": (("player123", "event", {"\N{NO-BREAK SPACE}": 1}), {}, "'event'.*key is blank"),
    "a blank e-mail": (("player123", "event"), {"email": " "}, "email.*blank"),
    "a blank mobile number": (("player123", "event"), {"mobile": "\t"}, "mobile.*blank"),
    "a value that is missing": (("player123", "event", {"x": Missing(2026, 1, 1)}), {}, "'x'.*missing value"),
    "a missing item": (("player123", "event", {"x": ["a", Missing(2026, 1, 1)]}), {}, "'x'.*missing value"),
    "an empty name": (("player123", ""), {}, "name is an empty string"),
    "a name that is None": (("player123", None), {}, "name is None"),
    "a value that is a bool": (("player123", "event", {"x": True}), {}, "'event', key 'x'.*bool.*0 or 1"),
    "a nested list": (("player123", "event", {"x": [[1]]}), {}, "'event', key 'x'.*list.*flatten"),
    "a lone surrogate": (("player123", "event", {"x": "\ud800"}), {}, "'event', key 'x'.*surrogate"),
    "a key that is an int": (("player123", "event", {1: "x"}), {}, "'event'.*key is an int"),
    "an empty e-mail": (("player123", "event"), {"email": ""}, "email.*empty.*"),
    "a mobile number that is an int": (("player123", "event"), {"mobile": 123}, "mobile.*int"),
    "an event larger than a request": (("player123", "event", {"x": "y" * 2000}), {}, "event'.*max_bytes=1000"),
}


@pytest.mark.parametrize("bad", BAD_EVENTS)
async def test_a_bad_event_is_refused_at_the_call_and_the_others_arrive(bad: str, sandbox: Sandbox) -> None:
    args, kwargs, message = BAD_EVENTS[bad]
    async with client(sandbox, batching=Batching(linger=0.01, max_bytes=1000)) as gameball:
        await gameball.track("player123", "before")
        with pytest.raises(InvalidEvent, match=message):
            await gameball.track(*args, **kwargs)
        with pytest.raises(InvalidEvent, match=message):
            await anyio.to_thread.run_sync(lambda: gameball.track_threadsafe(*args, **kwargs))
        with pytest.raises(InvalidEvent, match=message):
            gameball.track_nowait(*args, **kwargs)
        player, name = args[:2]
        metadata = args[2] if len(args) > 2 else None
        with pytest.raises(InvalidEvent, match=message):
            await gameball.send(player, {"innocent": None, name: metadata}, **kwargs)
        await gameball.track("player123", "after")
        assert_conserved(gameball.stats())
    assert gameball.stats().accepted == gameball.stats().delivered == 2
    assert [event.name for event in sandbox.holdings()["player123"]] == ["before", "after"]


@pytest.mark.parametrize("events", [{}, None, ["event"], "event"])
async def test_send_takes_a_dict_of_at_least_one_event(events: Any, sandbox: Sandbox) -> None:
    async with client(sandbox) as gameball:
        with pytest.raises(InvalidEvent, match="at least one event"):
            await gameball.send("player123", events)


async def test_send_refuses_more_events_than_a_request_may_hold(sandbox: Sandbox) -> None:
    async with client(sandbox, batching=Batching(max_events=2)) as gameball:
        with pytest.raises(InvalidEvent, match="max_events=2"):
            await gameball.send("player123", {"a": None, "b": None, "c": None})
        assert gameball.stats().accepted == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": None}, "api_key is missing.*GAMEBALL_API_KEY"),
        ({"api_key": ""}, "api_key is missing"),
        ({"api_version": "v4.1"}, "v4.1 needs a secret_key.*GAMEBALL_SECRET_KEY"),
        ({"api_version": "v2.0"}, "api_version is 'v2.0': give one of 'v3.0'"),
        ({"base_url": "api.gameball.co"}, "base_url"),
        ({"base_url": "ftp://api.gameball.co"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://user:password@api.gameball.co"}, "base_url"),
        ({"base_url": "https://api.gameball.co?x=1"}, "base_url"),
        ({"base_url": "https://api.gameball.co:99999"}, "base_url"),
        ({"base_url": "https://api.gameball.co/api/v3.0"}, "base_url ends in '/api/v3.0'"),
        ({"batching": None}, r"batching.*Batching\(\.\.\.\)"),
        ({"retry": 3}, "retry.*int"),
        (
            {"retry": Retry(give_up_after=0.5)},
            r"linger=0\.5\) is not less than .*give_up_after=0\.5.*raise give_up_after",
        ),
        ({"rate": "100"}, "rate.*str"),
        ({"on_failure": "print"}, "on_failure cannot be called"),
        ({"http_client": "x"}, "http_client"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": None}, "timeout"),
    ],
)
async def test_a_client_that_cannot_work_is_not_made(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY", raising=False)
    monkeypatch.delenv("GAMEBALL_SECRET_KEY", raising=False)
    all_arguments: dict[str, Any] = {"api_key": "key"} | arguments
    with pytest.raises(ConfigurationError, match=message) as caught:
        AsyncGameball(**all_arguments)
    assert "password" not in str(caught.value).replace("a password", "")


async def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "environment-key")
    monkeypatch.setenv("GAMEBALL_SECRET_KEY", "environment-secret")
    with Sandbox(api_key="environment-key", secret_key="environment-secret") as strict:
        for version in ("v3.0", "v4.0", "v4.1"):
            async with AsyncGameball(base_url=strict.url, api_version=version) as gameball:
                assert (await gameball.send("player123", {version: None})).status == 200
        assert strict.violations == []


async def test_changing_the_metadata_after_the_call_changes_nothing(sandbox: Sandbox) -> None:
    metadata: dict[str, Any] = {"tags": ["a"], "n": 1}
    async with client(sandbox) as gameball:
        await gameball.track("player123", "event", metadata)
        metadata["n"] = 2
        metadata["tags"].append("b")
    assert sandbox.holdings()["player123"][0].metadata == {"tags": ["a"], "n": 1}


PADDED: dict[str, tuple[tuple[str, str], dict[str, Any], str]] = {
    "player_unique_id": ((" player123", "event"), {}, "player_unique_id.strip()"),
    "the event's name": (("player123", "event\N{NO-BREAK SPACE}"), {}, "name.strip()"),
    "mobile": (("player123", "event"), {"mobile": "+1234567\r\n"}, "mobile.strip()"),
    "email": (("player123", "event"), {"email": " jon@example.com\ufeff"}, r"email.strip(' \ufeff')"),
}


@pytest.mark.parametrize("what", PADDED)
async def test_spaces_around_a_text_are_logged_once_with_the_remedy_and_sent_as_they_are(
    what: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    args, kwargs, remedy = PADDED[what]
    async with client(sandbox) as gameball:
        await gameball.track(*args, **kwargs)
        gameball.track_nowait(*args, **kwargs)
        await anyio.to_thread.run_sync(lambda: gameball.track_threadsafe(*args, **kwargs))
        await gameball.send(args[0], {args[1]: None}, **kwargs)
    (line,) = [record for record in caplog.records if "spaces" in record.getMessage()]
    assert (line.name, line.levelno) == ("gameball_async", logging.WARNING)
    assert line.getMessage().startswith(f"{what} has spaces")
    assert f"pass {remedy}. " in line.getMessage()
    assert not any(text in line.getMessage() for text in ("player123", "+1234567", "jon@example.com"))
    assert [event.name for event in sandbox.holdings()[args[0]]] == [args[1]] * 4
    text = {"player_unique_id": args[0], "the event's name": args[1]}.get(what) or kwargs[what]
    assert not is_padded(eval(remedy, {"player_unique_id": text, "name": text, "mobile": text, "email": text}))


def is_padded(text: str) -> bool:
    return not (text[0].isprintable() and text[-1].isprintable() and text == text.strip())


@pytest.mark.parametrize("player", ["player 123", "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}", "لاعب"])
async def test_spaces_inside_and_what_belongs_to_a_character_are_not_logged(
    player: str, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(sandbox) as gameball:
        await gameball.track(player, "event")
    assert not [record for record in caplog.records if "spaces" in record.getMessage()]
    assert list(sandbox.holdings()) == [player]
