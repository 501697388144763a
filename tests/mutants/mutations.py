"""Every small change of a module that a test should notice: an operator, a boundary, a condition, a statement."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import attrs

EDGES = {"cli", "integrations", "sandbox", "testing"}
"""Folders of the package that are not its core."""

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}
"""What takes the place of what."""


@attrs.frozen
class Mutation:
    """One changed module.

    Attributes:
        path: the module, below the package's parent.
        line: where it is changed.
        what: the kind of change.
        before: the module's text.
        after: the changed text.
    """

    path: str
    line: int
    what: str
    before: str = attrs.field(repr=False)
    after: str = attrs.field(repr=False)

    @property
    def diff(self) -> str:
        """The change as a diff."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=2)
        return "\n".join(list(lines)[2:])


def core(package: Path) -> list[Path]:
    """The modules of the core."""
    modules = (path for path in package.rglob("*.py") if not EDGES & set(path.relative_to(package).parts))
    return sorted(path for path in modules if path.name not in {"__main__.py", "_version.py"})


def mutations_of(package: Path) -> list[Mutation]:
    """Every change of every module of the core."""
    return [
        mutation
        for path in core(package)
        for mutation in mutations(path.relative_to(package.parent).as_posix(), path.read_text(encoding="utf-8"))
    ]


def mutations(path: str, text: str) -> Iterator[Mutation]:
    """Every change of one module."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node in _nodes(ast.parse(text)):
        for changed, what, replacement in (*_conditions(node), *((node, *change) for change in _changes(node))):
            begin = starts[changed.lineno - 1] + changed.col_offset
            end = starts[(changed.end_lineno or 0) - 1] + (changed.end_col_offset or 0)
            after = text.encode()[:begin] + replacement.encode() + text.encode()[end:]
            yield Mutation(path, changed.lineno, what, text, after.decode())


def _nodes(tree: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """What is changed: no annotations, no assertions, and nothing that only a type checker reads."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Assert, ast.JoinedStr)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.expr, ast.stmt)):
            yield node
        for name in reversed(node._fields):
            if name not in {"annotation", "returns", "decorator_list", "type_params", "slice"}:
                value: object = getattr(node, name, None)
                children = cast("list[object]", value) if isinstance(value, list) else [value]
                waiting += [child for child in reversed(children) if isinstance(child, ast.AST)]


def _conditions(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr, str, str]]:
    """The negated condition of a node, if it has one."""
    if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not isinstance(node.test, (ast.Constant, ast.UnaryOp)):
        yield node.test, "condition", f"(not {_in_parentheses(node.test)})"


def _in_parentheses(node: ast.expr) -> str:
    return f"({ast.unparse(node)})" if isinstance(node, (ast.BoolOp, ast.NamedExpr, ast.Compare)) else ast.unparse(node)


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    """The changes of one node: what is changed, and the new text."""
    match node:
        case ast.expr():
            yield from _changes_of_expression(node)
        case ast.AugAssign(op=operator) if type(operator) in OPERATORS and not _is_text(node):
            yield "operator", ast.unparse(_with(node, op=OPERATORS[type(operator)]()))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return", "return None"
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Assign(targets=[ast.Attribute()]):
            yield "statement", "pass"
        case ast.Continue():
            yield "statement", "break"
        case ast.Break():
            yield "statement", "continue"
        case _:
            pass


def _changes_of_expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in OPERATORS:
            yield "comparison", f"({ast.unparse(_with(node, ops=[OPERATORS[type(operator)]()]))})"
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in OPERATORS and not _is_text(node):
            yield "operator", f"({ast.unparse(_with(node, op=OPERATORS[type(operator)]()))})"
        case ast.UnaryOp(op=ast.Not()):
            yield "negation", f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool() as value):
            yield "constant", str(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", f"({value + 1})"
            yield "constant", f"({value - 1})"
        case _:
            pass


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _is_text(node: ast.AST) -> bool:
    """Whether an operator joins texts, and so has no other that works as well."""
    return any(isinstance(part, ast.JoinedStr) or _is_string(part) for part in ast.walk(node))


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))
