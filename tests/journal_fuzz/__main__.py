"""The command line: repeat one round, or run many.

::

    python -m tests.journal_fuzz --seed 123                  one round, with its log
    python -m tests.journal_fuzz --rounds 5000               many, from a random seed on
    python -m tests.journal_fuzz --rounds 5000 --first 0     the same ones again
"""

from __future__ import annotations

import argparse
import random
import sys

from .soak import run, say, soak


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; the exit status says whether every round passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.journal_fuzz", description="The fuzzer of the journal.")
    parser.add_argument("--seed", type=int, help="repeat this round")
    parser.add_argument("--rounds", type=int, default=500, help="run so many (default: 500)")
    parser.add_argument("--first", type=int, help="beginning with this one (default: a random one)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return len(run([options.seed], verbose=True).failures)
    first = random.randrange(10**9) if options.first is None else options.first
    say(f"rounds {first} to {first + options.rounds - 1}: repeat them with --first {first} --rounds {options.rounds}")
    return min(1, soak(range(first, first + options.rounds), options.jobs))


if __name__ == "__main__":
    sys.exit(main())
