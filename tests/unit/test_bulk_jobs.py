"""What the status of a job says, when jobs are looked at, and when `auto` sends bulk requests."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gameball_async._core.batch import new_batch
from gameball_async._core.bulk_jobs import DISTRUST, PROOF_ITEMS, SHORTEST_WAIT, AutoMode, AutoState, FollowedJobs
from gameball_async._core.job_answers import EndedJob, ItemOutcome, JobStatus, job_id, parsed_job_id, read_status
from gameball_async._core.stats import JobState

CONFIRMED, FAILED, UNKNOWN, UNNAMED = (
    ItemOutcome.CONFIRMED,
    ItemOutcome.FAILED,
    ItemOutcome.UNKNOWN,
    ItemOutcome.UNNAMED,
)

# ---------------------------------------------------------------- the id of a job


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"jobId": 123}, 123),
        ({"jobId": 0}, 0),
        ({"JobId": 123.0}, 123),
        ({"jobid": "123"}, 123),
        ({"batchId": "0123"}, "0123"),
        ({"batchId": " b-1 "}, "b-1"),
        ({"id": 5}, 5),
        ({"data": {"jobId": 5}}, 5),
        ({"success": True, "response": {"batchId": "x"}}, "x"),
        ({"jobId": True}, None),
        ({"jobId": None}, None),
        ({"jobId": 1.5}, None),
        ({"jobId": ""}, None),
        ({"jobId": "a/b"}, None),
        ({"jobId": ["1"]}, None),
        ({}, None),
        ({"data": 3}, None),
    ],
)
def test_the_id_of_a_job_is_found_in_many_shapes(content: dict[str, Any], expected: object) -> None:
    assert job_id(content) == expected


def test_digits_are_a_number_if_nothing_is_lost() -> None:
    assert [parsed_job_id(text) for text in ("7", "007", "7a", "٣")] == [7, "007", "7a", "٣"]


# ---------------------------------------------------------------- its status


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("pending", None),
        ("processing", None),
        ("queued", None),
        ("Running", None),
        ("no word of theirs", None),
        ("success", None),
        ("error", None),
        ("completed", JobState.COMPLETED),
        ("Completed", JobState.COMPLETED),
        (" COMPLETED ", JobState.COMPLETED),
        ("failed", JobState.FAILED),
        ("stopped", JobState.STOPPED),
        ("cancelled", JobState.STOPPED),
    ],
)
def test_the_words_of_both_vocabularies_are_read_in_any_case(word: str, state: JobState | None) -> None:
    status = read_status({"Status": word})
    assert status is not None
    assert status.state is state


@pytest.mark.parametrize(
    "content", [{}, {"status": None}, {"status": ""}, {"status": 3}, {"message": "x"}, {"data": []}]
)
def test_what_is_no_status_is_none(content: dict[str, Any]) -> None:
    assert read_status(content) is None


@pytest.mark.parametrize(
    ("word", "inner", "state"),
    [("success", "Processing", None), ("ok", "completed", JobState.COMPLETED), ("failed", "stopped", JobState.STOPPED)],
)
def test_the_status_of_an_envelope_is_not_that_of_the_job(word: str, inner: str, state: JobState | None) -> None:
    status = read_status({"status": word, "data": {"status": inner}})
    assert status is not None
    assert status.state is state


def test_numbers_that_a_float_cannot_hold_are_read() -> None:
    status = read_status(
        {"status": "completed", "failedItems": 10**400, "progress": -(10**400), "errorCount": math.inf}
    )
    assert status is not None
    assert (status.failed_count, status.progress) == (10**15, -(10**15))


@pytest.mark.parametrize("word", ["failed", "Failure", "error", "stopped", "cancelled"])
def test_the_words_of_failed_items_are_read(word: str) -> None:
    status = read_status({"status": "completed", "results": [{"customerId": "a", "status": word}]})
    assert status is not None
    assert status.failed == frozenset("a")


def test_the_status_of_the_reference_is_read() -> None:
    status = read_status(
        {
            "batchId": "1",
            "status": "completed",
            "progress": 100,
            "totalItems": 3,
            "processedItems": 3,
            "failedItems": 1,
            "results": [{"customerId": "a", "status": "success"}, {"customerId": 7, "status": "success"}],
            "errors": [{"customerId": "b", "message": "no"}],
        }
    )
    assert status is not None
    assert (status.state, status.failed, status.succeeded) == (JobState.COMPLETED, frozenset("b"), frozenset("a7"))
    assert (status.failed_count, status.progress) == (1, 103)


def test_the_status_of_the_tutorial_is_read() -> None:
    status = read_status(
        {
            "operation": "events",
            "status": "completed",
            "errorCount": 1,
            "totalCount": 2,
            "finishedCount": 2,
            "response": {
                "successful": [{"customerId": "a", "message": "ok"}],
                "failed": [{"customerId": "b", "error": "no"}],
            },
        }
    )
    assert status is not None
    assert (status.failed, status.succeeded, status.failed_count, status.progress) == (
        frozenset("b"),
        frozenset("a"),
        1,
        2.0,
    )


def test_a_tutorials_job_that_runs_has_no_response_yet() -> None:
    status = read_status({"status": "running", "response": None, "finishedCount": 4})
    assert status is not None
    assert (status.state, status.progress, status.failed_count) == (None, 4, 0)


@pytest.mark.parametrize("damaged", [None, 3, "x", {"a": 1}, [3, None, "x", {"customerId": True}, {}]])
@pytest.mark.parametrize("key", ["results", "errors", "response", "failedItems", "progress"])
def test_damaged_parts_are_left_out(key: str, damaged: object) -> None:
    status = read_status({"status": "completed", key: damaged})
    assert status is not None
    assert (status.state, status.failed, status.succeeded) == (JobState.COMPLETED, frozenset(), frozenset())


@pytest.mark.parametrize("errors", [{"a": "too long"}, "one failed"])
def test_errors_in_another_form_are_failures_without_a_name(errors: object) -> None:
    status = read_status({"status": "completed", "errors": errors})
    assert status is not None
    assert status.failed_count == 1


def test_numbers_that_are_none_count_nothing() -> None:
    status = read_status({"status": "completed", "failedItems": math.nan, "progress": math.inf, "errorCount": True})
    assert status is not None
    assert (status.failed_count, status.progress) == (0, 0)


@pytest.mark.parametrize("item", [{"status": "Failed"}, {"success": False}, {"error": "no"}])
def test_a_result_may_say_that_its_item_failed(item: dict[str, Any]) -> None:
    status = read_status({"status": "completed", "results": [{"customerId": "a", **item}]})
    assert status is not None
    assert (status.failed, status.failed_count) == (frozenset("a"), 1)


def test_an_item_that_is_in_both_lists_has_failed() -> None:
    both = {"status": "completed", "results": [{"customerId": "a"}], "errors": [{"customerId": "a"}]}
    status = read_status(both)
    assert status is not None
    assert (status.failed, status.succeeded) == (frozenset("a"), frozenset[str]())


# ---------------------------------------------------------------- what it means for the items


@pytest.mark.parametrize(
    ("content", "players", "outcomes"),
    [
        ({"status": "completed"}, "ab", {"a": CONFIRMED, "b": CONFIRMED}),
        ({"status": "completed", "errors": [{"customerId": "b"}]}, "ab", {"a": CONFIRMED, "b": FAILED}),
        ({"status": "completed", "failedItems": 1}, "ab", {"a": UNNAMED, "b": UNNAMED}),
        (
            {"status": "completed", "failedItems": 2, "errors": [{"customerId": "b"}]},
            "abc",
            {"a": UNNAMED, "b": FAILED},
        ),
        (
            {"status": "completed", "failedItems": 1, "results": [{"customerId": "a"}]},
            "ab",
            {"a": CONFIRMED, "b": FAILED},
        ),
        ({"status": "failed"}, "ab", {"a": FAILED, "b": FAILED}),
        ({"status": "failed", "results": [{"customerId": "a"}]}, "ab", {"a": CONFIRMED, "b": FAILED}),
        ({"status": "stopped", "results": [{"customerId": "a"}]}, "ab", {"a": CONFIRMED, "b": UNKNOWN}),
        ({"status": "completed", "errors": [{"customerId": "z"}]}, "ab", {"a": UNNAMED, "b": UNNAMED}),
        ({"status": "completed", "results": [{"customerId": "a"}]}, "ab", {"a": CONFIRMED, "b": UNNAMED}),
        ({"status": "completed", "results": []}, "ab", {"a": CONFIRMED, "b": CONFIRMED}),
        ({"status": "completed", "response": {"failed": 2}}, "ab", {"a": UNNAMED, "b": UNNAMED}),
        ({"status": "completed", "failed": 1}, "ab", {"a": UNNAMED, "b": UNNAMED}),
        ({"status": "completed", "errors": 3}, "ab", {"a": UNNAMED, "b": UNNAMED}),
        ({"status": "completed", "failed": [{"customerId": "b"}]}, "ab", {"a": CONFIRMED, "b": FAILED}),
    ],
)
def test_what_a_status_says_of_each_item(
    content: dict[str, Any], players: str, outcomes: dict[str, ItemOutcome]
) -> None:
    status = read_status(content)
    assert status is not None
    ended = EndedJob(status, players, is_whole=True)
    assert {player: ended.of(player) for player in outcomes} == outcomes


@pytest.mark.parametrize(
    ("item", "outcome"),
    [
        ({}, CONFIRMED),
        ({"success": True, "error": ""}, CONFIRMED),
        ({"success": True, "error": "a warning"}, CONFIRMED),
        ({"success": False}, FAILED),
        ({"error": None}, CONFIRMED),
        ({"error": False}, CONFIRMED),
        ({"error": []}, CONFIRMED),
        ({"error": "bad"}, FAILED),
        ({"errors": ["bad"]}, FAILED),
        ({"status": 200}, CONFIRMED),
        ({"status": 400}, FAILED),
        ({"status": "400"}, FAILED),
        ({"status": "201"}, CONFIRMED),
        ({"status": "9" * 5000}, FAILED),
        ({"status": True}, CONFIRMED),
        ({"status": False}, FAILED),
        ({"status": "Success"}, CONFIRMED),
        ({"state": "processed"}, CONFIRMED),
        ({"status": "Rejected"}, FAILED),
        ({"status": "not_found"}, FAILED),
        ({"status": "skipped"}, UNNAMED),
        ({"status": "pending"}, UNNAMED),
        ({"status": {"code": 1}}, UNNAMED),
    ],
)
def test_a_result_says_in_many_ways_what_became_of_its_item(item: dict[str, Any], outcome: ItemOutcome) -> None:
    status = read_status({"status": "completed", "results": [{"customerId": "a", **item}]})
    assert status is not None
    assert EndedJob(status, "a", is_whole=True).of("a") is outcome


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"errors": [{"customerId": "b", "message": "no such event"}]}, "no such event"),
        ({"errors": ["no such event"]}, "no such event"),
        ({"results": [{"customerId": "b", "status": "failed", "error": {"message": "too late"}}]}, "too late"),
        ({"response": {"failed": [{"customerId": "b", "errors": ["bad", "worse"]}]}}, "bad"),
        ({"message": "the file is empty"}, "the file is empty"),
        ({"errors": [{"customerId": "b", "message": 4}]}, ""),
    ],
)
def test_what_is_said_of_a_failure_is_read(content: dict[str, Any], message: str) -> None:
    status = read_status({"status": "failed", **content})
    assert status is not None
    assert status.message == message


def test_a_message_that_is_nested_deeply_is_left_out() -> None:
    message: object = "deep"
    for _ in range(5_000):
        message = {"error": [message]}
    status = read_status({"status": "failed", "errors": [message]})
    assert status is not None
    assert status.message == ""


@pytest.mark.parametrize(
    ("word", "is_known"), [("Queued", True), ("in progress", True), ("done", True), ("odd", False)]
)
def test_a_word_that_is_not_known_is_told_from_those_that_are(word: str, is_known: bool) -> None:  # noqa: FBT001
    status = read_status({"status": word})
    assert status is not None
    assert status.is_known is is_known


def test_a_failed_item_of_a_job_may_be_one_that_another_process_has_settled() -> None:
    status = read_status({"status": "completed", "failedItems": 1, "errors": [{"customerId": "z"}]})
    assert status is not None
    assert EndedJob(status, "ab", is_whole=False).of("a") is CONFIRMED


# ---------------------------------------------------------------- when jobs are looked at


RUNNING = JobStatus(state=None)


def followed(jobs: FollowedJobs, number: int, now: float) -> Any:
    return jobs.follow(number, [new_batch(number, f"player{number}", 10, now, 0)], 200, now)


def end(jobs: FollowedJobs, number: int, begun: float, latency: float) -> int:
    """Follow a job that takes so long; returns how many looks it took."""
    job = followed(jobs, number, begun)
    while True:
        at = jobs.next_look_at()
        assert list(jobs.due(at)) == [job]
        if at >= begun + latency:
            jobs.remove(job)
            return int(job.looks)
        job.note_answer(at, -math.inf)
        job.note_status(RUNNING, at)
        jobs.look_again(job, at)


def test_the_first_job_is_looked_at_at_once_and_then_less_and_less() -> None:
    jobs = FollowedJobs(1.0)
    looks = end(jobs, 1, 0.0, 600.0)
    assert 60 < looks < 100
    assert 600 <= jobs.latency <= 630


def test_once_the_time_of_jobs_is_known_a_look_or_two_is_enough() -> None:
    jobs = FollowedJobs(1.0)
    end(jobs, 0, 0.0, 10.0)
    looks = [end(jobs, number, 100.0 * number, 10.0) for number in range(1, 41)]
    assert max(looks) <= 2
    assert sum(looks) <= 1.5 * len(looks)
    assert jobs.looks < 2


@pytest.mark.parametrize("latency", [4.0, 100.0])
def test_jobs_that_became_faster_or_slower_are_noticed(latency: float) -> None:
    jobs = FollowedJobs(1.0)
    end(jobs, 0, 0.0, 10.0)
    for number in range(1, 80):
        end(jobs, number, 1000.0 * number, latency)
    assert 0.7 * latency <= jobs.latency <= 1.25 * latency


def test_before_any_has_ended_a_job_is_not_looked_at_before_it_is_as_old_as_the_oldest_was() -> None:
    jobs = FollowedJobs(1.0)
    first = followed(jobs, 1, 0.0)
    assert list(jobs.due(1.0)) == [first]
    first.note_answer(1.0, -math.inf)
    first.note_status(RUNNING, 1.0)
    jobs.look_again(first, 1.0)
    assert list(jobs.due(20.0)) == [first]
    first.note_answer(20.0, -math.inf)
    first.note_status(RUNNING, 20.0)
    later = followed(jobs, 2, 50.0)
    assert jobs.next_look_at() == 70.0
    assert list(jobs.due(70.0)) == [later]


def test_a_job_that_cannot_be_found_says_nothing_about_the_time_of_jobs() -> None:
    jobs = FollowedJobs(1.0)
    first = followed(jobs, 1, 0.0)
    assert list(jobs.due(300.0)) == [first]
    first.note_answer(300.0, 299.0)  # and no status
    jobs.look_again(first, 300.0)
    second = followed(jobs, 2, 301.0)
    assert list(jobs.due(302.0)) == [second]


def test_a_look_that_a_pause_put_off_says_nothing_about_the_time_of_jobs() -> None:
    jobs = FollowedJobs(1.0)
    first = followed(jobs, 1, 0.0)
    assert list(jobs.due(301.0)) == [first]
    first.note_answer(301.0, 300.5)
    second = followed(jobs, 2, 301.0)
    jobs.remove(first)
    assert (jobs.latency, jobs.next_look_at()) == (1.0, 302.0)
    assert list(jobs.due(602.0)) == [second]
    second.note_answer(602.0, 300.5)
    second.note_status(RUNNING, 602.0)  # it takes long indeed
    jobs.look_again(second, 602.0)
    list(jobs.due(700.0))
    jobs.remove(second)
    assert jobs.latency > 50


def test_a_pause_is_no_lack_of_progress() -> None:
    jobs = FollowedJobs(1.0)
    job = followed(jobs, 1, 0.0)
    list(jobs.due(300.0))  # was due at 1.0, and put off by a pause until 299.0
    job.note_answer(300.0, closed_since=299.0)
    assert job.stalled_for == 1.0 + 1.0
    jobs.look_again(job, 300.0)
    list(jobs.due(400.0))  # in a pause again: not noted
    jobs.look_again(job, 400.0)
    list(jobs.due(500.0))  # was due at 315.0 first
    job.note_answer(500.0, closed_since=490.0)
    assert job.stalled_for == 2.0 + 15.0 + 10.0
    jobs.look_again(job, 500.0)
    list(jobs.due(600.0))  # put off by the limits, which count
    job.note_answer(600.0, closed_since=490.0)
    assert job.stalled_for == 27.0 + 100.0
    job.note_status(JobStatus(state=None, progress=1.0), 610.0)  # by a look in a pause, which is not noted
    job.note_answer(613.0, closed_since=490.0)
    assert job.stalled_for == 3.0


def test_one_that_is_awaited_is_looked_at_at_each_interval() -> None:
    jobs = FollowedJobs(1.0)
    job = followed(jobs, 1, 0.0)
    list(jobs.due(1.0))
    jobs.look_again(job, 500.0, is_awaited=True)
    assert jobs.next_look_at() == 501.0


def test_a_job_that_was_removed_is_not_looked_at() -> None:
    jobs = FollowedJobs(1.0)
    job = followed(jobs, 1, 0.0)
    jobs.remove(job)
    assert (jobs.next_look_at(), len(jobs), list(jobs)) == (math.inf, 0, [])


def test_an_id_that_is_used_again_is_one_job_with_all_items() -> None:
    jobs = FollowedJobs(1.0)
    first = followed(jobs, 1, 0.0)
    second = jobs.follow(1, [new_batch(2, "another", 10, 0.0, 0)], 200, 0.5)
    assert second is first
    assert set(first.batches) == {"player1", "another"}


def test_a_job_of_an_earlier_process_says_nothing_about_the_time_of_jobs() -> None:
    jobs = FollowedJobs(1.0)
    jobs.resume(1, new_batch(1, "player1", 10, 0.0, 0), 5.0)
    jobs.resume(1, new_batch(2, "player2", 10, 0.0, 0), 5.0)
    (job,) = jobs.due(5.0)
    assert set(job.batches) == {"player1", "player2"}
    jobs.remove(job)
    assert jobs.latency == 0.0


# ---------------------------------------------------------------- auto

RATE = 40.0


def proven() -> AutoMode:
    auto = AutoMode(RATE, 1000)
    auto.look(10**6, 0.0, 0.0)
    auto.sent(PROOF_ITEMS, 0.0)
    auto.completed(10**6, 1.0, 1.0)
    assert auto.state is AutoState.ON
    return auto


def test_it_tries_a_small_job_when_more_players_wait_than_single_requests_serve_soon() -> None:
    auto = AutoMode(RATE, 1000)
    assert auto.look(400, 0.0, 0.0) is AutoState.OFF
    assert auto.most_items == 0
    assert auto.look(401, 0.0, 0.0) is AutoState.PROVING
    assert auto.most_items == PROOF_ITEMS
    auto.sent(PROOF_ITEMS, 0.0)
    assert auto.most_items == 0


def test_jobs_that_take_long_need_more_players_to_be_worth_it() -> None:
    auto = AutoMode(RATE, 1000)
    assert auto.threshold(60.0) == 2400
    assert auto.look(2400, 60.0, 0.0) is AutoState.OFF
    assert auto.look(2401, 60.0, 0.0) is AutoState.PROVING


def test_a_completed_job_switches_it_on_if_it_is_still_worth_it() -> None:
    assert proven().most_items == 1000
    auto = AutoMode(RATE, 1000)
    auto.look(500, 0.0, 0.0)
    auto.sent(PROOF_ITEMS, 0.0)
    auto.completed(300, 1.0, 1.0)
    assert auto.state is AutoState.OFF
    assert auto.look(500, 1.0, 2.0) is AutoState.ON


@pytest.mark.parametrize(
    ("players_per_second", "state"), [(30, AutoState.OFF), (35, AutoState.OFF), (38, AutoState.ON)]
)
def test_it_switches_off_when_single_requests_serve_what_comes(players_per_second: int, state: AutoState) -> None:
    auto = proven()
    for second in range(2, 40):
        auto.sent(players_per_second, float(second))
        auto.look(0, 60.0, float(second))
        if auto.state is AutoState.OFF:
            break
    assert auto.state is state


def test_it_stays_on_for_ten_seconds_at_least() -> None:
    auto = proven()
    assert auto.look(0, 1.0, SHORTEST_WAIT - 0.1) is AutoState.ON
    assert auto.look(0, 1.0, SHORTEST_WAIT + 1.0) is AutoState.OFF


def test_a_proof_that_is_not_accepted_is_tried_again_later() -> None:
    auto = AutoMode(RATE, 1000)
    auto.look(500, 0.0, 0.0)
    auto.sent(PROOF_ITEMS, 0.0)
    auto.not_accepted(1.0)
    assert auto.look(500, 0.0, 1.0 + SHORTEST_WAIT - 0.1) is AutoState.OFF
    assert auto.look(500, 0.0, 1.0 + SHORTEST_WAIT) is AutoState.PROVING
    assert auto.most_items == PROOF_ITEMS


def test_a_lost_job_switches_it_off_for_long_and_takes_a_new_proof() -> None:
    auto = proven()
    auto.lost(100.0)
    assert auto.look(10**6, 1.0, 100.0 + DISTRUST - 1) is AutoState.OFF
    assert auto.look(10**6, 1.0, 100.0 + DISTRUST) is AutoState.PROVING


def test_the_looks_at_the_first_job_and_those_of_a_flush_do_not_slow_down_bulk_requests() -> None:
    jobs = FollowedJobs(1.0)
    end(jobs, 0, 0.0, 600.0)
    assert jobs.looks == 1.0
    job = followed(jobs, 1, 1000.0)
    for at in range(1000):
        list(jobs.due(2000.0 + at))
        jobs.look_again(job, 2000.0 + at, is_awaited=True)
    jobs.remove(job)
    assert jobs.looks < 2
