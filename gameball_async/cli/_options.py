"""What several commands share: the options of a client, its keys, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import RateLimit
from ..errors import ConfigurationError, GameballError
from ._checkpoint import CheckpointError
from ._fingerprint import ChangedError
from ._keys import API_KEY, SECRET_KEY, KeyOptions, read_keys, readable_by_others
from ._lines import MappingError
from ._send_options import UsageProblem
from ._terminal import argument, print_wrapped, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

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
