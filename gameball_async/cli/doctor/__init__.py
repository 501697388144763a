"""`doctor`: looks at everything a client depends on, and says how each thing is, and what to do about it."""

from __future__ import annotations

from ._checks import Checks
from ._findings import CheckStatus, Finding, Report

__all__ = ["CheckStatus", "Checks", "Finding", "Report"]
