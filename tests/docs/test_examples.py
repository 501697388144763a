"""Every example of the README and the docs does what it says, against the sandbox."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, Generator, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gameball_async import AsyncGameball, Rejected, cli
from gameball_async.sandbox import Fault, Sandbox

from .pages import PAGES, README, ROOT, Block

PYTHON = [block for page in PAGES for block in page.blocks() if block.info == "python"]
CONSOLE = [block for page in PAGES for block in page.blocks() if block.info == "console"]
INFOS = {"python", "python mistake", "console", "ini", "json", "text", "text log", "text output", "yaml"}
"""Every block is one of these, so that none is forgotten."""

WITH_DATABASE = {"docs/outbox.md"}
"""Pages whose examples need a database."""

EVENTS = next(block.text for page in PAGES for block in page.blocks() if block.info == "json")
"""The file that the console examples name."""

EXPORTED = "refused.ndjson"
"""The file that one of them makes."""


@pytest.fixture(autouse=True)
def _here(
    gameball_is_the_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    del gameball_is_the_sandbox
    monkeypatch.chdir(tmp_path)
    block: Block | None = getattr(request.node, "callspec", None) and request.node.callspec.params.get("block")
    if block is not None and block.page in WITH_DATABASE:
        request.getfixturevalue("shop_database")


def run(block: Block) -> dict[str, Any]:
    """Run an example as `python -m asyncio` would, and return what it has defined."""
    source = "\n" * (block.line - 1) + block.text  # so that a traceback points into the page
    code = compile(source, str(ROOT / block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = sys.modules["example"] = ModuleType("example")  # where frameworks look annotations up
    defined: dict[str, Any] = vars(module)
    with root_logger_as_before():  # Litestar configures it
        result = eval(code, defined)  # the page is ours
    if inspect.iscoroutine(result):
        asyncio.run(result)
    return defined


@contextlib.contextmanager
def root_logger_as_before() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def readme_example(words: str) -> Block:
    """The one example of the README that holds these words."""
    (block,) = [block for block in README.blocks() if block.info == "python" and words in block.text]
    return block


# ---------------------------------------------------------------- Python


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_example_runs_and_prints_what_the_page_says(
    block: Block, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    run(block)
    assert capsys.readouterr().out == (block.output or "")
    assert sandbox.violations == []


@pytest.mark.parametrize("block", [block for page in PAGES for block in page.blocks()], ids=str)
def test_every_block_is_of_a_known_kind(block: Block) -> None:
    assert block.info in INFOS


def test_the_first_example_is_one_request_with_two_events(sandbox: Sandbox) -> None:
    defined = run(README.blocks()[0])
    assert [request.events for request in sandbox.requests] == [("place_order", "review")]
    assert (defined["delivered"].status, defined["delivered"].attempts) == (200, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_fifty_calls_for_three_players_are_three_requests_as_in_the_picture(sandbox: Sandbox) -> None:
    async with AsyncGameball("any-key", base_url=sandbox.url) as gameball:
        for number in range(50):
            await gameball.track(f"player{number % 3}", f"event{number}")
    assert sorted(len(request.events) for request in sandbox.requests) == [16, 17, 17]
    assert "50 calls, 3 players" in (ROOT / "docs" / "drawings" / "before-after.svg").read_text(encoding="utf-8")


def test_the_first_example_has_at_most_12_lines() -> None:
    assert len(README.blocks()[0].text.splitlines()) <= 12


ANSWERS = [
    (Fault.status(422, code=3003, words="no such rating"), "no such rating", "Rejected"),
    (Fault.status(400), "Gameball refused the event (HTTP 400)", "Rejected"),
]


@pytest.mark.parametrize(("fault", "words", "kind"), ANSWERS)
def test_what_goes_wrong_is_told_by_the_receipt_and_by_on_failure(
    fault: Fault, words: str, kind: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.script(fault)
    run(readme_example("on_failure=keep"))
    out = capsys.readouterr().out
    assert words in out
    assert f"will not arrive: review {{'rating': 6}} {kind}" in out


# ---------------------------------------------------------------- FastAPI


@contextlib.asynccontextmanager
async def browser(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an application that is started before and stopped after."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


def test_the_service_of_the_readme_tracks_its_orders(sandbox: Sandbox) -> None:
    app = run(readme_example("fastapi"))["app"]

    async def order_twice() -> list[int]:
        async with browser(app) as client:
            return [(await client.post("/orders")).status_code for _ in range(2)]

    assert asyncio.run(order_twice()) == [200, 200]
    assert [event.name for event in sandbox.holdings()["player123"]] == ["place_order", "place_order"]


def test_start_and_end_in_two_functions_deliver_what_was_tracked_between(sandbox: Sandbox) -> None:
    (block,) = [block for block in PYTHON if "on_cleanup" in block.text]
    defined = run(block)

    async def live() -> None:
        await asyncio.create_task(defined["on_startup"](object()))
        await defined["gameball"].track("player123", "review")
        await asyncio.create_task(defined["on_cleanup"](object()))

    asyncio.run(live())
    assert [event.name for event in sandbox.holdings()["player123"]] == ["review"]


# ---------------------------------------------------------------- console


def commands(block: Block) -> list[list[str]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    assert all(line.startswith("$ ") for line in lines), f"{block}: a console block holds commands only"
    return [shlex.split(line[2:]) for line in lines]


def gameball_async(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command in this process, whose environment has the sandbox's address."""
    monkeypatch.setattr(sys, "argv", ["gameball-async", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert not caught.value.code


def pip(arguments: list[str]) -> None:
    """Installing is not tried; what is named exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert arguments[0] == "install"
    match = re.fullmatch(r"([a-z-]+)(?:\[([a-z,]+)\])?", arguments[1])
    assert match is not None
    assert match[1] == project["name"]
    assert set(filter(None, (match[2] or "").split(","))) <= project["optional-dependencies"].keys()


def sandbox_command(arguments: list[str]) -> None:
    """It says where it listens, prints every request, and ends with Ctrl-C; the port is a free one here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gameball_async.cli", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    with process:
        assert process.stdout is not None
        listening = re.search(r"listens at (\S+)", process.stdout.readline())
        assert listening is not None
        assert listening[1] in process.stdout.readline()
        body: dict[str, object] = {"playerUniqueId": "player123", "events": {"review": {}}}
        with httpx.Client(base_url=listening[1], trust_env=False, verify=False) as http:
            http.post("/api/v3.0/integrations/event", headers={"APIKey": "any"}, json=body).raise_for_status()
        assert "review  ->  200" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    assert process.returncode == 0


def make_journal(sandbox: Sandbox) -> None:
    """The folder that the console examples name: a refused event, and two that a closed client has left."""

    async def live() -> None:
        gameball = AsyncGameball(journal="journal")
        await gameball.start()
        receipt = await gameball.track("player123", "review", {"rating": 6})
        with pytest.raises(Rejected):
            await receipt
        await gameball.track("player123", "place_order", {"total_amount": 100})
        await gameball.track("player123", "reserve", {"rooms": 2})
        assert (await gameball.aclose(timeout=0)).kept == 2

    refusal = Fault.status(422, code=3003, words="The value is invalid.", events={"review"})
    sandbox.script(refusal, Fault.status(503))
    asyncio.run(live())
    sandbox.script()


VARYING = [
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "(a time)"),
    (r"\d{15}-\d+-[0-9a-f]{8}", "(a name)"),
    (r"\d+ s\b", "(seconds)"),
    (r" {2,}", "  "),  # columns are as wide as what is in them
]
"""What no two runs print alike."""


def without_what_varies(text: str) -> str:
    for pattern, words in VARYING:
        text = re.sub(pattern, words, text)
    return text


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_a_console_example_works_and_prints_what_the_page_says(
    block: Block, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("events.ndjson").write_text(EVENTS)
    make_journal(sandbox)
    capsys.readouterr()
    for program, *arguments in commands(block):
        match program, arguments:
            case "pip", _:
                pip(arguments)
            case "gameball-async", ["sandbox", *_]:
                sandbox_command(arguments)
            case "gameball-async", _:
                gameball_async(arguments, monkeypatch)
            case _:
                pytest.fail(f"{block}: nobody tests {program}")
    if block.output is not None:
        assert without_what_varies(capsys.readouterr().out) == without_what_varies(block.output)
    made = {EXPORTED} if EXPORTED in block.text else set[str]()
    assert {path.name for path in Path().iterdir()} == {"events.ndjson", "journal"} | made


def test_sending_a_file_sends_its_events(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("events.ndjson").write_text(EVENTS)
    gameball_async(["send", "events.ndjson"], monkeypatch)
    assert [event.name for event in sandbox.holdings()["player123"]] == ["place_order", "review"]


def test_the_targets_of_make_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`make (\w+)`", README.text))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named == {"demo", "test"}
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
