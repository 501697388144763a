"""A process that starts and closes clients again and again keeps nothing of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

from .support import SOAK, Process

CYCLES = 10_000 if SOAK else 200


@pytest.mark.long
@pytest.mark.timeout(1200 if SOAK else 600)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"] if SOAK else ["asyncio"])
def test_start_and_close_leak_no_memory_task_thread_or_descriptor(
    loop: str, sandbox: Sandbox, book: Path, request: pytest.FixtureRequest
) -> None:
    """A single object that stayed behind in each cycle would be a block of memory for each."""
    process = Process("-m", "lives.apps.cycles", CYCLES, sandbox=sandbox, book=book, LOOP=loop)
    assert process.end(timeout=1200) == 0
    printed = json.loads(process.output)
    before, after = printed["before"], printed["after"]
    request.node.user_properties += [("cycles", CYCLES), ("blocks", after["blocks"] - before["blocks"])]
    assert after["blocks"] - before["blocks"] < CYCLES / 2
    for what in ("tasks", "threads", "files"):
        assert after[what] == before[what], printed
