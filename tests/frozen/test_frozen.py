"""What users rely on is as it is written down; a change of it is one that users notice.

After a change that is meant: `python -m tests.frozen --write`, and a look at the difference.
"""

from __future__ import annotations

import difflib
import sys

import pytest

from .topics import TOPICS, recorded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths and errors of the system are in the texts")


@pytest.mark.parametrize("topic", TOPICS)
def test_what_users_rely_on_is_as_it_is_written_down(topic: str) -> None:
    written, found = recorded(topic).splitlines(), TOPICS[topic]().splitlines()
    difference = list(difflib.unified_diff(written, found, f"{topic}.txt", "now", lineterm="", n=1))
    if difference:
        pytest.fail("\n".join([*difference, "", "if that is meant: python -m tests.frozen --write"]), pytrace=False)
