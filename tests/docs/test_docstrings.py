"""The examples in the docstrings of public names run, each with no more names than a reader has."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from aiohttp import web
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gameball_async import AsyncGameball
from gameball_async.sandbox import Sandbox
from gameball_async.testing import Recorder

from .test_site import MODULES

_EXAMPLE = re.compile(r"(?:^|\n)::\n\n((?:    .*\n|\n)+)")


@attrs.frozen
class Example:
    """What stands behind a `::` in a docstring.

    Attributes:
        place: whose docstring.
        text: the code.
        names: what the module itself defines or imports.
    """

    place: str
    text: str
    names: dict[str, Any]

    def __str__(self) -> str:
        return self.place


def documented() -> Iterator[tuple[str, object, dict[str, Any]]]:
    """Public modules, what is public in them, and the public methods of classes."""
    for module in MODULES.values():
        yield module.__name__, module, vars(module)
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            yield f"{module.__name__}.{name}", thing, vars(module)
            if inspect.isclass(thing):
                for key, member in inspect.getmembers(thing, inspect.isroutine):
                    if not key.startswith("_"):
                        yield f"{module.__name__}.{name}.{key}", member, vars(module)


EXAMPLES = [
    Example(place, textwrap.dedent(text), names)
    for place, thing, names in documented()
    for text in _EXAMPLE.findall((inspect.getdoc(thing) or "") + "\n")
    if "├──" not in text  # the tree of the errors
]


async def checkout(gameball: AsyncGameball, player: str, total: int) -> None:
    """The code under test that an example speaks of."""
    await gameball.track(player, "place_order", {"total_amount": total})


READERS: dict[str, Any] = {
    "AsyncGameball": AsyncGameball,
    "FastAPI": FastAPI,
    "Recorder": Recorder,
    "Request": Request,
    "Response": Response,
    "Route": Route,
    "Starlette": Starlette,
    "checkout": checkout,
    "web": web,
}
"""What a reader has imported, or has in their own code."""


def test_examples_are_found_in_modules_and_in_classes() -> None:
    places = {example.place for example in EXAMPLES}
    assert {"gameball_async.integrations.fastapi", "gameball_async.sandbox.Sandbox"} <= places


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_in_a_docstring_runs(example: Example, gameball_is_the_sandbox: Sandbox) -> None:
    code = compile(example.text, example.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, READERS | example.names)  # the docstring is ours
    if inspect.iscoroutine(result):
        asyncio.run(result)
    assert gameball_is_the_sandbox.violations == []
