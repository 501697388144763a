"""A worker on plain asyncio."""
