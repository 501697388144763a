"""A shop with Litestar."""
