"""What events would earn, read from Gameball's answer. Every field may be missing or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

import attrs

_GREATEST = 2**53
"""Above it floats are not exact, and sums of ints and floats may overflow."""

_Fields = Mapping[str, object]


@attrs.frozen(kw_only=True)
class CampaignProgress:
    """How far an event would bring the player in a campaign that does not reward it yet.

    Attributes:
        current_percentage: of the way that the player has come.
        would_be_percentage: after the event.
        completion_reward_points: what completing the campaign earns; None if it is not points, or unknown.
        completion_reward_type: the kind of that reward, such as ``"Points"``.
    """

    current_percentage: float | None = None
    would_be_percentage: float | None = None
    completion_reward_points: float | None = None
    completion_reward_type: str | None = None


@attrs.frozen(kw_only=True)
class CampaignPreview:
    """What one campaign would give for an event.

    Attributes:
        campaign_id: Gameball's id of the campaign.
        name: its name, in the language of the preview if Gameball has it.
        ends_at: when the campaign ends; None if it does not.
        eligible: whether the event would be rewarded.
        reason: why, or why not: ``"Rewarded"``, ``"ProgressOnly"``, ``"NoMatchingConditions"`` or
            ``"NonPointsReward"`` in Gameball's documentation. It may be another word.
        reward_type: ``"Points"`` or ``"Coupon"`` in Gameball's documentation.
        reward_points: the points of one reward.
        coupon_type: the kind of coupon, such as ``"Percentage"``.
        coupon_value: its value.
        points: the points that the event would earn here.
        times_achieved: how many times the event would achieve the campaign.
        progress: with the reason ``"ProgressOnly"``, how far the event would bring the player.
    """

    campaign_id: int | None = None
    name: str = ""
    ends_at: datetime | None = None
    eligible: bool = False
    reason: str = ""
    reward_type: str | None = None
    reward_points: float | None = None
    coupon_type: str | None = None
    coupon_value: float | None = None
    points: float = 0
    times_achieved: int = 0
    progress: CampaignProgress | None = None


@attrs.frozen(kw_only=True)
class EventPreview:
    """What one event would earn.

    Attributes:
        name: the event's name.
        valid: whether Gameball could evaluate it.
        invalid_reason: why not: ``"EventNotFound"``, ``"InvalidMetadata: ..."`` or ``"PreviewFailed"`` in Gameball's
            documentation.
        total_points: the points of all campaigns.
        campaigns: what each campaign would give. Gameball omits those that cannot be won any more.
    """

    name: str = ""
    valid: bool = True
    invalid_reason: str | None = None
    total_points: float = 0
    campaigns: tuple[CampaignPreview, ...] = ()


@attrs.frozen(kw_only=True)
class Preview:
    """What events would earn a player now, if they were tracked.

    Attributes:
        total_points: the points of all events.
        events: what each event would earn.
    """

    total_points: float = 0
    events: tuple[EventPreview, ...] = ()


def read_preview(content: _Fields) -> Preview | None:
    """Read the content of an answer; None if it is no preview."""
    if "events" not in content and "totalPoints" not in content:
        return None
    events = tuple(map(_event, _objects(content, "events")))
    total = _number(content, "totalPoints")
    return Preview(total_points=sum(each.total_points for each in events) if total is None else total, events=events)


def _event(fields: _Fields) -> EventPreview:
    campaigns = tuple(map(_campaign, _objects(fields, "campaigns")))
    reason, valid, total = _text(fields, "invalidReason"), fields.get("valid"), _number(fields, "totalPoints")
    return EventPreview(
        name=_text(fields, "eventName") or "",
        valid=valid if isinstance(valid, bool) else reason is None,
        invalid_reason=reason,
        total_points=sum(each.points for each in campaigns) if total is None else total,
        campaigns=campaigns,
    )


def _campaign(fields: _Fields) -> CampaignPreview:
    progress = fields.get("progress")
    return CampaignPreview(
        campaign_id=_whole_number(fields, "campaignId"),
        name=_text(fields, "campaignName") or "",
        ends_at=_date(fields, "campaignEndDate"),
        eligible=fields.get("eligible") is True,
        reason=_text(fields, "reason") or "",
        reward_type=_text(fields, "rewardType"),
        reward_points=_number(fields, "rewardPoints"),
        coupon_type=_text(fields, "couponType"),
        coupon_value=_number(fields, "couponValue"),
        points=_number(fields, "points") or 0,
        times_achieved=_whole_number(fields, "timesAchieved") or 0,
        progress=_progress(cast("_Fields", progress)) if isinstance(progress, dict) else None,
    )


def _progress(fields: _Fields) -> CampaignProgress:
    return CampaignProgress(
        current_percentage=_number(fields, "currentPercentage"),
        would_be_percentage=_number(fields, "wouldBePercentage"),
        completion_reward_points=_number(fields, "completionRewardPoints"),
        completion_reward_type=_text(fields, "completionRewardType"),
    )


# ---------------------------------------------------------------- fields


def _objects(fields: _Fields, key: str) -> list[_Fields]:
    value = fields.get(key)
    return [each for each in cast("list[_Fields]", value) if isinstance(each, dict)] if isinstance(value, list) else []


def _text(fields: _Fields, key: str) -> str | None:
    value = fields.get(key)
    return value if isinstance(value, str) else None


def _number(fields: _Fields, key: str) -> float | None:
    """A number that a float holds exactly; an int stays one."""
    value = fields.get(key)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if value.is_integer() else value
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return value if abs(value) <= _GREATEST else None  # refuses nan too


def _whole_number(fields: _Fields, key: str) -> int | None:
    value = _number(fields, key)
    return None if value is None or int(value) != value else int(value)


def _date(fields: _Fields, key: str) -> datetime | None:
    """A date with a time zone; one without is taken as UTC."""
    try:
        date = datetime.fromisoformat(_text(fields, key) or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
