"""The three event routes of the API, one row each; what a request must contain is judged elsewhere."""

from __future__ import annotations

import attrs


@attrs.frozen
class Dialect:
    """How one version of the API names things.

    Args:
        version: as in the path, such as `"v3.0"`.
        path: the route that takes events.
        id_field: the body's field for the player.
        id_missing: what the API says when that field is missing.
        needs_secret: whether the SecretKey header is required.
        success: the body of a success.
    """

    version: str
    path: str
    id_field: str
    id_missing: str
    needs_secret: bool
    success: bytes

    @property
    def is_v3(self) -> bool:
        """Whether errors have v3's two fields instead of v4's four."""
        return self.version.startswith("v3")


_V4_SUCCESS = b'{"success":true,"message":"Events processed"}'

DIALECTS = (
    Dialect(
        version="v3.0",
        path="/api/v3.0/integrations/event",
        id_field="playerUniqueId",
        id_missing="The PlayerUniqueId field is required.",
        needs_secret=False,
        success=b"{}",
    ),
    Dialect(
        version="v4.0",
        path="/api/v4.0/integrations/events",
        id_field="customerId",
        id_missing="customer id is missing",
        needs_secret=False,
        success=_V4_SUCCESS,
    ),
    Dialect(
        version="v4.1",
        path="/api/v4.1/integrations/events",
        id_field="customerId",
        id_missing="customer id is missing",
        needs_secret=True,
        success=_V4_SUCCESS,
    ),
)
