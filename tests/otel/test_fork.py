"""A forked child tells what it counts itself, and nothing of its parent's."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

from gameball_async.sandbox import Sandbox

PROGRAM = dedent(
    """
    import asyncio, os, sys
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from gameball_async import AsyncGameball
    from gameball_async.integrations.otel import OpenTelemetry

    reader = InMemoryMetricReader()
    observer = OpenTelemetry(meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    gameball = AsyncGameball("key", base_url=sys.argv[1], observer=observer)

    def delivered():
        data = reader.get_metrics_data()
        return [
            point.value
            for resource in (data.resource_metrics if data else ())
            for metric in resource.scope_metrics[0].metrics
            if metric.name == "gameball.client.delivered.events"
            for point in metric.data.data_points
        ]

    async def child():
        assert delivered() == [], delivered()
        async with gameball:
            await gameball.send("child", {"event": None})
            await gameball.send("child", {"event": None})
        assert delivered() == [2], delivered()

    async def parent():
        async with gameball:
            await gameball.send("parent", {"event": None})
            assert delivered() == [1], delivered()
            pid = os.fork()
            if not pid:
                try:
                    asyncio.run(child())
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
        assert delivered() == [1], delivered()

    asyncio.run(parent())
    """
)


def test_a_forked_child_tells_its_own_counts_and_none_of_its_parents() -> None:
    with Sandbox(limits=None) as sandbox:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, sandbox.url],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
