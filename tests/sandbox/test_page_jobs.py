"""The page shows jobs: what the browser receives about them, and what it makes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from gameball_async.sandbox import Fault, JobSettings, Limits, Sandbox

from .browser import CHROMIUM, DESK, barriers, chromium
from .support import finish_jobs, item, job_of, status, stop, track
from .test_page import listening
from .test_page_in_browser import figure, opened, rows, switch

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(jobs=JobSettings(latency=0, failing_players={"bad"})) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, sandbox: Sandbox) -> Iterator[Page]:
    with (
        browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}) as context,
        opened(context, sandbox) as page,
    ):
        yield page


def jobs(page: Page) -> Locator:
    return page.locator("#job-rows").get_by_role("row")


# ---------------------------------------------------------------- what the browser receives


def test_the_latest_jobs_are_sent_the_latest_first(sandbox: Sandbox, http: httpx.Client) -> None:
    first = job_of(http, item("p"), item("bad"))
    finish_jobs(sandbox)
    sandbox.set_jobs(JobSettings(latency=3600))
    second = job_of(http, item("q"))
    status(http, second)
    with listening(sandbox) as news:
        message = news.next()

    assert (message["jobCount"], message["unfinishedJobs"]) == (2, 1)
    shown = [{name: value for name, value in job.items() if name != "accepted"} for job in message["jobs"]]
    assert shown[0] == {
        "id": second,
        "state": "pending",
        "items": 1,
        "processed": 0,
        "failed": 0,
        "polls": 1,
        "finished": None,
    }
    assert (shown[1]["id"], shown[1]["state"], shown[1]["processed"], shown[1]["failed"]) == (first, "completed", 2, 1)
    assert shown[1]["finished"] >= message["jobs"][1]["accepted"]


def test_a_message_has_at_most_ten_jobs_and_counts_all(http: httpx.Client, sandbox: Sandbox) -> None:
    ids = [job_of(http, item("p")) for _ in range(25)]
    with listening(sandbox) as news:
        message = news.next()

    assert [job["id"] for job in message["jobs"]] == ids[:14:-1]
    assert message["jobCount"] == 25


def test_the_windows_of_others_are_sent_beside_those_of_events() -> None:
    with (
        Sandbox(limits=Limits(others_per_second=7, others_per_30_seconds=9)) as sandbox,
        httpx.Client(base_url=sandbox.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http,
    ):
        track(http)
        job_of(http, item("p"))
        with listening(sandbox) as news:
            message = news.next()

    assert [(window["used"], window["count"]) for window in message["windows"]][1] == (1, 1200)
    assert [(window["used"], window["count"]) for window in message["otherWindows"]][1] == (1, 9)


def test_requests_are_sent_with_what_they_asked_for(http: httpx.Client, sandbox: Sandbox) -> None:
    job = job_of(http, item("p", "a", "b"), item("q", "b"))
    status(http, job)
    status(http, job + 1)
    sandbox.script(Fault.fail_after_applying(500))
    http.post("/api/v4.0/integrations/batch/events", json={"body": [item("p")]}, headers={"SecretKey": "secret"})
    with listening(sandbox) as news:
        message = news.next()

    assert [(row["route"], row["items"], row["job"], row["outcome"], row["words"]) for row in message["rows"]] == [
        ("batch", 2, job, "applied", ""),
        ("status", 0, job, "answered", ""),
        ("status", 0, None, "refused", "code 4004: The job was not found."),
        ("batch", 1, job + 1, "lost", "accepted, answer lost (as scripted)"),
    ]
    assert [sum(counts) for counts in zip(*(counts for _, *counts in message["seconds"]), strict=True)] == [2, 1, 1]
    assert (message["applied"], message["unapplied"]) == (2, 1)


# ---------------------------------------------------------------- in the browser


@needs_browser
def test_jobs_appear_with_their_progress(page: Page, sandbox: Sandbox, http: httpx.Client) -> None:
    panel = page.get_by_role("region", name="Jobs")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("meter", name="Others")).to_have_count(0)

    job = job_of(http, item("p", "review"), item("bad", "visit"))
    finish_jobs(sandbox)
    status(http, job)

    expect(panel).to_be_visible()
    expect(jobs(page)).to_contain_text([f"#{job} completed 2 items1 failed 1 poll"])
    expect(page.get_by_role("meter", name="Others, last 30 seconds")).to_have_attribute("aria-valuenow", "2")
    expect(rows(page).nth(1)).to_contain_text(f"2 items, job {job} reviewvisit 200")
    expect(rows(page).nth(0)).to_contain_text(f"job {job} status of a job 200")


@needs_browser
def test_a_stuck_and_a_stopped_job_are_shown_as_they_are(page: Page, sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.set_jobs(JobSettings(latency=0, stuck_jobs=1))
    stuck = job_of(http, *(item(f"player{number}") for number in range(10)))
    sandbox.set_jobs(JobSettings(latency=3600))
    stopped = job_of(http, item("p"))
    expect(figure(page, "unfinishedJobs")).to_have_text("2")
    stop(http, stopped)

    expect(jobs(page).nth(0)).to_contain_text(f"#{stopped} stopped 0 of 1 item 0 polls")
    expect(jobs(page).nth(1)).to_contain_text(f"#{stuck} processing 5 of 10 items 0 polls")
    expect(jobs(page).nth(1).get_by_role("meter")).to_have_attribute("aria-valuenow", "5")
    expect(figure(page, "unfinishedJobs")).to_have_text("1")


@needs_browser
def test_requests_about_jobs_can_be_chosen_and_are_forgotten_with_the_rest(
    page: Page, sandbox: Sandbox, http: httpx.Client
) -> None:
    track(http)
    status(http, job_of(http, item("p")))
    page.get_by_label("Show", exact=True).select_option("bulk, jobs")
    expect(rows(page)).to_have_count(2)

    sandbox.reset()

    expect(page.get_by_role("region", name="Jobs")).to_be_hidden()
    expect(page.get_by_role("meter", name="Others")).to_have_count(0)


@needs_browser
def test_the_switch_for_polls_fails_nothing_else(page: Page, http: httpx.Client) -> None:
    job = job_of(http, item("p"))
    switch(page, "No job status").click()
    expect(page.get_by_role("link", name="1 fault on")).to_be_visible()

    assert [track(http).status_code, status(http, job).status_code, stop(http, job).status_code] == [200, 404, 200]


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody_and_no_window_scrolls_sideways(
    browser: Browser, sandbox: Sandbox, http: httpx.Client, theme: Any
) -> None:
    sandbox.set_jobs(JobSettings(latency=0, stuck_jobs=1))
    status(http, job_of(http, *(item(f"player{number}") for number in range(1000))))
    sandbox.set_jobs(JobSettings(latency=0, failing_items=1))
    for _ in range(3):
        stop(http, job_of(http, item("w" * 300, "w" * 300)))
    status(http, 999_999)
    with browser.new_context(color_scheme=theme) as context, opened(context, sandbox) as page:
        expect(jobs(page)).to_have_count(4)
        for width in (390, 700, 1200, 1440):
            page.set_viewport_size({"width": width, "height": 900})

            assert barriers(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width
