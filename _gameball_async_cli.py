"""The command `gameball-async`: handle signals before the package is imported, which takes most of the startup time.

This module is beside the package, because importing anything inside would import the whole package first.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

EXIT_CODE = 130
"""The exit code after an interruption by any signal: 128 + SIGINT, as shells report it."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP; only Windows has SIGBREAK
STOP_SIGNALS = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]

_EXTRAS = {"click": "cli", "rich": "cli", "psycopg": "outbox", "starlette": "sandbox", "uvicorn": "sandbox"}


def main() -> None:
    """Run the command line with the arguments of the process.

    Raises:
        SystemExit: always, with 0 if everything was delivered, 1 if not, 2 for a wrong usage, 130 if interrupted.
    """
    for number in STOP_SIGNALS:
        if not is_ignored(number):
            signal.signal(number, _exit)
    try:
        from gameball_async.cli._main import app  # noqa: PLC0415 its imports may be missing
        from gameball_async.cli._terminal import run  # noqa: PLC0415 likewise

        run(app)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extras = "cli" if _EXTRAS[package] == "cli" else f"cli,{_EXTRAS[package]}"
        message = f'gameball-async needs "{package}", which is not installed: pip install "gameball-async[{extras}]"'
        print(message, file=sys.stderr)  # noqa: T201 click may be the missing package
        raise SystemExit(2) from None


def is_ignored(number: signal.Signals) -> bool:
    """Whether the parent process has set a signal to be ignored, as `nohup` does."""
    return signal.getsignal(number) is signal.SIG_IGN


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 the signature of a handler
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        with suppress(OSError):  # unbuffered, as the signal may have interrupted a buffered write
            os.write(sys.__stderr__.fileno(), b"\nInterrupted.\n")
    raise SystemExit(EXIT_CODE)
