"""The commands `dead-letters` and `journal`: show, replay, export and drop dead letters; show a journal's status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import DeadLetter, DeadLetterKind, DeadLetters, JournalFile, inspect_journal
from .._log import counted
from ..errors import JournalError
from ._options import ClientOptions, client_options, examples, reported_errors, required_keys
from ._replay import Replay
from ._terminal import UsageProblem, byte_size, duration, is_confirmed, print_wrapped, printable

_HEADER = ("file", "owner", "pending", "players", "oldest", "size")
_NOTHING = "-"
_LONGEST_REASON = 100  # characters of a reason in a line
_MASK = "***"


@attrs.frozen
class Status:
    """The state of a journal."""

    files: Sequence[JournalFile]
    dead_letters: int | None
    problem: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Status:
        files = inspect_journal(folder)
        try:
            return cls(files, len(DeadLetters(folder)))
        except JournalError as error:
            return cls(files, None, str(error))

    @property
    def pending(self) -> int:
        """Events without an outcome in the readable files."""
        return sum(file.pending or 0 for file in self.files)

    def in_json(self) -> str:
        files = [
            attrs.asdict(file) | {"path": str(file.path), "oldest": file.oldest and file.oldest.isoformat()}
            for file in self.files
        ]
        return json.dumps(
            {
                "files": files,
                "pending": self.pending,
                "size_bytes": sum(file.size_bytes for file in self.files),
                "dead_letters": self.dead_letters,
                "dead_letters_problem": self.problem,
            }
        )

    def print(self) -> None:
        if self.files:
            _print_rows([_row(file) for file in self.files])
        for file in self.files:
            if file.problem:
                print_wrapped(f"{file.path.name}: {file.problem}")
        in_use = sum(file.is_in_use for file in self.files)
        others = f", in addition to those in {counted(in_use, 'file')} in use" if in_use else ""
        print_wrapped(f"{counted(len(self.files), 'file')}, {counted(self.pending, 'event')} pending{others}.")
        if reserved := sum(file.reserve_bytes for file in self.files):
            print_wrapped(f"Reserved on the disk in addition: {byte_size(reserved)}.")
        print_wrapped(f"Dead letters: {self.problem or f'{self.dead_letters:,}.'}")


def _row(file: JournalFile) -> tuple[str, ...]:
    return (
        file.path.name,
        _owner(file),
        _NOTHING if file.pending is None else f"{file.pending:,}",
        _NOTHING if file.players is None else f"{file.players:,}",
        _NOTHING if file.oldest is None else f"{duration((datetime.now(UTC) - file.oldest).total_seconds())} ago",
        byte_size(file.size_bytes),
    )


def _owner(file: JournalFile) -> str:
    if not file.is_in_use:
        return "none"
    return "unknown" if file.owner_pid is None else str(file.owner_pid)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    if sys.stdout.isatty():
        table = Table(box=box.ROUNDED)
        for at, title in enumerate(_HEADER):
            table.add_column(title, justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for name, *cells in (_HEADER, *rows):
        right = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print_wrapped(f"{name.ljust(widths[0])}  {right}")


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

    FOLDER is the journal's folder; its clients may be running.
    """


@dead_letters.command(
    "list",
    short_help="List the dead letters, one per line.",
    epilog=examples("dead-letters list journal --limit 20", "dead-letters list journal --kind rejected --json"),
)
@_FOLDER
@_KIND
@_NAME
@click.option("--limit", type=click.IntRange(min=1), metavar="COUNT", help="The oldest COUNT only.")
@click.option("--with-players", is_flag=True, help="Show the players.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_command(
    folder: Path, *, kind: str | None, name: str | None, limit: int | None, with_players: bool, as_json: bool
) -> None:
    """List the dead letters, one per line, oldest first."""
    with reported_errors():
        letters = DeadLetters(folder)
        shown = 0
        for letter in islice(_matching(letters, kind, name), limit):
            if as_json:
                click.echo(_json_line(letter, with_players=with_players))
            else:
                print_wrapped(_line(letter, with_players=with_players), indent=" " * 8)
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
    """Show everything about one dead letter, including its metadata."""
    with reported_errors():
        for label, value in _details(_found(DeadLetters(folder), letter_id), with_contacts=with_contacts):
            print_wrapped(f"{label + ':':<18}{value}", indent=" " * 18)


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
def replay_command(folder: Path, ids: tuple[int, ...], **options: Any) -> None:  # noqa: ANN401 the parsed options
    """Send dead letters again; each is removed when Gameball has accepted its event.

    Give ids, or --all, or a --kind or --name. Events that may have arrived before may count twice.

    Exit codes: 0 everything was delivered, 1 something was not, 2 wrong usage, 130 interrupted.
    """
    with reported_errors():
        letters = DeadLetters(folder)
        chosen = _chosen(letters, ids, options)
        client = ClientOptions.parsed(options, required_keys(options["keys_file"]))
        code = Replay(letters, chosen, client).run(folder)
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
        raise click.UsageError("give --all, or a --kind or --name, but not both.")
    with reported_errors():
        chosen = _matching(DeadLetters(folder), kind, name)
        written, damaged = _export(chosen, sys.stdout.buffer) if file == "-" else _export_to(chosen, Path(file))
    click.echo(f"{counted(written, 'event')} written.", err=True)
    if damaged:
        click.echo(f"{counted(damaged, 'letter')} left out: damaged, without an event.", err=True)


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
def drop_command(folder: Path, ids: tuple[int, ...], *, yes: bool, **options: Any) -> None:  # noqa: ANN401 the parsed options
    """Delete dead letters for good.

    Give ids, or --all, or a --kind or --name.
    """
    with reported_errors():
        letters = DeadLetters(folder)
        chosen = [letter.id for letter in _chosen(letters, ids, options)]
    if chosen and not yes and not is_confirmed(f"Delete {counted(len(chosen), 'dead letter')} for good?", sys.stderr):
        raise click.Abort
    with reported_errors():
        click.echo(f"{counted(letters.drop(chosen), 'dead letter')} deleted.")


@click.group("journal", epilog=examples("journal status journal"))
def journal() -> None:
    """Inspect a journal."""


@journal.command(
    "status",
    short_help="Show the files of a journal and what is in them.",
    epilog=examples("journal status journal", "journal status journal --json"),
)
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status_command(folder: Path, *, as_json: bool) -> None:
    """Show the files of a journal: owner, pending events, players, oldest event, size and problems.

    The contents of a file in use cannot be seen. A file without an owner is locked for some milliseconds.
    """
    with reported_errors():
        status = Status.of(folder)
    if as_json:
        click.echo(status.in_json())
    else:
        status.print()


def _matching(letters: Iterable[DeadLetter], kind: str | None, name: str | None) -> Iterator[DeadLetter]:
    """Filter letters by kind and event name; None matches all."""
    for letter in letters:
        if kind in {None, letter.kind} and name in {None, letter.event and letter.event.name}:
            yield letter


def _chosen(letters: DeadLetters, ids: tuple[int, ...], options: dict[str, Any]) -> Iterator[DeadLetter]:
    kind, name = options["kind"], options["name"]
    if bool(ids) == bool(options["is_all"] or kind or name):
        raise click.UsageError("give ids, or --all, or a --kind or --name, and only one of these.")
    for letter_id in ids:
        _found(letters, letter_id)
    return _matching((_found(letters, letter_id) for letter_id in sorted(set(ids))) if ids else letters, kind, name)


def _found(letters: DeadLetters, letter_id: int) -> DeadLetter:
    letter = letters.get(letter_id)
    if letter is None:
        raise UsageProblem(f"there is no dead letter {letter_id}: look for its id with 'dead-letters list'.")
    return letter


def _line(letter: DeadLetter, *, with_players: bool) -> str:
    event = letter.event
    player = f"  {event.player_unique_id}" if event and with_players else ""
    reason = letter.reason if len(letter.reason) <= _LONGEST_REASON else letter.reason[: _LONGEST_REASON - 1] + "…"
    return f"{letter.id:>6}  {_when(letter)}  {letter.kind:<8}  {event.name if event else '-'}{player}  {reason}"


def _json_line(letter: DeadLetter, *, with_players: bool) -> str:
    event = letter.event
    fields: dict[str, Any] = {
        "id": letter.id,
        "buried_at": letter.buried_at.isoformat(),
        "kind": letter.kind,
        "event": event and event.name,
        "reason": letter.reason,
        "status": letter.status,
        "code": letter.code,
        "may_have_arrived": letter.may_have_arrived,
    }
    if event and with_players:
        fields |= {"player_unique_id": event.player_unique_id, "mobile": event.mobile, "email": event.email}
    return json.dumps(fields, ensure_ascii=False)


def _details(letter: DeadLetter, *, with_contacts: bool) -> list[tuple[str, str]]:
    """Return labels and values; contact data is masked unless wanted."""
    lines = [("id", str(letter.id)), ("kind", str(letter.kind)), ("dead since", _when(letter))]
    if event := letter.event:
        lines += [("event", event.name), ("player", event.player_unique_id)]
        lines += [(label, value if with_contacts else _MASK) for label, value in _contacts(letter)]
    lines += [("reason", letter.reason)]
    lines += [(label, str(value)) for label, value in (("status", letter.status), ("code", letter.code)) if value]
    lines += [("may have arrived", "yes" if letter.may_have_arrived else "no")]
    if letter.event:
        lines += [("metadata", _exact_json(letter.metadata))]
    if letter.raw is not None:  # any part of it may be contact data
        size = f"{counted(len(letter.raw), 'byte')}, see --with-contacts"
        lines += [("raw", repr(letter.raw) if with_contacts else size)]
    return lines


def _contacts(letter: DeadLetter) -> list[tuple[str, str]]:
    event = letter.event
    contacts = (("mobile", event.mobile), ("email", event.email)) if event else ()
    return [(label, contact) for label, contact in contacts if contact is not None]


def _exact_json(value: object) -> str:
    """Encode JSON with exact digits for `Decimal`, which the json module cannot encode."""
    match value:
        case Decimal():
            return format(value, "f")
        case Mapping():
            members = cast("Mapping[str, object]", value).items()
            return "{" + ", ".join(f"{_exact_json(key)}: {_exact_json(member)}" for key, member in members) + "}"
        case list():
            return "[" + ", ".join(map(_exact_json, cast("list[object]", value))) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _export(letters: Iterable[DeadLetter], file: BinaryIO) -> tuple[int, int]:
    """Write events as `send` reads them; return the number of events, and of letters without one."""
    written = damaged = 0
    for letter in letters:
        if letter.event is None:
            damaged += 1
            continue
        row: dict[str, Any] = {"player_unique_id": letter.event.player_unique_id, "event": letter.event.name}
        row |= {"metadata": letter.metadata} if letter.metadata else {}
        file.write(_exact_json({**row, **dict(_contacts(letter))}).encode() + b"\n")
        written += 1
    return written, damaged


def _export_to(letters: Iterable[DeadLetter], path: Path) -> tuple[int, int]:
    """Write letters to a new private file, which is deleted again after an error."""
    try:
        new = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise UsageProblem(f"{printable(path)} exists: name another file, or delete it.") from None
    try:
        with new as file:
            counts = _export(letters, file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    return counts


def _when(letter: DeadLetter) -> str:
    return f"{letter.buried_at:%Y-%m-%d %H:%M:%S}Z"
