"""Every benchmark, in the order of the report."""

from __future__ import annotations

from . import call, choices, drain, durable, growth, handler, imports, instructions, lag, memory, pipeline, wakeups

BENCHMARKS = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        call,
        pipeline,
        memory,
        growth,
        lag,
        handler,
        drain,
        imports,
        instructions,
        choices,
        wakeups,
        durable,
    )
}
