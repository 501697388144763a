"""Print what users rely on, or write it down: `python -m tests.frozen --write [TOPIC ...]`."""

from __future__ import annotations

import argparse
import sys

from .topics import TOPICS, path_of


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.frozen", description=__doc__)
    parser.add_argument("topics", nargs="*", default=list(TOPICS), metavar="TOPIC")
    parser.add_argument("--write", action="store_true", help="write it down instead of printing it")
    options = parser.parse_args()
    for topic in options.topics:
        text = TOPICS[topic]()
        if options.write:
            path_of(topic).write_text(text, encoding="utf-8")
        else:
            sys.stdout.write(text)


if __name__ == "__main__":
    main()
