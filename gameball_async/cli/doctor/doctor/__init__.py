"""`doctor`: looks at everything a client depends on, and says how each thing is, and what to do about it."""

from __future__ import annotations

from ._examination import Examination
from ._findings import Finding, Verdict
from ._report import Report

__all__ = ["Examination", "Finding", "Report", "Verdict"]
