"""One request at a time per player: what a second one is told, and when that is the client's fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gameball_async.sandbox import Fault

from .support import V3, V4, body, received, track

if TYPE_CHECKING:
    import httpx

    from gameball_async.sandbox import Sandbox

    from .support import Calls


@pytest.mark.parametrize("path", [V3, V4])
def test_a_request_during_another_of_its_player_is_refused_with_2001_and_noted(
    sandbox: Sandbox, http: httpx.Client, calls: Calls, path: str
) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open("p")

    answer = track(http, "p", path=path)

    assert (answer.status_code, answer.json()["code"]) == (422, 2001)
    assert [(violation.kind, violation.request) for violation in sandbox.violations] == [("concurrent", 2)]
    assert sandbox.holdings() == {}


def test_a_refused_request_does_not_free_the_player_of_the_one_in_progress(
    sandbox: Sandbox, http: httpx.Client, calls: Calls
) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open("p")

    assert [track(http, "p").status_code for _ in range(3)] == [422] * 3


def test_players_do_not_wait_for_each_other(sandbox: Sandbox, http: httpx.Client, calls: Calls) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open("p")

    assert track(http, "q").status_code == 200
    assert sandbox.violations == []


def test_a_refused_body_occupies_its_player_too(sandbox: Sandbox, http: httpx.Client, calls: Calls) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open(content=b'{"playerUniqueId":"p","events":{}}')

    assert track(http, "p").status_code == 422


def test_a_player_is_free_again_when_the_client_has_left_a_hanging_request(
    sandbox: Sandbox, http: httpx.Client, calls: Calls
) -> None:
    sandbox.script(Fault.hang(times=1))
    calls.open("p").close()
    sandbox.wait_for(lambda tally: tally.in_flight == 0)

    assert track(http, "p").status_code == 200
    assert sandbox.violations == []
    assert [(record.left, record.status, record.applied) for record in sandbox.requests] == [
        (True, None, False),
        (False, 200, True),
    ]


@pytest.mark.parametrize("padding", [0, 200_000], ids=["small body", "body beyond uvicorn's high water mark"])
def test_a_client_that_gave_a_request_up_is_told_2001_but_broke_no_rule(
    sandbox: Sandbox, http: httpx.Client, calls: Calls, padding: int
) -> None:
    sandbox.script(Fault.latency(1.0, times=1))
    calls.open(content=body("p") + b" " * padding).close()

    answer = track(http, "p")

    assert (answer.status_code, answer.json()["code"]) == (422, 2001)
    assert sandbox.violations == []


def test_a_request_the_client_gave_up_is_applied_all_the_same(sandbox: Sandbox, calls: Calls) -> None:
    sandbox.script(Fault.latency(0.05))
    calls.open("p", "review").close()
    sandbox.wait_for(lambda tally: tally.in_flight == 0)

    assert [event.name for event in sandbox.holdings()["p"]] == ["review"]
    assert [record.left for record in sandbox.requests] == [True]


def test_a_player_is_occupied_until_the_last_byte_of_a_dripping_answer(
    sandbox: Sandbox, http: httpx.Client, calls: Calls
) -> None:
    sandbox.script(Fault.drip(10.0, times=1))
    connection = calls.open("p")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")

    assert track(http, "p").json()["code"] == 2001


def test_a_player_is_free_when_the_client_has_its_answer(sandbox: Sandbox, http: httpx.Client) -> None:
    statuses = {track(http, "p", f"event{number}").status_code for number in range(90)}

    assert statuses == {200}
    assert sandbox.violations == []


def test_a_client_that_leaves_before_its_body_is_complete_has_sent_no_request(
    sandbox: Sandbox, http: httpx.Client, calls: Calls
) -> None:
    connection = calls.open("p")
    connection.sendall(b"POST /api/v3.0/integrations/event HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\n{")
    connection.shutdown(1)
    received(connection)

    assert track(http, "p").status_code == 200
    assert sandbox.stats().arrived == 2
