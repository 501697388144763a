"""The settings of the shop: what Django needs at least."""

from __future__ import annotations

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "for-development-only")
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "examples.django_shop.urls"
