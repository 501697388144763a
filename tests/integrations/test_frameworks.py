"""The example of each framework's page as a real process: started as its README says, driven, stopped, nothing lost."""

from __future__ import annotations

import re
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from lives.support import KEY, Process

from gameball_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ORDERS = 12
CUSTOMERS = 3

OPTIONS = {"uvicorn": ["--port", "0"], "gunicorn": ["--bind", "127.0.0.1:0", "--no-control-socket"]}
"""How a server is told to take a free port."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_key=KEY) as sandbox:
        yield sandbox
    while Process.started:
        Process.started.pop().kill()


def start(example: str, program: str, sandbox: Sandbox, folder: Path, **environment: object) -> Process:
    """Start the example with the one command of its README that begins with a key and this program."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    lines = re.findall(rf"^\$ (GAMEBALL_API_KEY=.* {program} .*)$", text, re.MULTILINE)
    (words,) = [shlex.split(line) for line in lines]
    while "=" in words[0]:
        words.pop(0)
    command = words[1:] if words[0] == "python" else ["-m", *words]
    options = OPTIONS.get(program, [])
    return Process(*command, *options, sandbox=sandbox, book=folder / "book", PYTHONPATH=ROOT, PORT=0, **environment)


def place_orders(url: str) -> dict[str, list[str]]:
    """Place orders of several customers; returns the ids by customer."""
    taken: dict[str, list[str]] = {}
    with httpx.Client(trust_env=False, timeout=30) as http:
        for number in range(ORDERS):
            customer = f"customer{number % CUSTOMERS}"
            order = {"id": f"order-{number}", "customer": customer, "total": 12.5}
            answer = http.post(url, json=order)
            assert answer.status_code == 201, answer.text
            taken.setdefault(customer, []).append(answer.json().get("id") or answer.json()["body"])
    return taken


def held(sandbox: Sandbox) -> dict[str, list[Any]]:
    return {player: [event.metadata["order_id"] for event in events] for player, events in sandbox.holdings().items()}


SERVICES = [
    ("django_shop", "uvicorn", "/async/checkout"),
    ("litestar_shop", "uvicorn", "/checkout"),
    ("quart_shop", "uvicorn", "/checkout"),
]


@pytest.mark.parametrize(("example", "program", "path"), SERVICES)
def test_every_order_that_a_service_took_arrives_in_order(
    example: str, program: str, path: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The last ones wait for the linger when SIGTERM comes."""
    process = start(example, program, sandbox, tmp_path)
    taken = place_orders(process.url + path)
    process.signal(signal.SIGTERM)
    assert process.end() in (0, -signal.SIGTERM)
    assert held(sandbox) == taken
    assert sandbox.violations == []


def test_djangos_workers_under_gunicorn_lose_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """They are forked from a process that has created the client; two of them do not keep a customer's order."""
    process = start("django_shop", "gunicorn", sandbox, tmp_path)
    taken = place_orders(process.url + "/checkout")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert {name: sorted(orders) for name, orders in held(sandbox).items()} == {
        name: sorted(orders) for name, orders in taken.items()
    }


def test_a_function_has_sent_its_event_when_it_returns_and_may_be_frozen_or_killed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    process = start("serverless", "python", sandbox, tmp_path)
    taken = place_orders(process.url)
    process.signal(signal.SIGSTOP)
    assert held(sandbox) == taken
    process.signal(signal.SIGCONT)
    again = place_orders(process.url)
    process.signal(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    assert held(sandbox) == {name: orders + again[name] for name, orders in taken.items()}
    assert sandbox.violations == []


def test_what_celerys_tasks_have_tracked_arrives_when_the_worker_stops(sandbox: Sandbox, tmp_path: Path) -> None:
    """Its child processes have no `atexit`."""
    process = start("celery_worker", "celery", sandbox, tmp_path, QUEUE=tmp_path / "queue")
    queue = Celery(broker="filesystem://")
    folder = str(tmp_path / "queue")
    queue.conf.broker_transport_options = {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": f"{folder}/control",
    }
    process.wait_for(b"ready.")
    for number in range(ORDERS):
        queue.send_task("reward", [f"customer{number % CUSTOMERS}", {"order_id": number}])
    process.wait_for(b"succeeded in", times=ORDERS)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert sorted(number for numbers in held(sandbox).values() for number in numbers) == list(range(ORDERS))


def test_what_taskiqs_tasks_have_tracked_arrives_when_the_worker_stops(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    process = start("taskiq_worker", "taskiq", sandbox, tmp_path, ZMQ_ADDRESS=address)
    orders = ["-m", "examples.taskiq_worker"]
    Process(*orders, sandbox=sandbox, book=tmp_path / "orders", PYTHONPATH=ROOT, ZMQ_ADDRESS=address)
    process.wait_for(b"Executing task reward", times=3)
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert sum(map(len, held(sandbox).values())) == process.output.count(b"Executing task reward")
    assert sandbox.violations == []


def test_what_a_notebook_has_tracked_arrives_at_the_latest_when_its_kernel_stops(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    notebook = ROOT / "examples" / "notebook" / "points.ipynb"
    process = Process("-m", "jupyter", "execute", notebook, sandbox=sandbox, book=tmp_path / "book", PYTHONPATH=ROOT)
    assert process.end() == 0
    names = {player: [event.name for event in events] for player, events in sandbox.holdings().items()}
    assert names == {"player123": ["place_order", "place_order"], "player456": ["place_order", "review"]}
    assert sandbox.violations == []
