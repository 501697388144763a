"""A shop with FastAPI."""
