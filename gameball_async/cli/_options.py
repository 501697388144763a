"""Options and help shared by several commands, the client they describe, and the conversion of errors to messages."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import attrs
import click

from .. import AsyncGameball, Batching, RateLimit, Retry
from .._core.wire import API_VERSIONS
from .._endpoint import DEFAULT_API_VERSION, DEFAULT_BASE_URL, switched_off_by
from ..errors import ConfigurationError, GameballError
from ._lines import Draft
from ._terminal import UsageProblem, argument, print_wrapped, printable, wrapped

Mode = Literal["single", "bulk", "auto"]

_Command = TypeVar("_Command", bound="Callable[..., Any]")
_T = TypeVar("_T")

PROGRAM = "gameball-async"
API_KEY = "GAMEBALL_API_KEY"
SECRET_KEY = "GAMEBALL_SECRET_KEY"  # noqa: S105 the name of a variable

_DOMAIN = "gameball.co"
_OUTPUT = (errno.EPIPE, errno.ENOSPC)  # errors of printing
_LONGEST_FILE = 64 * 1024  # bytes: a longer file is not a keys file
_PREFIX = "Error: "
_NARROW = 60  # columns, below which an option's text goes below its name
_NARROWEST = 20

_NO_CONTACTS = "bulk requests have no mobile and no email: send this row in another file, with --mode single or auto."

_ARGUMENTS = {
    "Batching(mode='single')": "--mode single",
    "JobOptions(status=...)": "--base-url",
    "RateLimit(share=...)": "--share",
    "base_url": "--base-url",
    "api_version": "--api-version",
    "secret_key": SECRET_KEY,
}
"""What the client's messages name, and what a command has instead."""
_DOCTOR = "`gameball-async doctor`"

_FILES = Batching(
    buffer_events=20_000,  # eight minutes of the sustained rate if nothing merges; more would not merge better
    wait_timeout=3600.0,  # seconds track() waits for capacity, and is then called again: a file can wait
)
_IN_BULK = attrs.evolve(
    _FILES,
    buffer_events=100_000,  # a hundred full bulk requests, whose jobs may take some time
)


def parsed(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Convert a parser to an option's type; click would discard the message of its ValueError."""

    def convert(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return convert


def access_options(command: _Command) -> _Command:
    """Add the options for the API: keys, version and address."""
    return _access_options(command, DEFAULT_API_VERSION)


def preview_access_options(command: _Command) -> _Command:
    """Add the same options, with the first version that has previews as the default."""
    return _access_options(command, next(row.version for row in API_VERSIONS.values() if row.takes_bulk))


def _access_options(command: _Command, api_version: str) -> _Command:
    return with_options(
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
            type=click.Choice(list(API_VERSIONS)),
            default=api_version,
            envvar="GAMEBALL_API_VERSION",
            show_envvar=True,
            show_default=True,
            help="The version of Gameball's API.",
        ),
        click.option(
            "--base-url",
            metavar="URL",
            envvar="GAMEBALL_BASE_URL",
            show_envvar=True,
            help="Where the API lives, if not at Gameball: a sandbox, for example.",
        ),
    )


def mode_option(command: _Command) -> _Command:
    """Add the option for single and bulk requests."""
    return with_options(
        command,
        click.option(
            "--mode",
            type=click.Choice(["single", "bulk", "auto"]),
            default="single",
            show_default=True,
            help="One player per request; or up to 1,000, which needs v4 and both keys; auto uses both.",
        ),
    )


def pacing_options(command: _Command) -> _Command:
    """Add the options for the rate limit."""
    return with_options(
        command,
        _limit("--per-second", default=100, help="Requests in one second, at most."),
        _limit("--per-30-seconds", default=1200, help="Requests in thirty seconds, at most."),
        click.option(
            "--share",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            show_default=True,
            help="The part of both that is used; leave the rest to your shop.",
        ),
    )


_limit = partial(click.option, type=click.IntRange(min=1), show_default=True)


def client_options(*, consequence: str) -> Callable[[_Command], _Command]:
    """Add all options of a client; `consequence` is what `--ambiguous report` does after a lost response."""
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

    return lambda command: access_options(pacing_options(with_options(command, *options)))


def with_options(command: _Command, *options: Callable[[_Command], _Command]) -> _Command:
    """Add options, in this order."""
    # a decorator adds its option above the existing ones
    for option in reversed(options):
        command = option(command)
    return command


@attrs.frozen
class KeyOptions:
    """The account's keys, or None for those that are missing."""

    api_key: str | None = attrs.field(default=None, repr=False)
    secret_key: str | None = attrs.field(default=None, repr=False)

    def secrets(self) -> list[str]:
        """Return the strings that must not appear in any output."""
        return [key for key in (self.api_key, self.secret_key) if key]


def refuse_if_switched_off() -> None:
    """Check that the environment lets this command send.

    Raises:
        UsageProblem: if it does not.
    """
    if (switch := switched_off_by(enabled=None)) is not None:
        raise UsageProblem(f"{switch} switches sending off: set GAMEBALL_ENABLED=1 for this command to send.")


@attrs.frozen(kw_only=True)
class ClientOptions:
    """Where and how a command sends."""

    keys: KeyOptions = attrs.field(factory=KeyOptions)
    address: dict[str, Any] = attrs.field(factory=dict[str, Any])
    rate: RateLimit = attrs.field(factory=RateLimit)
    retry: Retry = attrs.field(factory=Retry)
    drain: float = 10.0
    mode: Mode = "single"
    is_forced: bool = False  # whether it sends in spite of GAMEBALL_ENABLED=0, to its own sandbox

    @classmethod
    def parsed(cls, options: dict[str, Any], keys: KeyOptions) -> ClientOptions:
        """Convert the options that click has parsed."""
        return attrs.evolve(
            cls.with_access(options, keys),
            rate=RateLimit(**{name: options[name] for name in ("per_second", "per_30_seconds", "share")}),
            retry=Retry(ambiguous=options["ambiguous"]),
            drain=options["drain"],
            mode=options.get("mode", "single"),
        )

    @classmethod
    def with_access(cls, options: dict[str, Any], keys: KeyOptions) -> ClientOptions:
        """Convert those of `access_options`; the others have their defaults."""
        address = {name: options[name] for name in ("api_version", "base_url") if options[name] is not None}
        return cls(keys=keys, address=address)

    def check_mode(self, *, needs_keys: bool) -> None:
        """Check that the version and the keys allow this mode."""
        if self.mode == "single":
            return
        version = self.address.get("api_version")
        if version is None or not API_VERSIONS[version].takes_bulk:
            raise UsageProblem(f"--mode {self.mode} needs bulk requests: use --api-version v4.0 or v4.1.")
        if needs_keys and self.keys.secret_key is None:
            raise UsageProblem(f"--mode {self.mode} needs both keys: set {SECRET_KEY} in the environment.")

    def refusal(self, draft: Draft) -> str | None:
        """Return why this mode cannot send an event that is valid, or None."""
        if self.mode == "bulk" and (draft.mobile is not None or draft.email is not None):
            return _NO_CONTACTS
        return None

    def reword(self, message: str) -> str:
        """Return one of the client's messages with options and variables instead of arguments."""
        for argument_name, option in _ARGUMENTS.items():
            message = message.replace(argument_name, option)
        return message if self.mode == "single" else message.replace(_DOCTOR, f"{_DOCTOR[:-1]} --bulk`")

    def windows(self) -> Sequence[tuple[int, float]]:
        """Return the (requests, seconds) windows that limit a run; none if that depends on how fast jobs end."""
        match self.mode:
            case "single":
                return self.rate.windows()
            case "bulk":  # each request needs at least one for the status of its job
                return [(max(1, requests // 2), seconds) for requests, seconds in self.rate.others()]
            case "auto":
                return ()

    def gameball(self, batching: Batching | None = None, **settings: Any) -> AsyncGameball:  # noqa: ANN401 the client's
        if not self.is_forced:
            refuse_if_switched_off()
        return AsyncGameball(
            self.keys.api_key,
            enabled=True,
            secret_key=self.keys.secret_key,
            batching=batching or (_FILES if self.mode == "single" else attrs.evolve(_IN_BULK, mode=self.mode)),
            retry=self.retry,
            rate=self.rate,
            **self.address,
            **settings,
        )

    @property
    def base_url(self) -> str:
        url: str = self.address.get("base_url") or DEFAULT_BASE_URL
        return url

    @property
    def is_gameball(self) -> bool:
        """Whether the host is Gameball's."""
        host = (urlsplit(self.base_url).hostname or "").rstrip(".")
        return host == _DOMAIN or host.endswith("." + _DOMAIN)

    @property
    def destination(self) -> str:
        """The host, without user and password; "Gameball" only if the host is Gameball's."""
        parts = urlsplit(self.base_url)
        address = parts.netloc.rpartition("@")[2]
        if self.is_gameball:
            return f"Gameball ({printable(address)})"
        return printable(f"{parts.scheme}://{address}{parts.path.rstrip('/')}")


def read_keys(path: Path | None, *, warn: bool = False) -> KeyOptions:
    """Read the keys from a file, and those that it lacks from the environment."""
    given: dict[str, str] = {}
    if path is not None:
        try:
            given = _parse(path)
        except ValueError as error:
            raise UsageProblem(f"{path} cannot be used as a file of keys: {error}.") from None
    api_key, secret_key = (given.get(name) or os.environ.get(name) or None for name in (API_KEY, SECRET_KEY))
    if warn and path is not None and readable_by_others(path):
        print_wrapped(f"Warning: others than you can read {path}: chmod 600 {argument(str(path))}", sys.stderr)
    return KeyOptions(api_key, secret_key)


def required_keys(path: Path | None, *, remedy: str = "") -> KeyOptions:
    """Read the keys, with a warning if others can read them too."""
    keys = read_keys(path, warn=True)
    if keys.api_key is None:
        raise UsageProblem(
            f"the API key is missing: set {API_KEY} in the environment, or write {API_KEY}=... into a file and name it "
            f"with --keys-file.{remedy}"
        )
    return keys


def readable_by_others(path: Path) -> bool:
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
    keys: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        if not equals:
            raise ValueError(f"line {number} is not NAME=value")
        value = value.strip()
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        keys[name.strip()] = value[1:-1] if is_quoted else value
    return keys


@contextmanager
def reported_errors() -> Generator[None]:
    """Convert expected errors to a message and an exit code; anything else is a bug, with a traceback."""
    try:
        yield
    except (UsageProblem, ConfigurationError) as error:
        # the client's own messages mention the environment only
        file = " Or name a file that holds it with --keys-file." if SECRET_KEY in str(error) else ""
        raise click.UsageError(printable(error) + file) from None
    except GameballError as error:
        raise click.ClickException(printable(error)) from None
    except OSError as error:
        if error.filename is None and error.errno in _OUTPUT:
            raise  # an error of the output, which is reported at the end of the process
        name = f"{printable(error.filename)}: " if error.filename else ""
        raise click.ClickException(f"{name}{error.strerror or error}") from None


def examples(*lines: str) -> str:
    """Return an epilog of commands, without the program's name, whose lines click does not join."""
    return "\n".join(["\b", "Examples:", *(f"  {PROGRAM} {line}" for line in lines)])


class _Formatter(click.HelpFormatter):
    """Format help within the terminal's width; click's own formatter needs 50 columns."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        if width is None:
            columns = shutil.get_terminal_size().columns
            width = max(_NARROWEST, min(columns, max_width or columns) - 2)
        super().__init__(indent_increment, width)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, col_max if self.width >= _NARROW - 2 else 6, col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


def keep_words_whole(command: click.Command) -> None:
    """Wrap the help of a command and its subcommands within the terminal's width."""
    command.context_class = _Context
    if isinstance(command, click.Group):
        for below in command.commands.values():
            keep_words_whole(below)


class Program(click.Group):
    """A group whose error messages wrap between words."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 as click's
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            message = wrapped(_PREFIX + error.format_message(), sys.stderr).removeprefix(_PREFIX)
            if isinstance(error, click.UsageError):
                raise click.UsageError(message, error.ctx) from None
            raise click.ClickException(message) from None
