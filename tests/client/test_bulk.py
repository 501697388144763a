"""Bulk requests: acceptance is not delivery, and an accepted job is never sent again."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import httpx
import pytest

from gameball_async import (
    AsyncGameball,
    Batching,
    ConfigurationError,
    Delivered,
    InvalidEvent,
    JobError,
    JobOptions,
    JobReport,
    JobState,
    ObservedClient,
    Observer,
    OutcomeUnknown,
    RateLimit,
    Receipt,
    RequestStart,
    Retry,
)
from gameball_async._core.job_answers import EndedJob, ItemOutcome, read_status
from gameball_async.sandbox import Fault, JobSettings, Limits, Sandbox
from gameball_async.sync import Gameball

from .support import QUICK, assert_conserved, until

pytestmark = pytest.mark.anyio

SUBMIT = "/api/v4.0/integrations/batch/events"
FAST = JobOptions(poll_interval=0.02)
JOBS = JobSettings(latency=0.0)
PLAYERS = [f"player{number}" for number in range(100)]
TOGETHER = Batching(mode="bulk", linger=60, jobs=FAST)
"""What is tracked goes in one bulk request after `track_together`."""


@contextmanager
def serving(jobs: JobSettings = JOBS, limits: Limits | None = None) -> Generator[Sandbox]:
    with Sandbox(limits=limits, jobs=jobs) as sandbox:
        yield sandbox


def client(sandbox: Sandbox, batching: Batching | None = None, **settings: Any) -> AsyncGameball:
    batching = batching or Batching(mode="bulk", linger=0.01, jobs=FAST)
    settings = dict[str, Any](api_version="v4.0", retry=QUICK, rate=None) | settings
    return AsyncGameball("test-key", secret_key="secret", base_url=sandbox.url, batching=batching, **settings)


def scripted(
    status: httpx.Response | Callable[[], httpx.Response],
    *,
    patience: float = 1800.0,
    retry: Retry = QUICK,
    accepted: Callable[[], dict[str, Any]] = lambda: {"jobId": 7},
) -> AsyncGameball:
    """Make a client of a Gameball that accepts everything, and answers each question for a status like this."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return status() if callable(status) else httpx.Response(status.status_code, content=status.content)
        return httpx.Response(200, json=accepted() if request.url.path == SUBMIT else {})

    jobs = JobOptions(poll_interval=0.02, patience=patience)
    return AsyncGameball(
        "test-key",
        secret_key="secret",
        api_version="v4.0",
        batching=Batching(mode="bulk", linger=60, jobs=jobs),
        retry=retry,
        rate=None,
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)),
    )


def lines(caplog: pytest.LogCaptureFixture, pattern: str) -> list[str]:
    return [record.message for record in caplog.records if re.search(pattern, record.message)]


async def outcome_of(receipt: Receipt) -> Any:
    try:
        return await receipt
    except OutcomeUnknown as error:
        return error


def bulk(sandbox: Sandbox) -> list[Any]:
    return [request for request in sandbox.requests if request.path == SUBMIT]


def single(sandbox: Sandbox) -> list[Any]:
    return [request for request in sandbox.requests if request.path == "/api/v4.0/integrations/events"]


async def track_together(gameball: AsyncGameball, players: Iterable[str]) -> list[Receipt]:
    """Track an event of each player, all of which go in one bulk request, also on a busy machine."""
    receipts = [await gameball.track(player, "review") for player in players]
    gameball._flusher._flush_now()
    return receipts


def names(sandbox: Sandbox, player: str) -> list[str]:
    return [event.name for event in sandbox.holdings().get(player, [])]


def assert_one_job_each(sandbox: Sandbox) -> None:
    """No player was in two unfinished jobs at once."""
    for first, second in itertools.combinations(sandbox.jobs, 2):
        assert not first.shared_players(second)


class Watcher(Observer):
    """Keeps what it is told of jobs."""

    def __init__(self) -> None:
        self.jobs: list[JobReport] = []
        self.requests: list[RequestStart] = []

    def on_job(self, client: ObservedClient, report: JobReport) -> None:  # noqa: ARG002 the observer's signature
        self.jobs.append(report)

    def on_request_start(self, client: ObservedClient, start: RequestStart) -> None:  # noqa: ARG002 likewise
        self.requests.append(start)


# -------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("api_version", ["v4.0", "v4.1"])
async def test_a_thousand_players_go_in_one_request_and_resolve_when_the_job_is_completed(api_version: str) -> None:
    with serving(JobSettings(latency=0.1)) as sandbox:
        async with client(sandbox, api_version=api_version) as gameball:
            receipts = [await gameball.track(f"player{number}", "review", {"n": number}) for number in range(2500)]
            outcomes = [await receipt for receipt in receipts]
        assert {outcome.confirmed for outcome in outcomes} == {True}
        assert {outcome.job for outcome in outcomes} == {job.id for job in sandbox.jobs}
        assert all(job.finished is not None for job in sandbox.jobs)
        assert max(job.items for job in sandbox.jobs) <= 1000
        assert len(sandbox.jobs) < 10
        assert sandbox.violations == []
        assert len(sandbox.holdings()) == 2500


async def test_a_player_is_in_one_unfinished_job_at_a_time_and_keeps_the_order() -> None:
    with serving(JobSettings(latency=(0.0, 0.05))) as sandbox:
        async with client(sandbox, Batching(mode="bulk", linger=0, bulk_items=7, jobs=FAST)) as gameball:
            for number in range(60):
                await gameball.track(f"player{number % 20}", "review", {"n": number})
                await gameball.track(f"player{number % 20}", "place_order", {"n": number})
            await gameball.flush()
        assert_one_job_each(sandbox)
        for player, events in sandbox.holdings().items():
            numbers = [event.metadata["n"] for event in events]
            assert numbers == sorted(numbers), player
        assert sandbox.violations == []


async def test_later_events_wait_for_the_job_and_merge_meanwhile() -> None:
    with serving(JobSettings(latency=0.3)) as sandbox:
        async with client(sandbox, Batching(mode="bulk", linger=0, jobs=FAST)) as gameball:
            await gameball.track("player", "first")
            await until(lambda: gameball.stats().jobs == 1)
            for name in ("second", "third", "fourth"):
                await gameball.track("player", name)
            await gameball.flush()
        assert [request.items for request in bulk(sandbox)] == [1, 1]
        assert names(sandbox, "player") == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize(
    ("settings", "missing"),
    [({"api_version": "v3.0"}, "v4.0"), ({"api_version": "v4.0", "secret_key": ""}, "secret_key")],
)
@pytest.mark.parametrize("mode", ["bulk", "auto"])
def test_it_needs_v4_and_both_keys(settings: dict[str, Any], missing: str, mode: Literal["bulk", "auto"]) -> None:
    given: dict[str, Any] = {"secret_key": "secret", **settings}
    with pytest.raises(ConfigurationError, match=missing):
        AsyncGameball("key", **given, batching=Batching(mode=mode))


@pytest.mark.parametrize("contact", [{"mobile": "+20100200300"}, {"email": "someone@example.com"}])
async def test_bulk_refuses_a_contact_at_the_call(contact: dict[str, Any]) -> None:
    with serving() as sandbox:
        async with client(sandbox) as gameball:
            with pytest.raises(InvalidEvent, match=r"'review' has the player's .*mode='auto'") as caught:
                await gameball.track("player", "review", **contact)
            assert not any(str(value) in str(caught.value) for value in contact.values())
            with pytest.raises(InvalidEvent, match="bulk request"):
                await gameball.send("player", {"review": None}, **contact)
            assert gameball.stats().accepted == 0


async def test_auto_sends_a_contact_in_a_single_request() -> None:
    rate = RateLimit(per_second=1, per_30_seconds=5)
    with serving() as sandbox:
        async with client(sandbox, Batching(mode="auto", linger=0.05, jobs=FAST), rate=rate) as gameball:
            with_contact = await gameball.track("contact", "review", mobile="+20100200300")
            for number in range(100):
                await gameball.track(f"player{number}", "review")
            assert (await with_contact).job is None
            await gameball.flush()
            assert gameball.stats().bulk
        assert sandbox.holdings()["contact"][0].mobile == "+20100200300"
        assert len(sandbox.holdings()) == 101
        assert sandbox.violations == []


# -------------------------------------------------------------------- what a job says


@pytest.mark.parametrize("vocabulary", ["openapi", "tutorial"])
@pytest.mark.parametrize("paths", ["openapi", "tutorial", "both"])
@pytest.mark.parametrize("capitalised", [False, True])
async def test_both_vocabularies_and_both_paths_are_understood(vocabulary: Any, paths: Any, capitalised: Any) -> None:
    jobs = JobSettings(
        latency=0.05, vocabulary=vocabulary, paths=paths, capitalised=capitalised, failing_players={"bad"}
    )
    with serving(jobs) as sandbox:
        async with client(sandbox) as gameball:
            good, bad = await gameball.track("good", "review"), await gameball.track("bad", "review")
            assert await good == Delivered(status=200, job=1)
            assert await bad == Delivered(status=200, attempts=2, maybe_duplicate=True)
        assert [request.player for request in single(sandbox)] == ["bad"]
        assert names(sandbox, "bad") == ["review"]


async def test_the_path_that_was_found_is_asked_first_for_the_next_job() -> None:
    with serving(JobSettings(latency=0.0, paths="tutorial")) as sandbox:
        async with client(sandbox) as gameball:
            for number in range(3):
                await (await gameball.track(f"player{number}", "review"))
        polls = [request.path for request in sandbox.requests if "/batch" in request.path and request.path != SUBMIT]
        assert sum("/batches/" in path for path in polls) == 1
        assert gameball.stats().polls == len(polls)


async def test_failed_items_are_sent_singly_and_split_until_the_offender_is_found() -> None:
    jobs = JobSettings(latency=0.0, failing_players={"player3"})
    with serving(jobs) as sandbox:
        sandbox.script(Fault.status(400, code=3000, events={"bad"}, routes={"events"}))
        async with client(sandbox, TOGETHER) as gameball:
            bad, good = await gameball.track("player3", "bad"), await gameball.track("player3", "good")
            receipts = await track_together(gameball, PLAYERS[:6])
            assert [(await receipt).confirmed for receipt in receipts] == [True] * 6
            assert (await good).maybe_duplicate
            with pytest.raises(Exception, match="refused the event"):
                await bad
            stats = gameball.stats()
        assert_conserved(stats)
        assert (stats.delivered, stats.rejected, stats.ambiguous) == (7, 1, 1)


async def test_report_never_resends_a_failed_item() -> None:
    with serving(JobSettings(latency=0.0, failing_players={"bad"}, partial=1.0)) as sandbox:
        async with client(sandbox, retry=Retry(ambiguous="report")) as gameball:
            receipt = await gameball.track("bad", "review")
            with pytest.raises(OutcomeUnknown, match="job 1 failed") as caught:
                await receipt
            assert caught.value.job == 1
        assert names(sandbox, "bad") == ["review"]
        assert single(sandbox) == []


async def test_a_job_that_failed_is_sent_singly_where_it_lists_no_success() -> None:
    with serving(JobSettings(latency=0.0, failing_jobs=1.0)) as sandbox:
        async with client(sandbox, TOGETHER) as gameball:
            receipts = await track_together(gameball, PLAYERS[:10])
            outcomes = [await receipt for receipt in receipts]
        assert {outcome.confirmed for outcome in outcomes} == {True}
        assert {len(events) for events in sandbox.holdings().values()} == {1}
        assert 0 < len(single(sandbox)) < 10
        assert Counter(outcome.maybe_duplicate for outcome in outcomes)[True] == len(single(sandbox))


@pytest.mark.parametrize(
    "jobs",
    [
        JobSettings(latency=0.0, paths="none"),
        JobSettings(latency=0.0, lost_jobs=1.0),
        JobSettings(latency=0.5, lost_jobs=1.0, lost_after=2),
        JobSettings(latency=0.0, failing_players={"player1"}, itemised=False),
        JobSettings(latency=0.0, stuck_jobs=1.0),
    ],
    ids=["no path", "lost", "lost later", "not itemised", "never ends"],
)
async def test_a_job_whose_end_is_unknown_is_never_sent_again(
    jobs: JobSettings, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = Watcher()
    options = JobOptions(poll_interval=0.02, patience=0.5)
    with serving(jobs) as sandbox:
        async with client(sandbox, Batching(mode="bulk", linger=60, jobs=options), observer=watcher) as gameball:
            receipts = await track_together(gameball, PLAYERS[:5])
            outcomes = [await receipt for receipt in receipts]
            await gameball.flush()
            stats = gameball.stats()
        assert {(outcome.confirmed, outcome.job) for outcome in outcomes} == {(False, 1)}
        assert (len(bulk(sandbox)), len(single(sandbox))) == (1, 0)
        assert (stats.unconfirmed, stats.delivered, stats.jobs, stats.jobs_accepted) == (5, 5, 0, 1)
    lines = [record for record in caplog.records if "the end of a job is unknown" in record.message]
    assert len(lines) == 1
    assert watcher.jobs[0].state is JobState.ACCEPTED


async def test_items_named_as_successful_are_confirmed_even_if_the_failed_ones_are_not_named() -> None:
    status = read_status(
        {"status": "completed", "errorCount": 1, "response": {"successful": [{"customerId": "a"}], "failed": []}}
    )
    assert status is not None
    job = EndedJob(status, ["a", "b"], is_whole=True)
    assert (job.of("a"), job.of("b")) == (ItemOutcome.CONFIRMED, ItemOutcome.FAILED)
    job = EndedJob(status, ["a", "b", "c"], is_whole=True)
    assert (job.of("a"), job.of("b")) == (ItemOutcome.CONFIRMED, ItemOutcome.UNNAMED)


async def test_a_stopped_job_leaves_unknown_what_it_does_not_list() -> None:
    with serving(JobSettings(latency=60.0)) as sandbox:
        async with client(sandbox, TOGETHER) as gameball:
            receipts = await track_together(gameball, PLAYERS[:4])
            await until(lambda: gameball.stats().jobs == 1)
            await gameball.stop_job(sandbox.jobs[0].id)
            for receipt in receipts:
                with pytest.raises(OutcomeUnknown, match="was stopped") as caught:
                    await receipt
                assert caught.value.job == sandbox.jobs[0].id
            with pytest.raises(JobError, match=r"may continue.*It may have ended, or have another id: look in"):
                await gameball.stop_job(4711)


@pytest.mark.parametrize("job", [None, "", " ", True, 1.5, -1, "a/b", "../x", b"1", ["1"]])
async def test_what_is_no_id_of_a_job_is_refused_at_the_call(job: Any) -> None:
    with serving() as sandbox:
        async with client(sandbox) as gameball:
            with pytest.raises(ConfigurationError, match=r"give the id of a job, from Delivered\.job"):
                await gameball.stop_job(job)
        assert sandbox.requests == []


async def test_a_client_that_is_switched_off_stops_no_job_and_goes_on() -> None:
    async with AsyncGameball("key", secret_key="secret", api_version="v4.0", enabled=False) as gameball:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"switched off by enabled=False: .* for stop_job\(\)"):
                await gameball.stop_job(1)
        await gameball.track("player", "review")


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "Compare the keys"), (409, "It may have ended"), (500, "Try again")]
)
async def test_the_remedy_for_a_job_that_cannot_be_stopped_fits_the_answer(status: int, remedy: str) -> None:
    with serving() as sandbox:
        sandbox.script(Fault.status(status, routes={"stop"}))
        async with client(sandbox) as gameball:
            with pytest.raises(JobError, match=rf"HTTP {status}.*\. {remedy}.* in Gameball's dashboard\.$"):
                await gameball.stop_job(7)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(401, json={"code": 2002}), "HTTP 401"),
        (httpx.Response(403), "HTTP 403"),
        (httpx.Response(422), "HTTP 422"),
        (httpx.Response(500), "HTTP 500"),
        (httpx.Response(302, headers={"location": "/login"}), "HTTP 302"),
        (httpx.Response(200, json={"status": "succeeded"}), "its status is 'succeeded', which is no documented word"),
        (httpx.Response(200, json={"status": "a@mail.test"}), r"its status is '\*\*\*'"),
    ],
    ids=["401", "403", "422", "500", "302", "word", "personal word"],
)
async def test_a_status_that_cannot_be_read_is_logged_with_the_reason(
    answer: httpx.Response, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(answer, patience=0.3) as gameball:
        receipts = await track_together(gameball, PLAYERS[:5])
        assert {(await receipt).confirmed for receipt in receipts} == {False}
    (unreadable,) = lines(caplog, "cannot be read")
    assert re.search(rf"job 7: {reason}.*the events of 5 players wait for it, and count as delivered", unreadable)
    (lost,) = lines(caplog, "the end of a job is unknown")
    assert re.search(rf"job 7: it made no progress for 0\.3 s, lately {reason}", lost)


async def test_progress_is_what_was_never_seen_before() -> None:
    """Else a job whose numbers go up and down would be followed forever."""
    numbers = itertools.cycle([1, 0])
    gameball = scripted(
        lambda: httpx.Response(200, json={"status": "running", "progress": next(numbers)}), patience=0.3
    )
    async with gameball:
        (receipt,) = await track_together(gameball, PLAYERS[:1])
        assert not (await receipt).confirmed


@pytest.mark.parametrize("ambiguous", ["resend", "report"])
async def test_why_items_have_failed_is_said_once(
    ambiguous: Literal["resend", "report"], caplog: pytest.LogCaptureFixture
) -> None:
    errors = [{"customerId": player, "message": f"no event for {player}@mail.test"} for player in PLAYERS[:3]]
    answer = httpx.Response(200, json={"status": "completed", "failedItems": 3, "errors": errors})
    async with scripted(answer, retry=Retry(ambiguous=ambiguous)) as gameball:
        receipts = await track_together(gameball, PLAYERS[:5])
        outcomes = [await outcome_of(receipt) for receipt in receipts]
    failed = lines(caplog, r"no event for \*\*\*")
    if ambiguous == "resend":
        assert [outcome.maybe_duplicate for outcome in outcomes] == [True] * 3 + [False] * 2
        assert len(failed) == 1
        assert failed[0].startswith("3 items failed, lately in job 7 (")
    else:
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3 + [Delivered] * 2
        assert all(re.search(r"job 7 failed \(no event for \*\*\*\)", str(outcome)) for outcome in outcomes[:3])
        assert failed


async def test_items_that_are_not_listed_while_others_are_count_as_unconfirmed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listed = [{"customerId": PLAYERS[0]}, {"customerId": PLAYERS[1], "status": "skipped"}]
    async with scripted(httpx.Response(200, json={"status": "completed", "results": listed})) as gameball:
        receipts = await track_together(gameball, PLAYERS[:3])
        assert [(await receipt).confirmed for receipt in receipts] == [True, False, False]
    (line,) = lines(caplog, "the end of a job is unknown")
    assert "job 7: it ended, and its status does not say what became of these items): the events of 2 players" in line


async def test_an_answer_that_is_longer_than_64_kib_names_its_job() -> None:
    bodies = iter([{"items": ["x" * 200_000], "jobId": 7}])
    async with scripted(httpx.Response(200, json={"status": "completed"}), accepted=lambda: next(bodies)) as gameball:
        (receipt,) = await track_together(gameball, PLAYERS[:1])
        assert ((await receipt).job, (await receipt).confirmed) == (7, True)


def test_the_client_for_synchronous_code_stops_jobs() -> None:
    batching = Batching(mode="bulk", linger=0.01, jobs=FAST)
    with (
        serving(JobSettings(latency=60.0)) as sandbox,
        Gameball(
            "test-key", secret_key="secret", api_version="v4.0", base_url=sandbox.url, batching=batching
        ) as gameball,
    ):
        receipt = gameball.track("player", "review")
        sandbox.wait_for(lambda _: bool(sandbox.jobs), timeout=100)
        gameball.stop_job(sandbox.jobs[0].id)
        with pytest.raises(OutcomeUnknown, match="was stopped"):
            receipt.result(timeout=100)
        assert len(sandbox.jobs) == 1
        assert single(sandbox) == []


# -------------------------------------------------------------------- requests that fail


@pytest.mark.parametrize("fault", ["fail_after_applying", "reset_after"])
async def test_a_lost_response_flags_every_item(fault: str) -> None:
    make = getattr(Fault, fault)
    with serving() as sandbox:
        sandbox.script(make(times=1, routes={"batch"}))
        async with client(sandbox, TOGETHER) as gameball:
            receipts = await track_together(gameball, PLAYERS[:20])
            outcomes = [await receipt for receipt in receipts]
            assert {outcome.maybe_duplicate for outcome in outcomes} == {True}
            assert gameball.stats().ambiguous == 1
        assert {len(events) for events in sandbox.holdings().values()} == {2}


async def test_report_gives_every_item_of_a_lost_response_as_unknown() -> None:
    with serving() as sandbox:
        sandbox.script(Fault.reset_after(times=1, routes={"batch"}))
        async with client(sandbox, TOGETHER, retry=Retry(ambiguous="report")) as gameball:
            receipts = await track_together(gameball, PLAYERS[:20])
            for receipt in receipts:
                with pytest.raises(OutcomeUnknown) as caught:
                    await receipt
                assert caught.value.job is None
            assert_conserved(gameball.stats())
        assert {len(events) for events in sandbox.holdings().values()} == {1}


@pytest.mark.parametrize(("status", "code"), [(413, None), (400, 3000), (503, 5003)])
async def test_a_refused_bulk_request_is_divided_until_its_batches_are_sent_singly(
    status: int, code: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as sandbox:
        sandbox.script(Fault.status(status, code=code, routes={"batch"}))
        async with client(sandbox) as gameball:
            receipts = await track_together(gameball, PLAYERS[:40])
            outcomes = [await receipt for receipt in receipts]
        assert {(outcome.job, outcome.maybe_duplicate) for outcome in outcomes} == {(None, False)}
        assert len(single(sandbox)) == 40
        assert {len(events) for events in sandbox.holdings().values()} == {1}
    assert sum("refused a bulk request" in record.message for record in caplog.records) == 1


async def test_an_id_that_is_used_again_while_its_job_is_settled_loses_nothing() -> None:
    receipts: list[Receipt] = []

    class Repeating(httpx.AsyncBaseTransport):
        """Answers the second bulk request, with the same id, when the first events have their outcome."""

        requests = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200, json={"status": "completed"})
            self.requests += 1
            while self.requests > 1 and not receipts[0].done:
                await anyio.lowlevel.checkpoint()
            return httpx.Response(200, json={"jobId": 1})

    async with (
        httpx.AsyncClient(transport=Repeating()) as http_client,
        AsyncGameball(
            "key", secret_key="secret", api_version="v4.0", batching=TOGETHER, rate=None, http_client=http_client
        ) as gameball,
    ):
        receipts += await track_together(gameball, [f"early{number}" for number in range(1000)])
        await until(lambda: gameball.stats().requests == 1)
        receipts += await track_together(gameball, PLAYERS)
        with anyio.fail_after(20):
            assert {(await receipt).job for receipt in receipts} == {1}
        assert gameball.stats().jobs == 0


async def test_an_answer_without_a_job_is_an_acceptance() -> None:
    with serving() as sandbox:
        sandbox.script(Fault.status(200, routes={"batch"}))
        async with client(sandbox) as gameball:
            receipt = await gameball.track("player", "review")
            assert await receipt == Delivered(status=200, confirmed=False)
        assert len(bulk(sandbox)) == 1


async def test_a_429_to_a_look_pauses_the_client_and_the_job_is_followed_afterwards() -> None:
    with serving() as sandbox:
        sandbox.script(Fault.status(429, retry_after=1, times=1, routes={"status"}))
        async with client(sandbox) as gameball:
            receipt = await gameball.track("player", "review")
            await until(lambda: gameball.stats().paused_until is not None)
            assert (await receipt).job == 1
        assert len(bulk(sandbox)) == 1


@pytest.mark.parametrize("fault", [Fault.status(503, times=20), Fault.reset_before(times=20)], ids=["503", "resets"])
async def test_an_outage_longer_than_the_patience_loses_no_job(fault: Fault) -> None:
    jobs, retry = JobOptions(poll_interval=0.05, patience=1.2), Retry(initial=0.3, maximum=0.3, jitter=0.0)
    with serving(JobSettings(latency=0.3)) as sandbox:
        batching = Batching(mode="bulk", bulk_items=1, linger=0, jobs=jobs)
        async with client(sandbox, batching, retry=retry) as gameball:
            receipt = await gameball.track("player", "review")
            await until(lambda: gameball.stats().jobs == 1)
            sandbox.script(fault)
            receipts = await track_together(gameball, PLAYERS[:20])
            assert [(await each).confirmed for each in (receipt, *receipts)] == [True] * 21


async def test_failed_bulk_requests_of_one_job_do_not_open_the_circuit_breaker() -> None:
    with serving() as sandbox:
        sandbox.script(Fault.status(503, code=5003, times=1, routes={"batch"}))
        async with client(sandbox) as gameball:
            receipts = await track_together(gameball, PLAYERS[:100])
            await until(lambda: bulk(sandbox))
            assert gameball._flusher.breaker.state.name == "CLOSED"
            for receipt in receipts:
                await receipt


# -------------------------------------------------------------------- close and limits


async def test_a_close_waits_for_jobs() -> None:
    with serving(JobSettings(latency=0.3)) as sandbox:
        gameball = client(sandbox)
        async with gameball:
            receipts = await track_together(gameball, PLAYERS[:5])
        assert [(await receipt).confirmed for receipt in receipts] == [True] * 5
        assert sandbox.jobs[0].finished is not None


async def test_at_the_end_of_a_close_accepted_events_are_delivered_without_confirmation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(JobSettings(latency=60.0)) as sandbox:
        gameball = client(sandbox, TOGETHER)
        await gameball.start()
        receipts = await track_together(gameball, PLAYERS[:5])
        await until(lambda: gameball.stats().jobs == 1)
        report = await gameball.aclose(timeout=0.2)
        assert report.undelivered == ()
        assert [await receipt for receipt in receipts] == [Delivered(status=200, confirmed=False, job=1)] * 5
        assert gameball.stats().unconfirmed == 5
        assert_conserved(gameball.stats())
    assert sum("without confirmation" in record.message for record in caplog.records) == 1


async def test_requests_and_looks_keep_to_the_limits_that_they_share() -> None:
    limits = Limits(others_per_second=6, others_per_30_seconds=60)
    rate = RateLimit(others_per_second=6, others_per_30_seconds=60)
    with serving(JobSettings(latency=(0.0, 0.2)), limits=limits) as sandbox:
        async with client(sandbox, Batching(mode="bulk", linger=0, bulk_items=3, jobs=FAST), rate=rate) as gameball:
            for number in range(40):
                await gameball.track(f"player{number}", "review")
            await gameball.flush()
            assert gameball.stats().jobs_accepted >= 13
        assert sandbox.violations == []
        assert sandbox.stats().statuses.get(429, 0) == 0


# -------------------------------------------------------------------- auto


async def test_auto_proves_itself_switches_on_and_off_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gameball_async")
    rate = RateLimit(per_second=2, per_30_seconds=60)  # so more than 20 players are more than it serves soon
    with serving(JobSettings(latency=0.05)) as sandbox:
        async with client(sandbox, Batching(mode="auto", linger=0, jobs=FAST), rate=rate) as gameball:
            for number in range(300):
                await gameball.track(f"player{number}", "review")
            await gameball.flush()
            assert gameball.stats().bulk
        assert sandbox.jobs[0].items == 10
        assert sum(job.items for job in sandbox.jobs[1:]) > 200
    lines = [record.message for record in caplog.records if getattr(record, "gameball_kind", "") == "bulk"]
    assert "a first bulk request" in lines[0]
    assert "bulk requests are on" in lines[1]


async def test_auto_stays_with_single_requests_if_bulk_requests_are_forbidden(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rate = RateLimit(per_second=20, per_30_seconds=60)
    with serving() as sandbox:
        sandbox.script(Fault.status(403, code=8000, routes={"batch"}))
        async with client(sandbox, Batching(mode="auto", linger=0, jobs=FAST), rate=rate) as gameball:
            receipts = await track_together(gameball, PLAYERS[:40])
            assert [(await receipt).job for receipt in receipts] == [None] * 40
            assert gameball.stats().halted is None
        assert len(bulk(sandbox)) == 1
    assert sum("bulk requests do not work at present" in record.message for record in caplog.records) == 1


async def test_auto_returns_to_single_requests_when_a_job_is_lost() -> None:
    rate = RateLimit(per_second=20, per_30_seconds=60)
    with serving(JobSettings(latency=0.0, lost_jobs=1.0)) as sandbox:
        async with client(sandbox, Batching(mode="auto", linger=0, jobs=FAST), rate=rate) as gameball:
            receipts = await track_together(gameball, PLAYERS[:40])
            outcomes = [await receipt for receipt in receipts]
            assert Counter(outcome.confirmed for outcome in outcomes) == {True: 30, False: 10}
        assert len(bulk(sandbox)) == 1


async def test_the_observer_sees_requests_of_many_players_and_their_jobs() -> None:
    watcher = Watcher()
    with serving() as sandbox:
        async with client(sandbox, TOGETHER, observer=watcher) as gameball:
            for number in range(3):
                await gameball.track(f"player{number}", "review")
            await gameball.track("player0", "place_order")
            await gameball.flush()
    assert [(start.players, start.events) for start in watcher.requests] == [
        (3, ("review", "place_order", "review", "review"))
    ]
    assert [(report.state, report.players, report.failed) for report in watcher.jobs] == [
        (JobState.ACCEPTED, 3, 0),
        (JobState.COMPLETED, 3, 0),
    ]


async def test_an_observer_that_raises_harms_no_job(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def on_job(self, client: ObservedClient, report: JobReport) -> None:  # noqa: ARG002 the observer's signature
            raise ValueError

    with serving() as sandbox:
        async with client(sandbox, observer=Broken()) as gameball:
            assert (await (await gameball.track("player", "review"))).confirmed
    assert sum("on_job raised ValueError" in record.message for record in caplog.records) == 1


async def test_a_cancelled_flusher_leaves_jobs_to_the_close() -> None:
    with serving(JobSettings(latency=0.3)) as sandbox:
        gameball, receipts = client(sandbox, TOGETHER), list[Receipt]()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                await tasks.start(gameball.run)
                receipts += await track_together(gameball, PLAYERS[:5])
                await until(lambda: gameball.stats().jobs == 1)
                scope.cancel()
        assert [(await receipt).confirmed for receipt in receipts] == [True] * 5
        assert len(sandbox.jobs) == 1
