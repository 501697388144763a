"""What is read from the answer to a preview: every field may be missing, unknown or of another type."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gameball_async import CampaignPreview, CampaignProgress, EventPreview, Preview
from gameball_async._core.reward_preview import read_preview

# "Event reward preview" in Gameball's API reference, shortened
DOCUMENTED = """
{"customerId":"1214","totalPoints":150,"events":[{"eventName":"add_review","valid":true,"invalidReason":null,
"totalPoints":150,"campaigns":[{"campaignId":2655,"campaignName":"Review & Earn",
"campaignEndDate":"2026-08-31T23:59:59Z","eligible":true,"reason":"Rewarded","rewardType":"Points","rewardPoints":150,
"couponType":null,"couponValue":null,"points":150,"timesAchieved":1,"progress":null},{"campaignId":2656,
"campaignName":"Review Coupon","campaignEndDate":null,"eligible":true,"reason":"NonPointsReward","rewardType":"Coupon",
"rewardPoints":null,"couponType":"Percentage","couponValue":10,"points":0,"timesAchieved":1,"progress":null}]}]}
"""


def test_the_documented_answer_is_read_completely() -> None:
    points = CampaignPreview(
        campaign_id=2655,
        name="Review & Earn",
        ends_at=datetime(2026, 8, 31, 23, 59, 59, tzinfo=UTC),
        eligible=True,
        reason="Rewarded",
        reward_type="Points",
        reward_points=150,
        points=150,
        times_achieved=1,
    )
    coupon = CampaignPreview(
        campaign_id=2656,
        name="Review Coupon",
        eligible=True,
        reason="NonPointsReward",
        reward_type="Coupon",
        coupon_type="Percentage",
        coupon_value=10,
        times_achieved=1,
    )
    event = EventPreview(name="add_review", total_points=150, campaigns=(points, coupon))
    assert read_preview(json.loads(DOCUMENTED)) == Preview(total_points=150, events=(event,))


def _campaign(**fields: object) -> CampaignPreview:
    preview = read_preview({"events": [{"campaigns": [fields]}]})
    assert preview is not None
    return preview.events[0].campaigns[0]


def test_progress_is_read() -> None:
    progress = {
        "currentPercentage": 40,
        "wouldBePercentage": 60.5,
        "completionRewardPoints": None,
        "completionRewardType": "Coupon",
    }
    expected = CampaignProgress(current_percentage=40, would_be_percentage=60.5, completion_reward_type="Coupon")
    assert _campaign(reason="ProgressOnly", progress=progress).progress == expected


def test_an_unknown_reason_stays_a_string() -> None:
    assert _campaign(reason="FutureReason").reason == "FutureReason"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-08-31T23:59:59", datetime(2026, 8, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-08-31T23:59:59+03:00", datetime(2026, 8, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=3)))),
        ("2026-08-31", datetime(2026, 8, 31, tzinfo=UTC)),
        ("31.8.2026", None),
        ("", None),
        (20260831, None),
    ],
    ids=["naive", "offset", "day", "unreadable", "empty", "number"],
)
def test_dates_have_a_time_zone_or_are_none(text: object, date: datetime | None) -> None:
    assert _campaign(campaignEndDate=text).ends_at == date


def test_a_number_may_be_a_string() -> None:
    assert _campaign(points="150").points == 150
    assert _campaign(points="12.5").points == 12.5


@pytest.mark.parametrize(
    "value",
    [True, "many", "nan", "inf", float("nan"), float("inf"), 10**400, [], {}, None],
    ids=lambda value: repr(value)[:9],
)
def test_what_is_no_number_counts_as_missing(value: object) -> None:
    campaign = _campaign(points=value, rewardPoints=value, campaignId=value, timesAchieved=value)
    assert campaign == CampaignPreview()


def test_missing_totals_are_the_sums() -> None:
    events = [{"campaigns": [{"points": 100}, {"points": 50}]}, {"totalPoints": 7, "campaigns": [{"points": 1}]}]
    preview = read_preview({"events": events})
    assert preview is not None
    assert [event.total_points for event in preview.events] == [150, 7]
    assert preview.total_points == 157


def test_an_event_with_a_reason_and_no_verdict_is_invalid() -> None:
    preview = read_preview({"events": [{"invalidReason": "EventNotFound"}, {}]})
    assert preview is not None
    assert [event.valid for event in preview.events] == [False, True]


@pytest.mark.parametrize("content", [{}, {"success": True}, {"message": "ok"}], ids=["empty", "success", "message"])
def test_an_answer_without_events_and_total_is_no_preview(content: dict[str, object]) -> None:
    assert read_preview(content) is None


_NAMES = st.sampled_from(
    [
        "events",
        "totalPoints",
        "eventName",
        "valid",
        "invalidReason",
        "campaigns",
        "campaignId",
        "campaignName",
        "campaignEndDate",
        "eligible",
        "reason",
        "rewardType",
        "rewardPoints",
        "couponType",
        "couponValue",
        "points",
        "timesAchieved",
        "progress",
        "currentPercentage",
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("019.-eTZ:", max_size=12)
    | st.sampled_from(["1e999", "9" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=40,
)


@given(st.dictionaries(_NAMES, _VALUES))
def test_no_content_raises(content: dict[str, object]) -> None:
    preview = read_preview(content)
    assert (preview is None) == ("events" not in content and "totalPoints" not in content)
