"""The shop for ASGI servers, such as uvicorn: Django has no lifespan, so the wrapper starts and closes the client."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from gameball_async.integrations.asgi import gameball_app

from .rewards import make_gameball

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_shop.settings")
application = gameball_app(get_asgi_application(), client=make_gameball)
