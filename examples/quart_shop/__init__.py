"""A shop with Quart."""
