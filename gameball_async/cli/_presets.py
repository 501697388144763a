"""Presets: the mapping of files that other programs export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import click

from ._columns import Columns, MetadataColumn, template
from ._fields import Fields
from ._options import parsed, with_options
from ._terminal import UsageProblem
from ._value_types import TYPES


@attrs.frozen(kw_only=True)
class Preset:
    """One kind of file."""

    columns: Columns = attrs.field(factory=Columns)
    fields: Fields = attrs.field(factory=Fields)
    needs_event: bool = False  # whether its rows have no name of an event


PRESETS: dict[str, Preset] = {
    "segment": Preset(
        fields=Fields(player="userId", name="event", metadata="properties", only=("type", "track"), flatten=True)
    ),
    "shopify": Preset(
        columns=Columns(
            player="Email",
            metadata=tuple(
                map(
                    MetadataColumn.parse,
                    (
                        "Name=order",
                        "Created at:date=ordered_at",
                        "Total:decimal=total_amount",
                        "Currency=currency",
                        "Discount Code=discount_code",
                    ),
                )
            ),
            skip_empty="Financial Status",  # an order has a row for each line item, and only the first has this
        ),
        needs_event=True,
    ),
    "klaviyo": Preset(
        fields=Fields(
            player="relationships.profile.data.id",
            metadata="attributes.event_properties",
            picked=(MetadataColumn("attributes.datetime", "occurred_at"),),
            flatten=True,
        ),
        needs_event=True,
    ),
    "gameball": Preset(fields=Fields(bodies=True)),
}


def _event(text: str) -> str:
    template(text)
    return text


def mapping_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the columns of CSV and the fields of JSON mean."""
    return with_options(
        command,
        click.option(
            "--preset", type=click.Choice(list(PRESETS)), help="The mapping of an export; the other options change it."
        ),
        click.option(
            "--player-column", metavar="COLUMN", help="CSV: the player's id. [default: player_unique_id or player]"
        ),
        click.option(
            "--event",
            type=parsed(_event),
            metavar="NAME",
            help="The event's name; {COLUMN} in it is replaced by that column's cell, or by that field.",
        ),
        click.option(
            "--event-column", metavar="COLUMN", help="CSV: the column of the event's name. [default: event or name]"
        ),
        click.option(
            "--metadata",
            "-m",
            multiple=True,
            type=parsed(MetadataColumn.parse),
            metavar="COLUMN[:TYPE][=KEY]",
            help=f"A column, or a field, that becomes metadata; types: {', '.join(TYPES)}. Empty cells are left out.",
        ),
        click.option("--mobile-column", metavar="COLUMN", help="CSV: the mobile number, if your account merges by it."),
        click.option("--email-column", metavar="COLUMN", help="CSV: the e-mail address, if your account merges by it."),
        click.option("--player-field", metavar="PATH", help="JSON: the player's id, such as userId or user.id."),
        click.option("--name-field", metavar="PATH", help="JSON: the event's name."),
        click.option("--metadata-field", metavar="PATH", help="JSON: an object whose entries become metadata."),
        click.option("--mobile-field", metavar="PATH", help="JSON: the mobile number, if your account merges by it."),
        click.option("--email-field", metavar="PATH", help="JSON: the e-mail address, if your account merges by it."),
        click.option(
            "--flatten",
            is_flag=True,
            help="JSON: leave null out, send true and false as 1 and 0, and an object's entries as OUTER_INNER.",
        ),
    )


def mapping_of(options: Mapping[str, Any]) -> tuple[Columns, Fields]:
    """Return the mapping that the options of `mapping_options` describe."""
    event, event_column, name_field = options["event"], options["event_column"], options["name_field"]
    for option, other in (("--event-column", event_column), ("--name-field", name_field)):
        if event is not None and other is not None:
            raise click.UsageError(f"--event and {option}: give one of them.")
    preset = PRESETS[options["preset"]] if options["preset"] else Preset()
    if preset.needs_event and not (event or event_column or name_field):
        raise UsageProblem(f"--preset {options['preset']}: its rows have no event's name, give one with --event.")
    columns = {
        "player": options["player_column"],
        "event": event,
        "event_column": event_column,
        "mobile": options["mobile_column"],
        "email": options["email_column"],
    }
    fields = {
        "player": options["player_field"],
        "name": name_field,
        "event": event,
        "metadata": options["metadata_field"],
        "mobile": options["mobile_field"],
        "email": options["email_field"],
        "flatten": options["flatten"] or None,
    }
    metadata: tuple[MetadataColumn, ...] = options["metadata"]
    return (
        attrs.evolve(preset.columns, metadata=preset.columns.metadata + metadata, **_given(columns)),
        attrs.evolve(preset.fields, picked=preset.fields.picked + metadata, **_given(fields)),
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
