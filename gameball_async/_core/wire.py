"""One request for one player: a body with the player's id and an object of events."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import msgspec

from ..errors import ConfigurationError

_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class ApiVersion:
    """A version of the API that takes the events of one player in one request.

    Attributes:
        version: as in `api_version` and in the path.
        resource: the last part of the path.
        id_field: the body's field for the player's id.
        needs_secret: whether every call must carry the secret key.
    """

    version: str
    resource: str
    id_field: str
    needs_secret: bool = False

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return f"/api/{self.version}/integrations/{self.resource}"

    def headers(self, api_key: str, secret_key: str | None) -> dict[str, str]:
        """The headers of every request; the secret key is sent whenever there is one."""
        headers = {"APIKey": api_key, "Content-Type": "application/json"}
        if secret_key is not None:
            headers["SecretKey"] = secret_key
        return headers

    def body(self, player_unique_id: str, events: Iterable[bytes], mobile: str | None, email: str | None) -> bytes:
        """The body of one request; each event is a JSON member as `encode_event` makes it."""
        members = {self.id_field: player_unique_id}
        if mobile is not None:
            members["mobile"] = mobile
        if email is not None:
            members["email"] = email
        return b'{"events":{%b},%b}' % (b",".join(events), _encode(members)[1:-1])

    def overhead(self, player_unique_id: str, mobile: str | None, email: str | None) -> int:
        """Bytes of a body that are not events or the commas between them."""
        return len(self.body(player_unique_id, (), mobile, email))


V3_0 = ApiVersion(version="v3.0", resource="event", id_field="playerUniqueId")


V4_0 = ApiVersion(version="v4.0", resource="events", id_field="customerId")
V4_1 = ApiVersion(version="v4.1", resource="events", id_field="customerId", needs_secret=True)


__all__ = ["ApiVersion", "dialect"]

_DIALECTS = {dialect.version: dialect for dialect in (V3_0, V4_0, V4_1)}


def dialect(api_version: str) -> ApiVersion:
    """The dialect of an API version.

    Raises:
        ConfigurationError: if the version is unknown.
    """
    try:
        return _DIALECTS[api_version]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"api_version is {api_version!r}: give one of {', '.join(map(repr, _DIALECTS))}."
        ) from None
