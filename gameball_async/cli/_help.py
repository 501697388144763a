"""The examples below a command's help: lines that can be copied, each of which the tests parse."""

from __future__ import annotations

PROGRAM = "gameball-async"


def examples(*lines: str) -> str:
    """Return an epilog that click prints as it is, without joining its lines.

    Args:
        lines: commands, without the name of the program.
    """
    return "\n".join(["\b", "Examples:", *(f"  {PROGRAM} {line}" for line in lines)])
