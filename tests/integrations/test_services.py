"""Each example service as a real process: started as its README says, driven, stopped with SIGTERM, nothing lost."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from lives.support import KEY, Process

from gameball_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "examples" / name for name in ("aiohttp_shop", "asyncio_worker", "fastapi_shop", "starlette_trio")]
"""The services that start beside their own sandbox; `test_frameworks.py` starts the others."""

ENOUGH = 60
"""Orders that were taken when the signal comes; the linger is half a second, so few have been sent then."""

CUSTOMERS = 4

example = pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox that accepts one key alone, and a folder for the process."""
    with Sandbox(api_key=KEY) as sandbox:
        yield sandbox, tmp_path / "book"


@pytest.fixture(autouse=True)
def _no_process_outlives_its_test() -> Iterator[None]:
    yield
    while Process.started:
        Process.started.pop().kill()


# ---------------------------------------------------------------- what a README says


def commands(folder: Path) -> list[list[str]]:
    """The commands of an example's README: install, start, try, and start with a key."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line.removeprefix("$ ")) for block in blocks for line in block.splitlines()]


def start(command: list[str], options: list[str], accounts: tuple[Sandbox, Path]) -> Process:
    """Start a command of a README at a free port. A key or a URL of its own gives way to the test's."""
    while "=" in command[0]:
        command = command[1:]
    arguments = command[1:] if command[0] == "python" else ["-m", *command]
    sandbox, book = accounts
    return Process(*arguments, *options, sandbox=sandbox, book=book, PYTHONPATH=ROOT, PORT=0)


def order_of(command: list[str]) -> dict[str, Any]:
    """The order that a README's third command places."""
    (order,) = [word for word in command if word.startswith("{")]
    return dict(json.loads(order))


OPTIONS = {
    "uvicorn": ["--port", "0"],
    "hypercorn": ["--bind", "127.0.0.1:0", "--graceful-timeout", "0"],
    "python": [],
}
"""How a server is told to take a free port; the others look at PORT. In hypercorn's usual 3 s all would have gone."""


# ---------------------------------------------------------------- customers

Place = Callable[[dict[str, Any], int], str | None]
"""Places an order, and returns its id; None if the service is gone."""


def over_http(url: str) -> Place:
    http = httpx.Client(base_url=url, trust_env=False, verify=False)

    def place(order: dict[str, Any], _: int) -> str | None:
        try:
            answer = http.post("/checkout", json=order)
        except httpx.TransportError:
            http.close()
            return None
        assert answer.status_code == 201
        return str(answer.json()["id"])

    return place


def over_tcp(port: int) -> Place:
    queue = socket.create_connection(("127.0.0.1", port), timeout=100)
    answers = queue.makefile("rb")

    def place(order: dict[str, Any], number: int) -> str | None:
        order_id = f"{order['customer']}-{number}"
        try:
            queue.sendall(json.dumps(order | {"order_id": order_id}).encode() + b"\n")
            answer = answers.readline()
        except ConnectionError:
            answer = b""
        if not answer:
            answers.close()
            queue.close()
            return None
        assert answer == b"ok\n"
        return order_id

    return place


def connect(process: Process) -> Place:
    """A customer's connection to a service that listens."""
    queue = re.search(r"takes orders at 127\.0\.0\.1:(\d+)", process.text)
    return over_http(process.url) if queue is None else over_tcp(int(queue[1]))


def stop_in_the_midst(process: Process, order: dict[str, Any]) -> dict[str, list[str]]:
    """Let customers order until they are turned away, because SIGTERM came; returns the orders that were taken."""
    process.wait_for(b"127.0.0.1:")
    taken = threading.Semaphore(0)

    def customer(number: int) -> tuple[str, list[str]]:
        name, place = f"customer{number}", connect(process)
        orders: list[str] = []
        while (order_id := place(order | {"customer": name}, len(orders))) is not None:
            orders.append(order_id)
            taken.release()
        return name, orders

    with ThreadPoolExecutor(CUSTOMERS) as pool:
        customers = [pool.submit(customer, number) for number in range(CUSTOMERS)]
        for _ in range(ENOUGH):
            assert taken.acquire(timeout=100), process.text
        process.signal(signal.SIGTERM)
        return dict(each.result() for each in customers)


CUT_OFF = (b"starlette.requests.ClientDisconnect", b"ConnectionResetError: Connection lost")
"""How Starlette and aiohttp say that the stop cut off an order which had not arrived yet."""


def end(process: Process) -> None:
    """Wait for its end. Hypercorn and aiohttp cut orders off when they stop; nothing else may go wrong."""
    assert process.end(traceback=True) in (0, -signal.SIGTERM)
    assert process.output.count(b"Traceback") == sum(map(process.output.count, CUT_OFF)), process.text


# ---------------------------------------------------------------- the services


@example
def test_beside_its_sandbox_every_order_taken_is_printed_there(folder: Path, accounts: tuple[Sandbox, Path]) -> None:
    """The README's one command. An order whose answer was cut off by the end may be there as well, one per customer."""
    _, command, attempt, _ = commands(folder)
    assert command == ["python", "-m", f"examples.{folder.name}"]
    process = start(command, [], accounts)
    taken = stop_in_the_midst(process, order_of(attempt))
    end(process)
    printed = Counter(re.findall(r"(customer\d) \('place_order',\) 200", process.text))
    assert all(0 <= printed[name] - len(orders) <= 1 for name, orders in taken.items())


@example
def test_with_a_key_every_order_taken_is_in_the_sandbox_in_order(folder: Path, accounts: tuple[Sandbox, Path]) -> None:
    """The README's last command, with a key and an address for the sandbox."""
    *_, attempt, command = commands(folder)
    process = start(command, OPTIONS[next(word for word in command if "=" not in word)], accounts)
    taken = stop_in_the_midst(process, order_of(attempt))
    end(process)
    holdings = accounts[0].holdings()
    held = {name: [event.metadata["order_id"] for event in events] for name, events in holdings.items()}
    assert held.keys() == taken.keys()
    assert all(held[name][: len(orders)] == orders for name, orders in taken.items())
    assert all(len(held[name]) <= len(orders) + 1 for name, orders in taken.items())
    assert accounts[0].violations == []


@example
def test_its_readme_names_extras_that_exist_and_files_that_are_there(folder: Path) -> None:
    install, *_ = commands(folder)
    assert install[:3] == ["pip", "install", "--editable"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (folder / link).exists(), link
