"""How the command is entered: by its name, by `python -m`, and without the packages of its extra."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from gameball_async import __version__
from gameball_async.cli._main import app

from .conftest import invoke

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)


BY_MODULE = "import runpy; runpy.run_module('gameball_async', run_name='__main__', alter_sys=True)"
BY_NAME = "import _gameball_async_cli; _gameball_async_cli.main()"


@pytest.mark.parametrize("entry", [BY_NAME, BY_MODULE], ids=["gameball-async", "python -m gameball_async"])
@pytest.mark.parametrize(
    ("package", "args", "extras"),
    [
        ("click", ["--help"], "cli"),
        ("rich", ["--help"], "cli"),
        ("uvicorn", ["sandbox"], "cli,sandbox"),
        ("psycopg", ["relay", "status", "--dsn", "service=shop"], "cli,outbox"),
    ],
)
def test_a_missing_extra_is_named_with_what_installs_it(entry: str, package: str, args: list[str], extras: str) -> None:
    done = python(f"import sys; sys.modules[{package!r}] = None; {entry}", *args)
    assert done.returncode == 2
    assert done.stderr == (
        f'gameball-async needs "{package}", which is not installed: pip install "gameball-async[{extras}]"\n'
    )


def test_a_package_that_is_no_extra_s_is_not_blamed_on_one() -> None:
    done = python(f"import sys; import gameball_async; sys.modules['gzip'] = None; {BY_NAME}", "--help")
    assert "ModuleNotFoundError: import of gzip halted" in done.stderr


@pytest.mark.parametrize("module", ["gameball_async", "gameball_async.cli"])
def test_python_m_is_the_command(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gameball-async, version {__version__}\n"


def test_the_version_is_the_package_s() -> None:
    assert __version__ in invoke("--version").output


# ------------------------------------------------------------------ help


def commands(
    command: click.Command = app, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, by what is typed to reach it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


def examples_of(command: click.Command) -> list[list[str]]:
    """The lines below Examples, as a shell would cut them."""
    lines = (command.epilog or "").replace("\\\n", " ").splitlines()
    assert lines[:2] == ["\b", "Examples:"]
    return [shlex.split(line.partition(" > ")[0]) for line in lines[2:]]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples_in_lines_that_are_not_too_long(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "\n  Examples:\n    gameball-async " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_example_of_the_help_can_be_typed(path: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    for name in ("events.ndjson", "visits.ndjson", "segment.json.gz", "orders.csv", "keys.env"):
        (tmp_path / name).touch()
    for program, *args in examples_of(COMMANDS[path]):
        assert program == "gameball-async"
        if args[0] == "COMMAND":
            continue  # it stands for any of them
        command: click.Command = app
        while isinstance(command, click.Group):
            command = command.commands[args.pop(0)]
        command.make_context(program, args)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_the_list_of_commands_cuts_no_sentence_off(path: tuple[str, ...]) -> None:
    assert not COMMANDS[path].get_short_help_str(60).endswith("...")


INTERRUPTED = """
import signal, sys
import _gameball_async_cli

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "gameball_async":
            signal.raise_signal(signal.{signal})

sys.meta_path.insert(0, Interrupt())
_gameball_async_cli.main()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_package_is_imported_exits_without_a_traceback(number: str) -> None:
    done = python(INTERRUPTED.format(signal=number), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
