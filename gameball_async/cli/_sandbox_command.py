"""The command `sandbox`: run a strict stand-in for the Gameball API, and print what arrives."""

from __future__ import annotations

import errno
import gc
import json
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._log import counted
from ._options import API_KEY, SECRET_KEY, examples, parsed, reported_errors
from ._ready_file import ready_file
from ._terminal import keyboard_interrupts, print_wrapped, printable, quoted, wait_for_signal

if TYPE_CHECKING:
    from ..sandbox import Fault, JobSettings, RequestRecord

BASE_URL = "GAMEBALL_BASE_URL"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 an address to listen at is none to connect to
_MOST_NAMES = 5  # event names in one line

# young objects that start a collection: the records, which stay, take half of the CPU with Python's 700 or 2,000
_GC_THRESHOLD = 50_000


def _fault(text: str) -> Any:  # noqa: ANN401 the sandbox is a separate extra, imported only if needed
    from ..sandbox import Fault  # noqa: PLC0415

    return Fault.from_json(json.loads(text))


def _jobs(text: str) -> Any:  # noqa: ANN401 as above
    from ..sandbox import JobSettings  # noqa: PLC0415

    return JobSettings.from_json(json.loads(text))


def _reward(text: str) -> tuple[str, int]:
    name, _, points = text.rpartition("=")
    if not name or not points.isdecimal():
        raise ValueError("give an event name and its points, such as place_order=100.")
    return name, int(points)


@click.command(
    "sandbox",
    short_help="Run a strict stand-in for the Gameball API.",
    epilog=examples(
        "sandbox",
        "sandbox --port 0 --no-limits",
        "sandbox --port 0 --ready-file sandbox.env",
        """sandbox --fault '{"kind": "status", "status": 503, "probability": 0.1}'""",
        """sandbox --jobs '{"latency": [1, 5]}' --reward place_order=100""",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--no-limits", is_flag=True, help="Answer any number of requests.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random numbers of faults and jobs.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=parsed(_fault),
    metavar="JSON",
    help='A fault to inject, such as {"kind": "status", "status": 500, "probability": 0.1}.',
)
@click.option(
    "--jobs",
    type=parsed(_jobs),
    metavar="JSON",
    help='What becomes of bulk requests, such as {"latency": [1, 5], "vocabulary": "tutorial", "failing_items": 0.01}.',
)
@click.option(
    "--reward",
    "rewards",
    multiple=True,
    type=parsed(_reward),
    metavar="EVENT=POINTS",
    help="Points that previews show for an event.",
)
@click.option(
    "--ready-file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Written when the sandbox accepts requests, and removed when it ends: its address, and keys that it accepts, "
    "as NAME=value lines for the environment of a service.",
)
def sandbox(
    host: str,
    port: int,
    *,
    no_limits: bool,
    seed: int,
    faults: tuple[Fault, ...],
    jobs: JobSettings | None,
    rewards: tuple[tuple[str, int], ...],
    path: Path | None,
) -> None:
    """Run a strict stand-in for the Gameball API and print what arrives, until Ctrl-C."""
    from ..sandbox import JobSettings, Limits, Sandbox  # noqa: PLC0415 a separate extra

    def log(line: str) -> None:
        with suppress(OSError):  # the sandbox continues if its output is full or closed
            print_wrapped(line)

    server = Sandbox(
        host=host,
        port=port,
        limits=None if no_limits else Limits(),
        jobs=JobSettings() if jobs is None else jobs,
        rewards=dict(rewards),
        seed=seed,
        on_request=lambda record: log(_request_line(record)),
    )
    with reported_errors():
        if path is not None:
            path.unlink(missing_ok=True)  # of a sandbox that was killed
        try:
            server.start()
        except OSError as error:
            raise OSError(error.errno, _cannot_listen(error, host, port)) from None
    # SIGTERM, as `docker stop` sends it, ends the sandbox like Ctrl-C
    with ExitStack() as stack, suppress(KeyboardInterrupt), keyboard_interrupts():
        stack.callback(server.stop)
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(_GC_THRESHOLD)
        server.script(*faults)
        if path is not None:
            stack.enter_context(ready_file(path, _environment(server.url)))
        log(f"The sandbox listens at {server.url} and accepts any key. Ctrl-C stops it.")
        log(
            f"Watch it in a browser at {server.url}/_sandbox/ or send to it, with any key in GAMEBALL_API_KEY: "
            f"gameball-async send FILE --base-url {server.url}"
        )
        wait_for_signal()
    tally = server.stats()
    log(
        f"Stopped. It held {counted(tally.events, 'event')} of {counted(tally.players, 'player')} "
        f"from {counted(tally.arrived, 'request')}; {counted(tally.violations, 'rule')} broken."
    )


def _environment(url: str) -> str:
    """Return the variables of a service that uses the sandbox."""
    for unspecified, loopback in _LOOPBACK.items():
        url = url.replace(f"//{unspecified}:", f"//{loopback}:")
    return f"{BASE_URL}={url}\n{API_KEY}=sandbox\n{SECRET_KEY}=sandbox\n"


def _cannot_listen(error: OSError, host: str, port: int) -> str:
    """Return why the sandbox cannot listen at an address, and which option to change."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use (address already in use): give another --port, or 0 for a free one"
        case errno.EACCES:
            return f"port {port} may not be used by this account: give a --port above 1023, or 0 for a free one"
        case _:
            return f"cannot listen at {host} ({error.strerror or error}): give another --host"


def _request_line(record: RequestRecord) -> str:
    answer = "no answer" if record.status is None else str(record.status)
    code = f" code {record.code}" if record.code is not None else ""
    fault = f" ({record.fault}, as scripted)" if record.fault else ""
    return f"{time.strftime('%H:%M:%S')}  {_subject(record)}  ->  {answer}{code}{fault}"


def _subject(record: RequestRecord) -> str:
    """Return what a request was about."""
    job = "no job" if record.job is None else f"job {record.job}"
    if record.route in {"status", "stop"}:
        return f"{record.route} of {job}"
    names = ", ".join(map(printable, record.events[:_MOST_NAMES])) or "no events"
    more = f" and {len(record.events) - _MOST_NAMES} more" if len(record.events) > _MOST_NAMES else ""
    if record.route == "batch":
        return f"{counted(record.items, 'item')} in {job}  {names}{more}"
    player = quoted(record.player) if record.player is not None else "no player"
    return f"{player}  {'preview of ' if record.route == 'preview' else ''}{names}{more}"
