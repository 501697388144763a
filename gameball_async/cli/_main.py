"""The commands: their options, and what they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from .. import __version__
from ._files import ReadOptions, check_encoding
from ._journal_commands import dead_letters, journal
from ._options import (
    PROGRAM,
    ClientOptions,
    Program,
    access_options,
    client_options,
    examples,
    keep_words_whole,
    mode_option,
    pacing_options,
    parsed,
    read_keys,
    readable_by_others,
    reported_errors,
    required_keys,
)
from ._presets import mapping_of, mapping_options
from ._preview_command import preview_command
from ._relay_commands import relay
from ._sandbox_command import sandbox
from ._send import SendOptions, dry_run, send
from ._track import track


def _delimiter(text: str) -> str:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError("give one character, or the word tab")
    return delimiter


_INPUT = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("doctor", "track player123 review", "send events.ndjson --dry-run", "sandbox", "COMMAND --help"),
)
@click.version_option(__version__, prog_name=PROGRAM)
def app() -> None:
    """Send events to Gameball: merged, paced, retried, in order per player."""


@app.command(
    "send",
    short_help="Send the events in files, NDJSON or CSV.",
    epilog=examples(
        "send events.ndjson --dry-run",
        "send events.ndjson --sandbox",
        "send events.ndjson",
        "send events.ndjson --resume",
        "send orders.csv --player-column CustomerID --event purchase \\\n"
        "      -m Quantity:int=quantity -m UnitPrice:decimal=price",
        "send segment.json.gz --preset segment",
        "send events.ndjson --mode bulk --api-version v4.0",
        "send visits.ndjson --player-field user.id --name-field type --metadata-field data",
        "send - --progress noted --share 0.5",
    ),
)
@click.argument("files", nargs=-1, required=True, type=_INPUT)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "ndjson", "csv"]),
    default="auto",
    show_default=True,
    help="auto takes JSON, one event per line or in an array, for a file that is named .json, .jsonl or .ndjson or "
    "begins with it; else CSV.",
)
@mapping_options
@click.option(
    "--delimiter",
    type=parsed(_delimiter),
    metavar="CHARACTER",
    help="CSV: the character between two cells, or the word tab. [default: recognized by the header]",
)
@click.option(
    "--encoding",
    type=parsed(check_encoding),
    metavar="NAME",
    default="utf-8",
    show_default=True,
    help="The encoding of the files, such as cp1252 for what Excel writes on Windows. A byte order mark goes first.",
)
@click.option("--dry-run", is_flag=True, help="Check every row and send nothing; needs no key.")
@click.option("--yes", is_flag=True, help="Do not ask at a terminal before anything is sent.")
@click.option("--sandbox", is_flag=True, help="Send to an embedded sandbox instead of Gameball; needs no key.")
@click.option(
    "--rejects",
    type=_FILE,
    metavar="FILE",
    help="Where to write rows that will not arrive. [default: FILE.rejects.ndjson]",
)
@click.option(
    "--progress",
    type=_FILE,
    metavar="FILE",
    help="Where to save the progress of the run. [default: FILE.progress; none for a pipe]",
)
@click.option("--resume", is_flag=True, help="Continue where the last run of these files stopped.")
@mode_option
@client_options(consequence="rejects the row")
def send_command(**options: Any) -> None:  # noqa: ANN401 the parsed options
    """Send the events in FILES, NDJSON or CSV, plain or gzip; - is standard input.

    NDJSON: one object per line with player_unique_id (or player), event (or name), and optionally metadata, mobile
    and email; or options that name other fields.

    CSV: a header, and options that map its columns; see the examples.

    At a terminal it first shows the number of events by name and the destination, and asks; in a script it does not.

    Exit codes: 0 everything was delivered, 1 something was not, 2 wrong usage, 130 interrupted.
    """
    with reported_errors():
        order = _send_options(options)
        order.check()
        code = dry_run(order) if order.dry_run else send(order)
    sys.exit(code)


def _send_options(options: dict[str, Any]) -> SendOptions:
    """Convert the options that click has parsed."""
    if options["sandbox"] or options["dry_run"]:
        keys = read_keys(options["keys_file"], warn=True)
    else:
        keys = required_keys(options["keys_file"], remedy=" Without a key, try --dry-run or --sandbox.")
    columns, fields = mapping_of(options)
    return SendOptions(
        paths=options["files"],
        reading=ReadOptions(
            format=options["format_"],
            columns=columns,
            fields=fields,
            delimiter=options["delimiter"],
            encoding=options["encoding"],
        ),
        client=ClientOptions.parsed(options, keys),
        **{name: options[name] for name in ("rejects", "progress", "resume", "sandbox", "dry_run", "yes")},
    )


_INSTALL = {
    "bash": "{program} completion bash > ~/.{program}.bash && echo '. ~/.{program}.bash' >> ~/.bashrc",
    "zsh": "{program} completion zsh > ~/.{program}.zsh && echo '. ~/.{program}.zsh' >> ~/.zshrc",
    "fish": "cd ~/.config/fish && mkdir -p completions && {program} completion fish > completions/{program}.fish",
}
"""One line per shell; the file is written once, because generating it takes almost a second."""


@app.command(
    "completion",
    short_help="Print a script that completes this command in a shell.",
    epilog=examples("completion bash", "completion fish > ~/.config/fish/completions/gameball-async.fish"),
)
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def completion(shell: str) -> None:
    """Print a script that completes this command in SHELL; its last line says how to install it."""
    writer = get_completion_class(shell)
    assert writer is not None, "click supports each shell of the table"  # noqa: S101 an invariant
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"  # as click derives it
    source = writer(app, {}, PROGRAM, variable).source().rstrip()
    click.echo(f"{source}\n\n# To install it: {_INSTALL[shell].format(program=PROGRAM)}")


@app.command(
    "doctor",
    short_help="Check key, versions, network, clock, limits and journal.",
    epilog=examples(
        "doctor",
        "doctor --api-version v4.1 --keys-file keys.env",
        "doctor --journal journal --share 0.25",
        "doctor --base-url http://127.0.0.1:8765",
        "doctor --json",
        "doctor --api-version v4.0 --bulk --player test-1 --event visit",
    ),
)
@access_options
@pacing_options
@click.option(
    "--journal", type=click.Path(path_type=Path), metavar="FOLDER", help="The journal's folder, if you use one."
)
@click.option(
    "--bulk",
    is_flag=True,
    help="Also send one real event as a bulk request, and follow it.",
)
@click.option("--player", metavar="ID", help="The player of that event: one for tests.")
@click.option("--event", metavar="NAME", help="The name of that event: one that rewards nothing.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to follow it.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(*, as_json: bool, keys_file: Path | None, **options: Any) -> None:  # noqa: ANN401 the parsed options
    """Check everything that a client depends on; each line is a verdict, and a remedy where one is needed.

    One request goes to Gameball. It is an empty one: it names no player and no event, and changes nothing. No key is
    ever printed, nor a part of one.

    With --bulk, a second request sends the event of --event and --player: a real event, which creates the player, and
    whose rewards cannot be taken back. Then the doctor asks for the status of its job every second.

    Verdicts: ok; warn, it works and something should be done; fail, events will not arrive like this; skip, not
    checked.

    Exit codes: 0 nothing has failed, 1 something has, 2 wrong usage.
    """
    from .doctor import Checks, bulk_options  # noqa: PLC0415 it imports httpx, which other commands need later or not at all
    from .doctor._findings import Report  # noqa: PLC0415 likewise

    report = Report()
    with reported_errors():
        exposed = keys_file if keys_file is not None and readable_by_others(keys_file) else None
        bulk = bulk_options(**{name: options.pop(name) for name in ("bulk", "player", "event", "wait")})
        for finding in Checks(keys=read_keys(keys_file), keys_file=exposed, bulk=bulk, **options).findings():
            report.add(finding, show=not as_json)
    if as_json:
        click.echo(report.in_json())
    else:
        report.print_sum()
    sys.exit(0 if report.is_well else 1)


app.add_command(dead_letters)
app.add_command(journal)
app.add_command(preview_command)
app.add_command(relay)
app.add_command(sandbox)
app.add_command(track)
keep_words_whole(app)
