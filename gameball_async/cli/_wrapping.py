"""Lines for people: wrapped between words at a terminal's width, and as they are anywhere else."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

from rich.cells import cell_len

from ._words import printable

_FALLBACK = 80  # columns of a terminal that does not say how many it has


def columns(stream: TextIO) -> int | None:
    """Return the width of the terminal behind a stream; None if there is no terminal."""
    if not stream.isatty():
        return None
    if (fixed := os.environ.get("COLUMNS", "")).isdecimal() and int(fixed):
        return int(fixed)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _FALLBACK
    except (OSError, ValueError):
        return _FALLBACK


def wrapped(text: str, stream: TextIO, indent: str = "") -> str:
    """Break one line between words; a word that is longer than the terminal is wide stays whole, so it can be copied.

    Args:
        text: the line, without control characters.
        stream: where it is to be printed.
        indent: what the lines after the first begin with.
    """
    width = columns(stream)
    if width is None:
        return text
    lines = [""]
    for word in re.findall(r"\s*\S+", text):
        if lines[-1] and cell_len(lines[-1] + word) > width:
            lines.append(indent + word.lstrip())
        else:
            lines[-1] += word
    return "\n".join(lines)


def print_wrapped(text: str, stream: TextIO | None = None, indent: str = "") -> None:
    """Print one line, whose control characters are shown as escapes."""
    out = sys.stdout if stream is None else stream
    print(wrapped(printable(text), out, indent), file=out, flush=True)
