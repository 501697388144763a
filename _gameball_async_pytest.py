"""The pytest fixtures of gameball_async. It imports only pytest until a fixture is used.

pytest loads this module at every start, also for suites without Gameball. So it is not in the package: importing a
module of the package would import httpx too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gameball_async.sandbox import Sandbox
    from gameball_async.testing import Recorder


@pytest.fixture
def gameball_recorder() -> Recorder:
    """A started `gameball_async.testing.Recorder`: pass it where an `AsyncGameball` is expected."""
    from gameball_async.testing import Recorder  # noqa: PLC0415 lazy

    return Recorder(started=True)


@pytest.fixture
def gameball_sandbox() -> Iterator[Sandbox]:
    """A running `gameball_async.sandbox.Sandbox`: pass its `url` to a client as `base_url`."""
    from gameball_async.sandbox import Sandbox  # noqa: PLC0415 lazy

    with Sandbox() as sandbox:
        yield sandbox
