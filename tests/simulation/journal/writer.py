"""The journal's writer in virtual time: a task in the place of the thread, whose commits take as long as the seed says.

It keeps the contract of `JournalWriter` to the letter: order, group commits, one notification for each, lazy
acknowledgements, refusals while the disk fails. Nothing that it did before a crash is lost, and nothing after counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from gameball_async import JournalError
from gameball_async._journal import Append, DeadLetterEntry, Loaded, SegmentInfo

from .folder import File, Folder, Sealed

ACK_LAG = 0.1
RETRY_AFTER = 1.0

Done = Callable[..., object]


@attrs.frozen(kw_only=True)
class DiskPlan:
    """How the disk behaves during one life.

    Attributes:
        commit: seconds of a commit, at least and at most.
        hiccup: the share of commits that take seconds.
        fails: the share of commits that fail.
        fails_for: seconds that the disk goes on failing then, at most.
        reaches: the share of failed commits that did reach the disk.
        row_bytes: bytes that an event takes in the file, so that some files are full soon.
        refuses: whether the folder cannot be opened.
    """

    commit: tuple[float, float] = (0.0, 0.01)
    hiccup: float = 0.0
    fails: float = 0.0
    fails_for: float = 3.0
    reaches: float = 0.5
    row_bytes: int = 200
    refuses: bool = False


@attrs.frozen
class Operation:
    """What is asked of one file."""

    kind: str
    segment: int | None
    details: tuple[Any, ...]
    done: Done | None = None


@attrs.define(eq=False)
class _Origin:
    file: File
    number: int
    failure: JournalError | None = None
    retry_at: float = math.inf
    fails_until: float = 0.0
    waiting: list[Operation] = attrs.Factory(list[Operation])
    doubtful: list[int] = attrs.Factory(list[int])


@attrs.define(eq=False)
class _Transaction:
    """What one commit brings to one file."""

    segment: _Origin
    operations: list[Operation]
    result: File
    letters: list[DeadLetterEntry] = attrs.Factory(list[DeadLetterEntry])
    completed: list[tuple[Done, tuple[Any, ...]]] = attrs.Factory(list[tuple[Done, tuple[Any, ...]]])


class SimulatedWriter:
    """Stands in for `JournalWriter` during one life.

    Args:
        folder: what is durable.
        plan: how the disk behaves.
        life: the number of the life, the owner of its files.
        seed: decides what chance decides.
        now: the virtual time.
        note: takes what happens.

    Attributes:
        failures: when the disk failed or refused something, in order.
        files: the files by their origin.
        used_bytes: bytes of the own file.
        failure: why nothing can be stored at present.
        is_calm: whether the disk does not fail any more.
        on_commit: called at the beginning and the end of each commit.
    """

    def __init__(
        self, folder: Folder, plan: DiskPlan, life: int, seed: int, now: Callable[[], float], note: Callable[..., None]
    ) -> None:
        self.failures: list[float] = []
        self.files: dict[int, File] = {}
        self.used_bytes = 0
        self.failure: JournalError | None = _closed()
        self.is_calm = False
        self.on_commit: Callable[[], None] = lambda: None
        self._folder = folder
        self._plan = plan
        self._life = life
        self._random = Random(seed + 5)
        self._now = now
        self._note = note
        self._origins: dict[int, _Origin] = {}
        self._own = -1
        self._queue: deque[Operation] = deque()
        self._is_urgent = False
        self._wake = anyio.Event()
        self._completed: deque[tuple[Done, tuple[Any, ...]]] = deque()
        self._notify: Callable[[], object] = lambda: None
        self._is_notified = False
        self._is_open = False
        self._is_dead = False
        self._is_committing = False
        self._committing: list[_Transaction] = []

    # ---------------------------------------------------------------- what the client calls

    def open(self, notify: Callable[[], object], done: Callable[[list[SegmentInfo] | JournalError], None]) -> None:
        self.rebind(notify)
        self._is_open = True
        self._add(Operation("open", None, (), done), is_urgent=True)

    def rebind(self, notify: Callable[[], object]) -> None:
        self._notify, self._is_notified = notify, False
        if self._completed:
            self._ring()

    def append(self, append: Append) -> None:
        if self._is_open:
            self._add(Operation("append", None, tuple(append.rows), append.complete), is_urgent=True)
        else:
            self._answer([(append.complete, (self.failure or _closed(),))])

    def seal(
        self, segment: int, members: Sequence[int], mobile: str | None, email: str | None, done: Callable[[], None]
    ) -> None:
        if self._is_open:
            batch = Sealed(tuple(members), mobile, email)
            self._add(Operation("seal", segment, (batch,), done), is_urgent=True)

    def unseal(self, segment: int, first: int) -> None:
        self._leave(Operation("unseal", segment, (first,)))

    def ack(self, segment: int, members: Sequence[int]) -> None:
        self._leave(Operation("forget", segment, (tuple(members),)))

    def dead_letter(self, segment: int, letters: Sequence[DeadLetterEntry]) -> None:
        self._leave(Operation("dead_letter", segment, (tuple(letters),)))

    def read(
        self,
        segment: int,
        after: int,
        most_events: int,
        most_bytes: int,
        done: Callable[[Loaded | JournalError], None],
    ) -> None:
        if self._is_open:
            self._add(Operation("read", segment, (after, most_events, most_bytes), done), is_urgent=True)
        else:
            self._answer([(done, (self.failure or _closed(),))])

    def discard(self, segment: int) -> None:
        self._leave(Operation("discard", segment, ()))

    def close(self, done: Callable[[], None]) -> None:
        if self._is_dead:
            done()
        elif self._is_open:
            self._is_open = False
            self._add(Operation("close", None, (), done), is_urgent=True)
        else:
            self._answer([(done, ())])

    def dispatch(self) -> None:
        self._is_notified = False
        for _ in range(len(self._completed)):
            if self._completed:  # else the process has ended in the midst of this
                done, arguments = self._completed.popleft()
                done(*arguments)
        if self._completed:
            self._ring()

    # ---------------------------------------------------------------- what the oracle asks

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is queued, under way, failing or to be told."""
        is_failing = any(segment.failure is not None for segment in self._origins.values())
        return not (self._queue or self._is_committing or self._completed or is_failing)

    @property
    def own(self) -> File:
        """The file that events are appended to."""
        return self.files[self._own]

    def failed_since(self, when: float) -> bool:
        """Whether something was refused since then, or is being refused."""
        return self.failure is not None or (bool(self.failures) and self.failures[-1] >= when - 1e-6)

    def leave(self) -> None:
        """Note that the client closed: if the disk was too slow for it, what it was told at last may be lost."""
        for segment in self._origins.values():
            segment.file.was_forced = True

    def crash(self) -> None:
        """End here: what was durable stays, what was being committed is durable or not."""
        self._is_dead, self._is_open = True, False
        for transaction in self._committing:
            if self._random.random() < 0.7:
                keys = self._folder.dead_letter(transaction.segment.file, transaction.letters)
                if self._random.random() < 0.7:
                    transaction.segment.file.become(transaction.result)
                    self._note("survived", transaction.segment.number, _kinds(transaction.operations))
                else:
                    self._folder.doubtful.update(keys)
        for segment in self._origins.values():
            segment.file.was_forced = True
            if segment.file in self._folder.files:
                segment.file.owner = None
        self._queue.clear()
        self._completed.clear()

    # ---------------------------------------------------------------- both ways

    def _leave(self, operation: Operation) -> None:
        if self._is_open:
            self._add(operation, is_urgent=False)

    def _add(self, operation: Operation, *, is_urgent: bool) -> None:
        if self._is_dead:
            return
        self._queue.append(operation)
        self._is_urgent |= is_urgent
        self._wake.set()

    def _answer(self, completed: list[tuple[Done, tuple[Any, ...]]]) -> None:
        self._completed.extend(completed)
        if self._completed:
            self._ring()

    def _ring(self) -> None:
        if not self._is_notified:
            self._is_notified = True
            self._notify()

    # ---------------------------------------------------------------- the thread's part

    async def run(self) -> None:
        """Commit what gathers, until the close."""
        is_open = True
        while is_open:
            operations = await self._gather()
            self._is_committing = True
            before = self.failure, self.used_bytes
            completed, is_open = await self._turn(operations)
            self._is_committing = False
            self._answer(completed)
            if (self.failure, self.used_bytes) != before:
                self._ring()
            for _ in range(3):  # trio's way to be called from a thread is a socket: let it be seen before time moves
                await anyio.lowlevel.checkpoint()

    async def _gather(self) -> list[Operation]:
        retry_at = min((segment.retry_at for segment in self._origins.values()), default=math.inf)
        with anyio.move_on_after(retry_at - self._now()):
            while not self._queue:
                self._wake = anyio.Event()
                await self._wake.wait()
        with anyio.move_on_after(ACK_LAG):
            while self._queue and not self._is_urgent:
                self._wake = anyio.Event()
                await self._wake.wait()
        self._is_urgent = False
        taken = list(self._queue)
        self._queue.clear()
        return taken

    async def _turn(self, operations: list[Operation]) -> tuple[list[tuple[Done, tuple[Any, ...]]], bool]:
        completed: list[tuple[Done, tuple[Any, ...]]] = []
        group: list[Operation] = []
        for operation in operations:
            if operation.kind not in ("open", "discard", "close"):
                group.append(operation)
                continue
            completed += await self._commit(group)
            group = []
            completed += await self._control(operation)
            if not self._origins:
                return completed, False
        completed += await self._commit(group)
        completed += await self._retry(self._now())
        self._look_at_own()
        return completed, True

    async def _control(self, operation: Operation) -> list[tuple[Done, tuple[Any, ...]]]:
        match operation.kind:
            case "open":
                assert operation.done is not None
                return [(operation.done, (await self._take_files(),))]
            case "discard":
                assert operation.segment is not None
                self._discard(operation.segment)
                return []
            case _:
                assert operation.done is not None
                return [*await self._let_go(), (operation.done, ())]

    async def _take_files(self) -> list[SegmentInfo] | JournalError:
        await self._take_time()
        if self._plan.refuses:
            self._is_open = False
            self.failure = JournalError("the folder cannot be opened: simulated.")
            self.failures.append(self._now())
            return self.failure
        for number, file in enumerate([*self._folder.adopt(self._life), self._folder.make_file(self._life)]):
            self.files[number] = file
            self._origins[number] = _Origin(file, number)
            self._own = number
        self.failure = None
        return [
            SegmentInfo(number, len(file.rows), file.next_seq, file.batches()) for number, file in self.files.items()
        ]

    def _discard(self, number: int) -> None:
        if number != self._own and number in self._origins and not self._origins[number].file.rows:
            self._folder.let_go(self._origins.pop(number).file)

    async def _let_go(self) -> list[tuple[Done, tuple[Any, ...]]]:
        completed = await self._retry(math.inf)
        for segment in self._origins.values():
            segment.file.was_forced |= bool(segment.waiting or segment.doubtful)
            self._note("lost", segment.number, _kinds(segment.waiting)) if segment.waiting else None
            completed += [(op.done, (_closed(),)) for op in segment.waiting if op.kind == "read" and op.done]
            self._folder.let_go(segment.file)
        self._origins.clear()
        self.failure, self.used_bytes = _closed(), 0
        return completed

    def _look_at_own(self) -> None:
        own = self._origins.get(self._own)
        if own is not None:
            self.failure = own.failure
            if own.failure is None:
                self.used_bytes = len(own.file.rows) * self._plan.row_bytes

    # ---------------------------------------------------------------- commits

    async def _commit(self, group: list[Operation]) -> list[tuple[Done, tuple[Any, ...]]]:
        by_origin: dict[int, list[Operation]] = {}
        for operation in group:
            number = self._own if operation.segment is None else operation.segment
            if number in self._origins:
                by_origin.setdefault(number, []).append(operation)
        completed: list[tuple[Done, tuple[Any, ...]]] = []
        self._committing = []
        for number, operations in by_origin.items():
            segment = self._origins[number]
            if segment.failure is not None:
                completed += self._refuse(segment, operations)
            else:
                self._committing.append(_prepared(segment, operations))
        if self._committing:
            await self._take_time()
        for transaction in self._committing:
            completed += self._end(transaction)
        self._committing = []
        await self._step()
        return completed

    async def _step(self) -> None:
        """Let the oracle look; the process may end here."""
        self.on_commit()
        if self._is_dead:
            await anyio.sleep_forever()

    async def _take_time(self) -> None:
        await self._step()
        seconds = self._random.uniform(*self._plan.commit)
        if self._random.random() < self._plan.hiccup and not self.is_calm:
            seconds = self._random.uniform(0.1, 5.0)
        if seconds:
            await anyio.sleep(seconds)

    def _end(self, transaction: _Transaction) -> list[tuple[Done, tuple[Any, ...]]]:
        segment = transaction.segment
        if self._random.random() < self._plan.fails and not self.is_calm:
            segment.fails_until = self._now() + self._random.uniform(0, self._plan.fails_for)
            return self._fail(transaction)
        self._make_durable(transaction)
        return transaction.completed

    def _make_durable(self, transaction: _Transaction) -> None:
        segment = transaction.segment
        self._folder.dead_letter(segment.file, transaction.letters)
        segment.file.become(transaction.result)
        segment.file.ever.update(_appended(transaction.operations))
        self._note("commit", segment.number, _kinds(transaction.operations))

    def _fail(self, transaction: _Transaction) -> list[tuple[Done, tuple[Any, ...]]]:
        """The commit fails; what of it reached the disk nobody knows before the file is opened again."""
        segment = transaction.segment
        reached = self._random.random() < self._plan.reaches
        keys = self._folder.dead_letter(
            segment.file, transaction.letters
        )  # these are durable before the transaction ends
        if reached:
            segment.file.become(transaction.result)
        else:
            self._folder.doubtful.update(keys)
        segment.failure = JournalError(f"the disk failed at {self._now():.4f}: simulated.")
        segment.retry_at = self._now() + RETRY_AFTER
        segment.doubtful += _appended(transaction.operations)
        self._note("failed", segment.number, "reached" if reached else "nothing", _kinds(transaction.operations))
        self._look_at_own()
        return self._refuse(segment, transaction.operations)

    def _refuse(self, segment: _Origin, operations: list[Operation]) -> list[tuple[Done, tuple[Any, ...]]]:
        self.failures.append(self._now())
        segment.waiting += [operation for operation in operations if operation.kind != "append"]
        return [(op.done, (segment.failure,)) for op in operations if op.kind == "append" and op.done is not None]

    async def _retry(self, due_at: float) -> list[tuple[Done, tuple[Any, ...]]]:
        completed: list[tuple[Done, tuple[Any, ...]]] = []
        for segment in list(self._origins.values()):
            if segment.failure is None or segment.retry_at > due_at:
                continue
            await self._take_time()
            if self._now() < segment.fails_until and not self.is_calm:
                self.failures.append(self._now())
                segment.retry_at = self._now() + RETRY_AFTER
                continue
            segment.file.delete(segment.doubtful)
            segment.doubtful = []
            transaction = _prepared(segment, segment.waiting)
            segment.waiting, segment.failure, segment.retry_at = [], None, math.inf
            self._make_durable(transaction)
            self._note("recovered", segment.number)
            completed += transaction.completed
        return completed


def _prepared(segment: _Origin, operations: list[Operation]) -> _Transaction:
    """Work out what a commit brings, on a copy."""
    transaction = _Transaction(segment, operations, segment.file.copied())
    file = transaction.result
    for operation in operations:
        arguments: tuple[Any, ...] = ()
        match operation.kind:
            case "append":
                file.append(operation.details)
                arguments = (None,)
            case "seal":
                file.seal(*operation.details)
            case "unseal":
                file.unseal(*operation.details)
            case "forget":
                file.forget(*operation.details)
            case "dead_letter":
                transaction.letters += operation.details[0]
                file.forget([letter.seq for letter in operation.details[0]])
            case _:
                arguments = (file.read(*operation.details),)
        if operation.done is not None:
            transaction.completed.append((operation.done, arguments))
    return transaction


def _appended(operations: list[Operation]) -> list[int]:
    return [row.seq for operation in operations if operation.kind == "append" for row in operation.details]


def _kinds(operations: list[Operation]) -> str:
    return " ".join(operation.kind for operation in operations)


def _closed() -> JournalError:
    return JournalError("the journal is closed: start the client first.")
