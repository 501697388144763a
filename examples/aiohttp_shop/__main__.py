"""The shop beside a sandbox, which prints what arrives: `python -m examples.aiohttp_shop`."""

from __future__ import annotations

import os

from gameball_async.sandbox import Sandbox

from . import shop

with Sandbox(on_request=lambda request: print(f"{request.player} {request.events} {request.status}")) as sandbox:
    os.environ |= {"GAMEBALL_API_KEY": "any-key", "GAMEBALL_BASE_URL": sandbox.url}
    shop.main()
