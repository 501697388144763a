"""Processor time and long steps of one request, of this source tree and of another one, alternating; nothing is saved.

::

    git worktree add ../before COMMIT
    python -m benchmarks.request ../before --rounds 9

Each measurement is a process of its own (`benchmarks.request_client`), with one event in each request, from the call to
the outcome, without pacing. The servers are two more processes, one of them with TLS.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from .harness import ROOT
from .server import local_server

RUNTIMES = ("asyncio", "trio", "uvloop", "asyncio, TLS", "trio, TLS", "uvloop, TLS")

STEPS = "asyncio, long steps"
"""How many steps of the event loop take more than half a millisecond of processor time, for each request."""


def measure(tree: Path, runtime: str, url: str, authority: Path, requests: int) -> float:
    """Microseconds of processor time of one request; or long steps for each, see `STEPS`.

    Args:
        tree: where `gameball_async` is.
        runtime: a name in `RUNTIMES`, or `STEPS`.
        url: of the server.
        authority: the certificate that the server's is signed with.
        requests: how many are sent.
    """
    command = [sys.executable, str(ROOT / "benchmarks" / "request_client.py"), runtime.split(",", maxsplit=1)[0], url]
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "SSL_CERT_FILE": str(authority)}
    command += [str(requests), "steps" if runtime == STEPS else "cpu"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 our own module
    return float(done.stdout)


def run(before: Path, rounds: int, requests: int) -> dict[str, list[tuple[float, float]]]:
    """The figures of both trees, for each runtime and round."""
    figures: dict[str, list[tuple[float, float]]] = {runtime: [] for runtime in (*RUNTIMES, STEPS)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = [stack.enter_context(local_server(certificate)) for certificate in (None, _certificate(folder))]
        for _ in range(rounds):
            for runtime, pairs in figures.items():
                url = urls["TLS" in runtime]
                pair = [measure(tree, runtime, url, folder / "authority.pem", requests) for tree in (before, ROOT)]
                pairs.append((pair[0], pair[1]))
    return figures


def _certificate(folder: Path) -> Path:
    import trustme  # noqa: PLC0415 only this benchmark needs it

    authority, path = trustme.CA(), folder / "server.pem"
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def table(figures: dict[str, list[tuple[float, float]]]) -> list[str]:
    """A table: the medians, and the median and the range of the ratios of each round."""
    lines = ["| CPU µs/request | before | now | ratio (range) |", "|---|---|---|---|"]
    for runtime in RUNTIMES:
        pairs = figures[runtime]
        before, now = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [new / old for old, new in pairs]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        lines.append(f"| {runtime} | {before:.0f} | {now:.0f} | {spread} |")
    return [*lines, "", *_table_of_steps(figures[STEPS])]


def _table_of_steps(pairs: list[tuple[float, float]]) -> list[str]:
    before, now = (statistics.median(column) for column in zip(*pairs, strict=True))
    lines = ["| steps of the event loop above 0.5 ms of CPU, for each request | before | now |", "|---|---|---|"]
    return [*lines, f"| asyncio | {before:.2f} | {now:.2f} |"]


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request", description="CPU per request, of two trees.")
    parser.add_argument("before", type=Path, help="the other source tree")
    parser.add_argument("--rounds", type=int, default=9, help="how often (default: 9)")
    parser.add_argument("--requests", type=int, default=2_000, help="in each measurement (default: 2000)")
    options = parser.parse_args()
    sys.stdout.write("\n".join(table(run(options.before, options.rounds, options.requests))) + "\n")


if __name__ == "__main__":
    main()
