"""Every public name with its signature, and the tree of errors."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from types import ModuleType
from typing import Any

import gameball_async

MODULES = (
    "gameball_async",
    "gameball_async.errors",
    "gameball_async.sync",
    "gameball_async.testing",
    "gameball_async.sandbox",
    "gameball_async.integrations.aiohttp",
    "gameball_async.integrations.asgi",
    "gameball_async.integrations.fastapi",
    "gameball_async.integrations.otel",
    "gameball_async.integrations.starlette",
    "gameball_async.outbox",
    "gameball_async.outbox.asyncpg",
    "gameball_async.outbox.django",
    "gameball_async.outbox.psycopg",
    "gameball_async.outbox.sqlalchemy",
)
PACKAGE = gameball_async.__name__
PUBLIC = {name for module in MODULES for name in getattr(importlib.import_module(module), "__all__", ())}
INTERNAL = {
    "Receipt.__init__",
    "SyncReceipt.__init__",
    "DeadLetters.add",
    "DeadLetters.add_damaged",
    "DeadLetters.close",
}
"""What the client alone calls."""

SPECIAL = {"__aenter__", "__aexit__", "__await__", "__call__", "__enter__", "__exit__", "__iter__", "__len__"}


def describe() -> str:
    """The text of all public modules."""
    lines: list[str] = []
    for name in MODULES:
        lines += [f"# {name}", "", *_module(importlib.import_module(name))]
    return "\n".join([*lines, "# the tree of errors", "", *_tree(gameball_async.GameballError, "")]) + "\n"


def _module(module: ModuleType) -> Iterator[str]:
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    for name in sorted(getattr(module, "__all__", [name for name in own if not name.startswith("_")])):
        value = getattr(module, name)
        original = getattr(gameball_async, name, None)
        if module is not gameball_async and value is original:
            yield f"{name}: see {PACKAGE}"
        elif inspect.isclass(value):
            yield from _class(name, value)
        elif inspect.isfunction(value):
            yield f"{_kind(value)} {name}{signature(value)}"
        else:
            yield f"{name}: {type(value).__name__}"
        yield ""


def _class(name: str, described: type[Any]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in described.__bases__ if _is_public(base))
    yield f"class {name}({bases})" if bases else f"class {name}"
    if issubclass(described, Enum):
        yield from (f"    {member.name}" for member in described)
        return
    if getattr(described.__init__, "__module__", "").startswith(PACKAGE) and f"{name}.__init__" not in INTERNAL:
        yield f"    {name}{signature(described.__init__)}"
    members = {
        member: owner
        for owner in reversed(described.__mro__)
        if owner.__module__.startswith(PACKAGE)
        for member in vars(owner)
        if member in SPECIAL or not member.startswith("_")
    }
    for member in sorted(members):
        if f"{name}.{member}" not in INTERNAL:
            yield from _member(member, inspect.getattr_static(described, member))


def _is_public(base: type[Any]) -> bool:
    return base is not object and (_is_own(base) or not base.__module__.startswith(PACKAGE))


def _is_own(base: type[Any]) -> bool:
    return base.__module__.startswith(PACKAGE) and not base.__name__.startswith("_") and base.__name__ in PUBLIC


def _member(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property):
        yield f"    {name}: {_annotations(member.fget).get('return')}"
    elif (kind := type(member).__name__) in {"staticmethod", "classmethod"}:
        yield f"    @{kind} {name}{signature(member.__func__)}"
    elif inspect.isfunction(member):
        yield f"    {_kind(member)} {name}{signature(member)}"
    elif inspect.isdatadescriptor(member):
        yield f"    {name}"  # an attribute; its type is that of the argument
    else:
        yield f"    {name} = {type(member).__name__}"


def _kind(function: Callable[..., Any]) -> str:
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def signature(function: Callable[..., Any]) -> str:
    """The parameters with their kinds, annotations and defaults, as in the source."""
    found = inspect.signature(function)
    shown: list[str] = []
    is_keyword_only = was_positional_only = False
    for parameter in found.parameters.values():
        if was_positional_only and parameter.kind is not parameter.POSITIONAL_ONLY:
            shown.append("/")
        was_positional_only = parameter.kind is parameter.POSITIONAL_ONLY
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            shown.append("*")
        is_keyword_only |= parameter.kind is parameter.VAR_POSITIONAL
        shown.append(_parameter(parameter))
    returned = "" if found.return_annotation is found.empty else f" -> {_annotation(found.return_annotation)}"
    return f"({', '.join(shown)}){returned}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" * (1 if parameter.kind is parameter.VAR_POSITIONAL else 2 * (parameter.kind is parameter.VAR_KEYWORD))
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _annotations(function: Any) -> dict[str, Any]:
    return {name: _annotation(found) for name, found in getattr(function, "__annotations__", {}).items()}


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))


def _default(default: Any) -> str:
    if inspect.isclass(default):
        return default.__name__
    if default is ...:
        return "..."
    if default in (None, ()) or isinstance(default, (str, int, float)) or _is_own(default.__class__):
        return repr(default)
    return f"<{default.__class__.__name__}>"


def _tree(error: type[Exception], indentation: str) -> Iterator[str]:
    foreign = [base.__name__ for base in error.__bases__ if not base.__module__.startswith(PACKAGE)]
    yield f"{indentation}{error.__name__} ({', '.join(foreign)})" if foreign else f"{indentation}{error.__name__}"
    for below in sorted(error.__subclasses__(), key=lambda found: found.__name__):
        if below.__module__.startswith(PACKAGE):
            yield from _tree(below, indentation + "  ")
