"""The addresses of the shop: WSGI serves the first, ASGI the second."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [path("checkout", views.check_out), path("async/checkout", views.check_out_async)]
