"""The shop on trio beside a sandbox, which prints what arrives: `python -m examples.starlette_trio`."""

from __future__ import annotations

import os

from hypercorn import Config
from hypercorn.run import run

from gameball_async.sandbox import Sandbox


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    with Sandbox(on_request=lambda request: print(f"{request.player} {request.events} {request.status}")) as sandbox:
        os.environ |= {"GAMEBALL_API_KEY": "any-key", "GAMEBALL_BASE_URL": sandbox.url}
        address = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
        run(Config.from_mapping(application_path="examples.starlette_trio.shop:app", worker_class="trio", bind=address))


if __name__ == "__main__":  # hypercorn's worker is a separate process, which imports this file too
    main()
