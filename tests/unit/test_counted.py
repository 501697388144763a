"""Messages count in the singular and in the plural."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from gameball_async._log import counted

from .test_import_rules import MODULES

NOUNS = "byte|cell|event|failure|fault|file|interruption|letter|line|outage|outcome|player|request|row|time"
"""What messages count."""

PLURAL = re.compile(rf" (?:\w+ )?(?:{NOUNS})s\b")
AFTER_A_PLACEHOLDER = re.compile(rf"%[,.\d]*d{PLURAL.pattern}")

NEVER_ONE = {
    "len(events)": "it is more than a limit of at least 1",
    "total": "the bytes of a request",
    "most": "the bytes of a journal",
    "len(same)": "columns with the same name",
    "_LONGEST_FILE": "a constant",
    "LONGEST_LINE": "a constant",
    "len(self.paths)": "one file is named",
    "count": "1 is written `once`; the rate windows of the default client",
    "_COLUMNS": "part of an SQL statement",
    "self.rows": "more than the rows that were counted",
    "self.rate": "a rate, with the unit events/s",
    "state.rate": "likewise",
    "length": "more than the outbox's limit for an id",
    "LONGEST_PLAYER": "a constant",
    "_LONGEST_ROLE": "a constant",
    "size": "the bytes of a request",
}
"""Numbers that may stand before a plural, with the reason."""


def plurals_after_a_number() -> Iterator[str]:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for value, text in pairwise(node.values):
                    if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                        number = ast.unparse(value.value)
                        if PLURAL.match(str(text.value)) and number not in NEVER_ONE:
                            yield f"{module}:{node.lineno} {{{number}}}{text.value!r}"
            elif isinstance(node, ast.Constant) and AFTER_A_PLACEHOLDER.search(str(node.value)):
                yield f"{module}:{node.lineno} {node.value!r}"


def test_no_number_is_followed_by_a_plural_that_may_be_wrong() -> None:
    assert list(plurals_after_a_number()) == []


def test_one_is_singular_and_every_other_number_plural() -> None:
    texts = [counted(number, "event") for number in (0, 1, 2, 10_000)]
    assert texts == ["0 events", "1 event", "2 events", "10,000 events"]


def test_a_verb_agrees_with_the_number() -> None:
    assert counted(1, "event", "are") == "1 event is"
    assert counted(1, "event", "have") == "1 event has"
    assert counted(1, "event", "were") == "1 event was"
    assert counted(2, "event", "were") == "2 events were"
