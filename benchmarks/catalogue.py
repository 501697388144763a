"""Every benchmark, in the order of the report."""

from __future__ import annotations

from . import durable

BENCHMARKS = {module.BENCHMARK.name: module.BENCHMARK for module in (durable,)}
