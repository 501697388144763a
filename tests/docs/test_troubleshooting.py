"""The page about mistakes: each program on it is run as a process, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gameball_async.sandbox import Sandbox

from .pages import DOCS, README, Block

BLOCKS = [block for block in DOCS["troubleshooting"].blocks() if block.info.startswith(("python", "text"))]
MISTAKES = [(program, log) for program, log in pairwise(BLOCKS) if program.info == "python mistake"]

NOBODY_LISTENS = "http://127.0.0.1:1"

RUN = """
import ast, asyncio, inspect, sys
from gameball_async import AsyncGameball

AsyncGameball.__init__.__kwdefaults__["base_url"] = sys.argv[2]
code = compile(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
result = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(result):
    asyncio.run(result)
"""
"""Runs a program as it is, against another default for `base_url`."""


def command(program: Block, base_url: str, folder: Path) -> list[str]:
    file = folder / "program.py"
    file.write_text(program.text, encoding="utf-8")
    return [sys.executable, "-c", RUN, str(file), base_url]


def environment() -> dict[str, str]:
    """The caller's, without proxies and without warnings that are off by default."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONWARNINGS", None)
    kept.pop("PYTHONDEVMODE", None)
    return kept | {"GAMEBALL_API_KEY": "test-key"}


def without_what_varies(text: str, base_url: str) -> str:
    """The lines with Gameball's own address, and without the words of the operating system."""
    # a name server that takes its time leads to other words about the same
    return re.sub(r"no answer(: [^)]*| for \d+ s)", "no answer: ...", text.replace(base_url, "https://api.gameball.co"))


def test_the_page_has_the_five_most_common_mistakes() -> None:
    assert len(MISTAKES) == 5
    assert all(log.info == "text log" for _, log in MISTAKES)


@pytest.mark.parametrize(("program", "log"), MISTAKES, ids=str)
def test_a_mistake_prints_what_the_page_says(program: Block, log: Block, tmp_path: Path) -> None:
    with Sandbox(api_key="test-key") as sandbox:
        is_offline = program is MISTAKES[-1][0]
        base_url = NOBODY_LISTENS if is_offline else sandbox.url
        arguments = command(program, base_url, tmp_path)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment())
        assert sandbox.stats().events == 0
    assert (done.returncode, done.stdout) == (0, "")
    assert without_what_varies(done.stderr, base_url) == without_what_varies(log.text, base_url)


def test_the_first_example_says_soon_that_its_address_does_not_answer(tmp_path: Path) -> None:
    arguments = command(README.blocks()[0], "https://localhost:1", tmp_path)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        placeholder, line = process.stderr.readline(), process.stderr.readline()
        process.kill()
    assert placeholder.startswith("api_key is the placeholder of an example")
    assert line.startswith("Gameball is out of reach at https://localhost:1 (no answer: ConnectError: ")
    assert "2 events are waiting; retries continue." in line
