"""A user's test of the shop with Starlette's TestClient, which runs the app in a thread's loop."""

from __future__ import annotations

from starlette.testclient import TestClient

from .shop import app

with TestClient(app) as http:
    for number in range(20):
        assert http.post(f"/track/player123/{number}").is_success
        assert http.post(f"/plain/player456/{number}").is_success
    assert http.post("/wait/player789/0").is_success
