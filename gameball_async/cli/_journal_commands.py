"""The commands about a journal: its dead letters and its files; they work at any time, also while clients run."""

from __future__ import annotations

import os
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gameball_async import DeadLetterKind, DeadLetters, Retry

from ._help import examples
from ._journal_words import Status
from ._letters import Choice, export, found, in_full, in_json, line, new_private_file
from ._options import address, client_options, pacing, required_keys, told_errors
from ._replay import Replay, ReplayCommand
from ._words import counted
from ._wrapping import print_wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gameball_async import DeadLetter

_FOLDER = click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
_IDS = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
_ALL = click.option("--all", "is_all", is_flag=True, help="All of them, instead of ids.")
_KIND = click.option(
    "--kind", type=click.Choice([kind.value for kind in DeadLetterKind]), help="Only those of this kind."
)
_NAME = click.option("--name", metavar="EVENT", help="Only those of this event.")


@click.group(
    "dead-letters",
    short_help="List, show, replay, export and drop what will not arrive.",
    epilog=examples("dead-letters list journal", "dead-letters replay journal --all"),
)
def dead_letters() -> None:
    """List, show, replay, export and drop what will not arrive.

    FOLDER is the journal's folder; its clients may run meanwhile.
    """


@dead_letters.command(
    "list",
    short_help="List the dead letters, one per line.",
    epilog=examples("dead-letters list journal --limit 20", "dead-letters list journal --kind rejected --json"),
)
@_FOLDER
@_KIND
@_NAME
@click.option("--limit", type=click.IntRange(min=1), metavar="COUNT", help="So many at most, the oldest first.")
@click.option("--with-players", is_flag=True, help="Show whose events they are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_command(
    folder: Path, *, kind: str | None, name: str | None, limit: int | None, with_players: bool, as_json: bool
) -> None:
    """List the dead letters, one per line, in order of their burial."""
    in_a_line: Callable[..., str] = in_json if as_json else line
    with told_errors():
        letters = DeadLetters(folder)
        shown = 0
        for letter in islice(Choice(kind=kind, name=name).of(letters), limit):
            text = in_a_line(letter, with_players=with_players)
            if as_json:
                click.echo(text)
            else:
                print_wrapped(text, indent=" " * 8)
            shown += 1
        if not as_json:
            click.echo(f"{counted(len(letters), 'dead letter')}, {shown:,} shown.")


@dead_letters.command(
    "show", short_help="Show everything about one dead letter.", epilog=examples("dead-letters show journal 1")
)
@_FOLDER
@click.argument("letter_id", metavar="ID", type=click.IntRange(min=1))
@click.option("--with-contacts", is_flag=True, help="Show the mobile number and the e-mail address.")
def show_command(folder: Path, letter_id: int, *, with_contacts: bool) -> None:
    """Show everything about one dead letter, its metadata included."""
    with told_errors():
        for what, value in in_full(found(DeadLetters(folder), letter_id), with_contacts=with_contacts):
            print_wrapped(f"{what + ':':<18}{value}", indent=" " * 18)


@dead_letters.command(
    "replay",
    short_help="Send dead letters again.",
    epilog=examples(
        "dead-letters replay journal 1 2",
        "dead-letters replay journal --name review",
        "dead-letters replay journal --all --ambiguous report",
    ),
)
@_FOLDER
@_IDS
@_ALL
@_KIND
@_NAME
@client_options(consequence="keeps the letter")
def replay_command(folder: Path, ids: tuple[int, ...], **options: Any) -> None:  # noqa: ANN401 click hands over what it parsed
    """Send dead letters again; each is removed when Gameball has accepted its event.

    Give ids, or --all, or a --kind or --name. Events that may have arrived before may count twice.

    Exit codes: 0 everything was delivered, 1 something was not, 2 wrong usage, 130 interrupted.
    """
    with told_errors():
        letters = DeadLetters(folder)
        choice = _chosen(letters, ids, options)
        command = ReplayCommand(
            folder=folder,
            choice=choice,
            keys=required_keys(options["keys_file"]),
            client=address(options),
            rate=pacing(options),
            retry=Retry(ambiguous=options["ambiguous"]),
            drain=options["drain"],
        )
        code = Replay(command, letters).run()
    sys.exit(code)


@dead_letters.command(
    "export",
    short_help="Write dead letters to a file that send reads.",
    epilog=examples("dead-letters export journal refused.ndjson --all", "dead-letters export journal - --kind expired"),
)
@_FOLDER
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--all", "is_all", is_flag=True, help="All of them, which is the default.")
@_KIND
@_NAME
def export_command(folder: Path, file: str, *, is_all: bool, kind: str | None, name: str | None) -> None:
    """Write the events to FILE as `gameball-async send` reads them; - is standard output.

    The file is readable by its owner only. The letters stay; drop those that you have sent from the file.
    """
    if is_all and (kind or name):
        raise click.UsageError("give --all, or a --kind or --name: one way to say which.")
    with told_errors():
        chosen = Choice(kind=kind, name=name).of(DeadLetters(folder))
        if file == "-":
            written, without = export(chosen, sys.stdout.buffer)
        else:
            written, without = _exported(chosen, Path(file))
    click.echo(f"{counted(written, 'event')} written.", err=True)
    if without:
        click.echo(f"{counted(without, 'letter')} left out: damaged, without an event.", err=True)


@dead_letters.command(
    "drop",
    short_help="Delete dead letters for good.",
    epilog=examples("dead-letters drop journal 1", "dead-letters drop journal --kind rejected --yes"),
)
@_FOLDER
@_IDS
@_ALL
@_KIND
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_command(folder: Path, ids: tuple[int, ...], *, yes: bool, **options: Any) -> None:  # noqa: ANN401 click hands over what it parsed
    """Delete dead letters for good.

    Give ids, or --all, or a --kind or --name.
    """
    with told_errors():
        letters = DeadLetters(folder)
        chosen = [letter.id for letter in _chosen(letters, ids, options).of(letters)]
    if chosen and not yes:
        click.confirm(f"Delete {counted(len(chosen), 'dead letter')} for good?", abort=True, err=True)
    with told_errors():
        click.echo(f"{counted(letters.drop(chosen), 'dead letter')} deleted.")


@click.group("journal", epilog=examples("journal status journal"))
def journal() -> None:
    """Look into a journal."""


@journal.command(
    "status",
    short_help="Show the files of a journal and what is in them.",
    epilog=examples("journal status journal", "journal status journal --json"),
)
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status_command(folder: Path, *, as_json: bool) -> None:
    """Show the files of a journal: owner, pending events, players, oldest event, size and problems.

    The contents of a file in use cannot be seen. A file that nobody owns is locked for some milliseconds.
    """
    with told_errors():
        status = Status.of(folder)
    if as_json:
        click.echo(status.in_json())
    else:
        status.print()


def _chosen(letters: DeadLetters, ids: tuple[int, ...], options: dict[str, Any]) -> Choice:
    """Return which letters are meant.

    Raises:
        click.UsageError: if that is not said, or said twice.
        UsageProblem: if an id is not there.
        JournalError: if the letters cannot be read.
    """
    kind, name = options["kind"], options["name"]
    if bool(ids) == bool(options["is_all"] or kind or name):
        raise click.UsageError("give ids, or --all, or a --kind or --name: one way to say which.")
    for letter_id in ids:
        found(letters, letter_id)
    return Choice(ids=ids, kind=kind, name=name)


def _exported(chosen: Iterable[DeadLetter], path: Path) -> tuple[int, int]:
    """Write letters to a new file; one that is cut short goes again.

    Raises:
        UsageProblem: if the file is there already.
        JournalError: if the letters cannot be read.
        OSError: if the file cannot be written.
    """
    new = new_private_file(path)
    try:
        with new as file:
            counts = export(chosen, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    return counts
