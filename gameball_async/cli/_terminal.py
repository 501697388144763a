"""How the command line writes things for people: quoted, counted, and never with a control character."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import shlex
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import FrameType, TracebackType
    from typing import Self


class UsageProblem(Exception):
    """The options cannot work together or with these files; the message says why and what would."""


_LONGEST_QUOTE = 60  # characters
_MINUTE, _HOUR = 60, 3600  # seconds
_KIB = 1024


def quoted(text: str) -> str:
    """Quote a name from a file: shortened, and with escapes instead of control characters."""
    shortened = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return f'"{shortened}"' if shortened.isprintable() else ascii(shortened)


def argument(text: str) -> str:
    """Return an argument of a command to type; double quotes work in every shell, Windows' included."""
    if re.fullmatch(r"[\w./\\:~@%+=,-]+", text):
        return text
    return shlex.quote(text) if re.search(r'["$`\\]', text) and os.sep == "/" else f'"{text}"'


def printable(text: str) -> str:
    """Return the text with every character that could steer a terminal written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def counted(count: int, noun: str) -> str:
    """Return `1 row`, `2 rows`, `10,000 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration as people say it: `8 s`, `2 min 05 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def bytes_in_words(size: int) -> str:
    """Return a number of bytes as people say it: `512 B`, `1.5 KiB`, `2.0 GiB`."""
    if size < _KIB:
        return f"{size} B"
    amount = size / _KIB
    for unit in ("KiB", "MiB"):
        if amount < _KIB:
            return f"{amount:,.1f} {unit}"
        amount /= _KIB
    return f"{amount:,.1f} GiB"


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


EXIT_CODE = 130
"""The exit code of a command that was interrupted: 128 + SIGINT, as shells report it; the same for every signal."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP, and SIGBREAK is its own


_STOP = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def exit_when_interrupted() -> None:
    """Let each signal that asks to stop end the process with `EXIT_CODE`, unless it is ignored."""
    for number in _STOP:
        if not _is_ignored(number):
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 the signature of a handler
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        with suppress(OSError):  # past the buffer, which may be in the midst of a write
            os.write(sys.__stderr__.fileno(), b"\nInterrupted.\n")
    raise SystemExit(EXIT_CODE)


@contextmanager
def keyboard_interrupts() -> Generator[None]:
    """Let every signal that asks to stop raise `KeyboardInterrupt` in the block. For the main thread."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _STOP if not _is_ignored(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """Turns the signals that ask to stop into two events, within a `with` block in the main thread.

    Attributes:
        first: set by the first of them.
        second: set by the second.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        # `nohup` ignores SIGHUP; shells ignore SIGINT for what they start in the background, but here it stops a run
        wanted = [number for number in _STOP if number is signal.SIGINT or not _is_ignored(number)]
        self._before = {number: signal.signal(number, self._interrupt) for number in wanted}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 the signature of a handler
        # a Python handler may run anywhere in the main thread: the loop is told as from another thread
        self._loop.call_soon_threadsafe(self._count)

    def _count(self) -> None:
        if not self.first.is_set():
            self.first.set()
            return
        self.second.set()
        for number in self._before:
            signal.signal(number, signal.SIG_DFL)


def print_table(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Print a table of words and figures; a line in lower case belongs to the one above it."""
    indented = [(words if words[:1].isupper() else "  " + words, figure) for words, figure in lines]
    if not sys.stdout.isatty():
        print_line(title)
        for words, figure in indented:
            print_line(f"{words:<36}{figure:>14}")
        return
    table = Table(title=Text(printable(title)), box=box.ROUNDED, show_header=False)
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    for words, figure in indented:
        table.add_row(Text(words), Text(figure))
    Console(highlight=False).print(table)


def print_answers(title: str, answers: Sequence[tuple[str, str]]) -> None:
    """Print a table of questions and answers, wrapped between words."""
    table = Table(title=Text(printable(title)), title_justify="left", show_header=False)
    table.box = box.ROUNDED if sys.stdout.isatty() else None
    for _ in ("question", "answer"):
        table.add_column(overflow="fold")
    for question, answer in answers:
        table.add_row(Text(question), Text(answer))
    Console(highlight=False).print(table)


def print_line(text: str) -> None:
    """Print one sentence below the table."""
    print_wrapped(text)
