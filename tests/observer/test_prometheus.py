"""The Prometheus example as a real process: started as it says, scraped, stopped with SIGTERM, nothing lost."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lives.support import Process

from gameball_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while Process.started:
        Process.started.pop().kill()


def test_it_is_scraped_while_it_sells(sandbox: Sandbox, tmp_path: Path) -> None:
    process = Process("-m", "examples.prometheus", sandbox=sandbox, book=tmp_path / "book", PYTHONPATH=ROOT, PORT=0)
    with httpx.Client(base_url=process.url, trust_env=False, verify=False) as http:
        counted, scraped = 0.0, ""
        while counted < 3:  # it delivers every half second
            scraped = http.get("/metrics").raise_for_status().text
            found = re.search(r"^gameball_client_delivered_events_total (\S+)$", scraped, re.MULTILINE)
            assert found is not None
            counted = float(found[1])
    assert "\ngameball_client_paused 0.0\n" in scraped
    process.signal(signal.SIGTERM)
    assert process.end() == 0
