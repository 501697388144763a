"""The command `preview`: ask what one event would earn a player; nothing is tracked."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import datetime
from typing import Any

import attrs
import click

from _gameball_async_cli import EXIT_CODE

from .. import CampaignPreview, EventPreview, Preview
from .._core.wire import API_VERSIONS
from ..errors import CustomerNotFound, InvalidEvent, PreviewError
from ._lines import Draft
from ._options import ClientOptions, examples, preview_access_options, reported_errors, required_keys
from ._terminal import Interrupts, UsageProblem, exiting, print_wrapped, printable, quoted
from ._track import parse_metadata


@click.command(
    "preview",
    short_help="Show what an event would earn; nothing is tracked.",
    epilog=examples(
        "preview player123 review",
        "preview player123 place_order currency=EUR total_amount:=99.5 --lang en",
        "preview player123 review --json",
    ),
)
@click.argument("player")
@click.argument("event")
@click.argument("metadata", nargs=-1, metavar="[METADATA]...")
@click.option("--mobile", metavar="NUMBER", help="The mobile number, if your account merges by it.")
@click.option("--email", metavar="ADDRESS", help="The e-mail address, if your account merges by it.")
@click.option("--lang", metavar="LANGUAGE", help="The language of the campaigns' names, such as en.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the preview.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@preview_access_options
def preview_command(
    *,
    player: str,
    event: str,
    metadata: tuple[str, ...],
    lang: str | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 as parsed
) -> None:
    """Ask Gameball what one EVENT would earn PLAYER now. Nothing is tracked, and no points are awarded.

    METADATA is KEY=VALUE for a string, or KEY:=JSON for a number or an array.

    PLAYER is the id of an active player that Gameball knows. Gameball offers previews on request; v3.0 has none.

    Exit codes: 0 there is a preview, 1 there is none, or the event is invalid, 2 wrong usage, 130 interrupted.
    """
    with reported_errors():
        if math.isnan(options["timeout"]):
            raise UsageProblem("--timeout is not a number: give seconds.")
        if not API_VERSIONS[options["api_version"]].takes_bulk:
            raise UsageProblem(f"{options['api_version']} has no previews: use --api-version v4.0 or v4.1.")
        draft = Draft(player, event, parse_metadata(metadata), options["mobile"], options["email"])
        keys = required_keys(options["keys_file"], remedy=" A sandbox accepts any key.")
        client = ClientOptions.with_access(options, keys)
        preview = asyncio.run(_request(client, draft, lang, options["timeout"]))
        with exiting(EXIT_CODE if preview is None else None):
            if preview is not None:
                is_valid = report(preview, as_json=as_json)
                if not is_valid:
                    raise SystemExit(1)


async def _request(client: ClientOptions, draft: Draft, lang: str | None, timeout: float) -> Preview | None:  # noqa: ASYNC109 the user's
    """Return the preview, or None if a signal interrupted it.

    Raises:
        GameballError: if Gameball gives no preview.
    """
    with Interrupts() as interrupts:
        async with client.gameball(timeout=timeout) as gameball:
            events, contact = {draft.name: draft.metadata}, {"mobile": draft.mobile, "email": draft.email}
            request = asyncio.create_task(gameball.preview(draft.player, events, **contact, lang=lang))
            interrupted = asyncio.create_task(interrupts.first.wait())
            await asyncio.wait({request, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            interrupted.cancel()
            if not request.done():
                request.cancel()
                await asyncio.wait({request})
                return None
            try:
                return await request
            except InvalidEvent as error:
                raise UsageProblem(str(error)) from None
            except CustomerNotFound as error:
                sandbox = " A sandbox knows players of whom it has an event: send one with track."
                raise click.ClickException(str(error) + ("" if client.is_gameball else sandbox)) from None
            except PreviewError as error:
                raise click.ClickException(printable(client.reword(str(error)))) from None


def report(preview: Preview, *, as_json: bool) -> bool:
    """Print a preview, and return whether all events are valid."""
    if as_json:
        click.echo(json.dumps(attrs.asdict(preview), default=datetime.isoformat))
    else:
        for event in preview.events:
            print_wrapped(_event_line(event))
            for campaign in event.campaigns:
                print_wrapped(f"  {_campaign_line(campaign)}", indent="    ")
        if not preview.events:
            print_wrapped(_points(preview.total_points))
    return all(event.valid for event in preview.events)


def _event_line(event: EventPreview) -> str:
    if not event.valid:
        return f"{quoted(event.name)} cannot be previewed: {event.invalid_reason or 'Gameball gave no reason'}"
    return f"{quoted(event.name)} would earn {_points(event.total_points)}{'' if event.campaigns else ': no campaign'}"


def _campaign_line(campaign: CampaignPreview) -> str:
    parts = [campaign.reason or ("eligible" if campaign.eligible else "not eligible")]
    if campaign.points or campaign.reward_type == "Points":
        parts.append(_points(campaign.points))
    if campaign.coupon_type is not None:
        value = "" if campaign.coupon_value is None else f" {campaign.coupon_value:g}"
        parts.append(f"coupon: {campaign.coupon_type}{value}")
    if (progress := campaign.progress) is not None:
        parts.append(f"{_percent(progress.current_percentage)} now, {_percent(progress.would_be_percentage)} after it")
        if progress.completion_reward_points is not None:
            parts.append(f"{_points(progress.completion_reward_points)} when completed")
    if campaign.ends_at is not None:
        parts.append(f"until {campaign.ends_at:%Y-%m-%d %H:%M} {campaign.ends_at.tzname()}")
    return f"{campaign.name or 'a campaign without a name'}: {', '.join(parts)}"


def _points(points: float) -> str:
    return f"{points:,} {'point' if points == 1 else 'points'}"


def _percent(percentage: float | None) -> str:
    return "an unknown part" if percentage is None else f"{percentage:g} %"
