"""`doctor`: looks at everything a client depends on, and says how each thing is, and what to do about it."""

from __future__ import annotations

from ._examination import Checks
from ._findings import CheckStatus, Finding
from ._report import Report

__all__ = ["CheckStatus", "Checks", "Finding", "Report"]
