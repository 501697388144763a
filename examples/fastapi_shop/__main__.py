"""The shop beside a sandbox, which prints what arrives: `python -m examples.fastapi_shop`."""

from __future__ import annotations

import os

import uvicorn

from gameball_async.sandbox import Sandbox

with Sandbox(on_request=lambda request: print(f"{request.player} {request.events} {request.status}")) as sandbox:
    os.environ |= {"GAMEBALL_API_KEY": "any-key", "GAMEBALL_BASE_URL": sandbox.url}
    uvicorn.run("examples.fastapi_shop.shop:app", port=int(os.environ.get("PORT", "8000")))
