"""The program as click runs it: errors are printed between words."""

from __future__ import annotations

import sys
from typing import Any

import click

from ._wrapping import wrapped

_PREFIX = "Error: "


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
