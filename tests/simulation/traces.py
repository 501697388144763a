"""Fingerprints of what users and the server see, of many seeds: they have to stay when only the code changes.

A change of what the client does changes them: look at the traces of one seed before and after, then write them anew::

    python -m tests.simulation --trace-hash --seeds 500            compare with what is recorded
    python -m tests.simulation --trace-hash --seeds 500 --write    record it

The two loops order some steps differently, and so each has its own.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterable, Sequence
from pathlib import Path

from .soak import run_timed

RECORDED = Path(__file__).with_name("traces.json")
BLOCK = 10
"""Seeds that share a fingerprint."""

Block = tuple[str, str, int]
"""The kind of the simulation, the loop, and the first seed."""


def blocks(kinds: Iterable[str], backends: Sequence[str], seeds: int) -> list[Block]:
    """The blocks of all seeds from 0 on."""
    return [(kind, backend, first) for kind in kinds for backend in backends for first in range(0, seeds, BLOCK)]


def fingerprint(block: Block) -> str:
    """The fingerprint of a block."""
    kind, backend, first = block
    digest = hashlib.sha256()
    for seed in range(first, first + BLOCK):
        digest.update(run_timed(seed, backend, kind).trace.observed.encode())
    return digest.hexdigest()[:16]


def fingerprints(wanted: Sequence[Block], jobs: int) -> dict[Block, str]:
    """The fingerprints of blocks, in several processes."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        return dict(zip(wanted, pool.map(fingerprint, wanted, chunksize=1), strict=True))


def recorded() -> dict[Block, str]:
    """What is recorded."""
    kinds: dict[str, dict[str, list[str]]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {
        (kind, backend, number * BLOCK): found
        for kind, of_kind in kinds.items()
        for backend, found_all in of_kind.items()
        for number, found in enumerate(found_all)
    }


def write(found: dict[Block, str]) -> None:
    """Record fingerprints, beside those that are recorded of other kinds and loops."""
    kinds: dict[str, dict[str, list[str]]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    for kind, backend in {block[:2]: None for block in found}:
        kinds.setdefault(kind, {})[backend] = [value for block, value in found.items() if block[:2] == (kind, backend)]
    RECORDED.write_text(json.dumps(kinds, indent=1) + "\n", encoding="utf-8")


def overall(found: dict[Block, str]) -> dict[str, str]:
    """One fingerprint for each kind and loop."""
    digests: dict[str, hashlib._Hash] = {}
    for (kind, backend, _), value in found.items():
        digests.setdefault(f"{kind} on {backend}", hashlib.sha256()).update(value.encode())
    return {name: digest.hexdigest()[:16] for name, digest in digests.items()}
