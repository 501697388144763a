"""The command `completion`: the script that lets a shell complete the command, which click writes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ._help import PROGRAM, examples

_INSTALL = {
    "bash": "{program} completion bash > ~/.{program}.bash && echo '. ~/.{program}.bash' >> ~/.bashrc",
    "zsh": "{program} completion zsh > ~/.{program}.zsh && echo '. ~/.{program}.zsh' >> ~/.zshrc",
    "fish": "cd ~/.config/fish && mkdir -p completions && {program} completion fish > completions/{program}.fish",
}
"""One line for each shell; the file is written once, as making it takes the better part of a second."""


@click.command(
    "completion",
    short_help="Print a script that completes this command in a shell.",
    epilog=examples("completion bash", "completion fish > ~/.config/fish/completions/gameball-async.fish"),
)
@click.argument("shell", type=click.Choice(list(_INSTALL)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes this command in SHELL; its last line says how to install it."""
    click.echo(script(context.find_root().command, shell), nl=False)


def script(command: click.Command, shell: str) -> str:
    """Return a shell's script.

    Args:
        command: what is completed.
        shell: a key of the table above.
    """
    writer = get_completion_class(shell)
    assert writer is not None, "click knows each shell of the table"  # noqa: S101 an invariant
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"  # click's own rule, by which the command finds it again
    source = writer(command, {}, PROGRAM, variable).source().rstrip()
    return f"{source}\n\n# To install it: {_INSTALL[shell].format(program=PROGRAM)}\n"
