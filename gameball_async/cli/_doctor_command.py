"""The command `doctor`: its options and its exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ._keys import readable_by_others
from ._options import access_options, keys_from, pacing_options, told_errors
from ._program import examples
from .doctor import Checks, Report


@click.command(
    "doctor",
    short_help="Check key, versions, network, clock, limits and journal.",
    epilog=examples(
        "doctor",
        "doctor --api-version v4.1 --keys-file keys.env",
        "doctor --journal journal --share 0.25",
        "doctor --base-url http://127.0.0.1:8765",
        "doctor --json",
    ),
)
@access_options
@pacing_options
@click.option(
    "--journal", type=click.Path(path_type=Path), metavar="FOLDER", help="The journal's folder, if there is to be one."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(*, as_json: bool, **options: Any) -> None:  # noqa: ANN401 click hands over what it parsed
    """Check everything that a client depends on; each line is a verdict, and a remedy where one is needed.

    One request goes to Gameball. It is an empty one: it names no player and no event, and changes nothing. No key is
    ever printed, nor a part of one.

    Verdicts: ok; warn, it works and something should be done; fail, events will not arrive like this; skip, not
    checked.

    Exit codes: 0 nothing has failed, 1 something has, 2 wrong usage.
    """
    report = Report()
    with told_errors():
        for finding in _examination(options).findings():
            report.add(finding)
            if not as_json:
                report.print_last()
    if as_json:
        click.echo(report.in_json())
    else:
        report.print_sum()
    sys.exit(0 if report.is_well else 1)


def _examination(options: dict[str, Any]) -> Checks:
    """Make an examination of what click has parsed.

    Raises:
        UsageProblem: if the file of keys is none.
        OSError: if it cannot be read.
    """
    path = options.pop("keys_file")
    return Checks(
        keys=keys_from(path), keys_file=path if path is not None and readable_by_others(path) else None, **options
    )
