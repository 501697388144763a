"""JSON to and from those who look at the sandbox; the API's own is judged and made elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request


class Json(JSONResponse):
    """JSON in ASCII: the names in a refused request may hold half of a surrogate pair, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 as in the class above
        return json.dumps(content).encode()


def wrong(words: str) -> Json:
    """The answer to a request that cannot be followed."""
    return Json({"error": words}, status_code=400)


async def object_in(request: Request) -> dict[str, object]:
    """The JSON object in a request's body; empty if there is none."""
    try:
        given: object = json.loads(await request.body())
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", given) if isinstance(given, dict) else {}
