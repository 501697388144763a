"""A shop with Starlette, on trio."""
