"""An extension of Sphinx: reads the docstrings as this project writes them.

A name between single backticks becomes a link if it is documented, wherever it is: `Batching`, `Receipt.durable`,
`track`. What looks like the name of a class and is not documented stays unresolved, which fails the build. Everything
else between backticks, such as an argument's name, is code.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_PLACES = ("", "gameball_async.", "gameball_async.AsyncGameball.", "gameball_async.outbox.")
"""Where a name is looked for, beside the class and the module that the docstring is in."""

_ALIAS = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")
_DEFAULT = re.compile(r"attr_dict\['(\w+)'\]\.default")
_PRIVATE = re.compile(r"\._\w+(?=\.)")
_CLASS_NAME = re.compile(r"[A-Z]\w*[a-z]\w*(\.\w+)*")


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the build; Sphinx calls this."""
    kept: dict[str, list[str]] = {}

    def keep(_app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
        if what in {"attribute", "data", "property"}:
            kept[name] = list(lines)

    def put_back(_app: Sphinx, _what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
        if name in kept:
            lines[:] = kept.pop(name)

    app.setup_extension("sphinx.ext.autodoc")
    # napoleon would take "Gameball asked for it: a 429" for a type and a description
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", put_back, priority=600)
    app.connect("autodoc-process-signature", _as_written)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _as_written(
    _app: Sphinx, _what: str, _name: str, obj: object, _options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show a signature as its author wrote it.

    Inside of a union autodoc shows a wrapper of its own instead of an alias such as `Metadata`, and for the defaults of
    an attrs class the code that attrs has made.
    """

    def default(match: re.Match[str]) -> str:
        assert isinstance(obj, type)  # noqa: S101 attrs makes classes
        value = attrs.fields_dict(obj)[match[1]].default
        return f"{value:_}" if type(value) is int else repr(value)

    arguments = arguments and _DEFAULT.sub(default, _ALIAS.sub(r"\1", arguments))
    return arguments, returned and _ALIAS.sub(r"\1", returned)


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Find what Sphinx has not found; None leaves it unresolved."""
    if node.get("refdomain") != "py":
        return None
    target, _, call = str(node["reftarget"]).partition("(")
    objects = env.domains.python_domain.objects
    for name in _candidates(target):
        if name in objects:
            found = objects[name]
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content, name)
    is_code = node["reftype"] == "obj" and (call or hasattr(builtins, target) or not _CLASS_NAME.fullmatch(target))
    return content if is_code else None


def _candidates(target: str) -> Iterator[str]:
    """The names under which something may be documented: the module that exports it, not the one that holds it."""
    public = _PRIVATE.sub("", target).replace("gameball_async.errors.", "gameball_async.")
    return (f"{place}{public}" for place in _PLACES)
