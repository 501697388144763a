"""Previews of rewards: what events would earn, from the rewards that the sandbox was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import attrs

from ._rules import ParsedRequest


@attrs.frozen(kw_only=True)
class Reward:
    """A campaign that rewards an event, as a preview shows it.

    Args:
        points: what it gives; None for a coupon, or for nothing.
        campaign: its name.
        translations: its name by language, for requests with a `lang` header.
        ends: when it ends, such as `"2026-08-31T23:59:59Z"`; None for never.
        coupon_type: the kind of the coupon, such as `"Percentage"`; None for none.
        coupon_value: the coupon's amount or percentage.
        times: how often one event achieves it.
        progress: how far the customer is before and after the event, in percent, if the event only
            makes progress; None if it achieves the campaign.
        matches: whether the event satisfies the campaign's conditions.
    """

    points: int | None = None
    campaign: str = "Reward"
    translations: Mapping[str, str] = attrs.field(factory=dict[str, str])
    ends: str | None = None
    coupon_type: str | None = None
    coupon_value: float | None = None
    times: int = 1
    progress: tuple[float, float] | None = None
    matches: bool = True

    @property
    def reason(self) -> str:
        """What the evaluation of the campaign resulted in."""
        if not self.matches:
            return "NoMatchingConditions"
        if self.progress is not None:
            return "ProgressOnly"
        return "Rewarded" if self.points is not None else "NonPointsReward"

    @property
    def type(self) -> str:
        """What it gives."""
        return "Points" if self.points is not None else "Coupon"

    @property
    def earned(self) -> int:
        """The points that one event earns."""
        return self.times * self.points if self.reason == "Rewarded" and self.points is not None else 0


class RewardBook:
    """The rewards of each event name: points, a reward or several."""

    def __init__(self, rewards: Mapping[str, int | Reward | Sequence[Reward]]) -> None:
        self._rewards = {name: _several(given) for name, given in rewards.items()}
        ids = count(1)
        self._ids = {name: [next(ids) for _ in several] for name, several in self._rewards.items()}

    def preview(self, request: ParsedRequest, language: str, is_known: Callable[[str], bool]) -> dict[str, object]:
        """Return the answer to a preview; `is_known` says whether an event of a name was received."""
        results = [self._result(name, request, language, is_known) for name in request.names]
        total = sum(points for points, _ in results)
        return {"customerId": request.player, "totalPoints": total, "events": [result for _, result in results]}

    def _result(
        self, name: str, request: ParsedRequest, language: str, is_known: Callable[[str], bool]
    ) -> tuple[int, dict[str, object]]:
        """Return the points of an event, and its part of the answer."""
        rewards = self._rewards.get(name, ())
        reason = None
        if name in request.invalid:
            reason = f"InvalidMetadata: {request.invalid[name]}"
        elif name not in self._rewards and not is_known(name):
            reason = "EventNotFound"
        if reason is not None:
            rewards = ()
        points = sum(reward.earned for reward in rewards)
        return points, {
            "eventName": name,
            "valid": reason is None,
            "invalidReason": reason,
            "totalPoints": points,
            "campaigns": [
                _campaign(reward, number, language)
                for reward, number in zip(rewards, self._ids.get(name, ()), strict=False)
            ],
        }


def _several(given: int | Reward | Sequence[Reward]) -> Sequence[Reward]:
    if isinstance(given, int):
        return (Reward(points=given),)
    return (given,) if isinstance(given, Reward) else tuple(given)


def _campaign(reward: Reward, number: int, language: str) -> dict[str, object]:
    is_achieved = reward.matches and reward.progress is None
    return {
        "campaignId": number,
        "campaignName": reward.translations.get(language, reward.campaign),
        "campaignEndDate": reward.ends,
        "eligible": reward.matches,
        "reason": reward.reason,
        "rewardType": reward.type,
        "rewardPoints": reward.points,
        "couponType": reward.coupon_type,
        "couponValue": reward.coupon_value,
        "points": reward.earned,
        "timesAchieved": reward.times if is_achieved else 0,
        "progress": _progress(reward),
    }


def _progress(reward: Reward) -> dict[str, object] | None:
    if reward.reason != "ProgressOnly" or reward.progress is None:
        return None
    current, would_be = reward.progress
    return {
        "currentPercentage": current,
        "wouldBePercentage": would_be,
        "completionRewardPoints": reward.points,
        "completionRewardType": reward.type,
    }
