"""Code within a line is not run, but each call in it is one that works: the function exists and takes the arguments."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import gameball_async
from gameball_async import AsyncGameball, DeadLetters, Event, ObservedClient, Receipt
from gameball_async.sandbox import Fault, JobRecord, Sandbox
from gameball_async.sync import Gameball, SyncReceipt
from gameball_async.testing import Recorder

from .pages import EXAMPLE_PAGES, PAGES, Page

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")

CLASSES = (
    *(AsyncGameball, Gameball, Recorder, Receipt, SyncReceipt, DeadLetters, Event, ObservedClient),
    *(Sandbox, Fault, JobRecord),
)
"""Their methods are named on pages without the object: `flush()`, `assert_tracked(...)`."""

OTHERS = {
    "Decimal": "decimal",
    "UUID": "uuid",
    "asdict": "dataclasses and attrs",
    "approx": "pytest",
    "cancel": "asyncio.Task",
    "exit": "sys",
    "signal": "signal",
    "date": "datetime",
    "datetime": "datetime",
    "time": "datetime",
    "timedelta": "datetime",
    "total_seconds": "datetime.timedelta",
    "isoformat": "datetime",
    "freeze": "gc",
    "setattr": "pytest.MonkeyPatch",
    "items": "dict",
    "decode": "bytes",
    "item": "numpy",
    "tolist": "numpy",
    "model_dump": "pydantic",
    "eventObject": "the package that `migrate.md` leads away from",
    "add_event": "likewise",
    "send_event": "likewise",
    "add_player_attribute": "likewise",
    "gameball_named": "a function that the page defines",
}
"""Functions that are not this package's, and whose they are."""


@attrs.frozen
class Call:
    """A call in the code within a line."""

    page: str
    text: str
    node: ast.Call

    @property
    def name(self) -> str:
        """The last part of the function's name."""
        match self.node.func:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return name
            case _:
                return ""

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def calls(page: Page) -> Iterator[Call]:
    for match in _CODE.finditer("\n".join(page.prose())):
        text = " ".join(match[1].split())
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue  # a command, a type, a part of a line
        yield from (Call(str(page), text, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def public_functions() -> dict[str, list[Callable[..., Any]]]:
    """Whatever users can call, by its name."""
    found: dict[str, list[Callable[..., Any]]] = {}
    modules = [gameball_async, *map(importlib.import_module, public_modules())]
    names = {(name, getattr(module, name)) for module in modules for name in getattr(module, "__all__", ())}
    for name, value in names:
        if callable(value):
            found.setdefault(name, []).append(value)
    for kind in CLASSES:
        for name, method in inspect.getmembers(kind, callable):
            if not name.startswith("_"):
                found.setdefault(name, []).append(without_self(method))
    return found


def public_modules() -> Iterator[str]:
    folders = ("sandbox", "testing", "integrations", "outbox")
    for folder in folders:
        package = importlib.import_module(f"gameball_async.{folder}")
        yield package.__name__
        yield from (
            module.name
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
            if not module.name.rpartition(".")[2].startswith("_")
        )


def without_self(method: Callable[..., Any]) -> Callable[..., Any]:
    return method if inspect.ismethod(method) else method.__get__(object())


FUNCTIONS = public_functions()
CALLS = [call for page in (*PAGES, *EXAMPLE_PAGES) for call in calls(page)]


def takes(function: Callable[..., Any], node: ast.Call) -> bool:
    """Whether a function can be called like this; `...` stands for any arguments."""
    if any(isinstance(argument, ast.Constant) and argument.value is ... for argument in node.args):
        return True
    try:
        signature = inspect.signature(function)
        keywords: dict[str, object] = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        # prose names a call without the arguments that do not matter there: `track()`, `Journal(max_bytes=...)`
        is_in_part = all(isinstance(value, ast.Constant) and value.value is ... for value in keywords.values())
        bind = signature.bind_partial if is_in_part and not node.args else signature.bind
        bind(*node.args, **keywords)
    except TypeError:
        return False
    return True


def test_calls_are_found() -> None:
    assert len(CALLS) > 100
    assert "gameball_context" in FUNCTIONS


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLE_PAGES], ids=str)
def test_every_call_within_a_line_names_a_function_that_exists(page: Page) -> None:
    unknown = [
        str(call)
        for call in calls(page)
        if call.name not in FUNCTIONS and call.name not in OTHERS and not hasattr(builtins, call.name)
    ]
    assert unknown == []


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLE_PAGES], ids=str)
def test_every_call_within_a_line_has_arguments_that_its_function_takes(page: Page) -> None:
    refused = [
        str(call)
        for call in calls(page)
        if (functions := FUNCTIONS.get(call.name)) and not any(takes(function, call.node) for function in functions)
    ]
    assert refused == []


def test_a_call_that_does_not_work_is_noticed() -> None:
    (function,) = FUNCTIONS["gameball_context"]
    for text, works in [("gameball_context(lambda: recorder)", False), ("gameball_context(client=make)", True)]:
        node = ast.parse(text, mode="eval").body
        assert isinstance(node, ast.Call)
        assert takes(function, node) is works
