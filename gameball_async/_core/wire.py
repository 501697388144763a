"""The bytes of requests, for one player or for many, and bounded decoding of a response's body."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from ..errors import ConfigurationError

_encode = msgspec.json.Encoder().encode


class ApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the API that takes the events of one player in one request.

    Attributes:
        version: as in `api_version` and in the path.
        resource: the last part of the path.
        id_field: the body's field for the player's id.
        needs_secret: whether every call must carry the secret key.
        takes_bulk: whether it has bulk requests and previews.
    """

    version: str
    resource: str
    id_field: str
    needs_secret: bool = False
    takes_bulk: bool = True

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return self.path_of(self.resource)

    def path_of(self, resource: str) -> str:
        """The path of another resource below the base URL."""
        return f"/api/{self.version}/integrations/{resource}"

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


API_VERSIONS = {
    row.version: row
    for row in (
        ApiVersion(version="v3.0", resource="event", id_field="playerUniqueId", takes_bulk=False),
        ApiVersion(version="v4.0", resource="events", id_field="customerId"),
        ApiVersion(version="v4.1", resource="events", id_field="customerId", needs_secret=True),
    )
}


LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer's body that are read. Gameball's are below 1 KiB; a gateway's page may be any."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request beside those of single players: a bulk request, a job's status, a preview.

    Attributes:
        method: such as GET.
        url: where it goes.
        body: JSON; empty for none.
        headers: what it carries beside the keys.
        longest_answer: bytes of the answer's body that are read.
    """

    method: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = {}
    longest_answer: int = LONGEST_ANSWER


def bulk_body(bodies: Iterable[bytes]) -> bytes:
    """The body of a bulk request; each item is what would be the body of its player's own request."""
    return b'{"body":[%b]}' % b",".join(bodies)


def dialect(api_version: str, setting: str = "api_version") -> ApiVersion:
    """The dialect of an API version.

    Raises:
        ConfigurationError: if the version is unknown; naming the setting that it comes from.
    """
    try:
        return API_VERSIONS[api_version]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{setting} is {api_version!r}: give one of {', '.join(map(repr, API_VERSIONS))}."
        ) from None


# ---------------------------------------------------------------- response bodies

_CODINGS_AT_MOST = 5
"""Content codings of one body, at most; real servers apply one."""

_ZSTD_STEP = 16
"""Bytes fed to zstandard at once. Four of them may expand to 128 KiB, and its output has no other bound."""

Decoder = Callable[[bytes, int], tuple[bytes, bool]]
"""Decodes a body up to about a number of bytes; returns the output and whether the input was complete."""


def decode_body(body: bytes, content_encoding: str, limit: int) -> tuple[bytes, bool]:
    """Undo the content codings of a body, with bounded memory.

    Args:
        body: the body as it was received.
        content_encoding: the value of the header `Content-Encoding`; may be empty.
        limit: bytes of output that are kept, for each coding.

    Returns:
        The decoded body, and whether it is complete: False if it was truncated, is corrupt, or uses a coding that
        cannot be decoded here.
    """
    codings = [coding for coding in re.split(r"[\s,]+", content_encoding.lower()) if coding not in ("", "identity")]
    if not body or not codings:
        return body, True
    if len(codings) > _CODINGS_AT_MOST:
        return b"", False
    complete = True
    for coding in reversed(codings):  # the last one was applied last
        try:
            body, is_ended = _DECODERS[coding](body, limit)
        except Exception:  # noqa: BLE001 an unknown coding, a missing library, or corrupt data: each library has its own errors
            return b"", False
        complete = complete and (is_ended or len(body) >= limit)
        body = body[:limit]
    return body, complete


def _inflate(body: bytes, limit: int, window_bits: int) -> tuple[bytes, bool]:
    inflater = zlib.decompressobj(window_bits)
    return inflater.decompress(body, limit), inflater.eof


def _gzip(body: bytes, limit: int) -> tuple[bytes, bool]:
    output, is_ended = b"", False
    while body.startswith(b"\x1f\x8b") and len(output) < limit:  # RFC 1952: a file may have several members
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        output += inflater.decompress(body, limit - len(output))
        body, is_ended = inflater.unused_data, inflater.eof
        if not is_ended:
            break
    return output, is_ended


def _deflate(body: bytes, limit: int) -> tuple[bytes, bool]:
    try:
        return _inflate(body, limit, zlib.MAX_WBITS)
    except zlib.error:  # without zlib's header, as some servers send it
        return _inflate(body, limit, -zlib.MAX_WBITS)


def _brotli(body: bytes, limit: int) -> tuple[bytes, bool]:
    make: Any
    try:
        import brotli  # type: ignore[import-not-found,import-untyped,unused-ignore] # pyright: ignore # noqa: PGH003, PLC0415

        make = cast("Any", brotli).Decompressor
    except ImportError:
        import brotlicffi  # type: ignore[import-not-found,import-untyped,unused-ignore] # pyright: ignore # noqa: PGH003, PLC0415

        make = cast("Any", brotlicffi).Decompressor
    decompressor: Any = make()
    # before 1.2 there is no such argument, and so no bound: then the body counts as undecodable
    output: bytes = decompressor.process(body, output_buffer_limit=limit)
    return output, bool(decompressor.is_finished())


def _zstd(body: bytes, limit: int) -> tuple[bytes, bool]:
    import zstandard  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: PLC0415 optional

    decompressor: Any = zstandard.ZstdDecompressor(max_window_size=2**23).decompressobj()
    output = b""
    for position in range(0, len(body), _ZSTD_STEP):
        output += decompressor.decompress(body[position : position + _ZSTD_STEP])
        if decompressor.eof or len(output) >= limit:
            break
    return output, bool(decompressor.eof)


_DECODERS: dict[str, Decoder] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
"""What httpx can decode; `br` and `zstd` need the libraries that it needs for them."""
