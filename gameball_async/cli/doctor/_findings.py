"""Findings of the doctor, and the report that prints them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from enum import StrEnum

import attrs
from rich.console import Console
from rich.text import Text

from ..._log import counted
from ...errors import ConfigurationError
from .._terminal import columns, printable, wrapped


class CheckStatus(StrEnum):
    """The verdict of one check."""

    OK = "ok"
    WARN = "warn"  # it works, and something should be known or done
    FAIL = "fail"  # events will not arrive like this, or not now
    SKIP = "skip"  # not checked; the words say why


@attrs.frozen
class Finding:
    """The result of one check."""

    check: str
    verdict: CheckStatus
    words: str
    remedy: str | None = None


def ok(check: str, words: str) -> Finding:
    return Finding(check, CheckStatus.OK, words)


def warn(check: str, words: str, remedy: str) -> Finding:
    return Finding(check, CheckStatus.WARN, words, remedy)


def fail(check: str, words: str, remedy: str) -> Finding:
    return Finding(check, CheckStatus.FAIL, words, remedy)


def refused(check: str, error: ConfigurationError) -> Finding:
    """Return a finding: the client refuses a setting; its message is the fault, a colon, and the remedy."""
    words, _, remedy = str(error).partition(": ")
    return fail(check, words, remedy[:1].upper() + remedy[1:])


def skip(check: str, why: str) -> Finding:
    return Finding(check, CheckStatus.SKIP, f"not checked: {why}")


_STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red", CheckStatus.SKIP: "dim"}
_WIDEST_CHECK = len("journal permissions")
_WIDE = 72  # columns of a terminal from which on the findings have a column of their own
_NARROW_INDENT = 6


class Report:
    """Collect findings, and print them as lines or JSON."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._console = Console(highlight=False, soft_wrap=True)

    def add(self, finding: Finding, *, show: bool) -> None:
        self._findings.append(finding)
        if show:
            self._print(finding)

    @property
    def is_well(self) -> bool:
        """Whether nothing has failed; a warning is no failure."""
        return all(finding.verdict is not CheckStatus.FAIL for finding in self._findings)

    def _print(self, finding: Finding) -> None:
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
        of = Counter(finding.verdict for finding in self._findings)
        if not of[CheckStatus.FAIL] and not of[CheckStatus.WARN]:
            self._console.print("All that was checked is well." if of[CheckStatus.SKIP] else "All is well.")
            return
        failed, warned = counted(of[CheckStatus.FAIL], "failure"), counted(of[CheckStatus.WARN], "warning")
        self._console.print(f"{failed}, {warned}.")

    def in_json(self) -> str:
        return json.dumps({"well": self.is_well, "findings": [attrs.asdict(finding) for finding in self._findings]})
