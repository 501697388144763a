"""Previews answer from the sandbox's rewards, as the documentation words them, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gameball_async.sandbox import Reward, Sandbox

from .support import SECRET, track

if TYPE_CHECKING:
    from collections.abc import Iterator

PREVIEW = "/api/v4.0/integrations/events/reward-preview"

REWARDS: dict[str, int | Reward | list[Reward]] = {
    "place_order": 100,
    "add_review": [
        Reward(
            points=75,
            times=2,
            campaign="Review & Earn",
            translations={"ar": "راجع واكسب"},
            ends="2026-08-31T23:59:59Z",
        ),
        Reward(coupon_type="Percentage", coupon_value=10, campaign="Review Coupon"),
    ],
    "visit": Reward(points=50, progress=(20, 40)),
    "refer": Reward(points=30, matches=False),
}


@pytest.fixture(scope="module")
def rewarding() -> Iterator[Sandbox]:
    with Sandbox(rewards=REWARDS) as running:
        yield running


@pytest.fixture
def sandbox(rewarding: Sandbox) -> Sandbox:
    """One with rewards, in which the customer `p` exists."""
    rewarding.reset()
    with httpx.Client(base_url=rewarding.url, headers={"APIKey": "key"}, trust_env=False, verify=False) as http:
        track(http, "p", "seen")
    return rewarding


def _preview(http: httpx.Client, events: object, player: object = "p", **headers: str) -> httpx.Response:
    return http.post(PREVIEW, json={"customerId": player, "events": events}, headers=headers)


def _result(http: httpx.Client, name: str, **headers: str) -> dict[str, Any]:
    (result,) = _preview(http, {name: {}}, **headers).json()["events"]
    made: dict[str, Any] = result
    return made


def test_a_preview_lists_points_and_coupons(http: httpx.Client) -> None:
    answer = _preview(http, {"add_review": {"rating": 5}, "place_order": None})

    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["customerId"], shown["totalPoints"]) == ("p", 250)
    review, order = shown["events"]
    assert (order["eventName"], order["totalPoints"]) == ("place_order", 100)
    assert review == {
        "eventName": "add_review",
        "valid": True,
        "invalidReason": None,
        "totalPoints": 150,
        "campaigns": [
            {
                "campaignId": 2,
                "campaignName": "Review & Earn",
                "campaignEndDate": "2026-08-31T23:59:59Z",
                "eligible": True,
                "reason": "Rewarded",
                "rewardType": "Points",
                "rewardPoints": 75,
                "couponType": None,
                "couponValue": None,
                "points": 150,
                "timesAchieved": 2,
                "progress": None,
            },
            {
                "campaignId": 3,
                "campaignName": "Review Coupon",
                "campaignEndDate": None,
                "eligible": True,
                "reason": "NonPointsReward",
                "rewardType": "Coupon",
                "rewardPoints": None,
                "couponType": "Percentage",
                "couponValue": 10,
                "points": 0,
                "timesAchieved": 1,
                "progress": None,
            },
        ],
    }


def test_progress_and_unmet_conditions_earn_nothing(http: httpx.Client) -> None:
    visit, refer = (_result(http, name) for name in ("visit", "refer"))

    assert (visit["totalPoints"], refer["totalPoints"]) == (0, 0)
    (campaign,) = visit["campaigns"]
    assert (campaign["reason"], campaign["eligible"], campaign["timesAchieved"]) == ("ProgressOnly", True, 0)
    assert campaign["progress"] == {
        "currentPercentage": 20,
        "wouldBePercentage": 40,
        "completionRewardPoints": 50,
        "completionRewardType": "Points",
    }
    (campaign,) = refer["campaigns"]
    assert (campaign["reason"], campaign["eligible"], campaign["rewardPoints"]) == ("NoMatchingConditions", False, 30)


def test_a_name_that_was_never_received_and_has_no_reward_is_not_found(http: httpx.Client) -> None:
    assert (_result(http, "seen")["valid"], _result(http, "seen")["campaigns"]) == (True, [])
    assert (_result(http, "misspelt")["valid"], _result(http, "misspelt")["invalidReason"]) == (False, "EventNotFound")


def test_an_event_with_invalid_metadata_does_not_affect_the_others(sandbox: Sandbox, http: httpx.Client) -> None:
    bad, good = _preview(http, {"visit": {"k": None}, "place_order": {}}).json()["events"]

    assert (bad["valid"], bad["campaigns"]) == (False, [])
    assert bad["invalidReason"] == "InvalidMetadata: The event 'visit', key 'k', is null."
    assert good["totalPoints"] == 100
    assert sandbox.violations == []


@pytest.mark.parametrize(("language", "name"), [("ar", "راجع واكسب"), ("fr", "Review & Earn")])
def test_the_campaigns_name_is_in_the_language_of_the_header(http: httpx.Client, language: str, name: str) -> None:
    assert _result(http, "add_review", lang=language)["campaigns"][0]["campaignName"] == name


def test_a_customer_without_events_is_not_found_and_not_created(sandbox: Sandbox, http: httpx.Client) -> None:
    answers = [_preview(http, {"place_order": {}}, "nobody") for _ in range(2)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, 7000)] * 2
    assert answers[0].json()["type"] == "CUSTOMER_ERROR"
    assert list(sandbox.holdings()) == ["p"]
    assert sandbox.violations == []


def test_a_preview_changes_nothing(sandbox: Sandbox, http: httpx.Client) -> None:
    before = sandbox.holdings()
    for _ in range(3):
        assert _preview(http, {"place_order": {}}).status_code == 200

    assert sandbox.holdings() == before
    record = sandbox.requests[-1]
    assert (record.route, record.player, record.events, record.applied) == ("preview", "p", ("place_order",), False)


@pytest.mark.parametrize(
    ("sent", "kind", "status", "code"),
    [
        ({"events": {"e": {}}}, "missing_player", 400, 3000),
        ({"customerId": 5, "events": {"e": {}}}, "bad_type", 422, 3003),
        ({"customerId": "p" * 101, "events": {"e": {}}}, "long_player", 400, 3016),
        ({"customerId": "p"}, "missing_events", 400, 3000),
        ({"customerId": "p", "events": {}}, "missing_events", 400, 3000),
        ({"customerId": "p", "events": ["e"]}, "bad_type", 422, 3003),
        ({"customerId": "p", "events": {"e": {}}, "lang": "ar"}, "unknown_field", 400, 3016),
        ({"customerId": "p", "events": {"e": {}}, "email": ""}, "bad_text", 422, 3003),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused(
    *, sandbox: Sandbox, http: httpx.Client, sent: dict[str, object], kind: str, status: int, code: int
) -> None:
    answer = http.post(PREVIEW, json=sent)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [violation.kind for violation in sandbox.violations] == [kind]


def test_a_contact_may_help_to_find_the_customer(http: httpx.Client) -> None:
    contact = {"email": "jon.snow@example.com", "mobile": "+1234567"}
    sent: dict[str, object] = {"customerId": "p" * 100, "events": {"e": {}}, **contact}

    assert http.post(PREVIEW, json=sent).json()["code"] == 7000


def test_only_v4_1_needs_the_secret_key(http: httpx.Client) -> None:
    newer = PREVIEW.replace("v4.0", "v4.1")
    sent: dict[str, object] = {"customerId": "p", "events": {"e": {}}}

    answers = [http.post(PREVIEW, json=sent), http.post(newer, json=sent), http.post(newer, json=sent, headers=SECRET)]

    assert [answer.status_code for answer in answers] == [200, 401, 200]
    assert answers[1].json()["code"] == 1001
