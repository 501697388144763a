"""One name, one meaning: no two classes of the package share a name, and no two modules share a file name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import gameball_async

PACKAGE = Path(gameball_async.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

REPEATED_BY_DESIGN = frozenset({"__init__.py", "__main__.py"})
"""File names with a meaning in Python itself."""


def plain(name: str) -> str:
    """The name without the underscores that mark it as private."""
    return name.lstrip("_")


def repeated(named: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The places of each name that occurs more than once."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, place in named:
        places[plain(name)].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def classes() -> list[tuple[str, str]]:
    """Every class with its place, nested ones included."""
    return [
        (node.name, f"{path.relative_to(PACKAGE)}:{node.lineno}")
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]


def test_all_classes_are_found() -> None:
    assert {"AsyncGameball", "Receipt", "Sandbox"} <= {name for name, _ in classes()}


def test_a_repeated_name_is_found_whatever_its_underscores() -> None:
    assert repeated([("Batch", "a.py:1"), ("_Batch", "b.py:2"), ("Buffer", "c.py:3")]) == {
        "Batch": ["a.py:1", "b.py:2"]
    }


def test_no_class_name_occurs_twice() -> None:
    assert repeated(classes()) == {}


def test_no_file_name_occurs_twice() -> None:
    files = [(path.name, str(path.relative_to(PACKAGE))) for path in MODULES if path.name not in REPEATED_BY_DESIGN]
    assert repeated(files) == {}
