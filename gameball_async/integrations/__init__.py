"""Frameworks, one module each: the client lives as long as the app, and its handlers find it."""
