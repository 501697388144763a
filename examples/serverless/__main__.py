"""The function on this machine: `python -m examples.serverless` calls it for each request."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType

from .function import handler


class Runtime(BaseHTTPRequestHandler):
    """Calls the function, as a platform does."""

    def do_POST(self) -> None:
        """Answer with what it returns."""
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = handler(event, None)
        self.send_response(answer["statusCode"])
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


def end(_number: int, _frame: FrameType | None) -> None:
    """Exit, so that the client delivers what is left."""
    sys.exit()


signal.signal(signal.SIGTERM, end)
server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Runtime)
print(f"listens at http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
