"""Every benchmark, in the order of the report."""

from __future__ import annotations

from . import (
    append,
    call,
    drain,
    durable,
    growth,
    handler,
    imports,
    instructions,
    lag,
    linger,
    memory,
    pipeline,
)

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
        linger,
        imports,
        instructions,
        durable,
        append,
    )
}
