"""How events look on the wire, one module for each dialect of the API; nothing here sends anything."""

from __future__ import annotations

from ..errors import ConfigurationError
from ._single import ApiVersion
from .v3 import V3_0
from .v4 import V4_0, V4_1

__all__ = ["ApiVersion", "dialect"]

_DIALECTS = {dialect.version: dialect for dialect in (V3_0, V4_0, V4_1)}


def dialect(api_version: str) -> ApiVersion:
    """The dialect of an API version.

    Raises:
        ConfigurationError: if there is none of that name.
    """
    try:
        return _DIALECTS[api_version]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"api_version is {api_version!r}: give one of {', '.join(map(repr, _DIALECTS))}."
        ) from None
