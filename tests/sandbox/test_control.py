"""The control path says over HTTP what the sandbox says in Python, and takes scripts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, get_args

import attrs
import pytest

from gameball_async.sandbox import Fault, JobSettings, Sandbox
from gameball_async.sandbox._faults import SWITCHES, Kind

from .support import V3, finish_jobs, item, job_of, track

if TYPE_CHECKING:
    import httpx


def test_holdings_are_shown_per_player_and_in_order(http: httpx.Client) -> None:
    contact = {"mobile": "+1234567", "email": "jon.snow@example.com"}
    http.post(V3, json={"playerUniqueId": "p", "events": {"e": {"k": [1, "two"]}, "f": {}}, **contact})

    assert http.get("/_sandbox/holdings").json() == {
        "p": [
            {"name": "e", "metadata": {"k": [1, "two"]}, "request": 1, **contact},
            {"name": "f", "metadata": {}, "request": 1, **contact},
        ]
    }


def test_requests_are_shown_as_they_are_in_python(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http, "p", "one", "two")

    (shown,) = http.get("/_sandbox/requests").json()

    assert shown == {**attrs.asdict(sandbox.requests[0]), "events": ["one", "two"]}


def test_violations_are_shown_as_they_are_in_python(sandbox: Sandbox, http: httpx.Client) -> None:
    http.post("/elsewhere")

    assert http.get("/_sandbox/violations").json() == [attrs.asdict(sandbox.violations[0])]


def test_stats_are_shown_with_a_count_per_status(http: httpx.Client) -> None:
    track(http)
    http.post("/elsewhere")

    shown = http.get("/_sandbox/stats").json()

    assert shown["statuses"] == {"200": 1, "404": 1}
    assert (shown["arrived"], shown["events"], shown["violations"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"kind": "status", "status": 503, "code": 5003, "retry_after": 2},
            Fault.status(503, code=5003, retry_after=2),
        ),
        ({"kind": "busy", "probability": 0.2}, Fault.busy(probability=0.2)),
        ({"kind": "latency", "shortest": 0.02, "longest": 0.12}, Fault.latency(0.02, 0.12)),
        ({"kind": "hang", "start": 1, "duration": 2, "times": 3}, Fault.hang(start=1, duration=2, times=3)),
        ({"kind": "html", "duration": None}, Fault.html()),
        ({"kind": "truncate", "players": ["p"], "events": ["e"]}, Fault.truncate(players={"p"}, events={"e"})),
    ],
)
def test_a_posted_fault_is_the_one_its_constructor_makes(
    sandbox: Sandbox, http: httpx.Client, given: dict[str, object], fault: Fault
) -> None:
    answer = http.post("/_sandbox/faults", json=[given])

    assert answer.status_code == 200
    assert sandbox.faults == (fault,)


def test_posted_faults_replace_the_script_and_delete_clears_it(http: httpx.Client) -> None:
    statuses: list[int] = []
    for faults in ([{"kind": "status", "status": 500}], {"kind": "status", "status": 503}):
        http.post("/_sandbox/faults", json=faults)
        statuses.append(track(http).status_code)
    shown = http.get("/_sandbox/faults").json()
    http.delete("/_sandbox/faults")
    statuses.append(track(http).status_code)

    assert statuses == [500, 503, 200]
    assert [(fault["kind"], fault["http_status"], fault["duration"]) for fault in shown] == [("status", 503, None)]
    assert http.get("/_sandbox/faults").json() == []


EVERY_FIELD: dict[str, Any] = {
    "probability": 0.25,
    "start": 1.5,
    "duration": 60.0,
    "times": 3,
    "players": {"b", "a", "\ud83d"},
    "events": {"review"},
    "routes": {"status", "batch"},
}

OF_EVERY_KIND = [
    Fault.status(503),
    Fault.status(503, code=5003, words="Größer \ud83d", retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
    Fault.status(204, retry_after=0.5),
    Fault.status(429, retry_after="inf"),
    Fault.busy(),
    Fault.success_false(words="no"),
    Fault.html(500, retry_after=7),
    Fault.redirect("https://elsewhere.invalid/a", status=301),
    Fault.reset_before(),
    Fault.reset_after(),
    Fault.fail_after_applying(502, code=1),
    Fault.hang(),
    Fault.truncate(),
    Fault.drip(0.25, size=7),
    Fault.huge(5),
    Fault.latency(0.25, 2),
    Fault.latency(0),
    Fault(kind="busy"),  # unlike busy(), without a code
    Fault(kind="status", code=None, seconds=0.1, up_to=0.2, size=3, location="/", words=""),
]


def test_every_kind_of_fault_is_among_them() -> None:
    assert {fault.kind for fault in OF_EVERY_KIND} == set(get_args(Kind))


@pytest.mark.parametrize("index", range(len(OF_EVERY_KIND)))
@pytest.mark.parametrize("has_every_field", [False, True], ids=["bare", "with every field"])
def test_a_script_that_was_read_can_be_posted_again(
    index: int, *, has_every_field: bool, sandbox: Sandbox, http: httpx.Client
) -> None:
    fault = OF_EVERY_KIND[index]
    fault = attrs.evolve(fault, **EVERY_FIELD) if has_every_field else fault
    sandbox.script(fault, Fault.hang(times=1))
    script = sandbox.faults

    shown = http.get("/_sandbox/faults")
    sandbox.script()
    answer = http.post("/_sandbox/faults", content=shown.content)

    assert (answer.status_code, answer.content) == (200, shown.content)
    assert sandbox.faults == script
    assert set(shown.json()[0]) == {field.name for field in attrs.fields(Fault)}


def test_a_header_that_is_no_json_number_is_shown_as_what_is_sent(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(503, retry_after=math.inf), Fault.status(503, retry_after=math.nan))
    shown = http.get("/_sandbox/faults").json()
    http.post("/_sandbox/faults", json=shown)
    assert [fault.retry_after for fault in sandbox.faults] == ["inf", "nan"]


def test_switches_that_were_read_are_still_on_when_they_are_posted_again(http: httpx.Client) -> None:
    for name in SWITCHES:
        http.post("/_sandbox/page/switch", json={"name": name, "on": True})
    shown = http.get("/_sandbox/faults").json()
    http.delete("/_sandbox/faults")
    http.post("/_sandbox/faults", json=shown)
    for name in SWITCHES:
        http.post("/_sandbox/page/switch", json={"name": name, "on": False})
    assert (len(shown), http.get("/_sandbox/faults").json()) == (len(SWITCHES), [])


def test_the_fields_of_a_fault_may_be_given_in_part(sandbox: Sandbox, http: httpx.Client) -> None:
    http.post("/_sandbox/faults", json=[{"kind": "status", "http_status": 503}, {"kind": "busy", "code": 2002}])
    assert sandbox.faults == (Fault.status(503), attrs.evolve(Fault.busy(), code=2002))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ("[1]", "a fault is a JSON object"),
        ('{"kind":"earthquake"}', "kind one of status, busy"),
        ('{"kind":["hang"]}', "kind one of status, busy"),
        ('{"kind":"status"}', "missing 1 required positional argument: 'status'"),
        ('{"kind":"hang","status":500}', "unexpected keyword argument 'status'"),
        ('{"kind":"hang","probability":2}', "use a share from 0 to 1"),
        ('{"kind":"hang","probability":"often"}', "not supported between instances"),
        ('{"kind":"status","status":500,"code":"2001"}', "'code' must be"),
        ('{"kind":"hang","players":5}', "not iterable"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
    ],
)
def test_a_script_that_cannot_work_is_refused_with_the_reason_and_changes_nothing(
    http: httpx.Client, content: str, words: str
) -> None:
    http.post("/_sandbox/faults", json={"kind": "status", "status": 500})

    answer = http.post("/_sandbox/faults", content=content)

    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert track(http).status_code == 500


def test_jobs_are_shown_as_they_are_in_python(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_players={"q"}))
    job_of(http, item("p"), item("q"))
    finish_jobs(sandbox)

    (shown,) = http.get("/_sandbox/jobs").json()

    (job,) = sandbox.jobs
    assert shown == {
        **attrs.asdict(job),
        "players": ["p", "q"],
        "failed": [{"position": 1, "player": "q", "message": "The item could not be processed.", "applied": 0}],
    }


def test_settings_of_jobs_that_were_read_can_be_posted_again(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=(1, 5), failing_events={"b", "a"}, paths="both"))
    shown = http.get("/_sandbox/job-settings").json()

    sandbox.set_jobs(JobSettings())
    answer = http.post("/_sandbox/job-settings", json=shown)

    assert (answer.status_code, answer.json()) == (200, shown)
    assert shown["latency"] == [1, 5]
    assert shown["failing_events"] == ["a", "b"]
    assert http.get("/_sandbox/job-settings").json() == shown
    assert shown.keys() == {field.name for field in attrs.fields(JobSettings)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "the settings of jobs are a JSON object"),
        ('{"speed":5}', "unexpected keyword argument 'speed'"),
        ('{"latency":"long"}', "use seconds, or the shortest and the longest"),
        ('{"latency":["a","b"]}', "invalid settings of jobs"),
        ('{"latency":[1,2,3]}', "use seconds, or the shortest and the longest"),
        ('{"failing_items":2}', "a share from 0 to 1"),
        ('{"failing_items":"all"}', "invalid settings of jobs"),
        ('{"lost_after":1.5}', "invalid settings of jobs"),
        ('{"itemised":"no"}', "invalid settings of jobs"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
    ],
)
def test_settings_of_jobs_that_cannot_work_are_refused_and_change_nothing(
    http: httpx.Client, content: str, words: str
) -> None:
    answer = http.post("/_sandbox/job-settings", content=content)

    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert http.get("/_sandbox/job-settings").json() == JobSettings().to_json() | {"latency": [0.05, 0.25]}


def test_a_posted_reset_forgets_everything(sandbox: Sandbox, http: httpx.Client) -> None:
    track(http)
    http.post("/_sandbox/reset")

    assert (sandbox.holdings(), sandbox.requests) == ({}, [])


def test_the_control_path_is_no_request_of_the_api(sandbox: Sandbox, http: httpx.Client) -> None:
    for view in ("holdings", "requests", "violations", "jobs", "job-settings", "stats", "faults"):
        assert http.get(f"/_sandbox/{view}").status_code == 200

    assert sandbox.stats().arrived == 0
