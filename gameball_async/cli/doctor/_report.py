"""How the findings are told: a line each with the verdict as a word, coloured where there is a terminal; or as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .._words import counted, printable
from .._wrapping import columns, wrapped
from ._findings import CheckStatus

if TYPE_CHECKING:
    from ._findings import Finding

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
