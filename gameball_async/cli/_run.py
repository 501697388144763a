"""One run of `send` or `replay`: read rows, send their events, show progress, and end in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Generic, TypeVar

import attrs

from .. import AsyncGameball, Stats
from .._log import counted
from ..errors import BufferFull, ClientHalted, InvalidEvent
from ._files import ReadFailure
from ._lines import Draft, InputRow
from ._outcomes import RunTracker
from ._progress import Eta, Progress, Rate, StallDetector, WarningsHandler, display_for
from ._terminal import Interrupts, duration, print_wrapped

T = TypeVar("T")

_AHEAD = 64  # items read ahead; a row may have a megabyte
_TICK = 0.2  # seconds between two looks at the counters
_SAVE_EVERY = 1.0  # seconds between two saves; after kill -9, the events of one interval may be sent twice
_MOST_BYTES_UNDER_WAY = 64 * 1024 * 1024  # of unsettled rows, which are kept for the rejects
_CLOSE_TIMEOUT = 2.0  # seconds for closing connections when nothing is left to send


class _End:
    """Marks the end of the iterator, with the error that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ThreadedReader(Generic[T]):
    """Iterate asynchronously over a blocking iterator, such as the lines of a terminal or a pipe.

    The thread is a daemon: blocked in a read that never returns, it does not prevent the exit of the process.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._capacity = threading.Semaphore(_AHEAD)
        self._stopped = False
        threading.Thread(target=self._read, name="gameball-async-reader", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield the items; an error of the iterator is raised here."""
        while not isinstance(item := await self._queue.get(), _End):
            self._capacity.release()
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        self._stopped = True
        self._capacity.release()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._capacity.acquire()
                if self._stopped:
                    return
                self._put(item)
        except BaseException as problem:  # noqa: BLE001 raised to the consumer
            error = problem
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()  # also closes the file that a generator reads
        self._put(_End(error))

    def _put(self, item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


class StopReason(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"
    """Everything was read and sent."""
    INTERRUPTED = "interrupted"
    """Ctrl-C or another signal: nothing new was sent, and the requests in flight had time to complete."""
    HALTED = "halted"
    """Gameball refuses this client."""
    NO_ROOM = "no room"
    """The rejects file or the progress file could not be written."""


_Stop = tuple[StopReason, str]
"""Why a run ended, and details for the user."""


@attrs.frozen
class RunResult:
    """How a run ended."""

    how: StopReason
    reason: str
    failures: Sequence[ReadFailure]
    stats: Stats
    seconds: float
    left: int

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, and every row has its outcome."""
        return self.how is StopReason.FINISHED and not self.failures and not self.left

    @property
    def is_interrupted(self) -> bool:
        return self.how is StopReason.INTERRUPTED

    def print_stop(self, *, remedy: str, resume: str = "") -> None:
        """Print why the run ended early, with what helps if a file could not be written or a signal came."""
        if self.is_interrupted:
            print_wrapped(f"Interrupted.{resume}")
        elif self.how is StopReason.FINISHED:
            if self.left:
                print_wrapped(f"{counted(self.left, 'event', 'have')} no outcome.{resume}")
        else:
            print_wrapped(f"Stopped: {self.reason}{remedy if self.how is StopReason.NO_ROOM else ''}")


class Run:
    """Send rows through a client until everything is settled, a signal arrives or sending is impossible.

    Args:
        gameball: the client; the run starts and closes it.
        rows: the rows, read in a separate thread.
        tracker: records their outcomes.
        title: what is sent, for the display.
        windows: (requests, seconds) of the rate limit; none if the rate of the run shows it better.
        refusal: returns why a row with a valid event cannot be sent in this run, or None.
        drain: seconds for the requests in flight after a signal.
        reword: changes the client's messages to those of a command.
        expected: estimates the number of rows to send; returns None while unknown.
        save: saves the progress every second and at the end. It is called in the event loop: an fsync per second
            delays requests by milliseconds, and a thread could save an older state after a newer one.
    """

    def __init__(  # noqa: PLR0913 what one run is made of
        self,
        gameball: AsyncGameball,
        rows: Iterator[InputRow | ReadFailure],
        tracker: RunTracker,
        *,
        title: str,
        windows: Sequence[tuple[int, float]],
        refusal: Callable[[Draft], str | None] = lambda _: None,
        drain: float = 10.0,
        reword: Callable[[str], str] = str,
        expected: Callable[[], float | None] = lambda: None,
        save: Callable[[], None] = lambda: None,
    ) -> None:
        self._gameball = gameball
        self._rows = rows
        self._tracker = tracker
        self._display = display_for(title)
        self._windows = windows
        self._refusal = refusal
        self._drain_timeout = drain
        self._reword = reword
        self._expected = expected
        self._save = save
        self._failures: list[ReadFailure] = []
        self._invalid_before, self._rejected_before = tracker.counts.invalid, tracker.counts.rejected
        self._has_read_all = False
        self._stall_detector = StallDetector()
        self._rate = Rate()
        self._is_bulk = False

    async def run(self, *greeting: str, on_end: Callable[[RunResult], None] = lambda _: None) -> RunResult:
        """Send everything, or as much as possible."""
        with Interrupts() as interrupts, self._display, WarningsHandler(self._display, self._reword):
            for line in greeting:
                self._display.say(line)
            async with self._gameball:
                self._capacity = asyncio.Event()
                self._started = time.monotonic()
                how, reason = await self._send(interrupts)
            result = RunResult(how, reason, self._failures, self._gameball.stats(), self._seconds, self._tracker.left)
            on_end(result)
            return result

    async def _send(self, interrupts: Interrupts) -> _Stop:
        reader = ThreadedReader(self._rows)
        interrupted = asyncio.create_task(interrupts.first.wait())
        monitor = asyncio.create_task(self._monitor())
        work = asyncio.create_task(self._work(reader))
        try:
            await asyncio.wait({work, monitor, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            reader.stop()
            stop = await self._stop_reason(work, monitor)
            if stop[0] is StopReason.INTERRUPTED:
                self._gameball.stop_sending()
                await _cancel(work)
                await self._finish_in_flight(interrupts)
            elif stop[0] is StopReason.NO_ROOM:
                await self._drain(stop[1], interrupts)
        finally:
            await _cancel(interrupted, work, monitor)
            await self._gameball.aclose(timeout=0 if self._gameball.stats().pending else _CLOSE_TIMEOUT)
        return await self._last_sweep(stop)

    async def _work(self, reader: ThreadedReader[InputRow | ReadFailure]) -> None:
        async for row in reader:
            if isinstance(row, ReadFailure):
                self._failures.append(row)
            elif isinstance(row.content, Draft):
                if (reason := self._refusal(row.content)) is None:
                    await self._track(row, row.content)
                else:
                    self._tracker.reject(row, reason)
            else:
                self._tracker.reject(row, row.content)
        self._has_read_all = True
        await self._gameball.flush()

    async def _track(self, row: InputRow, draft: Draft) -> None:
        while self._tracker.under_way_bytes > _MOST_BYTES_UNDER_WAY:
            self._capacity.clear()
            await self._capacity.wait()
        while True:
            try:
                receipt = await self._gameball.track(
                    draft.player, draft.name, draft.metadata, mobile=draft.mobile, email=draft.email
                )
            except InvalidEvent as error:
                return self._tracker.reject(row, str(error))
            except BufferFull:
                continue  # its time limit is for services; a file can wait
            return self._tracker.submitted(row, receipt)

    async def _monitor(self) -> _Stop:
        """Show progress, settle rows and save the progress until the client is halted."""
        saved = time.monotonic()
        while not (halted := self._gameball.stats().halted):
            now = time.monotonic()
            self._display.show(self._progress(now), now)
            if now - saved >= _SAVE_EVERY:
                saved = now
                await self._settle()
            await asyncio.sleep(_TICK)
        return StopReason.HALTED, self._reword(halted)

    async def _settle(self) -> None:
        await self._tracker.sweep()
        self._capacity.set()
        self._save()

    async def _stop_reason(self, work: asyncio.Task[None], monitor: asyncio.Task[_Stop]) -> _Stop:
        try:
            if work.done():
                await work
                return StopReason.FINISHED, ""
            if monitor.done():
                return await monitor
        except ClientHalted as error:
            return StopReason.HALTED, self._reword(str(error))
        except OSError as error:
            return StopReason.NO_ROOM, _cannot_write(error)
        return StopReason.INTERRUPTED, ""

    async def _finish_in_flight(self, interrupts: Interrupts) -> None:
        """Wait for the requests in flight until the timeout or the second signal."""
        stats = self._gameball.stats()
        if not stats.pending:
            return
        message = f"Stopping: {counted(stats.pending, 'event', 'have')} no outcome yet. Nothing new is sent"
        under_way = [f"{counted(stats.in_flight, 'request')} in flight"] if stats.in_flight else []
        under_way += [counted(stats.jobs, "job")] if stats.jobs else []
        if under_way:
            message += (
                f"; {' and '.join(under_way)} may end within {duration(self._drain_timeout)}. "
                "Ctrl-C again stops at once"
            )
        self._display.say(message + ".")
        close = asyncio.create_task(self._gameball.aclose(timeout=self._drain_timeout))
        again = asyncio.create_task(interrupts.second.wait())
        await asyncio.wait({close, again}, return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            await self._gameball.aclose(timeout=0)  # of two closes the earlier deadline counts
        await close
        await _cancel(again)

    async def _drain(self, reason: str, interrupts: Interrupts) -> None:
        """Deliver the client's pending events until the timeout or the first signal."""
        if not (pending := self._gameball.stats().pending):
            return
        self._display.say(
            f"{reason} Stopping: {counted(pending, 'event', 'have')} no outcome yet, and may be delivered within "
            f"{duration(self._drain_timeout)}; Ctrl-C stops at once."
        )
        # not aclose(), which would give up the events that were not sent in time
        drain = asyncio.create_task(self._gameball.flush(timeout=self._drain_timeout))
        stop = asyncio.create_task(interrupts.first.wait())
        await asyncio.wait({drain, stop}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(drain, stop)

    async def _last_sweep(self, stop: _Stop) -> _Stop:
        self._seconds = time.monotonic() - self._started
        try:
            await self._settle()
        except OSError as error:
            stop = StopReason.NO_ROOM, _cannot_write(error)
        if stop[0] is StopReason.INTERRUPTED and self._has_read_all and not self._tracker.left:
            stop = StopReason.FINISHED, ""  # the signal came too late to stop anything
        now = time.monotonic()
        self._display.show(self._progress(now), now)
        return stop

    def _progress(self, now: float) -> Progress:
        stats, counts = self._gameball.stats(), self._tracker.counts
        rejected, invalid = counts.rejected - self._rejected_before, counts.invalid - self._invalid_before
        if stats.bulk is not self._is_bulk:  # another speed from now on
            self._is_bulk, self._rate = stats.bulk, Rate()
        self._rate.note(now, stats.delivered)
        total = invalid + stats.accepted if self._has_read_all else self._expected()
        left = None if total is None else max(0.0, total - rejected - stats.delivered)
        successes = stats.requests - stats.retries - stats.in_flight - stats.jobs
        eta = Eta(
            events_left=left or 0.0,
            events_per_request=stats.delivered / successes if successes > 0 else 1.0,
            requests=stats.requests,
            elapsed=now - self._started,
            rate=self._rate.per_second(),
        )
        return Progress(
            delivered=stats.delivered,
            rejected=rejected,
            requests=stats.requests,
            retries=stats.retries,
            jobs=stats.jobs,
            rate=eta.rate,
            share=1 - left / total if total and left is not None else None,
            remaining=None if left is None or not self._is_predictable(stats) else eta.remaining(self._windows),
            status=self._stall_detector.note(now, stats),
        )

    def _is_predictable(self, stats: Stats) -> bool:
        """Whether the rate will probably stay; not while `auto` tries whether bulk requests work."""
        return bool(self._windows) or (self._rate.is_known and (stats.bulk or not stats.jobs))


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, wait for their end, and retrieve their errors, which asyncio would log otherwise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cannot_write(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be written: {error.strerror or error}."
