"""The command `relay`: run one, print the outbox's SQL, show its state, and handle its dead letters."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from .. import Batching, RateLimit, Retry
from .._log import counted
from ._options import (
    ClientOptions,
    access_options,
    examples,
    mode_option,
    pacing_options,
    parsed,
    reported_errors,
    required_keys,
    with_options,
)
from ._relay_run import RelayRun, logging_to_stderr
from ._terminal import UsageProblem, byte_size, duration, is_confirmed, print_table, print_wrapped, printable

if TYPE_CHECKING:
    from ..outbox._operations import LetterFilter, OutboxLetter, OutboxOperations, OutboxState, RelayState

DSN = "GAMEBALL_OUTBOX_DSN"
_KINDS = {"rejected": "Rejected", "dropped": "Dropped", "unknown": "OutcomeUnknown"}
_LONGEST_REASON = 100  # characters of a reason in a line
_MASK = "***"
_NEW_LOOP = asyncio.SelectorEventLoop if sys.platform == "win32" else None  # psycopg cannot use Windows' default
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> float:
    """Convert `90`, `90s`, `15m`, `2h` or `7d` to seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError("give a duration such as 90s, 15m, 2h or 7d")
    return seconds


_DURATION = parsed(_seconds)
_DSN_OPTION = click.option(
    "--dsn",
    metavar="DSN",
    envvar=DSN,
    show_envvar=True,
    help="The database, as libpq takes it: postgresql://user@host/database. Others see this option in the list of "
    "processes: keep a password in the environment, or in a file that PGPASSFILE names.",
)
_MOST_ITEMS = Batching().bulk_items  # Gameball's own limit is the default

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@contextmanager
def _operations(dsn: str | None) -> Generator[OutboxOperations]:
    from ..outbox._operations import OutboxOperations  # noqa: PLC0415 a separate extra

    with reported_errors(), OutboxOperations(_required(dsn)) as operations:
        yield operations


def _required(dsn: str | None) -> str:
    if not dsn:
        raise UsageProblem(f"the database is missing: set {DSN} in the environment, or give --dsn.")
    return dsn


@click.group(
    "relay",
    short_help="Deliver the events of an outbox in PostgreSQL.",
    epilog=examples("relay schema", "relay run", "relay status", "relay dead list"),
)
def relay() -> None:
    """Deliver the events of an outbox in PostgreSQL, and look after it."""


@relay.command(
    "run",
    short_help="Deliver the outbox's events until a signal.",
    epilog=examples(
        "relay run",
        "relay run --share 0.8 --name relay-1 --ready-file relay.ready",
        "relay run --dsn postgresql://relay@db.example.com/shop --log-json",
        "relay run --mode auto --api-version v4.0",
    ),
)
@_DSN_OPTION
@click.option(
    "--name", metavar="NAME", help="Its name in `relay status`. [default: the host's name and the process's id]"
)
@click.option(
    "--lease",
    type=click.FloatRange(min=1, max=3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the others wait for a relay that does not answer, until they take over.",
)
@click.option(
    "--ready-file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Written when the relay is ready, touched every second while it runs, and removed when it ends.",
)
@click.option(
    "--ambiguous",
    type=click.Choice(["resend", "report"]),
    default="resend",
    show_default=True,
    help="When an answer got lost, also by a relay's death: resend may count twice, report may lose and makes a dead "
    "letter.",
)
@click.option(
    "--give-up-after",
    type=_DURATION,
    metavar="DURATION",
    help="The age of an event from which on it is a dead letter instead of being retried. [default: 24h]",
)
@mode_option
@click.option(
    "--bulk-items",
    type=click.IntRange(1, _MOST_ITEMS),
    default=_MOST_ITEMS,
    show_default=True,
    metavar="COUNT",
    help="Players in one bulk request, at most.",
)
@access_options
@pacing_options
@click.option("--no-limits", is_flag=True, help="Send as fast as possible, to a sandbox without limits.")
@click.option("--log-json", is_flag=True, help="Log JSON objects, one per line.")
@click.option("--verbose", is_flag=True, help="Log each request as well.")
def run_command(**options: Any) -> None:  # noqa: ANN401 the parsed options
    """Deliver the outbox's events until a signal.

    Run it two or more times, on any hosts: relays divide the players among themselves, and take over from one that
    died. The first SIGTERM, SIGINT or SIGHUP finishes the requests in flight, hands the players over and ends it; a
    second one ends it at once.

    Exit codes: 0 stopped by a signal, with everything handed over; 1 failed; 2 wrong usage, or the tables or a
    privilege are missing; 130 stopped at once by a second signal.
    """
    with reported_errors():
        from ..outbox import Relay  # noqa: PLC0415 a separate extra

        dsn, keys = _required(options["dsn"]), required_keys(options["keys_file"])
        client = attrs.evolve(ClientOptions.with_access(options, keys), mode=options["mode"])
        client.check_mode(needs_keys=True)
        retry = Retry(ambiguous=options["ambiguous"])
        if options["give_up_after"] is not None:
            retry = attrs.evolve(retry, give_up_after=options["give_up_after"])

        limits = {name: options[name] for name in ("per_second", "per_30_seconds", "share")}

        def made() -> Relay:
            return Relay(
                dsn,
                keys.api_key,
                secret_key=keys.secret_key,
                lease=options["lease"],
                name=options["name"],
                rate=None if options["no_limits"] else RateLimit(**limits),
                batching=Batching(mode=options["mode"], bulk_items=options["bulk_items"]),
                retry=retry,
                **client.address,
            )

        if options["path"] is not None:
            options["path"].unlink(missing_ok=True)  # of a relay that was killed
        with (
            logging_to_stderr(as_json=options["log_json"], verbose=options["verbose"]),
            asyncio.Runner(loop_factory=_NEW_LOOP) as runner,
        ):
            code = runner.run(RelayRun(made, options["path"]).run())
    sys.exit(code)


@relay.command(
    "schema",
    short_help="Print the SQL that creates or upgrades the tables.",
    epilog=examples("relay schema", "relay schema --since 1 --to 2", "relay schema --grants shop relay"),
)
@click.option("--since", type=click.IntRange(min=0), default=0, show_default=True, help="The version to upgrade.")
@click.option("--to", type=click.IntRange(min=1), help="The version afterwards. [default: the latest]")
@click.option("--grants", nargs=2, metavar="APPLICATION RELAY", help="Also grant these two roles what they need.")
def schema_command(since: int, to: int | None, grants: tuple[str, str] | None) -> None:
    """Print the SQL that creates the outbox's tables, or upgrades them."""
    from .. import outbox  # noqa: PLC0415 only this command needs it

    with reported_errors():
        text = outbox.schema(since) if to is None else outbox.schema(since, to)
        if grants is not None:
            text += outbox.grants(application=grants[0], relay=grants[1])
    click.echo(text, nl=False)


# ---------------------------------------------------------------- status


@relay.command(
    "status",
    short_help="Show what waits, which relays run, and whether all is well.",
    epilog=examples("relay status", "relay status --json --max-age 10m", "relay status --name relay-1"),
)
@_DSN_OPTION
@click.option("--name", metavar="NAME", help="A relay of this name must be running.")
@click.option("--max-age", type=_DURATION, metavar="DURATION", help="No event may wait longer than this.")
@click.option("--max-dead", type=click.IntRange(min=0), metavar="COUNT", help="No more dead letters than these.")
@_JSON
def status_command(
    dsn: str | None, *, name: str | None, max_age: float | None, max_dead: int | None, as_json: bool
) -> None:
    """Show what waits in the outbox, which relays run, and whether all is well.

    All is well if a relay is running and the conditions of the options hold.

    Exit codes: 0 all is well, 1 it is not, or the database cannot be reached; 2 wrong usage, or the tables or a
    privilege are missing.
    """
    with _operations(dsn) as operations:
        state = operations.state()
    problems = _problems(state, name=name, max_age=max_age, max_dead=max_dead)
    if as_json:
        click.echo(json.dumps({"healthy": not problems, "problems": problems, **attrs.asdict(state), **_sums(state)}))
    else:
        _print_state(state)
        for problem in problems:
            print_wrapped(f"Problem: {problem}")
        if not problems:
            print_wrapped("All is well.")
    sys.exit(1 if problems else 0)


def _sums(state: OutboxState) -> dict[str, float]:
    return {"paused": state.paused, "rate": state.rate}


def _problems(state: OutboxState, *, name: str | None, max_age: float | None, max_dead: int | None) -> list[str]:
    problems = list[str]()
    if not state.relays:
        problems.append("no relay is running: start one with `gameball-async relay run`.")
    elif name is not None and not any(relay.name == name for relay in state.relays):
        problems.append(f"no relay of the name {name} is running.")
    if max_age is not None and state.oldest_age > max_age:
        problems.append(f"the oldest event has been waiting for {duration(state.oldest_age)}.")
    if max_dead is not None and state.dead_letters > max_dead:
        letters = counted(state.dead_letters, "dead letter", "are")
        problems.append(f"{letters} kept: see `gameball-async relay dead list`.")
    return problems


def _print_state(state: OutboxState) -> None:
    more = "" if state.is_counted else "more than "
    print_table(
        "Outbox",
        [
            ("Events waiting", f"{more}{state.waiting:,}"),
            ("oldest", duration(state.oldest_age) if state.waiting else "-"),
            ("in sealed requests", f"{state.sealed:,}"),
            ("unfinished jobs", f"{state.jobs:,}"),
            ("Delivered per second", f"{state.rate:,.1f}"),
            ("Paused by Gameball", duration(state.paused) if state.paused else "no"),
            ("Dead letters", f"{state.dead_letters:,}"),
            ("Size of the table", byte_size(state.size_bytes)),
            ("Relays", f"{len(state.relays):,}"),
            ("shards without a relay", f"{state.ownerless:,} of {state.shards:,}"),
        ],
    )
    for relay_state in state.relays:
        print_wrapped(_relay_line(relay_state), indent=" " * 4)


def _relay_line(state: RelayState) -> str:
    paused = f", paused for {duration(state.paused)}" if state.paused else ""
    return (
        f"  {state.id} {printable(state.name)}: {counted(state.shards, 'shard')}, {state.rate:,.1f} events/s, "
        f"{counted(state.delivered, 'event')} delivered, running for {duration(state.age)}, "
        f"lease {duration(state.lease)}{paused}"
    )


# ---------------------------------------------------------------- dead letters


@relay.group("dead", epilog=examples("relay dead list", "relay dead retry --name review"))
def dead() -> None:
    """List, show, retry and purge events that will not arrive."""


_IDS = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
_ALL = click.option("--all", "is_all", is_flag=True, help="All of them, instead of ids.")
_KIND = click.option("--kind", type=click.Choice(list(_KINDS)), help="Only those of this kind.")
_NAME = click.option("--name", metavar="EVENT", help="Only those of this event.")


def _choice_options(command: Callable[..., None]) -> Callable[..., None]:
    return with_options(command, _DSN_OPTION, _IDS, _ALL, _KIND, _NAME)


@dead.command(
    "list",
    short_help="List the dead letters, one per line.",
    epilog=examples("relay dead list --limit 20", "relay dead list --kind rejected --json"),
)
@_DSN_OPTION
@_KIND
@_NAME
@click.option("--limit", type=click.IntRange(min=1), metavar="COUNT", help="The oldest COUNT only.")
@click.option("--with-players", is_flag=True, help="Show the players.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_command(dsn: str | None, *, limit: int | None, with_players: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 the parsed options
    """List the dead letters, one per line, in the order of their events."""
    with _operations(dsn) as operations:
        shown = 0
        for letter in operations.letters(_filter(options)):
            if limit is not None and shown == limit:
                break
            if as_json:
                click.echo(_json_line(letter, with_players=with_players))
            else:
                print_wrapped(_line(letter, with_players=with_players), indent=" " * 8)
            shown += 1
        if not as_json:
            click.echo(f"{counted(operations.count(_filter({})), 'dead letter')}, {shown:,} shown.")


@dead.command("show", short_help="Show everything about one dead letter.", epilog=examples("relay dead show 17"))
@_DSN_OPTION
@click.argument("letter_id", metavar="ID", type=click.IntRange(min=1))
@click.option("--with-contacts", is_flag=True, help="Show the mobile number and the e-mail address.")
def show_command(dsn: str | None, letter_id: int, *, with_contacts: bool) -> None:
    """Show everything about one dead letter, including its metadata."""
    with _operations(dsn) as operations:
        letter = next(operations.letters(_filter({}, (letter_id,))), None)
        if letter is None:
            raise UsageProblem(_not_found(letter_id))
    for label, value in _details(letter, with_contacts=with_contacts):
        print_wrapped(f"{label + ':':<18}{value}", indent=" " * 18)


@dead.command(
    "retry",
    short_help="Move dead letters back to the events.",
    epilog=examples("relay dead retry 17 18", "relay dead retry --kind rejected --name review"),
)
@_choice_options
def retry_command(dsn: str | None, ids: tuple[int, ...], **options: Any) -> None:  # noqa: ANN401 the parsed options
    """Move dead letters back to the events, in order; a relay sends them.

    Give ids, or --all, or a --kind or --name. They arrive after their player's waiting events. Those of the kind
    unknown may have arrived before, and so may count twice.
    """
    with _operations(dsn) as operations:
        chosen = _chosen(operations, ids, options)
        moved = operations.retry(chosen)
    click.echo(f"{counted(moved, 'dead letter')} moved back to the events.")


@dead.command(
    "purge",
    short_help="Delete dead letters for good.",
    epilog=examples("relay dead purge 17", "relay dead purge --older-than 30d --yes"),
)
@_choice_options
@click.option("--older-than", type=_DURATION, metavar="DURATION", help="Only those that have been dead for so long.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge_command(dsn: str | None, ids: tuple[int, ...], *, yes: bool, **options: Any) -> None:  # noqa: ANN401 the parsed options
    """Delete dead letters for good.

    Give ids, or --all, or a --kind, --name or --older-than.
    """
    with _operations(dsn) as operations:
        chosen = _chosen(operations, ids, options)
        count = operations.count(chosen)
        if count and not yes and not is_confirmed(f"Delete {counted(count, 'dead letter')} for good?", sys.stderr):
            raise click.Abort
        click.echo(f"{counted(operations.purge(chosen), 'dead letter')} deleted.")


def _filter(options: dict[str, Any], ids: tuple[int, ...] = ()) -> LetterFilter:
    from ..outbox._operations import LetterFilter  # noqa: PLC0415 a separate extra

    kind = options.get("kind")
    return LetterFilter(
        seqs=sorted(set(ids)) if ids else None,
        kind=None if kind is None else _KINDS[kind],
        name=options.get("name"),
        older_than=options.get("older_than"),
    )


def _chosen(operations: OutboxOperations, ids: tuple[int, ...], options: dict[str, Any]) -> LetterFilter:
    is_filtered = any(options.get(name) is not None for name in ("kind", "name", "older_than"))
    if bool(ids) + bool(options["is_all"]) + is_filtered != 1:
        others = ", --name or --older-than" if "older_than" in options else " or --name"
        raise click.UsageError(f"give ids, or --all, or a --kind{others}, and only one of these.")
    chosen = _filter(options, ids)
    if ids:
        found = {letter.seq for letter in operations.letters(chosen)}
        for letter_id in ids:
            if letter_id not in found:
                raise UsageProblem(_not_found(letter_id))
    return chosen


def _not_found(letter_id: int) -> str:
    return f"there is no dead letter {letter_id}: look for its id with 'relay dead list'."


def _kind_of(letter: OutboxLetter) -> str:
    return next((name for name, kind in _KINDS.items() if kind == letter.kind), letter.kind)


def _when(letter: OutboxLetter) -> str:
    return f"{letter.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _line(letter: OutboxLetter, *, with_players: bool) -> str:
    player = f"  {letter.player}" if with_players else ""
    reason = letter.error if len(letter.error) <= _LONGEST_REASON else letter.error[: _LONGEST_REASON - 1] + "…"
    return f"{letter.seq:>6}  {_when(letter)}  {_kind_of(letter):<8}  {letter.name}{player}  {reason}"


def _json_line(letter: OutboxLetter, *, with_players: bool) -> str:
    fields: dict[str, Any] = {
        "id": letter.seq,
        "dead_since": letter.at.astimezone(UTC).isoformat(),
        "accepted_at": letter.accepted_at.astimezone(UTC).isoformat(),
        "kind": _kind_of(letter),
        "event": letter.name,
        "reason": letter.error,
        "status": letter.status,
        "code": letter.code,
        "may_have_arrived": letter.may_have_arrived,
    }
    if with_players:
        fields |= {"player_unique_id": letter.player, "mobile": letter.mobile, "email": letter.email}
    return json.dumps(fields, ensure_ascii=False)


def _details(letter: OutboxLetter, *, with_contacts: bool) -> list[tuple[str, str]]:
    contacts = (("mobile", letter.mobile), ("email", letter.email))
    return [
        ("id", str(letter.seq)),
        ("kind", _kind_of(letter)),
        ("dead since", _when(letter)),
        ("accepted at", f"{letter.accepted_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"),
        ("event", letter.name),
        ("player", letter.player),
        *((label, value if with_contacts else _MASK) for label, value in contacts if value is not None),
        ("reason", letter.error),
        *((label, str(value)) for label, value in (("status", letter.status), ("code", letter.code)) if value),
        ("may have arrived", "yes" if letter.may_have_arrived else "no"),
        ("metadata", letter.metadata),
    ]
