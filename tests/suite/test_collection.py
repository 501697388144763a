"""Every process collects the same tests: the workers of a parallel run compare their ids, and fail if they differ."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def collected(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.long
@pytest.mark.timeout(300)  # up to two collections of everything
def test_the_ids_of_tests_do_not_depend_on_time_process_hash_order_or_place(request: pytest.FixtureRequest) -> None:
    first = [item.nodeid for item in request.session.items]  # collected seconds ago, with another hash seed
    second = collected(PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", COLUMNS="200")
    if first != second:  # a run of some tests
        begun = int(time.time())
        first = collected(PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C", COLUMNS="80")
        assert int(time.time()) > begun  # an id that holds the second would differ now
    assert len(first) > 1000
    assert first == second
