"""The library's own log: a handler or a filter of the application that raises harms no event."""

from __future__ import annotations

import logging
import traceback
from typing import Any


class _Harmless(logging.LoggerAdapter[logging.Logger]):
    """A logger whose calls do not raise: what goes wrong in them is shown as `logging` shows a handler's own error."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 as the base has it
        """Log, as every other method does through this one."""
        try:
            super().log(level, msg, *args, stacklevel=2, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 whatever the application's handlers raise, SystemExit as well
            if logging.raiseExceptions:
                traceback.print_exc()


def logger(name: str) -> _Harmless:
    """The logger of this name."""
    return _Harmless(logging.getLogger(name))
