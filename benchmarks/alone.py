"""One run of measurements, started by the harness: the last line that it writes holds the figures of each as JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from .catalogue import BENCHMARKS
from .harness import Figures, Setting


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alone", description=__doc__)
    parser.add_argument("benchmark", choices=sorted(BENCHMARKS))
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--url", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # of a server that is down on purpose
    figures: list[Figures] = []
    for number, label in enumerate(options.labels):
        folder = options.folder / str(number)
        folder.mkdir()
        setting = Setting(scale=options.scale, url=options.url, folder=folder)
        figures.append(BENCHMARKS[options.benchmark].measurement(label).measure(setting))
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
    sys.stdout.flush()
    os._exit(0)  # peers leave threads behind, and some wait for them for seconds


if __name__ == "__main__":
    main()
