"""What the doctor says of one thing: a verdict, its words, and the remedy where one is needed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.text import Text

from .._terminal import columns, counted, printable, wrapped

if TYPE_CHECKING:
    from ...errors import ConfigurationError


class CheckStatus(StrEnum):
    """How one thing is."""

    OK = "ok"
    WARN = "warn"  # it works, and something should be known or done
    FAIL = "fail"  # events will not arrive like this, or not now
    SKIP = "skip"  # it was not checked; the words say why


@attrs.frozen
class Finding:
    """One line of the doctor's.

    Attributes:
        check: what was looked at; its name stays the same from version to version.
        verdict: how it is.
        words: what was seen. They hold no key, and nothing of one.
        remedy: what to do; None where nothing is to be done.
    """

    check: str
    verdict: CheckStatus
    words: str
    remedy: str | None = None


def ok(check: str, words: str) -> Finding:
    """Say that a thing is well."""
    return Finding(check, CheckStatus.OK, words)


def warn(check: str, words: str, remedy: str) -> Finding:
    """Say that a thing works, and that something should be done."""
    return Finding(check, CheckStatus.WARN, words, remedy)


def fail(check: str, words: str, remedy: str) -> Finding:
    """Say that a thing keeps events from arriving."""
    return Finding(check, CheckStatus.FAIL, words, remedy)


def refused(check: str, error: ConfigurationError) -> Finding:
    """Say that the client refuses a setting; its message is what is wrong, a colon, and the remedy."""
    words, _, remedy = str(error).partition(": ")
    return fail(check, words, remedy[:1].upper() + remedy[1:])


def skip(check: str, why: str) -> Finding:
    """Say that a thing was not checked."""
    return Finding(check, CheckStatus.SKIP, f"not checked: {why}")


_STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red", CheckStatus.SKIP: "dim"}
_WIDEST_CHECK = len("journal permissions")
_WIDE = 72  # columns of a terminal, from which on what is said of a check has a column of its own
_NARROW_INDENT = 6


class Report:
    """Everything that was found, and how it is told."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._console = Console(highlight=False, soft_wrap=True)

    def add(self, finding: Finding) -> None:
        """Take in a finding."""
        self._findings.append(finding)

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed; a warning is no failure."""
        return all(finding.verdict is not CheckStatus.FAIL for finding in self._findings)

    def print_last(self) -> None:
        """Print the finding that came last, for people."""
        finding = self._findings[-1]
        width = columns(sys.stdout)
        indent = " " * (_WIDEST_CHECK + 8 if width is None or width >= _WIDE else _NARROW_INDENT)
        check = f"{finding.check.replace('_', ' '):<{_WIDEST_CHECK}}"
        line = wrapped(f"{finding.verdict:<6}{check}  {printable(finding.words)}", sys.stdout, indent)
        text = Text(line)
        text.stylize(_STYLES[finding.verdict], 0, len(finding.verdict))
        self._console.print(text)
        if finding.remedy is not None:
            self._console.print(Text(wrapped(f"{indent}-> {printable(finding.remedy)}", sys.stdout, f"{indent}   ")))

    def print_sum(self) -> None:
        """Print what it comes to."""
        of = Counter(finding.verdict for finding in self._findings)
        if not of[CheckStatus.FAIL] and not of[CheckStatus.WARN]:
            self._console.print("All that was checked is well." if of[CheckStatus.SKIP] else "All is well.")
            return
        failed, warned = counted(of[CheckStatus.FAIL], "failure"), counted(of[CheckStatus.WARN], "warning")
        self._console.print(f"{failed}, {warned}.")

    def in_json(self) -> str:
        """Return all of it as one line of JSON."""
        findings = [
            {
                "check": finding.check,
                "verdict": finding.verdict,
                "words": finding.words,
                "remedy": finding.remedy,
            }
            for finding in self._findings
        ]
        return json.dumps({"well": self.is_well, "findings": findings})
