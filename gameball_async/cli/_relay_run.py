"""The command `relay run`: deliver the outbox's events until a signal, with a log on standard error."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from _gameball_async_cli import EXIT_CODE

from .. import Stats
from .._log import counted, fields
from ._ready_file import ready_file
from ._terminal import Interrupts, printable

if TYPE_CHECKING:
    from ..outbox import Relay

_TICK = 1.0  # seconds between two looks at the relay, and two signs of life
_LONGEST_CANCEL = 3.0  # seconds for what a second signal cancels
_log = logging.getLogger("gameball_async.relay")


@attrs.frozen
class RelayRun:
    """One relay from its start to a signal.

    Attributes:
        relay: makes the relay, inside the event loop.
        path: the ready file, if one is wanted.
    """

    relay: Callable[[], Relay]
    path: Path | None = None

    async def run(self) -> int:
        """Deliver until a signal, and return the exit code; an error of the relay is raised."""
        relay = self.relay()
        with Interrupts() as interrupts:
            work = asyncio.create_task(relay.run())
            first, second = (asyncio.create_task(event.wait()) for event in (interrupts.first, interrupts.second))
            watch = asyncio.create_task(self._watch(relay))
            try:
                await asyncio.wait({work, first, watch}, return_when=asyncio.FIRST_COMPLETED)
                if watch.done():  # the ready file cannot be written
                    watch.result()
                if not work.done():
                    _log.info(
                        "Stopping: requests in flight are finished, then the shards are handed over.",
                        extra=fields("relay"),
                    )
                    relay.stop()
                    await asyncio.wait({work, second}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    return EXIT_CODE
                await work
            finally:
                for task in (work, first, second, watch):
                    task.cancel()
                await asyncio.wait({work, first, second, watch}, timeout=_LONGEST_CANCEL)
        _log.info("Stopped. %s", summary(relay.stats()), extra=fields("relay"))
        return 0

    async def _watch(self, relay: Relay) -> None:
        """Write the ready file when the relay is ready, and renew its time as long as the event loop runs."""
        while not relay.is_ready:  # noqa: ASYNC110 the relay has no event for it
            await asyncio.sleep(_TICK / 10)
        with ready_file(self.path, f"{os.getpid()}\n") if self.path is not None else nullcontext():
            shards: int | None = None
            while True:
                if relay.shards != shards:
                    shards = relay.shards
                    _log.info("This relay has %d of 64 shards.", shards, extra=fields("relay", shards=shards))
                if self.path is not None:
                    with suppress(OSError):
                        os.utime(self.path)
                await asyncio.sleep(_TICK)


def summary(stats: Stats) -> str:
    """Return what a relay has done."""
    failed = stats.rejected + stats.dropped + stats.unknown
    return (
        f"{counted(stats.delivered, 'event')} delivered in {counted(stats.requests, 'request')}, "
        f"{counted(failed, 'dead letter')}."
    )


class _LineFormatter(logging.Formatter):
    """Plain lines in UTC, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(record.getMessage())
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{_when(record):%Y-%m-%d %H:%M:%S}Z {record.levelname:<7} {text}"


class _JsonFormatter(logging.Formatter):
    """One JSON object per line, with the record's `gameball_` attributes."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name.startswith("gameball_")}
        line = {"at": _when(record).isoformat(), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({**line, **fields}, ensure_ascii=False, default=str)


def _when(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


@contextmanager
def logging_to_stderr(*, as_json: bool, verbose: bool) -> Generator[None]:
    """Log this library's lines on standard error within the block."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if as_json else _LineFormatter())
    logger = logging.getLogger("gameball_async")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each statement that the end of a relay cancels
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
        logger.setLevel(logging.NOTSET)
