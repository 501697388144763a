"""No snippet escapes the tests of the pages, and the commands on the examples' pages name what exists."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest

from .pages import EXAMPLE_PAGES, PAGES, ROOT, Block, Page

CONSOLE = [block for page in EXAMPLE_PAGES for block in page.blocks()]
PROGRAMS = {"uvicorn", "hypercorn", "gunicorn", "taskiq"}
"""Programs that are given `module:attribute`."""


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLE_PAGES], ids=str)
def test_every_fence_is_one_that_the_tests_find(page: Page) -> None:
    """An indented fence, or one of tildes, would be prose to them, and so would code that is only indented."""
    hidden = [line for line in page.prose() if re.match(r"\s*~~~|\s+```|( {4,}|\t)\S", line)]
    assert [line for line in hidden if not re.match(r"\s+([-*+]|\d+\.) ", line)] == []


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_a_command_of_an_example_names_what_exists(block: Block) -> None:
    assert block.info == "console"
    for line in block.text.replace("\\\n", " ").splitlines():
        assert line.startswith("$ ")
        words = shlex.split(line[2:])
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        check(words)


def check(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    match words:
        case ["pip", "install", "--editable", target, *_]:
            named = re.fullmatch(r"\.\[([a-z,]+)\]", target)
            assert named is not None
            assert set(named[1].split(",")) <= project["optional-dependencies"].keys()
        case ["python", "-m", module]:
            assert is_there(module)
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case [program, *_, target] if program in PROGRAMS:
            module, _, attribute = target.partition(":")
            assert re.search(rf"^{attribute} = ", source(module), re.MULTILINE)
        case ["curl", "http://127.0.0.1:8000/", "--json", body]:  # the function's runtime serves any path
            assert json.loads(body)
        case ["curl", address, "--json", body]:
            found = address.removeprefix("http://127.0.0.1:8000")
            sources = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")]
            assert any(f'"{found}"' in source or f'"{found[1:]}"' in source for source in sources)
            assert json.loads(body)
        case ["echo", body, "|", "nc", "127.0.0.1", port]:
            assert json.loads(body)
            assert port in source("examples.asyncio_worker.worker")
        case _:
            assert is_known(words), f"nobody tests {shlex.join(words)}"


def is_known(words: list[str]) -> bool:
    """Whether it is a command of a framework, and what it names exists."""
    match words:
        case ["gameball-async", "sandbox"]:
            return True
        case ["celery", "--app", module, "worker" | "call", *_]:
            return is_there(module)
        case ["jupyter", "execute", notebook]:
            return (ROOT / notebook).is_file()
        case _:
            return False


def is_there(module: str) -> bool:
    folder = ROOT.joinpath(*module.split("."))
    return (folder / "__main__.py").is_file() or folder.with_suffix(".py").is_file()


def source(module: str) -> str:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
