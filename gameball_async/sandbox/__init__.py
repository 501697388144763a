"""A strict fake of the Gameball API, independent of the client: it implements the documentation by itself."""

try:
    from ._sandbox import Sandbox
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn"}:
        raise
    raise ModuleNotFoundError(
        f'The sandbox needs {error.name}: pip install "gameball-async[sandbox]"', name=error.name
    ) from error
from ._faults import Fault
from ._jobs import FailedItem, JobRecord, JobSettings
from ._memory import HeldEvent, RequestRecord, Tally, Violation
from ._preview import Reward
from ._rules import Limits

__all__ = [
    "FailedItem",
    "Fault",
    "HeldEvent",
    "JobRecord",
    "JobSettings",
    "Limits",
    "RequestRecord",
    "Reward",
    "Sandbox",
    "Tally",
    "Violation",
]
