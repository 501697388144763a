"""The worker beside a sandbox, which prints what arrives: `python -m examples.asyncio_worker`."""

from __future__ import annotations

import os

from gameball_async.sandbox import Sandbox

from . import worker

with Sandbox(on_request=lambda request: print(f"{request.player} {request.events} {request.status}")) as sandbox:
    os.environ |= {"GAMEBALL_API_KEY": "any-key", "GAMEBALL_BASE_URL": sandbox.url}
    worker.main()
