"""Terminal output and signals: formatting, wrapping, tables, exit codes and interruption."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import select
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, Self, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from _gameball_async_cli import EXIT_CODE, STOP_SIGNALS, is_ignored


class UsageProblem(Exception):
    """The options do not fit each other or the files; the message says why and how to fix it."""


_LONGEST_QUOTE = 60  # characters
_MINUTE, _HOUR = 60, 3600  # seconds
_KIB = 1024
_SIGNAL_CHECK = 0.2  # seconds between two checks for signals while nothing else happens


def quoted(text: str) -> str:
    """Quote a name from a file: shortened, with control characters escaped."""
    shortened = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return f'"{shortened}"' if shortened.isprintable() else ascii(shortened)


def argument(text: str) -> str:
    """Quote an argument for a shell command; double quotes work in every shell, including those of Windows."""
    if re.fullmatch(r"[\w./\\:~@%+=,-]+", text):
        return text
    return shlex.quote(text) if re.search(r'["$`\\]', text) and os.sep == "/" else f'"{text}"'


def printable(text: object) -> str:
    """Escape every character that could control a terminal."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def duration(seconds: float) -> str:
    """Format a duration: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def byte_size(size: int) -> str:
    """Format a number of bytes: `512 B`, `1.5 KiB`, `2.0 GiB`."""
    if size < _KIB:
        return f"{size} B"
    amount = size / _KIB
    for unit in ("KiB", "MiB"):
        if amount < _KIB:
            return f"{amount:,.1f} {unit}"
        amount /= _KIB
    return f"{amount:,.1f} GiB"


_FALLBACK = 80  # columns of a terminal that does not report its width


def columns(stream: TextIO) -> int | None:
    """Return the width of the terminal behind a stream, or None without a terminal."""
    if not stream.isatty():
        return None
    if (fixed := os.environ.get("COLUMNS", "")).isdecimal() and int(fixed):
        return int(fixed)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _FALLBACK
    except (OSError, ValueError):
        return _FALLBACK


def wrapped(text: str, stream: TextIO, indent: str = "") -> str:
    """Wrap a line between words; longer words stay whole, so that they can be copied. `indent` is for later lines."""
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
    """Print one line, with control characters escaped."""
    out = sys.stdout if stream is None else stream
    print(wrapped(printable(text), out, indent), file=out, flush=True)


def print_table(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print a table of labels and figures; a label in lower case is indented below the one above."""
    indented = [(label if label[:1].isupper() else "  " + label, figure) for label, figure in lines]
    if not sys.stdout.isatty():
        print_wrapped(title)
        for label, figure in indented:
            print_wrapped(f"{label:<36}{figure:>14}")
        return
    table = Table(title=Text(printable(title)), box=box.ROUNDED, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for label, figure in indented:
        table.add_row(Text(label), Text(figure))
    Console(highlight=False).print(table)


def run(command: Callable[[], None]) -> None:
    """Run a command that ends the process itself."""
    prepare()
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # the interpreter would flush only after the exit code was chosen
    except OSError as error:
        if error.filename is not None:  # a file, not the output
            raise
        _discard(sys.stdout)
        if isinstance(error.__context__, SystemExit) and error.__context__.code == EXIT_CODE:
            raise SystemExit(EXIT_CODE) from None  # the terminal was closed, which interrupted the command
        if error.errno != errno.EPIPE:  # the reader of a closed pipe knows that it closed it
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
    """Exit with a code after the block, even if its output cannot be written; None continues as usual."""
    try:
        yield
    except OSError:
        if code is None:
            raise
    if code is not None:
        raise SystemExit(code)


def prepare() -> None:
    """Replace closed output streams, and escape characters that the terminal's encoding lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before the process started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 as long as the process
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Redirect a broken stream to nowhere; the interpreter would flush it again at exit, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def is_confirmed(question: str, stream: TextIO) -> bool:
    """Ask a question and return whether the answer is yes; the end of the input is a no."""
    print(f"{question} [y/N]: ", end="", file=stream, flush=True)
    answer = ""
    if sys.stdin is not None:  # None if it was closed before the process started
        # Python handles signals between calls: one that arrived just before a blocking read would wait for the answer
        while sys.stdin.isatty() and os.name == "posix" and not select.select([sys.stdin], [], [], _SIGNAL_CHECK)[0]:
            pass
        with suppress(OSError):  # the terminal was closed
            answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=stream)
    return answer.strip().lower() in {"y", "yes"}


def wait_for_signal() -> NoReturn:
    """Wait until the handler of a signal raises."""
    while True:
        time.sleep(_SIGNAL_CHECK)  # a signal that arrived just before one endless wait would be handled after it


@contextmanager
def keyboard_interrupts() -> Generator[None]:
    """Raise `KeyboardInterrupt` on every stop signal within the block; main thread only."""
    before = {
        number: signal.signal(number, signal.default_int_handler) for number in STOP_SIGNALS if not is_ignored(number)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Set `first` and `second` on the first and second stop signal, within a `with` block in the main thread."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        # `nohup` ignores SIGHUP; shells ignore SIGINT for background jobs, but here it stops a run
        wanted = [number for number in STOP_SIGNALS if number is signal.SIGINT or not is_ignored(number)]
        self._before = {number: signal.signal(number, self._interrupt) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the signature of a handler
        # a Python handler may run anywhere in the main thread, so the loop is notified as from another thread
        self._loop.call_soon_threadsafe(self._count)

    def _count(self) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)
