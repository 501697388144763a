"""What `journal status` says: a table of the files, and the totals below it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import DeadLetterKind, DeadLetters, Retry, inspect_journal
from ..errors import JournalError
from ._options import address, client_options, examples, pacing, required_keys, told_errors
from ._replay import Replay, ReplayCommand
from ._terminal import UsageProblem, bytes_in_words, counted, duration, print_line, print_wrapped, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from .. import DeadLetter, JournalFile


_HEADER = ("file", "owner", "pending", "players", "oldest", "size")
_NOTHING = "-"


@attrs.frozen
class Status:
    """What lies in a journal.

    Attributes:
        files: its files.
        dead_letters: how many there are; None if they cannot be read.
        trouble: why they cannot be read; None if they can.
    """

    files: Sequence[JournalFile]
    dead_letters: int | None
    trouble: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Status:
        """Look into a journal.

        Raises:
            JournalError: if it cannot be looked into.
        """
        files = inspect_journal(folder)
        try:
            return cls(files, len(DeadLetters(folder)))
        except JournalError as error:
            return cls(files, None, str(error))

    @property
    def pending(self) -> int:
        """Events without an outcome, as far as they could be counted."""
        return sum(file.pending or 0 for file in self.files)

    def in_json(self) -> str:
        """Return it as one line of JSON."""
        files = [
            {
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "reserve_bytes": file.reserve_bytes,
                "is_in_use": file.is_in_use,
                "owner_pid": file.owner_pid,
                "pending": file.pending,
                "players": file.players,
                "oldest": file.oldest and file.oldest.isoformat(),
                "problem": file.problem,
            }
            for file in self.files
        ]
        fields = {
            "files": files,
            "pending": self.pending,
            "size_bytes": sum(file.size_bytes for file in self.files),
            "dead_letters": self.dead_letters,
            "dead_letters_problem": self.trouble,
        }
        return json.dumps(fields)

    def print(self) -> None:
        """Print it for people."""
        if self.files:
            _print_rows([_row(file) for file in self.files])
        for file in self.files:
            if file.problem:
                print_line(f"{file.path.name}: {file.problem}")
        in_use = sum(file.is_in_use for file in self.files)
        beside = f", beside what lies in {counted(in_use, 'file')} in use" if in_use else ""
        print_line(f"{counted(len(self.files), 'file')}, {counted(self.pending, 'event')} pending{beside}.")
        if reserved := sum(file.reserve_bytes for file in self.files):
            print_line(f"Kept free on the disk beside them: {bytes_in_words(reserved)}.")
        print_line(f"Dead letters: {self.dead_letters:,}." if self.trouble is None else f"Dead letters: {self.trouble}")


def _row(file: JournalFile) -> tuple[str, ...]:
    return (
        file.path.name,
        _owner(file),
        _NOTHING if file.pending is None else f"{file.pending:,}",
        _NOTHING if file.players is None else f"{file.players:,}",
        _NOTHING if file.oldest is None else f"{duration((datetime.now(UTC) - file.oldest).total_seconds())} ago",
        bytes_in_words(file.size_bytes),
    )


def _owner(file: JournalFile) -> str:
    if not file.is_in_use:
        return "none"
    return "unknown" if file.owner_pid is None else str(file.owner_pid)


def _print_rows(rows: Sequence[tuple[str, ...]]) -> None:
    if sys.stdout.isatty():
        table = Table(box=box.ROUNDED)
        for at, words in enumerate(_HEADER):
            table.add_column(words, justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console(highlight=False).print(table)
        return
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    for name, *cells in (_HEADER, *rows):
        right = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print_line(f"{name.ljust(widths[0])}  {right}")


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


_LONGEST_REASON = 100  # characters of a reason in a line
_MASK = "***"


@attrs.frozen(kw_only=True)
class Choice:
    """Which dead letters are meant.

    Attributes:
        ids: these, if any is given; else all of the kind and name.
        kind: only those of this kind.
        name: only those of this event.
    """

    ids: tuple[int, ...] = ()
    kind: str | None = None
    name: str | None = None

    def of(self, letters: DeadLetters) -> Iterator[DeadLetter]:
        """Read them, in order of their burial.

        Raises:
            UsageProblem: if an id is not there.
            JournalError: if they cannot be read.
        """
        for letter in self._read(letters):
            if self.kind in {None, letter.kind} and self.name in {None, letter.event and letter.event.name}:
                yield letter

    def _read(self, letters: DeadLetters) -> Iterable[DeadLetter]:
        return (found(letters, letter_id) for letter_id in sorted(set(self.ids))) if self.ids else letters


def found(letters: DeadLetters, letter_id: int) -> DeadLetter:
    """Return one letter.

    Raises:
        UsageProblem: if there is none of this id.
        JournalError: if it cannot be read.
    """
    letter = letters.get(letter_id)
    if letter is None:
        raise UsageProblem(f"there is no dead letter {letter_id}: look for its id with 'dead-letters list'.")
    return letter


def line(letter: DeadLetter, *, with_players: bool) -> str:
    """Return one letter as one line."""
    event = letter.event
    player = f"  {event.player_unique_id}" if event and with_players else ""
    reason = letter.reason if len(letter.reason) <= _LONGEST_REASON else letter.reason[: _LONGEST_REASON - 1] + "…"
    return f"{letter.id:>6}  {_when(letter)}  {letter.kind:<8}  {event.name if event else '-'}{player}  {reason}"


def in_json(letter: DeadLetter, *, with_players: bool) -> str:
    """Return one letter as one line of JSON."""
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


def in_full(letter: DeadLetter, *, with_contacts: bool) -> list[tuple[str, str]]:
    """Return everything about a letter, in words; contact data as stars unless wanted."""
    lines = [("id", str(letter.id)), ("kind", str(letter.kind)), ("buried at", _when(letter))]
    if event := letter.event:
        lines += [("event", event.name), ("player", event.player_unique_id)]
        contacts = (("mobile", event.mobile), ("email", event.email))
        lines += [(what, contact if with_contacts else _MASK) for what, contact in contacts if contact is not None]
    lines += [("reason", letter.reason)]
    lines += [(what, str(value)) for what, value in (("status", letter.status), ("code", letter.code)) if value]
    lines += [("may have arrived", "yes" if letter.may_have_arrived else "no")]
    if letter.event:
        lines += [("metadata", exact_json(letter.metadata))]
    if letter.raw is not None:
        # nobody can tell what in it is a contact
        lines += [
            ("raw", repr(letter.raw) if with_contacts else f"{counted(len(letter.raw), 'byte')}, see --with-contacts")
        ]
    return lines


def as_row(letter: DeadLetter) -> bytes | None:
    """Return the line of NDJSON that `send` reads back; None if the letter holds no event."""
    event = letter.event
    if event is None:
        return None
    fields: dict[str, Any] = {"player_unique_id": event.player_unique_id, "event": event.name}
    fields |= {"metadata": letter.metadata} if letter.metadata else {}
    contacts = (("mobile", event.mobile), ("email", event.email))
    fields |= {what: contact for what, contact in contacts if contact is not None}
    return exact_json(fields).encode() + b"\n"


def exact_json(value: object) -> str:
    """Return JSON in which a `Decimal` is a number with its exact digits, which the json module cannot write."""
    match value:
        case Decimal():
            return format(value, "f")
        case Mapping():
            members = cast("Mapping[str, object]", value).items()
            return "{" + ", ".join(f"{exact_json(key)}: {exact_json(member)}" for key, member in members) + "}"
        case list():
            return "[" + ", ".join(map(exact_json, cast("list[object]", value))) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def export(letters: Iterable[DeadLetter], file: BinaryIO) -> tuple[int, int]:
    """Write letters as `send` reads them.

    Args:
        letters: the letters.
        file: where to; it stays open.

    Returns:
        How many were written, and how many hold no event.

    Raises:
        OSError: if there is no room.
    """
    written = without = 0
    for letter in letters:
        row = as_row(letter)
        if row is None:
            without += 1
        else:
            file.write(row)
            written += 1
    return written, without


def new_private_file(path: Path) -> BinaryIO:
    """Make a file that only its owner can read, and open it.

    Raises:
        UsageProblem: if it is there already.
        OSError: if it cannot be made.
    """
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise UsageProblem(f"{printable(str(path))} is there already: name another file, or delete it.") from None


def _when(letter: DeadLetter) -> str:
    return f"{letter.buried_at:%Y-%m-%d %H:%M:%S}Z"
