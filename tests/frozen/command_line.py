"""Every command with its arguments and options, and how the command ends in usual cases."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from gameball_async.cli._main import app

GOOD = '{"player": "player-1", "event": "review"}\n'
ENDS: dict[str, tuple[str, ...]] = {
    "the version": ("--version",),
    "help": ("send", "--help"),
    "a check of good rows": ("send", "good.ndjson", "--dry-run"),
    "a check of bad rows": ("send", "bad.ndjson", "--dry-run"),
    "everything is delivered": ("send", "good.ndjson", "--sandbox", "--yes"),
    "a row is rejected": ("send", "bad.ndjson", "--sandbox", "--yes"),
    "a file that is not there": ("send", "none.ndjson", "--dry-run"),
    "no key": ("send", "good.ndjson"),
    "an event that cannot be sent": ("track", "player-1", "review", "gift:=true"),
    "an event without a key": ("track", "player-1", "review"),
    "an option that is not there": ("send", "good.ndjson", "--unknown"),
    "a command that is not there": ("unknown",),
    "a value that cannot work": ("sandbox", "--port", "-1"),
    "the status of a folder that is not there": ("journal", "status", "none"),
    "the dead letters of a folder that is not there": ("dead-letters", "list", "none"),
    "the doctor without a key": ("doctor",),
}
"""By what happens: the arguments."""


def describe() -> str:
    """The text of all commands and exit codes."""
    lines = [line for path, command in _commands(app, ()) for line in _command(path, command)]
    codes = [f"{_exit_code(*arguments)}  {end}" for end, arguments in ENDS.items()]
    return "\n".join([*lines, "# exit codes", "", *codes]) + "\n"


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], (*path, name))


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    yield " ".join(["# gameball-async", *path])
    yield ""
    yield from (_parameter(parameter) for parameter in command.params)
    yield ""


def _parameter(parameter: click.Parameter) -> str:
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    facts: dict[str, Any] = {
        "metavar": parameter.metavar,
        "type": _type(parameter.type),
        "default": None if parameter.required or repr(parameter.default) == "Sentinel.UNSET" else parameter.default,
        "nargs": parameter.nargs if parameter.nargs != 1 else None,
        "required": parameter.required or None,
        "envvar": parameter.envvar,
        "multiple": getattr(parameter, "multiple", None) or None,
        "flag": getattr(parameter, "is_flag", None) or None,
    }
    shown = ", ".join(
        f"{name}={value}" for name, value in facts.items() if value is not None and value is not False and value != ()
    )
    return f"{parameter.param_type_name} {names}: {shown}"


def _type(found: Any) -> str:
    if isinstance(found, click.types.FuncParamType):
        return "parsed"
    name: str = found.name.removesuffix(" range")
    match name:
        case "choice":
            return "|".join(map(str, found.choices))
        case "integer" | "float" if hasattr(found, "min"):
            return f"{name} from {found.min} to {found.max}"
        case _:
            return name


def _exit_code(*arguments: str) -> int:
    unset: dict[str, str | None] = {name: None for name in os.environ if name.startswith("GAMEBALL")}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("good.ndjson").write_text(GOOD, encoding="utf-8")
        Path("bad.ndjson").write_text("no event\n" + GOOD, encoding="utf-8")
        return CliRunner(env=unset).invoke(app, arguments).exit_code
