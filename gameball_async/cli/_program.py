"""The examples below a command's help: lines that can be copied, each of which the tests parse."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from ._terminal import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable


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
