"""`track` sends one event, waits for its outcome, and says where to see it or what to do."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from gameball_async import Delivered, Retry
from gameball_async.cli._lines import Draft
from gameball_async.cli._options import ClientOptions, KeyOptions
from gameball_async.cli._track import SingleEvent, parse_metadata
from gameball_async.sandbox import Fault, Sandbox

from .conftest import KEY, Process, invoke
from .stub import Stub, serving

if TYPE_CHECKING:
    from click.testing import Result

QUICK_START = (Path(__file__).parents[2] / "docs" / "quick-start.md").read_text("utf-8")


def track(sandbox: Sandbox, *args: object) -> Result:
    return invoke("track", *args, "--base-url", sandbox.url)


# ------------------------------------------------------------------ what is sent


def test_an_event_is_sent_with_its_types_and_a_line_says_where_to_see_it(sandbox: Sandbox) -> None:
    result = track(
        sandbox,
        *("player123", "place_order", "currency=EUR", "note=a=b", "empty=", "total:=99.50", 'tags:=["a", 2]'),
        *("--mobile", "+20100", "--email", "a@example.com"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    url = sandbox.url
    assert result.stdout == f'{url} accepted "place_order" (HTTP 200). A sandbox shows it at {url}/_sandbox/.\n'
    (held,) = sandbox.holdings()["player123"]
    assert held.metadata == {"currency": "EUR", "note": "a=b", "empty": "", "total": 99.5, "tags": ["a", 2]}
    assert (held.mobile, held.email) == ("+20100", "a@example.com")


def test_the_quick_start_shows_the_line_of_an_event_that_gameball_has_accepted() -> None:
    event = SingleEvent(ClientOptions(), Draft("player123", "reserve"), timeout=30)
    assert f"```text\n{event.delivered_line(Delivered(status=200))}\n```" in QUICK_START
    retried = event.delivered_line(Delivered(status=200, attempts=2, maybe_duplicate=True))
    assert "(HTTP 200 at attempt 2). An earlier attempt had no answer, so it may count twice. See it in" in retried


def test_json_numbers_stay_exact() -> None:
    assert [repr(value) for value in parse_metadata(["a:=0.1", "b:=1234567890123.12345678"]).values()] == [
        "0.1",
        "Decimal('1234567890123.12345678')",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["gift"], '"gift" is not metadata: write KEY=VALUE for a string, or KEY:=JSON for a number or an array.'),
        (["gift:=yes"], 'key "gift": not JSON at column 1: Expecting value. For a string, write one colon less: gift='),
        (["n:=NaN"], 'key "n": NaN is not a JSON number: leave the key out.'),
        (["n=1", "n:=2"], "key \"n\" is given twice: give it once, or an array with n:='[...]'."),
        (["gift:=true"], "event 'review', key 'gift': the value is a bool; Gameball takes numbers, strings and arrays"),
        (["gift:=null"], "event 'review', key 'gift': the value is None; Gameball takes numbers, strings and arrays"),
        (['to:={"city": 1}'], "event 'review', key 'to': the value is a dict; Gameball takes numbers, strings and"),
        (["=1"], "key"),
        (["--email", " "], "email"),
    ],
)
def test_what_cannot_be_sent_is_a_wrong_usage_with_the_reason(sandbox: Sandbox, args: list[str], message: str) -> None:
    result = track(sandbox, "player123", "review", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not sandbox.requests


def test_without_a_key_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEBALL_API_KEY")
    result = invoke("track", "player123", "review")
    assert result.exit_code == 2
    assert "the API key is missing: set GAMEBALL_API_KEY in the environment" in result.stderr


# ------------------------------------------------------------------ what goes wrong


def test_a_wrong_key_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv("GAMEBALL_API_KEY", "another-key-0123456789")
    result = track(sandbox, "player123", "review")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Gameball does not accept the API key. Copy it again from Gameball's dashboard" in result.stderr
    assert result.stderr.endswith(" The event was not delivered.\n")
    assert len(result.stderr.splitlines()) == 1


def test_a_wrong_address_is_named_with_the_remedy() -> None:
    with serving(Stub(status=404, body=b"")) as stub:
        result = invoke("track", "player123", "review", "--base-url", f"http://127.0.0.1:{stub.port}")
    assert result.exit_code == 1
    assert "(HTTP 404). Nothing takes events at this address. Check base_url and api_version" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_server_it_gives_up_in_time_and_names_the_doctor() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = invoke("track", "player123", "review", "--base-url", url, "--timeout", "0.5")
    assert result.exit_code == 1
    assert f"{url} did not accept the event within 0.5 s" in result.stderr
    assert f"Check the address and the network: gameball-async doctor --base-url {url}\n" in result.stderr


def test_a_refusal_is_shown_in_gameball_s_words(sandbox: Sandbox) -> None:
    sandbox.script(Fault.status(422, code=3003, words="The value is invalid."))
    result = track(sandbox, "player123", "review")
    assert result.exit_code == 1
    assert "Error: Gameball refused the event (HTTP 422" in result.stderr
    assert "The value is invalid." in result.stderr


def test_a_lost_answer_is_said_to_be_one(sandbox: Sandbox) -> None:
    sandbox.script(Fault.reset_after())
    client = ClientOptions(keys=KeyOptions(KEY), address={"base_url": sandbox.url}, retry=Retry(ambiguous="report"))
    event = SingleEvent(client, Draft("player123", "review"), timeout=100)
    asyncio.run(event.run())
    with pytest.raises(click.ClickException, match=r"sent and no answer came, so it may have arrived: ask \S+ before"):
        event.report()


def test_ctrl_c_ends_the_wait(sandbox: Sandbox) -> None:
    sandbox.script(Fault.hang())
    process = Process("track", "player123", "review", "--base-url", sandbox.url, environment={"GAMEBALL_API_KEY": KEY})
    sandbox.wait_for(lambda tally: tally.in_flight == 1, timeout=100)
    process.interrupt()
    assert process.end() == 130
    assert b"Interrupted: the event was sent and no answer came, so it may have arrived" in process.out


def test_a_timeout_that_is_no_number_and_an_event_that_is_too_large_are_wrong_usage(sandbox: Sandbox) -> None:
    result = track(sandbox, "player123", "review", "--timeout", "nan")
    assert (result.exit_code, "--timeout is not a number" in result.stderr) == (2, True)
    result = track(sandbox, "player123", "review", f"text={'x' * 300_000}")
    assert (result.exit_code, "shorten its values" in " ".join(result.stderr.split())) == (2, True)
    assert sandbox.requests == []
