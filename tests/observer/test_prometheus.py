"""The Prometheus example as a real process: started as it says, scraped, stopped with SIGTERM, nothing lost."""

from __future__ import annotations

import os
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


WORKERS = {
    "gunicorn": ("-m", "gunicorn", "--bind", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker"),
    "uvicorn": ("-m", "uvicorn", "--port", 0),
}


@pytest.mark.parametrize("server", WORKERS)
def test_one_scrape_has_the_counts_of_all_workers_and_no_gauges_of_a_killed_one(
    server: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    process = Process(
        *WORKERS[server],
        *("--workers", 2, "examples.prometheus.workers:app"),
        sandbox=sandbox,
        book=tmp_path / "book",
        PYTHONPATH=ROOT,
        GAMEBALL_BASE_URL=sandbox.url,
        PROMETHEUS_MULTIPROC_DIR=folder,
        WEB_CONCURRENCY=2,
    )
    process.wait_for(b"Application startup complete", times=2)
    workers, orders = list[int](), 0

    def metric(name: str) -> float:
        text = httpx.get(f"{process.url}/metrics", trust_env=False, verify=False).raise_for_status().text
        found = re.search(rf"^gameball_client_{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return float(found[1])

    while len({*workers}) < 2:  # each connection goes to either of them
        answer = httpx.post(f"{process.url}/orders/player{orders}", trust_env=False, verify=False)
        workers.append(answer.raise_for_status().json())
        orders += 1
    while metric("delivered_events_total") < orders:
        pass
    assert metric("delivered_events_total") == metric("accepted_events_total") == orders
    os.kill(workers[0], signal.SIGKILL)
    process.wait_for(b"Application startup complete", times=3)  # its replacement
    assert metric("delivered_events_total") == orders
    assert metric("buffered_events") == 0
    assert not list(folder.glob(f"gauge_live*_{workers[0]}.db"))
    process.signal(signal.SIGTERM)
    assert process.end(traceback=True) == 0


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
