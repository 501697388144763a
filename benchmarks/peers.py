"""The peers behind one face: an event in, and a way to wait until all are sent.

Each with its own settings, except that its queue is large enough for the whole run: by default most of them drop events
silently beyond ten thousand. They are imported when they are used, so that they may be missing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

from .shop import Body

_QUEUE = 2_000_000
_SCHEMA = "iglu:com.example/shop_event/jsonschema/1-0-0"


class Peer(ABC):
    """A client of another service."""

    @abstractmethod
    def track(self, player: str, name: str, metadata: Body) -> None:
        """Take one event."""

    @abstractmethod
    async def finish(self) -> None:
        """Wait until everything is sent."""


class Snowplow(Peer):
    """snowplow-tracker; its default emitter sends on the caller's thread, ten events at a time.

    Args:
        url: where it sends to.
        batch: events that it gathers before it sends.
    """

    library: ClassVar = "snowplow_tracker"

    def __init__(self, url: str, batch: int | None = None) -> None:
        self._library: Any = import_module(self.library)
        self._subject: Any = import_module("snowplow_tracker.subject").Subject
        emitter = self._library.Emitter(url, protocol="http", batch_size=batch, buffer_capacity=_QUEUE)
        self._tracker = self._library.Tracker("shop", emitter)

    def track(self, player: str, name: str, metadata: Body) -> None:
        """Take one event."""
        event = self._library.SelfDescribingJson(_SCHEMA, {"name": name, **metadata})
        subject = self._subject().set_user_id(player)
        self._tracker.track(self._library.SelfDescribing(event, event_subject=subject))

    async def finish(self) -> None:
        """Send what has gathered."""
        self._tracker.flush()


class Segment(Peer):
    """segment-analytics-python; a thread sends, a hundred events at a time.

    Args:
        url: where it sends to.
    """

    library: ClassVar = "segment.analytics"

    def __init__(self, url: str) -> None:
        client: Any = import_module("segment.analytics.client").Client
        self._client = client("key", host=url, max_queue_size=_QUEUE)

    def track(self, player: str, name: str, metadata: Body) -> None:
        """Take one event."""
        self._client.track(user_id=player, event=name, properties=metadata)

    async def finish(self) -> None:
        """Wait for the thread."""
        self._client.flush()


class AsyncPosthog(Peer):
    """posthog's client for asyncio; a task sends, a hundred events at a time.

    Args:
        url: where it sends to.
    """

    library: ClassVar = "posthog.async_client"

    def __init__(self, url: str) -> None:
        client: Any = import_module(self.library).AsyncPosthog
        self._client = client("phc_key", host=url, max_queue_size=_QUEUE)

    def track(self, player: str, name: str, metadata: Body) -> None:
        """Take one event."""
        self._client.capture(name, distinct_id=player, properties=metadata)

    async def finish(self) -> None:
        """Wait for the task."""
        await self._client.flush(timeout_seconds=None)


class OfficialCall(Peer):
    """What gameball-python does in `send_event`: one request of a `requests` session, and the caller's thread waits.

    Args:
        url: where it sends to.
    """

    library: ClassVar = "requests"

    def __init__(self, url: str) -> None:
        requests: Any = import_module(self.library)
        self._session = requests.Session()
        self._url = f"{url}/api/v3.0/integrations/event"

    def track(self, player: str, name: str, metadata: Body) -> None:
        """Send one event, and read the answer."""
        body = {"playerUniqueId": player, "events": {name: metadata}}
        headers = {"APIKey": "key", "secretKey": "secret"}
        response = self._session.request("post", self._url, headers=headers, json=body, timeout=80)
        response.json()

    async def finish(self) -> None:
        """Nothing is left."""
