"""The process's own streams: a closed pipe, a full disk or a terminal that is gone end the words, and nothing else."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from ._signals import EXIT_CODE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def run(command: Callable[[], None]) -> None:
    """Run a command that ends the process itself.

    Raises:
        SystemExit: with 1 if what it printed could not be written, else whatever the command raises.
    """
    prepare()
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # the interpreter would try it after the exit code was chosen
    except OSError as error:
        if error.filename is not None:  # it was a file, and not the output
            raise
        _discard(sys.stdout)
        if isinstance(error.__context__, SystemExit) and error.__context__.code == EXIT_CODE:
            raise SystemExit(EXIT_CODE) from None  # a terminal that was closed has interrupted it
        if error.errno != errno.EPIPE:  # whoever has left the pipe knows
            with suppress(OSError):
                print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 no click
        raise SystemExit(1) from None
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


@contextmanager
def exiting(code: int | None) -> Generator[None]:
    """Exit with a code after the block, even if what it prints cannot be written; None goes on as usual.

    Raises:
        SystemExit: with the code.
    """
    try:
        yield
    except OSError:
        if code is None:
            raise
    if code is not None:
        raise SystemExit(code)


def prepare() -> None:
    """Let both streams be there, and show what the terminal's encoding does not hold as escapes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the start
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 as long as the process
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # a file's name may hold what the terminal's encoding does not
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Let what is left in a stream go nowhere; else the end of the interpreter would try it once more, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
