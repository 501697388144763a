"""A taskiq worker that tracks paid orders."""
