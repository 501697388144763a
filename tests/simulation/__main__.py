"""The command line: replay one seed step for step, or soak through many.

::

    python -m tests.simulation --seed 123 --backend trio     one seed, with its whole trace
    python -m tests.simulation --seed 123 --journal          one seed of lives with a journal
    python -m tests.simulation --seeds 20000                 many of both kinds, on both loops, from a random seed on
    python -m tests.simulation --seeds 20000 --first 0       the same ones again
    python -m tests.simulation --seeds 20000 --journal       many with a journal
    python -m tests.simulation --seeds 20000 --mode any      many that send bulk requests; or only "bulk", or "auto"
    python -m tests.simulation --seeds 20000 --outbox        many of relays that share an outbox
    python -m tests.simulation --trace-hash --seeds 500      what is observable of them, compared with the record
"""

from __future__ import annotations

import argparse
import os
import random
import sys

from . import traces
from .loops import BACKENDS
from .outbox.simulation import BACKEND
from .soak import BULK, CLIENT_KINDS, OUTBOX, run_timed, say, soak

MOST_SEEDS = 1_000_000_000
"""A random first seed is below this: short enough to type."""


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; the exit status says whether every seed passed."""
    options = _options(arguments)
    backends: list[str] = [options.backend] if options.backend else list(BACKENDS)
    kinds = list(CLIENT_KINDS)
    if options.outbox:
        backends, kinds = [BACKEND], [OUTBOX]
    elif options.mode:
        kinds = [BULK[options.mode]]
    elif options.journal:
        kinds = kinds[-1:]
    if options.seed is not None:
        return _replay(options.seed, backends, kinds[0])
    if options.trace_hash:
        wanted = traces.blocks(kinds, backends, options.seeds)
        return _compare_traces(traces.fingerprints(wanted, options.jobs), write=options.write)
    first = random.randrange(MOST_SEEDS) if options.first is None else options.first
    say(f"seeds {first} to {first + options.seeds - 1}: repeat them with --first {first} --seeds {options.seeds}")
    seeds = range(first, first + options.seeds)
    return not soak(seeds, backends, options.jobs, kinds)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="The deterministic simulation.")
    parser.add_argument("--seed", type=int, help="replay this one, and print its trace")
    parser.add_argument("--seeds", type=int, default=500, help="run so many (default: 500)")
    parser.add_argument("--first", type=int, help="beginning with this one (default: a random one)")
    parser.add_argument("--backend", choices=BACKENDS, help="one loop only (default: both)")
    parser.add_argument(
        "--journal",
        action="store_true",
        help="with a journal (default: soak through both kinds of clients)",
    )
    parser.add_argument("--mode", choices=BULK, help="clients that send bulk requests")
    parser.add_argument("--outbox", action="store_true", help="relays that share an outbox, on asyncio")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per CPU)")
    parser.add_argument("--trace-hash", action="store_true", help="compare what is observable with what is recorded")
    parser.add_argument("--write", action="store_true", help="with --trace-hash: record it")
    return parser.parse_args(arguments)


def _compare_traces(found: dict[traces.Block, str], *, write: bool) -> int:
    if write:
        traces.write(found)
    recorded = traces.recorded()
    differing = [block for block, value in found.items() if recorded.get(block) != value]
    for kind, backend, first in differing:
        say(f"seeds {first} to {first + traces.BLOCK - 1} {kind} on {backend} differ from what is recorded")
    say(*(f"{value}  {name}" for name, value in traces.overall(found).items()))
    return bool(differing)


def _replay(seed: int, backends: list[str], kind: str) -> int:
    results = [run_timed(seed, backend, kind) for backend in backends]
    for result in results:
        say(*result.trace.lines(), result.headline, *result.failures[1:], f"trace {result.trace.digest()}")
    return any(result.failures for result in results)


if __name__ == "__main__":
    sys.exit(main())
