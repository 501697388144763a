"""Bulk requests become jobs: accepted at once, processed later, item by item in random order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from gameball_async.sandbox import FailedItem, Fault, JobSettings, Sandbox

from .support import SECRET, finish_jobs, item, job_of, send_bulk, status, stop, track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gameball_async.sandbox import Tally

BATCH = "/api/v4.0/integrations/batch/events"
SLOW = JobSettings(latency=3600)


@pytest.fixture(scope="module")
def bulk_http(module_sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=module_sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def sandbox(module_sandbox: Sandbox) -> Sandbox:
    """One without limits, with nothing in it and the usual jobs."""
    module_sandbox.reset()
    module_sandbox.script()
    module_sandbox.set_jobs(JobSettings(latency=0))
    return module_sandbox


@pytest.fixture
def http(sandbox: Sandbox, bulk_http: httpx.Client) -> httpx.Client:
    assert sandbox.jobs == []
    return bulk_http


# ---------------------------------------------------------------- acceptance


@pytest.mark.parametrize("version", ["v4.0", "v4.1"])
def test_a_bulk_request_is_answered_with_the_number_of_its_job(
    sandbox: Sandbox, http: httpx.Client, version: str
) -> None:
    answers = [send_bulk(http, item("p"), version=version) for _ in range(2)]

    first, second = (answer.json()["jobId"] for answer in answers)
    assert [answer.json() for answer in answers] == [{"jobId": first}, {"jobId": first + 1}]
    assert [job.id for job in sandbox.jobs] == [first, second]
    assert sandbox.violations == []


def test_a_job_applies_every_item_once_in_an_order_of_its_own(sandbox: Sandbox, http: httpx.Client) -> None:
    players = [f"player{number}" for number in range(50)]
    job_of(http, *(item(player, "review", "place_order") for player in players))
    finish_jobs(sandbox)

    held = sandbox.holdings()

    assert sorted(held) == sorted(players)
    assert list(held) != players
    assert {tuple(event.name for event in events) for events in held.values()} == {("review", "place_order")}
    (job,) = sandbox.jobs
    assert (job.state, job.items, job.processed, job.failed) == ("completed", 50, 50, ())
    assert job.players == tuple(players)


def test_the_order_of_items_depends_on_the_seed_only() -> None:
    orders: list[list[str]] = []
    for seed in (1, 1, 2):
        with (
            Sandbox(jobs=JobSettings(latency=0), seed=seed) as sandbox,
            httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http,
        ):
            job_of(http, *(item(f"player{number}") for number in range(20)))
            finish_jobs(sandbox)
            orders.append(list(sandbox.holdings()))

    assert orders[0] == orders[1] != orders[2]


def test_a_player_may_occur_in_several_items_and_jobs(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(SLOW)
    job_of(http, item("p", "a"), item("q"), item("p", "a"))
    job_of(http, item("p", "a"), item("r"))
    first, second = sandbox.jobs

    assert sandbox.violations == []
    assert first.players == ("p", "q", "p")
    assert first.shared_players(second) == second.shared_players(first) == {"p"}


def test_jobs_one_after_another_share_no_player(sandbox: Sandbox, http: httpx.Client) -> None:
    for _ in range(2):
        job_of(http, item("p"))
        finish_jobs(sandbox)
    first, second = sandbox.jobs

    assert first.shared_players(second) == second.shared_players(first) == frozenset()


def test_a_job_does_not_occupy_its_players(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(SLOW)
    job_of(http, item("p"))

    assert track(http, "p").status_code == 200
    assert sandbox.violations == []


def test_a_bulk_request_is_recorded_with_its_items_names_and_job(sandbox: Sandbox, http: httpx.Client) -> None:
    job = job_of(http, item("p", "a", "b"), item("q", "b", "c"))
    status(http, job)

    bulk, poll = sandbox.requests
    assert (bulk.route, bulk.player, bulk.events, bulk.items, bulk.job) == ("batch", None, ("a", "b", "c"), 2, job)
    assert bulk.applied
    assert (poll.route, poll.events, poll.items, poll.job, poll.applied) == ("status", (), 0, job, False)


def test_events_are_held_with_the_number_of_their_bulk_request(sandbox: Sandbox, http: httpx.Client) -> None:
    job_of(http, item("p"))
    finish_jobs(sandbox)

    assert [event.request for event in sandbox.holdings()["p"]] == [sandbox.jobs[0].request]
    assert sandbox.requests[0].number == sandbox.jobs[0].request


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("content", "kind", "code_status", "code"),
    [
        ("{", "not_json", 400, 3016),
        ("[]", "not_an_object", 400, 3016),
        ("{}", "missing_items", 400, 3000),
        ('{"body":[]}', "missing_items", 400, 3000),
        ('{"body":null}', "null_value", 422, 3001),
        ('{"body":{}}', "bad_type", 422, 3003),
        ('{"body":[ITEM,null]}', "null_value", 422, 3001),
        ('{"body":[ITEM,5]}', "bad_type", 422, 3003),
        ('{"body":[ITEM],"body":[ITEM]}', "duplicate_field", 400, 3016),
        ('{"body":[ITEM],"customerId":"p"}', "unknown_field", 400, 3016),
        pytest.param('{"body":[' + ",".join(["ITEM"] * 1001) + "]}", "too_many_items", 400, 3016, id="1001"),
    ],
)
def test_a_wrong_envelope_refuses_the_whole_request(
    *, sandbox: Sandbox, http: httpx.Client, content: str, kind: str, code_status: int, code: int
) -> None:
    sent = content.replace("ITEM", '{"customerId":"p","events":{"e":{}}}')

    answer = http.post(BATCH, content=sent, headers={"Content-Type": "application/json", **SECRET})

    assert (answer.status_code, answer.json()["code"]) == (code_status, code)
    assert [violation.kind for violation in sandbox.violations] == [kind]
    assert sandbox.jobs == []


def test_a_thousand_items_are_accepted(sandbox: Sandbox, http: httpx.Client) -> None:
    job_of(http, *(item(f"player{number}") for number in range(1000)))
    finish_jobs(sandbox)

    assert len(sandbox.holdings()) == 1000


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        ({"events": {"e": {}}}, "missing_player", "customer id is missing"),
        ({"customerId": "q", "events": {"e": {"k": None}}}, "null_value", "The event 'e', key 'k', is null."),
        (
            {"customerId": "q", "events": {"e": {}}, "email": "jon@example.com"},
            "unknown_field",
            "The field 'email' is not known to v4.0.",
        ),
        (
            {"customerId": "q", "events": {"e": {}}, "mobile": "+1234567"},
            "unknown_field",
            "The field 'mobile' is not known to v4.0.",
        ),
    ],
)
def test_an_item_that_breaks_a_rule_fails_by_itself(
    *, sandbox: Sandbox, http: httpx.Client, bad: dict[str, object], kind: str, words: str
) -> None:
    job = job_of(http, item("p"), bad, item("r"))
    finish_jobs(sandbox)

    assert sorted(sandbox.holdings()) == ["p", "r"]
    assert [violation.kind for violation in sandbox.violations] == [kind]
    assert sandbox.jobs[0].failed == (FailedItem(1, bad.get("customerId"), words),)  # type: ignore[arg-type]
    shown = status(http, job).json()
    assert (shown["status"], shown["failedItems"]) == ("completed", 1)
    assert shown["errors"] == [{"customerId": bad.get("customerId"), "message": words}]


def test_an_item_that_repeats_an_event_fails(sandbox: Sandbox, http: httpx.Client) -> None:
    sent = '{"body":[{"customerId":"p","events":{"e":{},"e":{}}},{"customerId":"q","events":{"e":{}}}]}'
    http.post(BATCH, content=sent, headers={"Content-Type": "application/json", **SECRET})
    finish_jobs(sandbox)

    assert [violation.kind for violation in sandbox.violations] == ["duplicate_event"]
    assert list(sandbox.holdings()) == ["q"]


@pytest.mark.parametrize("version", ["v4.0", "v4.1"])
def test_every_request_about_jobs_needs_both_keys(sandbox: Sandbox, http: httpx.Client, version: str) -> None:
    base = f"/api/{version}/integrations"
    sandbox.set_jobs(JobSettings(paths="both"))
    routes = [
        ("POST", f"{base}/batch/events"),
        ("GET", f"{base}/batches/1/status"),
        ("POST", f"{base}/batches/1/stop"),
        ("GET", f"{base}/batch/1"),
        ("DELETE", f"{base}/batch/1"),
    ]

    without_secret = [http.request(method, path) for method, path in routes]
    without_key = [http.request(method, path, headers={"APIKey": "", **SECRET}) for method, path in routes]

    assert [(answer.status_code, answer.json()["code"]) for answer in without_secret] == [(401, 1001)] * 5
    assert [(answer.status_code, answer.json()["code"]) for answer in without_key] == [(401, 1000)] * 5


# ---------------------------------------------------------------- status and stop


@pytest.mark.parametrize("version", ["v4.0", "v4.1"])
def test_the_status_as_in_the_openapi_file(sandbox: Sandbox, http: httpx.Client, version: str) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_players={"q"}))
    job = send_bulk(http, item("p"), item("q"), version=version).json()["jobId"]
    finish_jobs(sandbox)

    answer = status(http, job, version=version)

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "batchId": str(job),
            "status": "completed",
            "progress": 100,
            "totalItems": 2,
            "processedItems": 2,
            "failedItems": 1,
            "results": [{"customerId": "p", "status": "success", "message": "Events processed"}],
            "errors": [{"customerId": "q", "message": "The item could not be processed."}],
        },
    )


def test_the_status_as_in_the_tutorials(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, vocabulary="tutorial", paths="tutorial", failing_players={"q"}))
    job = job_of(http, item("p"), item("q"))
    finish_jobs(sandbox)

    shown = status(http, job, "batch/{}").json()

    assert shown.pop("createdAt").endswith("Z")
    assert shown.pop("startedAt").endswith("Z")
    assert shown == {
        "operation": "events",
        "errorCount": 1,
        "totalCount": 2,
        "finishedCount": 2,
        "status": "completed",
        "response": {
            "successful": [{"customerId": "p", "message": "Events processed"}],
            "failed": [{"customerId": "q", "message": "The item could not be processed."}],
        },
    }


def test_the_tutorials_status_of_a_queued_job_has_neither_a_start_nor_items(
    sandbox: Sandbox, http: httpx.Client
) -> None:
    sandbox.set_jobs(JobSettings(latency=3600, vocabulary="tutorial", paths="tutorial", capitalised=True))
    job = job_of(http, item("p"))

    shown = status(http, job, "batch/{}").json()

    assert (shown["status"], shown["startedAt"], shown["response"]) == ("Queued", None, None)


def test_the_state_may_be_capitalised(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, capitalised=True))
    job = job_of(http, item("p"))

    assert status(http, job).json()["status"] == "Completed"


@pytest.mark.parametrize(
    ("paths", "statuses"),
    [("openapi", (200, 404)), ("tutorial", (404, 200)), ("both", (200, 200)), ("none", (404, 404))],
)
def test_only_the_chosen_paths_exist_and_the_others_are_no_violation(
    sandbox: Sandbox, http: httpx.Client, paths: str, statuses: tuple[int, int]
) -> None:
    sandbox.set_jobs(JobSettings.from_json({"latency": 0, "paths": paths}))
    job = job_of(http, item("p"))

    answers = [status(http, job), status(http, job, "batch/{}")]

    assert tuple(answer.status_code for answer in answers) == statuses
    assert [answer.content for answer in answers if answer.status_code == 404] == [b""] * statuses.count(404)
    assert sandbox.violations == []


@pytest.mark.parametrize("job", ["999999", "0", "abc", "1e3", "9" * 30, "\u0663"])
def test_an_unknown_job_is_404_with_a_code(sandbox: Sandbox, http: httpx.Client, job: str) -> None:
    job_of(http, item("p"))

    answer = status(http, job)

    assert (answer.status_code, answer.json()["code"]) == (404, 4004)
    assert sandbox.violations == []


def test_the_status_of_a_full_job_is_never_shortened(sandbox: Sandbox, http: httpx.Client) -> None:
    players = {f"player{number}" for number in range(1000)}
    job = job_of(http, *map(item, sorted(players)))
    finish_jobs(sandbox)

    answer = status(http, job)

    assert len(answer.content) > 64 * 1024
    assert {result["customerId"] for result in answer.json()["results"]} == players


@pytest.mark.parametrize(("method", "path"), [("POST", "batches/{}/stop"), ("DELETE", "batch/{}")])
def test_a_stopped_job_processes_nothing_more(sandbox: Sandbox, http: httpx.Client, method: str, path: str) -> None:
    sandbox.set_jobs(JobSettings(latency=3600, paths="both"))
    job = job_of(http, item("p"), item("q"))

    answer = http.request(method, f"/api/v4.0/integrations/{path.format(job)}", headers=SECRET)

    assert answer.status_code == 200
    if method == "POST":
        assert answer.json() == {"batchId": str(job), "status": "stopped", "message": "The batch is stopped."}
    (record,) = sandbox.jobs
    assert (record.state, record.processed, sandbox.holdings()) == ("stopped", 0, {})
    assert record.finished is not None
    assert status(http, job).json()["status"] == "stopped"
    assert sandbox.stats().unfinished_jobs == 0


def test_a_completed_job_stays_completed_when_it_is_stopped(sandbox: Sandbox, http: httpx.Client) -> None:
    job = job_of(http, item("p"))
    finish_jobs(sandbox)

    assert stop(http, job).json()["status"] == "completed"


# ---------------------------------------------------------------- what may go wrong


def test_a_job_is_processed_bit_by_bit(sandbox: Sandbox, http: httpx.Client) -> None:
    seen: list[Tally] = []

    def is_partly_processed(tally: Tally) -> bool:
        if 0 < tally.items < 1000:
            seen.append(tally)
        return tally.items == 1000

    sandbox.set_jobs(JobSettings(latency=0.5))
    job_of(http, *(item(f"player{number}") for number in range(1000)))
    sandbox.wait_for(is_partly_processed, timeout=60)

    assert all(tally.events == tally.items and tally.unfinished_jobs == 1 for tally in seen)
    assert seen or sandbox.jobs[0].finished


def test_items_fail_by_share_player_and_event(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_items=0.5))
    job_of(http, *(item(f"player{number}") for number in range(200)))
    sandbox.set_jobs(JobSettings(latency=0, failing_players={"p"}, failing_events="bad"))
    job_of(http, item("p"), item("q", "good", "bad"), item("r", "good"))
    finish_jobs(sandbox)

    by_share, named = sandbox.jobs
    assert 50 < len(by_share.failed) < 150
    assert {failed.player for failed in named.failed} == {"p", "q"}
    assert sandbox.stats().failed_items == len(by_share.failed) + 2
    assert sandbox.violations == []


@pytest.mark.parametrize(("partial", "held"), [(0, []), (0.5, ["a", "b"]), (1, ["a", "b", "c", "d"])])
def test_a_failing_item_may_apply_some_of_its_events(
    sandbox: Sandbox, http: httpx.Client, partial: float, held: list[str]
) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_items=1, partial=partial))
    job_of(http, item("p", "a", "b", "c", "d"))
    finish_jobs(sandbox)

    assert [event.name for event in sandbox.holdings().get("p", [])] == held
    assert [failed.applied for failed in sandbox.jobs[0].failed] == [len(held)]
    assert sandbox.stats().failed_items == 1


def test_failed_items_may_be_counted_without_being_listed(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_items=1, itemised=False))
    job = job_of(http, item("p"))
    shown = status(http, job).json()

    assert (shown["failedItems"], shown["results"], shown["errors"]) == (1, [], [])


def test_a_job_may_fail_with_items_that_are_never_processed(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, failing_jobs=1))
    job = job_of(http, *(item(f"player{number}") for number in range(10)))
    finish_jobs(sandbox)

    shown = status(http, job).json()
    assert (shown["status"], shown["processedItems"], shown["failedItems"]) == ("failed", 5, 0)
    assert {result["customerId"] for result in shown["results"]} == set(sandbox.holdings())


def test_a_job_may_never_finish(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, stuck_jobs=1))
    job = job_of(http, *(item(f"player{number}") for number in range(10)))
    sandbox.wait_for(lambda tally: tally.items == 5)

    shown = status(http, job).json()
    assert (shown["status"], shown["processedItems"], sandbox.jobs[0].finished) == ("processing", 5, None)
    assert sandbox.stats().unfinished_jobs == 1


@pytest.mark.parametrize("polls", [0, 2])
def test_a_job_may_disappear_after_some_polls_and_is_processed_all_the_same(
    sandbox: Sandbox, http: httpx.Client, polls: int
) -> None:
    sandbox.set_jobs(JobSettings(latency=0, lost_jobs=1, lost_after=polls))
    job = job_of(http, item("p"))
    finish_jobs(sandbox)

    statuses = [status(http, job).status_code for _ in range(polls + 2)]

    assert statuses == [200] * polls + [404, 404]
    assert sandbox.jobs[0].polls == polls
    assert list(sandbox.holdings()) == ["p"]


def test_settings_apply_to_later_jobs_only(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(SLOW)
    job_of(http, item("p"))
    sandbox.set_jobs(JobSettings(latency=0))
    job_of(http, item("q"))
    sandbox.wait_for(lambda tally: tally.unfinished_jobs == 1)

    assert list(sandbox.holdings()) == ["q"]


def test_a_reset_deletes_jobs_and_their_ids_are_not_used_again(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0.02))
    job = job_of(http, item("p"))
    sandbox.reset()

    assert (sandbox.jobs, sandbox.stats().unfinished_jobs) == ([], 0)
    assert status(http, job).status_code == 404
    assert job_of(http, item("q")) == job + 1
    finish_jobs(sandbox)
    assert list(sandbox.holdings()) == ["q"]


def test_jobs_continue_when_the_sandbox_starts_again() -> None:
    with Sandbox(jobs=JobSettings(latency=0.2)) as sandbox:
        with httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http:
            job_of(http, *(item(f"player{number}") for number in range(10)))
        sandbox.stop()
        sandbox.start()
        finish_jobs(sandbox)

        assert len(sandbox.holdings()) == 10


@pytest.mark.parametrize(
    "given",
    [
        {"latency": -1},
        {"latency": (2, 1)},
        {"latency": float("inf")},
        {"vocabulary": "french"},
        {"paths": "all"},
        {"failing_items": 1.5},
        {"stuck_jobs": -0.1},
        {"lost_after": -1},
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"JobSettings\(.*\) is invalid: use "):
        JobSettings.from_json(given)


# ---------------------------------------------------------------- faults


def test_a_fault_can_lose_the_answer_of_an_accepted_bulk_request(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.reset_after(routes={"batch"}, times=1), Fault.fail_after_applying(routes={"batch"}))
    with pytest.raises(httpx.TransportError):
        send_bulk(http, item("p"))
    answer = send_bulk(http, item("q"))
    finish_jobs(sandbox)

    assert answer.status_code == 500
    assert sorted(sandbox.holdings()) == ["p", "q"]
    assert [record.job for record in sandbox.requests] == [job.id for job in sandbox.jobs]
    assert [record.applied for record in sandbox.requests] == [True, True]


def test_a_fault_that_applies_nothing_accepts_no_job(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.script(Fault.status(503))

    assert send_bulk(http, item("p")).status_code == 503
    assert (sandbox.jobs, sandbox.requests[0].job) == ([], None)


def test_a_fault_affects_the_routes_that_it_names(sandbox: Sandbox, http: httpx.Client) -> None:
    job = job_of(http, item("p"))
    sandbox.script(Fault.status(429, routes={"status", "preview"}))
    preview = "/api/v4.0/integrations/events/reward-preview"

    answers = [track(http), send_bulk(http, item("q")), status(http, job), stop(http, job), http.post(preview, json={})]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 429]
    assert sandbox.jobs[0].polls == 0


@pytest.mark.parametrize("fault", [Fault.status(500, players={"q"}), Fault.status(500, events={"bad"})])
def test_a_fault_for_a_player_or_an_event_affects_a_bulk_request_with_it(
    sandbox: Sandbox, http: httpx.Client, fault: Fault
) -> None:
    sandbox.script(fault)

    answers = [send_bulk(http, item("p")), send_bulk(http, item("p"), item("q", "bad"))]

    assert [answer.status_code for answer in answers] == [200, 500]


def test_routes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="some of events, batch, status, stop, preview"):
        Fault.from_json({"kind": "hang", "routes": ["batches"]})
