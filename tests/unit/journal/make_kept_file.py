"""Makes `schema-N.journal`, the kept file that later versions must open: run once when a schema is new.

::

    python -m tests.unit.journal.make_kept_file tests/unit/journal/schema-3.journal
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .helpers import newest, opened, row


def make() -> bytes:
    """A file with six events, two of them sealed in a batch of an accepted job, after one was forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        with opened(Path(folder)) as desk:
            desk.append(*(row(seq) for seq in range(1, 5)), row(5, together=5), row(6, together=5))
            desk.append(row(7)._replace(mobile=None))
            desk.seal([1, 3])
            desk.seal([1, 3], job=17)
            desk.writer.ack(desk.own, [2])
        return newest(Path(folder)).read_bytes()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(make())
