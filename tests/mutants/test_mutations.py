"""The changes that the mutation test makes are changes, of the core alone, and compile."""

from __future__ import annotations

import ast
import difflib
import random

import pytest

from .mutations import EDGES, core, mutations, mutations_of
from .trial import ROOT

PACKAGE = ROOT / "gameball_async"


def changed(line: str) -> list[str]:
    """What becomes of the last line of a function."""
    text = f"def f():\n  for _ in x:\n    if x:\n      {line}\n"
    every = [mutation.after.splitlines() for mutation in mutations("m.py", text)]
    return [after[3].strip() for after in every if after[:3] == text.splitlines()[:3]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return a <= b", ["return None", "return (a < b)"]),
        ("return a is not b", ["return None", "return (a is b)"]),
        ("y = a and b", ["y = (a or b)"]),
        ("y = a - b", ["y = (a + b)"]),
        ("y = not a", ["y = (a)"]),
        ("y = a if b else c", ["y = a if (not b) else c"]),
        ("y = 5", ["y = (6)", "y = (4)"]),
        ("y = True", ["y = False"]),
        ("y += x", ["y -= x"]),
        ("y.z = x", ["pass"]),
        ("y(x)", ["pass"]),
        ("continue", ["break"]),
        ("break", ["continue"]),
        ("y = 'ä' + x", []),
        ("assert x == 1", []),
        ("y: Literal[1] = x", []),
        ("'''A text.'''", []),
    ],
)
def test_a_line_is_changed_in_these_ways(line: str, expected: list[str]) -> None:
    assert changed(line) == expected


def test_a_condition_of_a_statement_is_negated() -> None:
    [negated] = [mutation.after for mutation in mutations("m.py", "if x:\n  y\n")]
    assert negated == "if (not x):\n  y\n"


def test_only_the_core_is_changed() -> None:
    parts = {part for path in core(PACKAGE) for part in path.relative_to(PACKAGE).parts}
    assert not parts & EDGES
    assert len(core(PACKAGE)) > 20


def test_every_change_of_the_core_compiles_and_changes_one_place() -> None:
    every = mutations_of(PACKAGE)
    assert len(every) > 2000
    for mutation in random.Random(0).sample(every, 150):
        ast.parse(mutation.after)
        before, after = mutation.before.splitlines(), mutation.after.splitlines()
        blocks = [tag for tag, *_ in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()]
        assert blocks.count("replace") == 1
        assert mutation.diff
