"""The page over HTTP: who may open it, what it is told, and what its buttons do."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from gameball_async.sandbox import Fault, Limits, Sandbox
from gameball_async.sandbox._faults import describe
from gameball_async.sandbox._page import refusal

from .support import V3, Calls, body, track

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HTML = {"Accept": "text/html,application/xhtml+xml"}
SCRIPTS = ("page/script.js", "page/minute.js", "page/jobs.js", "page/tools.js")
FILES = ("", "page/style.css", "page/theme.js", *SCRIPTS, "page/icon.svg")


class News:
    """The messages that a page is told."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last = ""

    def next(self) -> dict[str, Any]:
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last = value
            if name == "data":
                told: dict[str, Any] = json.loads(value)
                return told
        pytest.fail("the messages have ended")

    def until(self, **wanted: object) -> dict[str, Any]:
        """The first message that says so."""
        while True:
            told = self.next()
            if wanted.items() <= told.items():
                return told


@contextlib.contextmanager
def listening(sandbox: Sandbox, **headers: str) -> Generator[News]:
    with (
        # without TLS there is nothing to verify, and loading the authorities costs more than the test
        httpx.Client(base_url=sandbox.url, trust_env=False, verify=False) as http,
        http.stream("GET", "/_sandbox/page/news", headers=headers) as stream,
    ):
        yield News(stream.iter_lines())


# ---------------------------------------------------------------- the way in


@pytest.mark.parametrize("path", ["/", "/_sandbox"])
def test_a_browser_at_the_root_address_is_led_to_the_page(sandbox: Sandbox, http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers=HTML, follow_redirects=True)

    assert answer.url.path == "/_sandbox/"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert sandbox.stats().arrived == 0


def test_the_command_prints_the_address_of_the_page() -> None:
    command = [sys.executable, "-u", "-m", "gameball_async.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"in a browser at (\S+)", process.stdout.readline() + process.stdout.readline())
        assert address is not None
        assert "<title>Gameball sandbox</title>" in httpx.get(address[1], trust_env=False, verify=False).text
        process.send_signal(signal.SIGINT)
        process.communicate()  # its last words would break a closed pipe
    assert process.returncode == 0


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", HTML)])
def test_a_program_at_the_root_address_has_lost_its_way(
    sandbox: Sandbox, http: httpx.Client, method: str, headers: dict[str, str]
) -> None:
    answer = http.request(method, "/", headers=headers)

    assert (answer.status_code, answer.content) == (404, b"")
    assert [violation.kind for violation in sandbox.violations] == ["route"]


@pytest.mark.parametrize("path", FILES)
def test_every_file_of_the_page_is_served_and_only_the_sandbox_may_add_to_it(
    module_http: httpx.Client, path: str
) -> None:
    answer = module_http.get(f"/_sandbox/{path}")

    assert answer.status_code == 200
    assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_there_are_no_other_files(module_http: httpx.Client) -> None:
    names = {entry.name for entry in resources.files("gameball_async.sandbox").joinpath("page").iterdir()}

    assert names == {"index.html", *(path.removeprefix("page/") for path in FILES if path)}
    for path in ("page/", "page/index.html", "page/../_page.py", "page/%2e%2e/_page.py", "page//script.js"):
        assert module_http.get(f"/_sandbox/{path}").status_code == 404


@pytest.mark.parametrize("path", FILES)
def test_no_file_asks_for_anything_from_elsewhere(module_http: httpx.Client, path: str) -> None:
    text = module_http.get(f"/_sandbox/{path}").text.replace("http://www.w3.org/2000/svg", "")

    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)


def test_nothing_is_written_into_the_page_as_html(module_http: httpx.Client) -> None:
    script = "".join(module_http.get(f"/_sandbox/{path}").text for path in SCRIPTS)
    page = module_http.get("/_sandbox/").text

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    assert not re.search(r"<style|style=|\son[a-z]+=|<script>", page)


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("listens_at", "asked"),
    [
        ("127.0.0.1", "127.0.0.1:8765"),
        ("127.0.0.1", "localhost:8765"),
        ("127.0.0.1", "LOCALHOST"),
        ("127.0.0.1", "shop.localhost:8765"),
        ("127.0.0.1", "[::1]:8765"),
        ("127.0.0.1", "192.0.2.7:9000"),  # a forwarded port: an address cannot be rebound
        ("0.0.0.0", "shop:8765"),  # a container's name
        ("0.0.0.0", "192.0.2.7:8765"),
        ("dev.example", "dev.example:8765"),
    ],
)
def test_the_sandbox_answers_to_its_own_names(listens_at: str, asked: str) -> None:
    assert refusal(listens_at, "GET", {"host": asked}) is None


@pytest.mark.parametrize(
    ("listens_at", "asked"),
    [
        ("127.0.0.1", "evil.example:8765"),
        ("127.0.0.1", "localhost.evil.example"),
        ("127.0.0.1", "127.0.0.1.evil.example"),
        ("127.0.0.1", "shop:8765"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "[::1"),
        ("localhost", "shop"),
        ("::1", "shop"),
        ("0.0.0.0", "evil.example"),
        ("dev.example", "evil.example:8765"),
    ],
)
def test_the_sandbox_answers_to_no_name_that_a_foreign_page_can_take(listens_at: str, asked: str) -> None:
    assert "use its IP address" in (refusal(listens_at, "GET", {"host": asked}) or "")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),  # a program
        ("POST", {"origin": "http://here:1"}),
        ("POST", {"sec-fetch-site": "same-origin", "origin": "http://here:1"}),
        ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),  # a link
        ("GET", {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}),
    ],
)
def test_programs_and_the_own_page_see_and_steer_the_sandbox(method: str, headers: dict[str, str]) -> None:
    assert refusal("0.0.0.0", method, {"host": "here:1", **headers}) is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"origin": "http://here:2"}),
        ("POST", {"origin": "http://evil.example"}),
        ("POST", {"origin": "null"}),
        ("POST", {"sec-fetch-site": "same-site"}),
        ("POST", {"sec-fetch-site": "cross-site"}),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),  # a form
        ("DELETE", {"sec-fetch-site": "cross-site"}),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        ("GET", {"origin": "http://evil.example"}),
    ],
)
def test_no_foreign_page_sees_or_steers_the_sandbox(method: str, headers: dict[str, str]) -> None:
    words = refusal("0.0.0.0", method, {"host": "here:1", **headers})

    assert "open the sandbox's own page" in (words or "")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.example"}, "use its IP address"),
        ({"Origin": "http://evil.example"}, "open the sandbox's own page"),
        ({"Sec-Fetch-Site": "cross-site"}, "open the sandbox's own page"),
    ],
)
def test_a_foreign_page_is_told_403_and_changes_nothing(
    sandbox: Sandbox, http: httpx.Client, headers: dict[str, str], words: str
) -> None:
    track(http)
    changes = [("page/switch", {"name": "outage", "on": True}), ("page/leave", {"seconds": 5}), ("reset", None)]
    for path, value in [*changes, ("faults", {"kind": "hang"})]:
        answer = http.post(f"/_sandbox/{path}", json=value, headers=headers)

        assert answer.status_code == 403
        assert words in answer.text
    assert (sandbox.faults, sandbox.stats().events) == ((), 1)


def test_the_api_itself_asks_nobody_where_they_come_from(http: httpx.Client) -> None:
    headers = {"Content-Type": "application/json", "Host": "api.gameball.example", "Origin": "http://evil.example"}

    assert http.post(V3, content=body(), headers=headers).status_code == 200


# ---------------------------------------------------------------- what it is told


def test_the_first_message_says_how_things_are(http: httpx.Client, sandbox: Sandbox) -> None:
    track(http, "p", "one", "two")
    with listening(sandbox) as news:
        told = news.next()

    assert told["isFresh"]
    assert (told["events"], told["players"], told["requests"], told["applied"], told["unapplied"]) == (2, 1, 1, 1, 0)
    assert [(row["number"], row["player"], row["events"], row["status"]) for row in told["rows"]] == [
        (1, "p", ["one", "two"], 200)
    ]
    assert told["windows"] == [
        {"used": 1, "count": 100, "seconds": 1.0},
        {"used": 1, "count": 1200, "seconds": 30.0},
    ]
    assert [counts for _, *counts in told["seconds"]] == [[1, 0, 0]]


def test_a_later_message_holds_only_the_requests_that_are_new(http: httpx.Client, sandbox: Sandbox) -> None:
    track(http, "p")
    with listening(sandbox) as news:
        news.next()
        track(http, "q")
        told = news.until(requests=2, inFlight=0)

    assert not told["isFresh"]
    assert [row["player"] for row in told["rows"]] == ["q"]


def test_a_browser_that_was_cut_off_is_told_what_it_has_missed(http: httpx.Client, sandbox: Sandbox) -> None:
    track(http, "p")
    with listening(sandbox) as news:
        news.next()
    track(http, "q")
    with listening(sandbox, **{"Last-Event-ID": news.last}) as again:
        told = again.next()

    assert not told["isFresh"]
    assert [row["player"] for row in told["rows"]] == ["q"]


@pytest.mark.parametrize("last", ["", ".", "nonsense", "nonsense.1", "9" * 5000])
def test_a_browser_with_a_position_of_no_meaning_starts_afresh(http: httpx.Client, sandbox: Sandbox, last: str) -> None:
    track(http)
    with listening(sandbox, **{"Last-Event-ID": last}) as news:
        told = news.next()

    assert told["isFresh"]
    assert len(told["rows"]) == 1


@pytest.mark.parametrize(("position", "rows"), [("0", 1), ("1", 0), ("99", 0), ("-5", 1), ("x", 1), ("9" * 5000, 1)])
def test_a_position_outside_of_the_ledger_harms_nothing(
    http: httpx.Client, sandbox: Sandbox, position: str, rows: int
) -> None:
    track(http)
    with listening(sandbox) as news:
        news.next()
    with listening(sandbox, **{"Last-Event-ID": f"{news.last.partition('.')[0]}.{position}"}) as again:
        assert len(again.next()["rows"]) == rows


def test_after_a_reset_everything_starts_afresh(http: httpx.Client, sandbox: Sandbox) -> None:
    track(http)
    with listening(sandbox) as news:
        news.next()
        sandbox.reset()
        told = news.next()

    assert told["isFresh"]
    assert (told["events"], told["rows"], told["seconds"]) == (0, [], [])
    assert [window["used"] for window in told["windows"]] == [0, 0]


def test_a_message_holds_at_most_a_hundred_requests_the_latest(sandbox: Sandbox, http: httpx.Client) -> None:
    for number in range(1, 151):
        track(http, f"p{number}")
    with listening(sandbox) as news:
        told = news.next()

    assert [row["number"] for row in told["rows"]] == [*range(51, 151)]
    assert told["requests"] == 150


def test_a_request_of_thousands_of_long_names_is_told_in_short(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http, "p" * 5000, *(f"{number}{'n' * 5000}" for number in range(1000)))
    with listening(sandbox) as news:
        (row,) = news.next()["rows"]

    assert (len(row["events"]), row["more"]) == (12, 988)
    assert len(json.dumps(row)) < 5000


def test_the_windows_fill_and_empty_again() -> None:
    with (
        Sandbox(limits=Limits(3, 1200)) as sandbox,
        httpx.Client(base_url=sandbox.url, trust_env=False, verify=False) as http,
    ):
        http.headers["APIKey"] = "key"
        for _ in range(4):
            track(http)
        with listening(sandbox) as news:
            full, later = news.next(), news.until(requests=4, inFlight=0)
            while later["windows"][0]["used"]:
                later = news.next()

    assert [window["used"] for window in full["windows"]] == [3, 3]
    assert [window["used"] for window in later["windows"]] == [0, 3]


@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        (None, "applied", ""),
        (Fault.latency(0.001), "applied", ""),
        (Fault.status(503), "refused", "not applied (as scripted)"),
        (
            Fault.status(422, code=3003, words="No such rating."),
            "refused",
            "not applied, code 3003: No such rating. (as scripted)",
        ),
        (
            Fault.busy(),
            "refused",
            "not applied, code 2001: Another request is in progress. (as scripted)",
        ),
        (Fault.success_false(words="Not today."), "refused", "not applied: Not today. (as scripted: no success)"),
        (Fault.html(), "refused", "not applied (as scripted: a gateway's page)"),
        (Fault.redirect(), "refused", "not applied (as scripted: sent elsewhere)"),
        (Fault.reset_before(), "unanswered", "not applied (as scripted: reset)"),
        (Fault.reset_after(), "lost", "applied, answer lost (as scripted: reset)"),
        (Fault.fail_after_applying(), "lost", "applied, answer lost (as scripted)"),
        (Fault.truncate(), "lost", "applied, answer lost (as scripted: cut short)"),
        (Fault.drip(0.0), "applied", "(as scripted: byte by byte)"),
        (Fault.huge(100), "applied", "(as scripted: a huge answer)"),
        (Fault.hang(), "unanswered", "not applied (as scripted: never answered) (the client has left)"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_every_answer_is_told_in_words(
    sandbox: Sandbox, http: httpx.Client, fault: Fault | None, outcome: str, words: str
) -> None:
    sandbox.script(*([fault] if fault else []))
    timeout = 0.05 if fault is not None and fault.kind == "hang" else 5
    with contextlib.suppress(httpx.TransportError):
        http.post(V3, content=body(), headers={"Content-Type": "application/json"}, timeout=timeout)
    sandbox.wait_for(lambda tally: tally.in_flight == 0)
    with listening(sandbox) as news:
        (row,) = news.next()["rows"]

    assert (row["outcome"], row["words"]) == (outcome, words)


def test_a_broken_rule_is_told_with_its_code_and_its_words(sandbox: Sandbox, http: httpx.Client) -> None:
    http.post(V3, json={"playerUniqueId": "p", "events": {"review": {"rating": None}}})
    with listening(sandbox) as news:
        (row,) = news.next()["rows"]

    assert row["status"] == 422
    assert row["words"] == "not applied, code 5: The event 'review', key 'rating', is null."


def test_half_of_a_surrogate_pair_in_a_name_breaks_no_view(sandbox: Sandbox, http: httpx.Client) -> None:
    content = b'{"playerUniqueId":"p","events":{"\\ud800":{}}}'
    http.post(V3, content=content, headers={"Content-Type": "application/json"})

    for view in ("holdings", "requests", "violations", "page/players"):
        assert http.get(f"/_sandbox/{view}").status_code == 200
    with listening(sandbox) as news:
        assert news.next()["rows"][0]["events"] == ["\ud800"]


def test_stopping_ends_the_messages_at_once_and_logs_no_error(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(sandbox) as news:
        news.next()
        sandbox.stop()
        with pytest.raises(httpx.TransportError):
            news.next()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_browser_that_leaves_is_forgotten_without_an_error(
    sandbox: Sandbox, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"GET /_sandbox/page/news HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(10).startswith(b"HTTP/1.1")
    calls.open()  # comes after the leaving, on the same loop
    sandbox.stop()

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# ---------------------------------------------------------------- players


def test_players_are_told_the_latest_active_first(http: httpx.Client, sandbox: Sandbox) -> None:
    for player in ("a", "b", "a"):
        track(http, player, "one", "two")
    sandbox.script(Fault.status(503))
    track(http, "c")

    assert http.get("/_sandbox/page/players").json() == [
        {"player": "c", "events": 0, "applied": 0, "unapplied": 1},
        {"player": "a", "events": 4, "applied": 2, "unapplied": 0},
        {"player": "b", "events": 2, "applied": 1, "unapplied": 0},
    ]


def test_a_player_is_found_by_a_part_of_the_id_and_at_most_fifty_are_told(http: httpx.Client) -> None:
    for number in range(60):
        track(http, f"Player/{number}")

    def found(like: str) -> list[str]:
        return [row["player"] for row in http.get("/_sandbox/page/players", params={"like": like}).json()]

    assert found("player/7") == ["Player/7"]
    assert found("5")[:2] == ["Player/59", "Player/58"]
    assert found("nobody") == []
    assert len(found("")) == 50


def test_a_players_events_are_told_by_request(http: httpx.Client) -> None:
    contact = {"mobile": "+1234567", "email": "jon.snow@example.com"}
    http.post(V3, json={"playerUniqueId": "p/ü", "events": {"a": {"k": [1, "ü"]}, "b": {}}, **contact})
    track(http, "p/ü", "a")

    assert http.get("/_sandbox/page/player", params={"id": "p/ü"}).json() == {
        "count": 3,
        "shown": 3,
        "requests": [
            {"number": 2, "contact": "", "events": [{"name": "a", "metadata": ""}]},
            {
                "number": 1,
                "contact": "+1234567, jon.snow@example.com",
                "events": [{"name": "a", "metadata": '"k": [1, "ü"]'}, {"name": "b", "metadata": ""}],
            },
        ],
    }


def test_of_a_player_with_many_events_the_last_are_told(http: httpx.Client) -> None:
    for _ in range(3):
        track(http, "p", *(f"e{number}" for number in range(90)))

    told = http.get("/_sandbox/page/player", params={"id": "p"}).json()

    assert (told["count"], told["shown"]) == (270, 200)
    assert [(request["number"], len(request["events"])) for request in told["requests"]] == [(3, 90), (2, 90), (1, 20)]
    assert http.get("/_sandbox/page/player", params={"id": "nobody"}).json()["requests"] == []


# ---------------------------------------------------------------- buttons


def _switch(http: httpx.Client, name: str, *, on: bool) -> None:
    http.post("/_sandbox/page/switch", json={"name": name, "on": on}).raise_for_status()


def test_a_switch_fails_requests_until_it_is_switched_off(sandbox: Sandbox, http: httpx.Client) -> None:
    statuses = [track(http).status_code]
    _switch(http, "outage", on=True)
    statuses.append(track(http).status_code)
    with listening(sandbox) as news:
        on = news.next()["switches"]
    _switch(http, "outage", on=False)
    statuses.append(track(http).status_code)

    assert statuses == [200, 503, 200]
    assert {one["name"]: one["struck"] for one in on if one["struck"] is not None} == {"outage": 1}


def test_the_switch_used_last_decides(http: httpx.Client) -> None:
    _switch(http, "outage", on=True)
    _switch(http, "limit", on=True)
    answer = track(http)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")


def test_a_switch_leaves_the_other_faults_as_they_were(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(500, times=2))
    statuses = [track(http).status_code]
    for on in (True, False):
        _switch(http, "outage", on=on)
        statuses.append(track(http).status_code)
    statuses.append(track(http).status_code)

    assert statuses == [500, 503, 500, 200]


def test_a_switch_used_twice_is_on_once(sandbox: Sandbox, http: httpx.Client) -> None:
    counts: list[int] = []
    for on in (True, True, False, False):
        _switch(http, "outage", on=on)
        counts.append(len(sandbox.faults))

    assert counts == [1, 1, 0, 0]


def test_an_empty_script_switches_everything_off(sandbox: Sandbox, http: httpx.Client) -> None:
    _switch(http, "outage", on=True)
    sandbox.script()

    assert track(http).status_code == 200


def test_a_scripted_fault_that_is_a_switchs_own_is_shown_as_that_switch_until_it_is_used_up(
    sandbox: Sandbox, http: httpx.Client
) -> None:
    sandbox.script(
        Fault.status(503), Fault.status(500, players={"b", "a"}, probability=0.5), Fault.hang(times=1, players={"p"})
    )
    with listening(sandbox) as news:
        told = news.next()

    assert [one["name"] for one in told["switches"] if one["struck"] is not None] == ["outage"]
    assert told["others"] == ["status 500: probability 0.5, players a or b", "hang: times 1, players p"]
    sandbox.script(Fault.status(503, times=1))
    track(http)
    with listening(sandbox) as news:
        told = news.next()
    assert (told["others"], [one["struck"] for one in told["switches"]]) == ([], [None] * 9)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.busy(), "busy"),
        (Fault.html(503, retry_after=2), "html: http_status 503, retry_after 2"),
        (Fault.latency(0.1, 0.2), "latency: seconds 0.1, up_to 0.2"),
        (Fault.status(429, duration=3), "status 429: duration 3"),
        (Fault.drip(events={"review"}), "drip: events review"),
    ],
)
def test_a_scripted_fault_is_told_by_what_makes_it_special(fault: Fault, words: str) -> None:
    assert describe(fault) == words


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("switch", "{"),
        ("switch", "[]"),
        ("switch", '{"name":"earthquake","on":true}'),
        ("switch", '{"name":"outage","on":"yes"}'),
        ("switch", '{"name":["outage"],"on":true}'),
        ("leave", "{}"),
        ("leave", '{"seconds":0}'),
        ("leave", '{"seconds":NaN}'),
        ("leave", '{"seconds":"10"}'),
        ("leave", '{"seconds":1e9}'),
    ],
)
def test_a_button_that_says_nothing_of_sense_is_told_how_it_is_said(
    module_sandbox: Sandbox, module_http: httpx.Client, path: str, content: str
) -> None:
    answer = module_http.post(f"/_sandbox/page/{path}", content=content)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("send a JSON object such as")
    assert module_sandbox.faults == ()


# ---------------------------------------------------------------- refusing connections


def _leave(sandbox: Sandbox, seconds: float) -> list[threading.Thread]:
    """Let the sandbox refuse connections; returns when it does, with the thread that brings it back, if that runs."""
    with listening(sandbox) as news:
        news.next()
        answer = httpx.post(
            f"{sandbox.url}/_sandbox/page/leave", json={"seconds": seconds}, trust_env=False, verify=False
        )
        answer.raise_for_status()
        with pytest.raises(httpx.TransportError):
            news.until(requests=-1)
    with sandbox._lock:  # held until the server is closed
        pass
    return [thread for thread in threading.enumerate() if thread.name == "gameball-sandbox-downtime"]


def test_a_sandbox_that_leaves_refuses_connections_and_comes_back_with_all_it_holds(
    sandbox: Sandbox, http: httpx.Client
) -> None:
    track(http)
    (thread,) = _leave(sandbox, 60)
    with pytest.raises(httpx.TransportError):  # it may still reach the socket that is being closed
        httpx.get(sandbox.url, trust_env=False, verify=False)
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url, trust_env=False, verify=False)
    assert repr(sandbox) == f"<Sandbox refusing connections at {sandbox.url}>"
    with pytest.raises(RuntimeError, match="stop it first"):
        sandbox.start()
    sandbox.stop()
    thread.join()
    assert repr(sandbox) == "<Sandbox stopped>"
    sandbox.start()

    for thread in _leave(sandbox, 0.01):
        thread.join()

    assert track(http).status_code == 200
    assert sandbox.stats().events == 2


def test_a_sandbox_that_cannot_come_back_says_so_and_can_be_started_later(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(sandbox.url)
    (thread,) = _leave(sandbox, 60)
    with pytest.raises(httpx.TransportError):
        httpx.get(sandbox.url, trust_env=False, verify=False)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address.hostname, address.port))
        other.listen()
        downtime = sandbox._downtime
        assert downtime is not None
        downtime.set()
        thread.join()
    assert "call start() to retry" in caplog.text
    assert repr(sandbox) == "<Sandbox stopped>"

    sandbox.start()
    assert httpx.get(f"{sandbox.url}/_sandbox/stats", trust_env=False, verify=False).status_code == 200
