"""A shop with aiohttp."""
