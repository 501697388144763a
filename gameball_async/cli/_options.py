"""What several commands share: the options of a client, its keys, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import attrs
import click

from .. import AsyncGameball, RateLimit
from ..errors import ConfigurationError, GameballError
from ._checkpoint import ChangedError, CheckpointError
from ._lines import MappingError
from ._terminal import UsageProblem, argument, print_wrapped, printable, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping


_Command = TypeVar("_Command", bound="Callable[..., Any]")

_OUTPUT = (errno.EPIPE, errno.ENOSPC)  # what printing raises

_USAGE = (UsageProblem, CheckpointError, MappingError, ChangedError, ConfigurationError)


def access_options(command: _Command) -> _Command:
    """Add the options that say where Gameball is and how it is entered."""
    return _with_options(
        command,
        click.option(
            "--keys-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="A file of NAME=value lines with GAMEBALL_API_KEY and, if needed, GAMEBALL_SECRET_KEY; "
            "by default they come from the environment.",
        ),
        click.option(
            "--api-version",
            type=click.Choice(["v3.0", "v4.0", "v4.1"]),
            default="v3.0",
            show_default=True,
            help="The version of Gameball's API.",
        ),
        click.option(
            "--base-url", metavar="URL", help="Where the API lives, if not at Gameball: a sandbox, for example."
        ),
    )


def pacing_options(command: _Command) -> _Command:
    """Add the options that say how fast a client sends."""
    return _with_options(
        command,
        click.option(
            "--per-second",
            type=click.IntRange(min=1),
            default=100,
            show_default=True,
            help="Requests in one second, at most.",
        ),
        click.option(
            "--per-30-seconds",
            type=click.IntRange(min=1),
            default=1200,
            show_default=True,
            help="Requests in thirty seconds, at most.",
        ),
        click.option(
            "--share",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            show_default=True,
            help="The part of both that is used; leave the rest to your shop.",
        ),
    )


def client_options(*, consequence: str) -> Callable[[_Command], _Command]:
    """Add the options that say where and how a client sends.

    Args:
        consequence: what `--ambiguous report` does with an event whose answer got lost.
    """
    options = (
        click.option(
            "--ambiguous",
            type=click.Choice(["resend", "report"]),
            default="resend",
            show_default=True,
            help=f"When an answer got lost: resend may count twice, report may lose and {consequence}.",
        ),
        click.option(
            "--drain",
            type=click.FloatRange(min=0),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long the requests in flight may take after Ctrl-C; nothing new is sent.",
        ),
    )

    return lambda command: access_options(pacing_options(_with_options(command, *options)))


def _with_options(command: _Command, *options: Callable[[_Command], _Command]) -> _Command:
    # a decorator puts its option above those that are there
    for option in reversed(options):
        command = option(command)
    return command


def address(options: dict[str, Any]) -> dict[str, Any]:
    """Return the client's arguments that say where the API is."""
    return {name: options[name] for name in ("api_version", "base_url") if options[name] is not None}


def pacing(options: dict[str, Any]) -> RateLimit:
    """Return the two windows of the pacing.

    Raises:
        ConfigurationError: if the share leaves no request in a window.
    """
    return RateLimit(per_second=options["per_second"], per_30_seconds=options["per_30_seconds"], share=options["share"])


def keys_from(path: Path | None) -> KeyOptions:
    """Read the keys.

    Args:
        path: a file of keys, or None for the environment alone.

    Raises:
        UsageProblem: if it is no file of keys.
        OSError: if it cannot be read.
    """
    try:
        return read_keys(path)
    except ValueError as error:
        raise UsageProblem(f"{path} cannot be used as a file of keys: {error}.") from None


def given_keys(path: Path | None) -> KeyOptions:
    """Read the keys as `keys_from` does, and warn of a file that others can read."""
    keys = keys_from(path)
    if path is not None and readable_by_others(path):
        print_wrapped(f"Warning: others than you can read {path}: chmod 600 {argument(str(path))}", sys.stderr)
    return keys


def required_keys(path: Path | None, *, remedy: str = "") -> KeyOptions:
    """Read the keys as `given_keys` does, for a command that cannot do without.

    Args:
        path: a file of keys, or None for the environment alone.
        remedy: a further way out than those to give a key.

    Raises:
        UsageProblem: if there is no API key.
        OSError: if the file cannot be read.
    """
    keys = given_keys(path)
    if keys.api_key is None:
        raise UsageProblem(
            f"the API key is missing: set {API_KEY} in the environment, or write {API_KEY}=... into a file and name it "
            f"with --keys-file.{remedy}"
        )
    return keys


@contextmanager
def told_errors() -> Generator[None]:
    """Turn what can go wrong into a message and an exit code; a traceback means a mistake of ours."""
    try:
        yield
    except _USAGE as error:
        # the client's own words know of the environment alone
        file = " Or name a file that holds it with --keys-file." if SECRET_KEY in str(error) else ""
        raise click.UsageError(printable(str(error)) + file) from None
    except GameballError as error:
        raise click.ClickException(printable(str(error))) from None
    except OSError as error:
        if error.filename is None and error.errno in _OUTPUT:
            raise  # it was the output's, which is told where the process ends
        name = f"{printable(str(error.filename))}: " if error.filename else ""
        raise click.ClickException(f"{name}{error.strerror or error}") from None


API_KEY = "GAMEBALL_API_KEY"
SECRET_KEY = "GAMEBALL_SECRET_KEY"  # noqa: S105 the name of a variable

_LONGEST_FILE = 64 * 1024  # bytes: more is not a file of keys but a mistake


@attrs.frozen
class KeyOptions:
    """The account's keys.

    Attributes:
        api_key: the API key, if there is one.
        secret_key: the secret key, if there is one.
    """

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def secrets(self) -> list[str]:
        """Return what must not appear in any output."""
        return [key for key in (self.api_key, self.secret_key) if key]


def read_keys(path: Path | None) -> KeyOptions:
    """Take the keys from the file, and from the environment what the file does not have.

    Args:
        path: a file of `NAME=value` lines, or None.

    Raises:
        OSError: if it cannot be read.
        ValueError: if a line is something else; the message names the line and not what it holds.
    """
    given = {} if path is None else _parse(path)
    api_key, secret_key = (given.get(name) or os.environ.get(name) or None for name in (API_KEY, SECRET_KEY))
    return KeyOptions(api_key, secret_key)


def readable_by_others(path: Path) -> bool:
    """Whether others than its owner may read the file."""
    return sys.platform != "win32" and bool(path.stat().st_mode & 0o077)


def _parse(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        data = file.read(_LONGEST_FILE + 1)
    if len(data) > _LONGEST_FILE:
        raise ValueError(f"it is longer than {_LONGEST_FILE:,} bytes, so it is no file of keys")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    return dict(_entry(number, line) for number, line in enumerate(text.splitlines(), 1) if _holds_entry(line))


def _holds_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(number: int, line: str) -> tuple[str, str]:
    name, equals, value = line.strip().removeprefix("export ").partition("=")
    if not equals:
        raise ValueError(f"line {number} is not NAME=value")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return name.strip(), value


PROGRAM = "gameball-async"


def examples(*lines: str) -> str:
    """Return an epilog that click prints as it is, without joining its lines.

    Args:
        lines: commands, without the name of the program.
    """
    return "\n".join(["\b", "Examples:", *(f"  {PROGRAM} {line}" for line in lines)])


_PREFIX = "Error: "
_NARROW = 60  # columns, below which an option's text goes below its name
_NARROWEST = 20


class _Formatter(click.HelpFormatter):
    """Keeps to the terminal's width, where click's own takes 50 columns at least."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        if width is None:
            columns = shutil.get_terminal_size().columns
            width = max(_NARROWEST, min(columns, max_width or columns) - 2)
        super().__init__(indent_increment, width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names and their texts."""
        super().write_dl(rows, col_max if self.width >= _NARROW - 2 else 6, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


def keep_words_whole(command: click.Command) -> None:
    """Let the help of a command and of those below it keep to the terminal's width."""
    command.context_class = _Context
    if isinstance(command, click.Group):
        for below in command.commands.values():
            keep_words_whole(below)


class Program(click.Group):
    """A group whose error messages do not break words at the edge of a terminal."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 as click's
        """Run the command.

        Raises:
            click.ClickException: as the command does.
        """
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _wrapped(error) from None


def _wrapped(error: click.ClickException) -> click.ClickException:
    """Return an error whose message is broken between words where it is printed."""
    message = wrapped(_PREFIX + error.format_message(), sys.stderr).removeprefix(_PREFIX)
    if isinstance(error, click.UsageError):
        return click.UsageError(message, error.ctx)
    return click.ClickException(message)


_DOMAIN = "gameball.co"


def default_base_url() -> str:
    """Return the address that the client uses if none is given."""
    # asked, so that it stands in one place only
    default: str = inspect.signature(AsyncGameball).parameters["base_url"].default
    return default


def destination(client: Mapping[str, Any]) -> str:
    """Name the host that a client sends to, without a user or a password in its address.

    Args:
        client: the client's arguments.
    """
    parts = urlsplit(client.get("base_url") or default_base_url())
    host = (parts.hostname or "").rstrip(".")
    address = parts.netloc.rpartition("@")[2]
    if host == _DOMAIN or host.endswith("." + _DOMAIN):
        return f"Gameball ({printable(address)})"
    return printable(f"{parts.scheme}://{address}{parts.path.rstrip('/')}")
