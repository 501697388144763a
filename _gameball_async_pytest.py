"""The fixtures of gameball_async for pytest; it imports pytest alone until one of them is asked for.

pytest loads it at every start, also of suites that never heard of Gameball. That is why it lies beside the
package: importing anything inside would import the package, and httpx with it.
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
    """A `gameball_async.testing.Recorder`, started already: pass it where an `AsyncGameball` is expected."""
    from gameball_async.testing import Recorder  # noqa: PLC0415 only now

    return Recorder(started=True)


@pytest.fixture
def gameball_sandbox() -> Iterator[Sandbox]:
    """A `gameball_async.sandbox.Sandbox` on a socket; give its `url` to a client as `base_url`."""
    from gameball_async.sandbox import Sandbox  # noqa: PLC0415 only now

    with Sandbox() as sandbox:
        yield sandbox
