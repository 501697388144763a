"""The command `sandbox`: runs one until Ctrl-C and tells what arrives."""

from __future__ import annotations

import errno
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..sandbox import Limits, Sandbox
from ._terminal import counted, keyboard_interrupts, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..sandbox import Fault, RequestRecord


_MOST_NAMES = 5  # event names in one line


def serve(
    *,
    host: str,
    port: int,
    is_limited: bool,
    seed: int,
    faults: Sequence[Fault],
    say: Callable[[str], None],
) -> None:
    """Run a sandbox until Ctrl-C.

    Raises:
        OSError: if the address cannot be had.
    """

    def tell(words: str) -> None:
        with suppress(OSError):  # a sandbox serves on if its output is full or its reader has left
            say(words)

    sandbox = Sandbox(
        host=host,
        port=port,
        limits=Limits() if is_limited else None,
        seed=seed,
        on_request=lambda record: tell(request_in_words(record)),
    )
    # what `docker stop` and `kill` send ends it as Ctrl-C does
    with _listening(sandbox, host, port), suppress(KeyboardInterrupt), keyboard_interrupts():
        sandbox.script(*faults)
        tell(f"The sandbox listens at {sandbox.url} and accepts any key. Ctrl-C stops it.")
        tell(
            f"Watch it in a browser at {sandbox.url}/_sandbox/ or send to it, with any key in GAMEBALL_API_KEY: "
            f"gameball-async send FILE --base-url {sandbox.url}"
        )
        threading.Event().wait()
    tally = sandbox.stats()
    tell(
        f"Stopped. It held {counted(tally.events, 'event')} of {counted(tally.players, 'player')} "
        f"from {counted(tally.arrived, 'request')}; {counted(tally.violations, 'rule')} broken."
    )


@contextmanager
def _listening(sandbox: Sandbox, host: str, port: int) -> Generator[None]:
    """Run the sandbox as long as the block.

    Raises:
        OSError: if it cannot listen there; the message says what to change.
    """
    try:
        sandbox.start()
    except OSError as error:
        raise OSError(error.errno, _why_not(error, host, port)) from None
    try:
        yield
    finally:
        sandbox.stop()


def _why_not(error: OSError, host: str, port: int) -> str:
    """Return why an address cannot be listened at, and which option to change."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use (address already in use): give another --port, or 0 for a free one"
        case errno.EACCES:
            return f"port {port} may not be used by this account: give a --port above 1023, or 0 for a free one"
        case _:
            return f"cannot listen at {host} ({error.strerror or error}): give another --host"


def request_in_words(record: RequestRecord) -> str:
    """Return one request as a line."""
    names = ", ".join(map(printable, record.events[:_MOST_NAMES])) or "no events"
    more = f" and {len(record.events) - _MOST_NAMES} more" if len(record.events) > _MOST_NAMES else ""
    player = quoted(record.player) if record.player is not None else "no player"
    answer = "no answer" if record.status is None else str(record.status)
    code = f" code {record.code}" if record.code is not None else ""
    fault = f" ({record.fault}, as scripted)" if record.fault else ""
    return f"{time.strftime('%H:%M:%S')}  {player}  {names}{more}  ->  {answer}{code}{fault}"
