"""What user code may raise without harm: all but the interruption of the task that runs it."""

from __future__ import annotations

import asyncio
import math
from typing import cast

import anyio
import sniffio


def running_task() -> object:
    """The running task, of asyncio or trio; None outside of any."""
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return None
    if library == "trio":
        import trio  # noqa: PLC0415 only who runs trio has it

        return trio.lowlevel.current_task()
    return asyncio.current_task()


def interruption(error: BaseException, task: object) -> BaseException | None:
    """The part of an error of awaited user code that must pass through: Ctrl-C, or the task's own end; None if none.

    Code that is not awaited cannot be cancelled: of what it raises only `KeyboardInterrupt` must pass.

    Args:
        error: what the user code raised.
        task: the `running_task` from before it was awaited.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(lambda part: not isinstance(part, BaseExceptionGroup) and _must_pass(part, task))
    return error if _must_pass(error, task) else None


def _must_pass(error: BaseException, task: object) -> bool:
    if isinstance(error, (Exception, KeyboardInterrupt)):
        return isinstance(error, KeyboardInterrupt)
    if isinstance(error, GeneratorExit):
        return running_task() is not task  # the coroutine is being closed, from outside of its task
    return running_task() is task and isinstance(error, anyio.get_cancelled_exc_class()) and is_cancelled()


def is_cancelled() -> bool:
    """Whether the running task is being cancelled, by its loop or by a scope around it."""
    task = running_task()
    if isinstance(task, asyncio.Task):
        return task.cancelling() > 0
    return anyio.current_effective_deadline() == -math.inf
