"""How the findings are told: a line each with the verdict as a word, coloured where there is a terminal; or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .._words import counted, printable
from ._findings import Verdict

if TYPE_CHECKING:
    from ._findings import Finding

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red", Verdict.SKIP: "dim"}
_WIDEST_CHECK = len("journal permissions")


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
        return all(finding.verdict is not Verdict.FAIL for finding in self._findings)

    def print_last(self) -> None:
        """Print the finding that came last, for people."""
        finding = self._findings[-1]
        verdict = (f"{finding.verdict:<6}", _STYLES[finding.verdict])
        words = f"{finding.check.replace('_', ' '):<{_WIDEST_CHECK}}  {printable(finding.words)}"
        self._console.print(Text.assemble(verdict, words))
        if finding.remedy is not None:
            self._console.print(Text(f"{'':<{_WIDEST_CHECK + 8}}-> {printable(finding.remedy)}"))

    def print_sum(self) -> None:
        """Print what it comes to."""
        of = Counter(finding.verdict for finding in self._findings)
        if not of[Verdict.FAIL] and not of[Verdict.WARN]:
            self._console.print("All that was checked is well." if of[Verdict.SKIP] else "All is well.")
            return
        failed, warned = counted(of[Verdict.FAIL], "failure"), counted(of[Verdict.WARN], "warning")
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
