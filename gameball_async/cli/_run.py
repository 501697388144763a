"""A blocking iterator read in a thread of its own, for an event loop to take from; knows nothing of what it carries."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from ..errors import BufferFull, ClientHalted, InvalidEvent
from ._files import ReadFailure
from ._lines import Draft
from ._progress import Eta, Progress, Rate, StallDetector
from ._terminal import counted, duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from .. import AsyncGameball, Stats
    from ._lines import InputRow
    from ._progress import Display
    from ._terminal import Interrupts
    from ._tracker import RunTracker


T = TypeVar("T")

_AHEAD = 64  # items read ahead; a row may have a megabyte


class _End:
    """What follows the last item: the error that ended the iterator, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ThreadedReader(Generic[T]):
    """Iterate asynchronously over a blocking iterator, such as the lines of a terminal or a pipe.

    The thread is a daemon: blocked in a read that never returns, it does not keep the process.

    Args:
        items: the iterator; from now on it belongs to the thread.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopped = False
        threading.Thread(target=self._work, name="gameball-async-reader", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Take the items one by one.

        Raises:
            Exception: what the iterator raised.
        """
        while not isinstance(item := await self._queue.get(), _End):
            self._room.release()
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """Read no further."""
        self._stopped = True
        self._room.release()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._room.acquire()
                if self._stopped:
                    return
                self._hand_over(item)
        except BaseException as problem:  # noqa: BLE001 raised where the items are taken
            error = problem
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()  # and with it the file that a generator reads
        self._hand_over(_End(error))

    def _hand_over(self, item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop has gone
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)


_TICK = 0.2  # seconds between two looks at the counters
_NOTE_EVERY = 1.0  # seconds between two notes: so much may be sent twice after kill -9
_MOST_BYTES_UNDER_WAY = 64 * 1024 * 1024  # of rows as they stand in the file, kept for the rejects
_LAST_WORDS = 2.0  # seconds for closing connections once nothing more is to be sent


class StopReason(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    """Everything was read, and every row has its outcome."""
    INTERRUPTED = "interrupted"
    """Ctrl-C or another signal: nothing new was sent, and the requests in flight had their time."""
    HALTED = "halted"
    """Gameball refuses this client."""
    NO_ROOM = "no room"
    """The rejects file or the progress file could not be written."""


@attrs.frozen
class RunResult:
    """How a run ended, and why.

    Attributes:
        how: in a word.
        reason: what the user should know about it; empty if it is clear.
    """

    how: StopReason
    reason: str = ""

    def is_complete(self, sending: Run) -> bool:
        """Whether nothing is left to do: everything was read, and every row has its outcome."""
        return self.how is StopReason.FINISHED and not sending.troubles


@attrs.frozen(kw_only=True)
class RunInput:
    """What one run is made of.

    Attributes:
        rows: the rows, read in a thread of their own.
        tracker: takes in what becomes of them.
        display: shows it.
        expected: estimates how many rows there are to send; None while nobody can know.
        windows: (requests, seconds) of the pacing.
        drain: seconds that the requests in flight have after a Ctrl-C.
        note: writes the progress file, if there is one. Called in the loop: an fsync a second delays
            requests by milliseconds, and a thread could note an older state after a newer one.
    """

    rows: Iterator[InputRow | ReadFailure]
    tracker: RunTracker
    display: Display
    expected: Callable[[], float | None]
    windows: Sequence[tuple[int, float]]
    drain: float = 10.0
    note: Callable[[], None] | None = None


class Run:
    """Runs one job to its end.

    Args:
        gameball: the client, running; this run closes it.
        job: what to do.

    Attributes:
        troubles: the files that could not be read to their end.
        seconds: how long it took.
    """

    def __init__(self, gameball: AsyncGameball, job: RunInput) -> None:
        self.troubles: list[ReadFailure] = []
        self.seconds = 0.0
        self._gameball = gameball
        self._job = job
        self._invalid_before, self._rejected_before = job.tracker.counts.invalid, job.tracker.counts.rejected
        self._has_read_all = False
        self._room = asyncio.Event()
        self._stall_detector = StallDetector()
        self._rate = Rate()
        self._started = time.monotonic()

    @property
    def stats(self) -> Stats:
        """The client's counters."""
        return self._gameball.stats()

    async def run(self, interrupts: Interrupts) -> RunResult:
        """Send everything, or as much as can be; the client is closed afterwards.

        Args:
            interrupts: the user's wishes to stop.
        """
        feed = ThreadedReader(self._job.rows)
        stop = asyncio.create_task(interrupts.first.wait())
        watch = asyncio.create_task(self._watch())
        work = asyncio.create_task(self._work(feed))
        try:
            await asyncio.wait({work, watch, stop}, return_when=asyncio.FIRST_COMPLETED)
            feed.stop()
            ending = await self._first_ending(work, watch)
            if ending.how is StopReason.INTERRUPTED:
                self._gameball.stop_sending()
                await _end(work)
                await self._finish_in_flight(interrupts)
            elif ending.how is StopReason.NO_ROOM:
                await self._drain(ending, interrupts)
        finally:
            await _end(stop, work, watch)
            await self._gameball.aclose(timeout=0 if self.stats.pending else _LAST_WORDS)
        return await self._last_sweep(ending)

    async def _work(self, feed: ThreadedReader[InputRow | ReadFailure]) -> None:
        async for row in feed:
            if isinstance(row, ReadFailure):
                self.troubles.append(row)
            elif isinstance(row.content, Draft):
                await self._track(row, row.content)
            else:
                self._job.tracker.reject(row, row.content)
        self._has_read_all = True
        await self._gameball.flush()

    async def _track(self, row: InputRow, draft: Draft) -> None:
        while self._job.tracker.under_way_bytes > _MOST_BYTES_UNDER_WAY:
            self._room.clear()
            await self._room.wait()
        while True:
            try:
                receipt = await self._gameball.track(
                    draft.player, draft.name, draft.metadata, mobile=draft.mobile, email=draft.email
                )
            except InvalidEvent as error:
                return self._job.tracker.reject(row, str(error))
            except BufferFull:
                continue  # its own time limit is for services; a file can wait
            return self._job.tracker.hand_over(row, receipt)

    async def _watch(self) -> RunResult:
        """Show, sweep and note until something ends the run."""
        noted = time.monotonic()
        while not (halted := self.stats.halted):
            now = time.monotonic()
            self._job.display.show(self._progress(now), now)
            if now - noted >= _NOTE_EVERY:
                noted = now
                await self._settle()
            await asyncio.sleep(_TICK)
        return RunResult(StopReason.HALTED, halted)

    async def _settle(self) -> None:
        await self._job.tracker.sweep()
        self._room.set()
        if self._job.note is not None:
            self._job.note()

    async def _first_ending(self, work: asyncio.Task[None], watch: asyncio.Task[RunResult]) -> RunResult:
        """Say why the run is over: its work is done, it cannot go on, or the user wishes so."""
        try:
            if work.done():
                await work
                return RunResult(StopReason.FINISHED)
            if watch.done():
                return await watch
        except ClientHalted as error:
            return RunResult(StopReason.HALTED, str(error))
        except OSError as error:
            return RunResult(StopReason.NO_ROOM, _no_room(error))
        return RunResult(StopReason.INTERRUPTED)

    async def _finish_in_flight(self, interrupts: Interrupts) -> None:
        """Give the requests in flight their time; a Ctrl-C more ends it."""
        pending, in_flight = self.stats.pending, self.stats.in_flight
        if not pending:
            return
        words = f"Stopping: {counted(pending, 'event')} under way. Nothing new is sent"
        if in_flight:
            words += (
                f"; {counted(in_flight, 'request')} in flight may end within {duration(self._job.drain)}. "
                "Ctrl-C again stops at once"
            )
        self._job.display.say(words + ".")
        close = asyncio.create_task(self._gameball.aclose(timeout=self._job.drain))
        again = asyncio.create_task(interrupts.second.wait())
        await asyncio.wait({close, again}, return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            await self._gameball.aclose(timeout=0)  # of two closes the earlier deadline counts
        await close
        await _end(again)

    async def _drain(self, ending: RunResult, interrupts: Interrupts) -> None:
        """Deliver what the client holds, in the time that requests in flight have; a Ctrl-C ends it."""
        if not (pending := self.stats.pending):
            return
        self._job.display.say(
            f"{ending.reason} Stopping: {counted(pending, 'event')} under way, for up to "
            f"{duration(self._job.drain)}; Ctrl-C stops at once."
        )
        # not aclose(), which would give up what has not been sent in time
        drain = asyncio.create_task(self._gameball.flush(timeout=self._job.drain))
        stop = asyncio.create_task(interrupts.first.wait())
        await asyncio.wait({drain, stop}, return_when=asyncio.FIRST_COMPLETED)
        await _end(drain, stop)

    async def _last_sweep(self, ending: RunResult) -> RunResult:
        self.seconds = time.monotonic() - self._started
        try:
            await self._settle()
        except OSError as error:
            ending = RunResult(StopReason.NO_ROOM, _no_room(error))
        if ending.how is StopReason.INTERRUPTED and self._has_read_all and not self._job.tracker.left.rows:
            ending = RunResult(StopReason.FINISHED)  # it came too late to stop anything
        now = time.monotonic()
        self._job.display.show(self._progress(now), now)
        return ending

    def _progress(self, now: float) -> Progress:
        stats, counts = self.stats, self._job.tracker.counts
        rejected, invalid = counts.rejected - self._rejected_before, counts.invalid - self._invalid_before
        self._rate.note(now, stats.delivered)
        total = invalid + stats.accepted if self._has_read_all else self._job.expected()
        left = None if total is None else max(0.0, total - rejected - stats.delivered)
        return Progress(
            delivered=stats.delivered,
            rejected=rejected,
            requests=stats.requests,
            retries=stats.retries,
            rate=self._rate.per_second(),
            share=1 - left / total if total and left is not None else None,
            remaining=None if left is None else self._remaining(stats, left, now),
            stall_detector=self._stall_detector.note(now, stats),
        )

    def _remaining(self, stats: Stats, left: float, now: float) -> float:
        successes = stats.requests - stats.retries - stats.in_flight
        course = Eta(
            events_left=left,
            events_per_request=stats.delivered / successes if successes > 0 else 1.0,
            requests=stats.requests,
            elapsed=now - self._started,
            rate=self._rate.per_second(),
        )
        return course.remaining(self._job.windows)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks, wait until they have ended, and look at their errors, which asyncio would log otherwise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _no_room(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be written: {error.strerror or error}."
