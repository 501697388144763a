"""A shop with Django: the same checkout for WSGI and for ASGI."""
