"""A forked child sends nothing of its parent's; the parent sends it all, and the child may begin anew."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

from gameball_async.sandbox import Sandbox

PROGRAM = dedent(
    """
    import asyncio, os, sys, warnings
    from gameball_async import AsyncGameball, Batching

    gameball = AsyncGameball("key", base_url=sys.argv[1], batching=Batching(linger=0.2))
    gameball.track_nowait("player123", "before_the_start")

    async def child():
        assert gameball.stats().accepted == 0, gameball.stats()
        async with gameball:
            await gameball.track("child", "own", {"pid": os.getpid()})
        assert gameball.stats().delivered == 1

    async def parent():
        async with gameball:
            await gameball.send("player123", {"in_flight_connection": None})
            for number in range(20):
                await gameball.track("player123", "event", {"number": number})
            pid = os.fork()
            if not pid:
                try:
                    asyncio.run(child())
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            await gameball.flush()
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
        assert gameball.stats().delivered == 22, gameball.stats()

    asyncio.run(parent())
    """
)


def test_a_child_forked_with_a_full_buffer_sends_none_of_it() -> None:
    with Sandbox(limits=None) as sandbox:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, sandbox.url],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        held = sandbox.holdings()
    assert [event.name for event in held["player123"]] == ["before_the_start", "in_flight_connection"] + 20 * ["event"]
    assert [event.metadata.get("number") for event in held["player123"]][2:] == list(range(20))
    assert [event.name for event in held["child"]] == ["own"]
    assert sandbox.violations == []
