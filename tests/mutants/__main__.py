"""The command line: a sample of changes, how many of them the tests noticed, and those that they did not.

::

    python -m tests.mutants --mutants 98               a random sample
    python -m tests.mutants --mutants 98 --seed 7      the same one again, as long as the code is the same
    python -m tests.mutants --mutants 98 --list        only what would be changed
"""

from __future__ import annotations

import argparse
import queue
import random
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .mutations import Mutation, mutations_of
from .trial import ROOT, STAGES, Copy, Failure

_T = TypeVar("_T")


def main() -> int:
    """Try the changes; the exit status says whether the tests pass without one."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="The sampled mutation test.")
    parser.add_argument("--mutants", type=int, default=98, help="how many changes (default: 98)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="chooses them (default: a random one)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--list", action="store_true", help="only show them")
    options = parser.parse_args()
    every = mutations_of(ROOT / "gameball_async")
    sample = random.Random(options.seed).sample(every, min(options.mutants, len(every)))
    _say(f"{len(sample)} of {len(every)} changes; repeat them with --mutants {options.mutants} --seed {options.seed}")
    if options.list:
        _say(*map(_named, sample))
        return 0
    return _try_out(sample, options.jobs)


def _try_out(sample: list[Mutation], jobs: int) -> int:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as threads:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(Path(folder, str(number))))

        def in_a_copy(work: Callable[[Copy], _T]) -> _T:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        def run(stage: str) -> Failure | None:
            return in_a_copy(lambda copy: copy.run([stage]))

        def try_out(mutation: Mutation) -> Failure | None:
            return in_a_copy(lambda copy: copy.try_out(mutation))

        _say("first without a change")
        for failure in threads.map(run, STAGES):
            if failure is not None:
                _say(f"this fails already: {failure.stage}", failure.said)
                return 1
        survivors: list[Mutation] = []
        for mutation, failure in zip(sample, threads.map(try_out, sample), strict=True):
            _say(f"{failure.stage if failure else 'SURVIVED':<20} {_named(mutation)}")
            survivors += [] if failure else [mutation]
    for mutation in survivors:
        _say("", _named(mutation), mutation.diff)
    noticed = len(sample) - len(survivors)
    _say("", f"{noticed} of {len(sample)} noticed: {100 * noticed / len(sample):.1f} %")
    return 0


def _named(mutation: Mutation) -> str:
    return f"{mutation.path}:{mutation.line}: {mutation.what}"


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
